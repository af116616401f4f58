"""The most frequent messages as templates: loadBefore, its answer, storea and restorea.

Enters: the parts of a message, or its bytes. Leaves: exactly the bytes that a pickler makes, or the
parts; None for all other messages, which are left to the pickler. Fails: never.

Each has one form, so that a template saves the server the walk over an untrusted pickle, both sides
a pickler, and a large record a copy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from struct import Struct
from typing import Any

from ZEO.wire.frames import LARGE, SIZE, FrameReader

#: The frame of a loadBefore, without its id, oid and tid.
LOAD = b'\0\0\0\x2f\x80\x03(J%b\x89X\x0a\0\0\0loadBeforeC\x08%bC\x08%b\x86t.'
_IS_LOAD = re.compile(
    rb'\x80\x03\((K.|M..|J....|C\x08.{8}C\x08.{8}\x86)\x89X\x0a\0\0\0loadBeforeC\x08(.{8})C\x08(.{8})\x86t\.',
    re.DOTALL,
)

#: All of it, its id, the size of the record, the record and its tid.  What is behind the record has
#: one length, so that the last part of the pattern finds its place in a few steps.
_IS_LOADED = re.compile(
    rb'\x80\x03\(J(...[\0-\x7f])K\0X\x06\0\0\0\.reply(?:B(.{4})|C(.))(.*)C\x08(.{8})N\x87t\.',
    re.DOTALL,
)

#: The same as a frame, whose length is the first group.
_IS_LOADED_FRAME = re.compile(b'(.{4})' + _IS_LOADED.pattern, re.DOTALL).fullmatch

#: Bytes of it that are always the same, including those of the tid.
_LOADED = len(b'\x80\x03(K\0X\6\0\0\0.replyC\x08\x87t.') + 8

#: How every storea begins.
STORE = b'\x80\x03(K\0\x88X\x06\0\0\0storea(C\x08'
_STORE = STORE + b'%bC\x08%b%b'
_STORE_END = b'J%btt.'
#: Bytes of it that are always the same, including those of oid, serial and transaction.
_STORED = len(_STORE % (bytes(8), bytes(8), b'') + _STORE_END % bytes(4))
_IS_STORE = re.compile(
    rb'\x80\x03\(K\0\x88X\x06\0\0\0storea\(C\x08(.{8})C\x08(.{8})(?:B(.{4})|C(.))', re.DOTALL
)
_IS_STORE_END = re.compile(rb'(?:K(.)|M(..)|J(...[\0-\x7f]))tt\.', re.DOTALL)

#: How every storeBlobChunk begins and ends, except for the smallest.
CHUNK = b'\x80\x03(K\0\x88X\x0e\0\0\0storeBlobChunkB'
_CHUNK_END = b'\x85t.'

#: How every restorea begins, of which a copy of a database consists.
RESTORE = b'\x80\x03(K\0\x88X\x08\0\0\0restorea(C\x08'
_RESTORE = RESTORE + b'%bC\x08%b%b'
_IS_RESTORE = re.compile(
    rb'\x80\x03\(K\0\x88X\x08\0\0\0restorea\(C\x08(.{8})C\x08(.{8})(?:B(.{4})|C(.))', re.DOTALL
)
_IS_RESTORE_END = re.compile(rb'(?:N|C\x08(.{8}))(?:K(.)|M(..)|J(...[\0-\x7f]))tt\.', re.DOTALL)

_pack_long = Struct('<cI').pack
_begin_loaded = Struct('>I3s').pack
_count_loaded = Struct('<14sI').pack
_number = int.from_bytes


def read_load(message: bytes | bytearray) -> tuple[bytes, bytes, bytes] | None:
    """Return the id's opcodes, oid and tid of a loadBefore."""
    if not message.endswith(b'\x86t.'):
        return None
    found = _IS_LOAD.fullmatch(message)
    return found.groups() if found is not None else None  # type: ignore[return-value]


def loaded(message_id: bytes, data: bytes, tid: bytes, end: bytes | None) -> Sequence[bytes]:
    """Return the frame of the answer to a loadBefore, in pieces.

    :param message_id: as its opcodes.
    """
    size = len(data)
    if end is None and 256 <= size < LARGE:  # as mostly, in half of the steps
        begin = _begin_loaded(_LOADED + 6 + len(message_id) + size, b'\x80\x03(')
        reply = _count_loaded(b'K\0X\6\0\0\0.replyB', size)
        return (b''.join((begin, message_id, reply, data, b'C\x08', tid, b'N\x87t.')),)
    counted = _counted(size)
    ended = b'N' if end is None else b'C\x08' + end
    frame_size = SIZE.pack(_LOADED + len(message_id) + len(counted) + size + len(ended))
    pieces = (
        frame_size,
        b'\x80\x03(',
        message_id,
        b'K\0X\6\0\0\0.reply',
        counted,
        data,
        b'C\x08',
        tid,
        ended,
        b'\x87t.',
    )
    if size < LARGE:
        return (b''.join(pieces),)
    return b''.join(pieces[:5]), data, b''.join(pieces[6:])


def read_loaded(message: bytes | bytearray) -> tuple[int, int, str, Any] | None:
    """Return the answer to a loadBefore that found what is current, as a message.

    One look at all of it, and no Python call: this is the client's half of every load.
    """
    if not message.endswith(b'N\x87t.'):
        return None
    found = _IS_LOADED.fullmatch(message)
    if found is None:
        return None
    message_id, long, short, data, tid = found.groups()
    if len(data) != (short[0] if long is None else _number(long, 'little')):
        return None
    return _number(message_id, 'little'), 0, '.reply', (data, tid, None)


def read_loaded_frame(frames: FrameReader, count: int) -> tuple[int, bytes, bytes] | None:
    """Return id, record and tid of the same answer where it is all that has come, in one frame.

    It is read where it has arrived: that is less than half of the steps of a frame that is taken
    out, decoded and taken apart. In all other cases nothing has happened, and `frames` is to be
    told what has come.

    :param count: bytes that were written into the lent buffer.
    """
    if frames.rest or frames.large is not None:
        return None
    found = _IS_LOADED_FRAME(frames.scratch, 0, count)
    if found is None:
        return None
    size, message_id, long, short, data, tid = found.groups()
    if len(data) != (short[0] if long is None else _number(long, 'little')):
        return None
    if _number(size, 'big') != count - 4:
        return None
    return _number(message_id, 'little'), data, tid


def store(oid: bytes, serial: bytes, data: bytes, txn_id: int) -> bytes | None:
    """Return the message of a storea."""
    if not (
        type(oid) is type(serial) is type(data) is bytes
        and len(oid) == len(serial) == 8
        and type(txn_id) is int
        and 0 <= txn_id < 2**31
    ):
        return None
    return b''.join(
        (
            _STORE % (oid, serial, _counted(len(data))),
            data,
            _STORE_END % txn_id.to_bytes(4, 'little'),
        )
    )


def store_frame(oid: bytes, serial: bytes, data: bytes, txn_id: int) -> bytes | None:
    """Return the frame of a storea; None for a large one, which is left in pieces, and for one that
    is left to the pickler.
    """
    if (
        type(oid) is type(serial) is type(data) is bytes
        and len(oid) == len(serial) == 8
        and txn_id < 2**31
        and (size := len(data)) < LARGE
    ):
        counted = b'C%c' % size if size < 256 else b'B' + size.to_bytes(4, 'little')
        return b''.join(
            (
                SIZE.pack(_STORED + len(counted) + size),
                _STORE % (oid, serial, counted),
                data,
                _STORE_END % txn_id.to_bytes(4, 'little'),
            )
        )
    return None


def read_store(message: bytes) -> tuple[bytes, bytes, bytes, int] | None:
    """Return the oid, serial, data and transaction id of a storea."""
    found = _IS_STORE.match(message)
    if found is None:
        return None
    oid, serial, long, short = found.groups()
    start = found.end()
    stop = start + _count(long, short)
    end = _IS_STORE_END.fullmatch(message, stop)
    if end is None:
        return None
    return oid, serial, message[start:stop], int.from_bytes(end[end.lastindex], 'little')  # type: ignore[index]


def restore(
    oid: bytes, serial: bytes, data: bytes | None, previous: bytes | None, txn_id: int
) -> bytes | None:
    """Return the message of a restorea."""
    if not (
        type(oid) is type(serial) is type(data) is bytes
        and len(oid) == len(serial) == 8
        and (previous is None or (type(previous) is bytes and len(previous) == 8))
        and type(txn_id) is int
        and 0 <= txn_id < 2**31
    ):
        return None
    return b''.join(
        (
            _RESTORE % (oid, serial, _counted(len(data))),
            data,
            b'N' if previous is None else b'C\x08' + previous,
            _STORE_END % txn_id.to_bytes(4, 'little'),
        )
    )


def read_restore(message: bytes) -> tuple[bytes, bytes, bytes, bytes | None, int] | None:
    """Return the oid, serial, data, earlier transaction and transaction id of a restorea."""
    found = _IS_RESTORE.match(message)
    if found is None:
        return None
    oid, serial, long, short = found.groups()
    start = found.end()
    stop = start + _count(long, short)
    end = _IS_RESTORE_END.fullmatch(message, stop)
    if end is None:
        return None
    number = int.from_bytes(end[end.lastindex], 'little')  # type: ignore[index]
    return oid, serial, message[start:stop], end[1], number


def chunk(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return the frame of a storeBlobChunk, in pieces: the chunk is not copied."""
    size = len(data)
    if size < 256:
        return None
    frame_size = SIZE.pack(len(CHUNK) + 4 + size + len(_CHUNK_END))
    return frame_size + CHUNK + size.to_bytes(4, 'little'), data, _CHUNK_END


def read_chunk(message: bytes) -> tuple[memoryview] | None:
    """Return the arguments of a storeBlobChunk; the chunk is a view on the message."""
    start = len(CHUNK) + 4
    stop = start + _number(message[len(CHUNK) : start], 'little')
    return (memoryview(message)[start:stop],) if message[stop:] == _CHUNK_END else None


def _counted(size: int) -> bytes:
    """Return the opcode of bytes of that size."""
    return b'C%c' % size if size < 256 else _pack_long(b'B', size)


def _count(long: bytes | None, short: bytes) -> int:
    """Return the size that such an opcode gives."""
    return short[0] if long is None else int.from_bytes(long, 'little')
