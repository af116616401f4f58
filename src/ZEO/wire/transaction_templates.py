"""Templates of the messages that begin and end a transaction.

Enters: the parts of a request, or its bytes. Leaves: its frame, or its parts, if it has the form
that clients of this package send; None for all others, which are left to the pickler. Fails: never.

As with :mod:`ZEO.wire.templates` there is one form of each, so that the server is spared the walk
over an untrusted pickle: that is a sixth of the bytecodes that a server runs for a small
transaction.
"""

from __future__ import annotations

import re
from typing import Any

from ZEO.wire.frames import SIZE

_END = re.compile(
    rb'\x80\x03\((K.|M..|J....)\x89X'
    rb'(\x04\0\0\0vote|\x0a\0\0\0tpc_finish|\x09\0\0\0tpc_abort)'
    rb'(K.|M..|J...[\0-\x7f])\x85t\.',
    re.DOTALL,
).fullmatch

#: How each of them ends, and some other messages.
END = b'\x85t.'

_NAMES = {
    b'\x04\0\0\0vote': 'vote',
    b'\x0a\0\0\0tpc_finish': 'tpc_finish',
    b'\x09\0\0\0tpc_abort': 'tpc_abort',
}

#: The start of a beginning, to the number of the transaction, which is that of the client.
_BEGIN = re.compile(
    rb'\x80\x03\(K\0\x88X\x09\0\0\0tpc_begin\((K.|M..|J...[\0-\x7f])', re.DOTALL
).match

#: The opcode of at most 255 bytes.
_BYTES = b'C'[0]

#: How a tpc_begin ends: no tid, the status of a usual transaction.
_NO_TID = b'NX\1\0\0\0 tt.'

#: The message of a beginning, with the numbers of bytes of its texts.
_BEGUN = b'\x80\x03(K\0\x88X\x09\0\0\0tpc_begin(J%bC%c%bC%c%bC%c%b' + _NO_TID

#: The frames of an end.
_VOTED = b'\0\0\0\x1a\x80\x03(J%b\x89X\x04\0\0\0voteJ%b\x85t.'
_FINISHED = b'\0\0\0\x20\x80\x03(J%b\x89X\x0a\0\0\0tpc_finishJ%b\x85t.'

#: Numbers that these forms can have are below.
_NUMBERS = 2**31

_number = int.from_bytes


def begin(number: int, user: bytes, description: bytes, extension: Any) -> bytes | None:
    """Return the frame of a tpc_begin of a transaction that gets a new tid; None for one that is
    left to the pickler.
    """
    if (
        type(extension) is bytes
        and number < _NUMBERS
        and len(user) < 256 > len(description)
        and len(extension) < 256
    ):
        message = _BEGUN % (
            number.to_bytes(4, 'little'),
            len(user),
            user,
            len(description),
            description,
            len(extension),
            extension,
        )
        return SIZE.pack(len(message)) + message
    return None


def vote(message_id: int, number: int) -> bytes | None:
    """Return the frame of a vote, likewise."""
    if number < _NUMBERS:
        return _VOTED % (message_id.to_bytes(4, 'little'), number.to_bytes(4, 'little'))
    return None


def finish(message_id: int, number: int) -> bytes | None:
    """Return the frame of a tpc_finish, likewise."""
    if number < _NUMBERS:
        return _FINISHED % (message_id.to_bytes(4, 'little'), number.to_bytes(4, 'little'))
    return None


def read_end(message: bytes) -> tuple[bytes, str, tuple[int]] | None:
    """Return id (its opcodes), name and arguments of a vote, a tpc_finish or a tpc_abort."""
    found = _END(message)
    if found is None:
        return None
    message_id, name, number = found.groups()
    return message_id, _NAMES[name], (_number(number[1:], 'little'),)


def read_begin(message: bytes) -> tuple[Any, ...] | None:
    """Return the arguments of a tpc_begin."""
    found = _BEGIN(message)
    if found is None:
        return None
    described = _read_described(message, found.end())
    if described is None:
        return None
    return (_number(found[1][1:], 'little'), *described, None, ' ')


def _read_described(message: bytes, place: int) -> tuple[bytes, bytes, bytes] | None:
    """Return user, description and extension; each has fewer than 256 bytes."""
    if not message.endswith(_NO_TID):
        return None
    # three times the same, since a loop takes nearly twice as many steps; there is a byte behind
    # each C that is looked at, since _NO_TID has none
    end = len(message) - len(_NO_TID)
    if message[place] != _BYTES:
        return None
    user = place + 2 + message[place + 1]
    if user >= end or message[user] != _BYTES:
        return None
    description = user + 2 + message[user + 1]
    if description >= end or message[description] != _BYTES:
        return None
    if description + 2 + message[description + 1] != end:
        return None
    return (
        message[place + 2 : user],
        message[user + 2 : description],
        message[description + 2 : end],
    )
