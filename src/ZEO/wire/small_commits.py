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
from struct import Struct

from ZEO.wire.message import FROM_TEMPLATE, EchoedId, Message


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
    rb'(.{4})\x80\x03\(K\0\x88X\x09\0\0\0tpc_begin\((K.|M..|J...[\0-\x7f])C(.)', re.DOTALL
).match

#: How a tpc_begin ends: no tid, the status of a usual transaction.
_NO_TID = rb'NX\x01\0\0\0 tt\.'

#: The size of a frame, and its storea up to the record.
_STORE = rb'(.{4})\x80\x03\(K\0\x88X\x06\0\0\0storea\(C\x08(.{8})C\x08(.{8})(?:B(.{4})|C(.))'

#: How a storea ends, with the number of the transaction.
_STORE_END = rb'J(.{4})tt\.'

_FIRST = re.compile(_NO_TID + _STORE, re.DOTALL).match
_NEXT = re.compile(_STORE_END + _STORE, re.DOTALL).match
_LAST = re.compile(
    _STORE_END + rb'(.{4})\x80\x03\((K.|M..|J....)\x89X\x04\0\0\0vote(K.|M..|J....)\x85t\.',
    re.DOTALL,
).fullmatch

#: Bytes from the end of a tpc_begin's texts, and of a record, to that of the message.
_AFTER_TEXTS, _AFTER_RECORD = len(b'NX\1\0\0\0 tt.'), len(b'J....tt.')

#: What the sizes of the three kinds of messages are, counted from these ends: that of the texts in
#: the stream, that of the record behind that of the texts, and that of the stream behind that of
#: the record.
_BEGIN_REST = _AFTER_TEXTS - 4
_STORE_REST = _AFTER_RECORD - _AFTER_TEXTS - 4
_TO_VOTE = _AFTER_RECORD + 4

#: The opcode of at most 255 bytes.
_BYTES = b'C'[0]

_three_sizes = Struct('>III').pack
_number = int.from_bytes


def read(data: bytes) -> Message | None:
    """Return the message that stands for a whole transaction."""
    found = _BEGIN(data)
    if found is None or len(data) > MOST_BYTES:
        return None
    begin_size, number, length = found.groups()
    user = found.end()
    try:
        description = user + length[0] + 2
        extension = description + data[description - 1] + 2
        end = extension + data[extension - 1]
    except IndexError:
        return None
    found = _FIRST(data, end)
    if found is None or not data[description - 2] == data[extension - 2] == _BYTES:
        return None
    store_size, oid, serial, long, short = found.groups()
    start = found.end()
    first = stop = start + (short[0] if long is None else _number(long, 'little'))
    stores = [(oid, serial, data[start:stop])]
    txn = number[1:].ljust(4, b'\0')
    last = _LAST(data, stop)
    if last is None:
        stop = _read_stores(data, stop, txn, stores)
        last = _LAST(data, stop)
        if last is None or len(stores) > MOST_STORES:
            return None
    in_last_store, vote_size, message_id, in_vote = last.groups()
    sizes = _three_sizes(end + _BEGIN_REST, first - end + _STORE_REST, len(data) - stop - _TO_VOTE)
    if in_vote != number or in_last_store != txn or begin_size + store_size + vote_size != sizes:
        return None
    texts = data[user : description - 2], data[description : extension - 2], data[extension:end]
    return EchoedId(message_id), False, SMALL_COMMIT, (_number(txn, 'little'), *texts, stores)


def _read_stores(
    data: bytes, stop: int, txn: bytes, stores: list[tuple[bytes, bytes, bytes]]
) -> int:
    """Add the stores behind the first one; return where the record of the last one ends.

    :param stop: where the first record ends.
    :param txn: the number of the transaction, in four bytes.
    """
    found = _NEXT(data, stop)
    while found is not None and len(stores) <= MOST_STORES:
        before, size, oid, serial, long, short = found.groups()
        start = found.end()
        begin = stop + _TO_VOTE
        stop = start + (short[0] if long is None else _number(long, 'little'))
        if before != txn or _number(size, 'big') != stop + _AFTER_RECORD - begin:
            return len(data)  # where no vote is found
        stores.append((oid, serial, data[start:stop]))
        found = _NEXT(data, stop)
    return stop


def parts(message: Message) -> Iterator[Message]:
    """Yield the messages that such a one stands for."""
    message_id, _, _, (number, user, description, extension, stores) = message
    begin = (number, user, description, extension, None, ' ')
    yield FROM_TEMPLATE, True, 'tpc_begin', begin
    for oid, serial, data in stores:
        yield FROM_TEMPLATE, True, 'storea', (oid, serial, data, number)
    yield message_id, False, 'vote', (number,)
