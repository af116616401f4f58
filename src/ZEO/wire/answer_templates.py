"""Templates of a server's shortest messages: answers in a commit, sizes, and invalidations.

Enters: the parts of a message, or its bytes. Leaves: exactly the bytes that a pickler makes, or the
message, if it has one of these forms; None for all others, which are left to the pickler. Fails:
never.

A client gets three of these in each transaction, and an invalidation for each of others. A template
spares it the walk over the pickle and the unpickler, and the server two picklers and an unpickler
for the id of the call.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from ZEO.wire.frames import FrameReader

#: No message that is read here is longer, in bytes.
LONGEST = 57

_REPLY = re.compile(
    rb'\x80\x03\((?:K(.)|M(..)|J(...[\0-\x7f]))K\0X\x06\0\0\0\.reply(?:C\x08(.{8})|(\])|N)t\.',
    re.DOTALL,
)

#: A number from 2 GB to 512 GB, or to 128 TB, as most sizes of files are.
_LARGE = rb'\x8a(?:\x05(.{4}[\0-\x7f])|\x06(.{5}[\0-\x7f]))'

_INFO = re.compile(
    rb'\x80\x03\(K\0\x88X\x04\0\0\0info\}\('
    rb'X\x06\0\0\0length(?:K(.)|M(..)|J(...[\0-\x7f]))'
    rb'X\x04\0\0\0size(?:K(.)|M(..)|J(...[\0-\x7f])|' + _LARGE + rb')u\x85t\.',
    re.DOTALL,
)

#: How an invalidation begins that :func:`read_invalidation` may read.
INVALIDATION = b'\x80\x03(K\0\x88X\x15\0\0\0invalidateTransactionC\x08'

#: With one oid, or with up to a hundred.
_INVALIDATION = re.compile(
    re.escape(INVALIDATION)
    + rb'([\0-\x7f].{7})\](?:C\x08(.{8})a|\(((?:C\x08.{8}){2,100})e)\x86t\.',
    re.DOTALL,
)

_invalidation_in = re.compile(rb'(.{4})' + _INVALIDATION.pattern, re.DOTALL).match

#: Frames: an answer, mostly alone; with sizes in front of it, as a server sends them for a commit.
_ARRIVED = re.compile(
    rb'(?:(.{4})' + _INFO.pattern + rb')?(.{4})' + _REPLY.pattern, re.DOTALL
).match

_REPLY_TID = b'\x80\x03(%bK\0X\6\0\0\0.replyC\x08%bt.'
_REPLY_NOTHING = b'\x80\x03(%bK\0X\6\0\0\0.replyNt.'
_REPLY_NO_OIDS = b'\x80\x03(%bK\0X\6\0\0\0.reply]t.'
_SIZES = b'\x80\x03(K\0\x88X\4\0\0\0info}(X\6\0\0\0length%bX\4\0\0\0size%bu\x85t.'
_LENGTH_AND_SIZE = ['length', 'size']

#: Bytes of the opcodes of an id.
_ID_SIZES = (2, 3, 5)


def _framed(template: bytes, *values: int) -> dict[int, bytes]:
    """Return a template with the size of its frame, for each size of an id, its first part.

    :param values: bytes of its other parts.
    """
    fixed = len(template.replace(b'%b', b'')) + sum(values)
    return {size: (fixed + size).to_bytes(4, 'big') + template for size in _ID_SIZES}


_FRAMED_TID = _framed(_REPLY_TID, 8)
_FRAMED_NO_OIDS = _framed(_REPLY_NO_OIDS)
_FRAMED_SIZES = b'\0\0\0%c' + _SIZES
_SIZES_SIZE = len(_SIZES.replace(b'%b', b''))

_number = int.from_bytes


class Invalidations(list[tuple[bytes, list[bytes]]]):
    """What several transactions have changed, in the place of a message's arguments: the tid of
    each, and the oids. Nothing that is unpickled has this type.
    """


def reply(message_id: bytes, result: Any) -> bytes | None:
    """Return the answer to a call.

    :param message_id: as its opcodes.
    """
    if type(result) is bytes and len(result) == 8:
        return _REPLY_TID % (message_id, result)
    if result is None:
        return _REPLY_NOTHING % message_id
    if result == [] and type(result) is list:
        return _REPLY_NO_OIDS % message_id
    return None


def info(figures: dict[str, Any]) -> bytes | None:
    """Return the message ``info``, if it says the number of objects of a storage and its bytes."""
    if [*figures] != _LENGTH_AND_SIZE:
        return None
    length, size = figures.values()
    if type(length) is int is type(size) and 0 <= length < 2**31 and 0 <= size < 2**47:
        return _SIZES % (_opcode(length), _opcode(size))
    return None


def voted(message_id: bytes) -> bytes:
    """Return the frame of the answer to a vote without conflicts.

    :param message_id: as its opcodes, as all that follow.
    """
    return _FRAMED_NO_OIDS[len(message_id)] % message_id


def committed(message_id: bytes, tid: Any, figures: dict[str, Any]) -> bytes | None:
    """Return the frames of the message ``info`` and of the answer to a tpc_finish."""
    length, size = figures['length'], figures['size']
    if type(length) is int is type(size) and type(tid) is bytes and len(tid) == 8:
        objects, octets = _opcode(length), _opcode(size)
        if not (objects and octets):
            return None
        sizes = _SIZES_SIZE + len(objects) + len(octets), objects, octets
        return _FRAMED_SIZES % sizes + _FRAMED_TID[len(message_id)] % (message_id, tid)
    return None


@lru_cache(maxsize=16)  # the number of objects is the same after most commits
def _opcode(number: int) -> bytes:
    """Return the opcode of a number, as the pickler chooses it; nothing if it is not a size of that
    kind.
    """
    if not 0 <= number < 2**47:
        return b''
    if number < 2**16:
        return b'K%c' % number if number < 256 else b'M' + number.to_bytes(2, 'little')
    if number < 2**31:
        return b'J' + number.to_bytes(4, 'little')
    width = 5 if number < 2**39 else 6
    return b'\x8a%c%b' % (width, number.to_bytes(width, 'little'))


def read(message: bytes | bytearray) -> tuple[int, int, str, Any] | None:
    """Return a message as the unpickler reads it."""
    found = _REPLY.fullmatch(message)
    if found is not None:
        byte, short, long, tid, no_oids = found.groups()
        result = tid if no_oids is None else []
        return _number(byte or short or long, 'little'), 0, '.reply', result
    found = _INFO.fullmatch(message)
    return None if found is None else _sizes(*found.groups())


def _sizes(
    byte: bytes, short: bytes, long: bytes, *size: bytes | None
) -> tuple[int, int, str, Any]:
    one, two, four, five, six = size
    info = {
        'length': _number(byte or short or long, 'little'),
        'size': _number(one or two or four or five or six or b'', 'little'),
    }
    return 0, True, 'info', (info,)


def read_arrived(frames: FrameReader, count: int) -> list[tuple[int, int, str, Any]] | None:
    """Return the messages where all that has come is invalidations, and answers, some behind sizes;
    see :func:`ZEO.wire.templates.read_loaded_frame`.

    Invalidations in a row are one message, with :class:`Invalidations`.
    """
    if frames.rest or frames.large is not None:
        return None
    scratch = frames.scratch
    found = _ARRIVED(scratch, 0, count)
    if found is not None and found.end() == count:  # as mostly where others do not commit
        return _end(found)
    return _read_several(scratch, count)


def _read_several(scratch: memoryview, count: int) -> list[tuple[int, int, str, Any]] | None:
    messages: list[tuple[int, int, str, Any]] = []
    start = 0
    while start < count:
        found = _ARRIVED(scratch, start, count)
        if found is not None:
            arrived = _end(found)
            if arrived is None:
                return None
            messages += arrived
            start = found.end()
            continue
        transactions, end = _read_invalidations(scratch, start, count)
        if not transactions:
            return None
        messages.append((0, True, 'invalidateTransaction', transactions))
        start = end
    return messages


def _end(found: re.Match[bytes]) -> list[tuple[int, int, str, Any]] | None:
    """Return an answer, maybe behind sizes; None if its frames have other sizes."""
    info_size, *sizes, size, byte, short, long, tid, no_oids = found.groups()
    start = found.start(10)
    if _number(size, 'big') != found.end() - start - 4:
        return None
    result = tid if no_oids is None else []
    answer = _number(byte or short or long, 'little'), 0, '.reply', result
    if info_size is None:
        return [answer]
    if _number(info_size, 'big') != start - found.start() - 4:
        return None
    return [_sizes(*sizes), answer]


def _read_invalidations(scratch: memoryview, start: int, count: int) -> tuple[Invalidations, int]:
    """Return what transactions have changed from `start` on, and where that ends."""
    transactions = Invalidations()
    while (found := _invalidation_in(scratch, start, count)) is not None:
        size, tid, oid, several = found.groups()
        end = found.end()
        if _number(size, 'big') != end - start - 4:
            break
        transactions.append((tid, [oid] if several is None else _oids(several)))
        start = end
    return transactions, start


def read_invalidation(message: bytes | bytearray) -> tuple[int, bool, str, Any] | None:
    """Return a message that begins with :data:`INVALIDATION` as the unpickler reads it."""
    found = _INVALIDATION.fullmatch(message)
    if found is None:
        return None
    tid, oid, several = found.groups()
    if oid is not None:
        return 0, True, 'invalidateTransaction', (tid, [oid])
    return 0, True, 'invalidateTransaction', (tid, _oids(several))


def _oids(pickled: bytes) -> list[bytes]:
    return [pickled[place : place + 8] for place in range(2, len(pickled), 10)]
