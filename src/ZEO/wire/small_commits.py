"""A small transaction that arrives whole: its beginning, its stores and its vote in one piece.

Enters: the bytes of several frames. Leaves: one message that stands for all of theirs, if they are
such a transaction, with nothing in front of it and nothing behind; None for everything else, which
is left to the way of each frame. Fails: never.

A client sends the three kinds of messages together when it votes, and most transactions change a
few objects. To cut, decode and dispatch each of these messages takes a server as many steps as a
FileStorage takes for the transaction. As with :mod:`ZEO.wire.templates` there is one form of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ZEO.wire.messages import FROM_TEMPLATE, EchoedId, Message


class _Name(str):
    """A name that no message can have, since it is compared by identity."""

    __slots__ = ()


#: The name of the message that stands for them; its arguments are the number of the transaction,
#: user, description, extension, and a list of oid, serial and data.
SMALL_COMMIT = _Name('a small commit')

#: Stores that are read so at most, and bytes of all frames: what a storage takes without holding up
#: other clients, and without an account of the memory.
MOST_STORES, MOST_BYTES = 16, 32 * 1024

_BEGIN = re.compile(
    rb'(.{4})\x80\x03\(K\0\x88X\x09\0\0\0tpc_begin\((K.|M..|J...[\0-\x7f])C.', re.DOTALL
).match
_STORE = re.compile(
    rb'(.{4})\x80\x03\(K\0\x88X\x06\0\0\0storea\(C\x08(.{8})C\x08(.{8})(?:B(.{4})|C(.))', re.DOTALL
).match
_VOTE = re.compile(rb'(.{4})\x80\x03\((K.|M..|J....)\x89X\x04\0\0\0vote', re.DOTALL).match

#: How a tpc_begin ends: no tid, the status of a usual transaction.
_NO_TID = b'NX\1\0\0\0 tt.'

#: How a storea ends, with the number of the transaction.
_STORE_END = b'J%btt.'

#: The opcode of at most 255 bytes.
_BYTES = b'C'[0]

_number = int.from_bytes


def read(data: bytes) -> Message | None:
    """Return the message that stands for a whole transaction."""
    found = _BEGIN(data)
    if found is None or len(data) > MOST_BYTES:
        return None
    size, number = found.groups()
    user = found.end()
    try:
        description = user + data[user - 1] + 2
        extension = description + data[description - 1] + 2
        end = extension + data[extension - 1]
    except IndexError:
        return None
    place = end + len(_NO_TID)
    if (
        data[description - 2] != _BYTES
        or data[extension - 2] != _BYTES
        or not data.startswith(_NO_TID, end)
        or _number(size, 'big') != place - 4
    ):
        return None
    txn_id = _number(number[1:], 'little')
    stores: list[tuple[bytes, bytes, bytes]] = []
    place = _read_stores(data, place, _STORE_END % txn_id.to_bytes(4, 'little'), stores)
    voted = _VOTE(data, place)
    if (
        voted is None
        or not 0 < len(stores) <= MOST_STORES
        or data[voted.end() :] != number + b'\x85t.'
        or _number(voted[1], 'big') != len(data) - place - 4
    ):
        return None
    texts = data[user : description - 2], data[description : extension - 2], data[extension:end]
    return EchoedId(voted[2]), False, SMALL_COMMIT, (txn_id, *texts, stores)


def _read_stores(
    data: bytes, place: int, last: bytes, stores: list[tuple[bytes, bytes, bytes]]
) -> int:
    """Add the stores that begin at a place; return where they end.

    :param last: how each of them ends, behind its record.
    """
    found = _STORE(data, place)
    while found is not None and len(stores) <= MOST_STORES:
        size, oid, serial, long, short = found.groups()
        start = found.end()
        stop = start + (short[0] if long is None else _number(long, 'little'))
        end = stop + len(last)
        if not data.startswith(last, stop) or _number(size, 'big') != end - place - 4:
            break
        stores.append((oid, serial, data[start:stop]))
        place = end
        found = _STORE(data, place)
    return place


def parts(message: Message) -> Iterator[Message]:
    """Yield the messages that such a one stands for."""
    message_id, _, _, (number, user, description, extension, stores) = message
    begin = (number, user, description, extension, None, ' ')
    yield FROM_TEMPLATE, True, 'tpc_begin', begin
    for oid, serial, data in stores:
        yield FROM_TEMPLATE, True, 'storea', (oid, serial, data, number)
    yield message_id, False, 'vote', (number,)
