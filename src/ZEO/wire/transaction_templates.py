"""Templates of the messages that begin and end a transaction.

Enters: the bytes of a request. Leaves: its parts, if it has the form that clients of this package
send; None for all others, which are left to the pickler. Fails: never.

As with :mod:`ZEO.wire.templates` there is one form of each, so that the server is spared the walk
over an untrusted pickle: that is a sixth of the bytecodes that a server runs for a small
transaction.
"""

from __future__ import annotations

import re
from typing import Any

#: The beginnings of all four, to the number of the transaction, which is that of the client.
_START = re.compile(
    rb'\x80\x03\('
    rb'(?:(K.|M..|J....)\x89X(\x04\0\0\0vote|\x0a\0\0\0tpc_finish|\x09\0\0\0tpc_abort)'
    rb'|K\0\x88X\x09\0\0\0tpc_begin\()'
    rb'(?:K(.)|M(..)|J(...[\0-\x7f]))',
    re.DOTALL,
)

_NAMES = {
    b'\x04\0\0\0vote': 'vote',
    b'\x0a\0\0\0tpc_finish': 'tpc_finish',
    b'\x09\0\0\0tpc_abort': 'tpc_abort',
}

#: How a tpc_begin ends: no tid, the status of a usual transaction.
_NO_TID = b'NX\1\0\0\0 tt.'


def read(message: bytes) -> tuple[bytes | None, str, tuple[Any, ...]] | None:
    """Return the id's opcodes, or None where it is one-way, with the name and the arguments of a
    message.
    """
    found = _START.match(message)
    if found is None:
        return None
    number = int.from_bytes(found[found.lastindex], 'little')  # type: ignore[index]
    message_id, name, *_ = found.groups()
    if message_id is None:
        described = _read_described(message, found.end())
        return None if described is None else (None, 'tpc_begin', (number, *described, None, ' '))
    if message[found.end() :] != b'\x85t.':
        return None
    return message_id, _NAMES[name], (number,)


def _read_described(message: bytes, place: int) -> tuple[bytes, bytes, bytes] | None:
    """Return user, description and extension; each has fewer than 256 bytes."""
    if not message.endswith(_NO_TID):
        return None
    parts = []
    for _ in range(3):
        if message[place : place + 1] != b'C':
            return None
        start = place + 2
        place = start + message[place + 1]  # there is one: what a C begins is not the last byte
        parts.append(message[start:place])
    if place != len(message) - len(_NO_TID):
        return None
    user, description, extension = parts
    return user, description, extension
