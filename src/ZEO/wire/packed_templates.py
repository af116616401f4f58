"""Templates of the most frequent messages in msgpack: a load, its answer, and the shortest answers.

Enters: the parts of a message, or its bytes. Leaves: exactly the bytes that msgpack makes, or the
parts; None for all other messages, which are left to msgpack. Fails: never.

As :mod:`ZEO.wire.templates` does for pickles: one look takes the place of the check of a message,
of unpacking it, and of the look at what comes out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ZEO.wire.frames import LARGE, SIZE, FrameReader

_ID = rb'\x94(?:([\0-\x7f])|\xcc(.)|\xcd(..)|\xce(.{4}))'

#: Frames of a load; msgpack gives an id four bytes, two, or, for the first 256 calls, less.
_LARGE_ID = b'\0\0\0\x27\x94\xce%b\xc2\xaaloadBefore\x92\xc4\x08%b\xc4\x08%b'
_SMALL_ID = b'\0\0\0%%\x94\xcd%b\xc2\xaaloadBefore\x92\xc4\x08%b\xc4\x08%b'

_LOAD = re.compile(
    rb'\x94([\0-\x7f]|\xcc.|\xcd..|\xce.{4})\xc2\xaaloadBefore\x92\xc4\x08(.{8})\xc4\x08(.{8})',
    re.DOTALL,
)

_LOADED = re.compile(
    _ID + rb'\0\xa6\.reply\x93(?:\xc4(.)|\xc5(..)|\xc6(.{4}))(.*)\xc4\x08(.{8})\xc0', re.DOTALL
)

#: The same as a frame, whose length is the first group.
_LOADED_FRAME = re.compile(b'(.{4})' + _LOADED.pattern, re.DOTALL).fullmatch

#: Bytes of it that are always the same, including those of the tid.
_LOADED_SIZE = len(b'\x94\0\xa6.reply\x93\xc4\x08') + 8

_REPLY = re.compile(_ID + rb'\0\xa6\.reply(?:\xc4\x08(.{8})|(\x90)|\xc0)', re.DOTALL)

#: No shortest answer is longer, in bytes.
LONGEST = 23

_number = int.from_bytes


def load(message_id: int, oid: bytes, tid: bytes) -> bytes | None:
    """Return the frame of a loadBefore; None for what is left to msgpack."""
    if len(oid) != 8 or len(tid) != 8 or not 255 < message_id < 2**32:
        return None
    if message_id < 65536:
        return _SMALL_ID % (message_id.to_bytes(2, 'big'), oid, tid)
    return _LARGE_ID % (message_id.to_bytes(4, 'big'), oid, tid)


def read_load(message: bytes | bytearray) -> tuple[bytes, bytes, bytes] | None:
    """Return the id as it is packed, oid and tid of a loadBefore."""
    found = _LOAD.fullmatch(message)
    return found.groups() if found is not None else None  # type: ignore[return-value]


def loaded(message_id: bytes, data: bytes, tid: bytes, end: bytes | None) -> Sequence[bytes]:
    """Return the frame of the answer to a loadBefore, in pieces.

    :param message_id: as it is packed.
    """
    size = len(data)
    counted = _counted(size)
    ended = b'\xc0' if end is None else b'\xc4\x08' + end
    pieces = (
        SIZE.pack(_LOADED_SIZE + len(message_id) + len(counted) + size + len(ended)),
        b'\x94',
        message_id,
        b'\0\xa6.reply\x93',
        counted,
        data,
        b'\xc4\x08',
        tid,
        ended,
    )
    if size < LARGE:
        return (b''.join(pieces),)
    return b''.join(pieces[:5]), data, b''.join(pieces[6:])


def read_loaded(message: bytes | bytearray) -> tuple[int, int, str, Any] | None:
    """Return the answer to a loadBefore that found what is current."""
    if not message.endswith(b'\xc0'):
        return None
    found = _LOADED.fullmatch(message)
    if found is None:
        return None
    one, byte, short, long, size, large, largest, data, tid = found.groups()
    if len(data) != _number(size or large or largest, 'big'):
        return None
    return _number(one or byte or short or long, 'big'), 0, '.reply', (data, tid, None)


def read_loaded_frame(frames: FrameReader, count: int) -> tuple[int, bytes, bytes] | None:
    """Return id, record and tid of the same answer where it is all that has come, in one frame; see
    :func:`ZEO.wire.templates.read_loaded_frame`.
    """
    if frames.rest or frames.large is not None:
        return None
    found = _LOADED_FRAME(frames.scratch, 0, count)
    if found is None:
        return None
    frame_size, one, byte, short, long, size, large, largest, data, tid = found.groups()
    if len(data) != _number(size or large or largest, 'big'):
        return None
    if _number(frame_size, 'big') != count - 4:
        return None
    return _number(one or byte or short or long, 'big'), data, tid


def read_reply(message: bytes | bytearray) -> tuple[int, int, str, Any] | None:
    """Return the answer to a vote without conflicts, to a tpc_finish or a ping."""
    found = _REPLY.fullmatch(message)
    if found is None:
        return None
    one, byte, short, long, tid, no_oids = found.groups()
    result = tid if no_oids is None else ()
    return _number(one or byte or short or long, 'big'), 0, '.reply', result


def _counted(size: int) -> bytes:
    """Return what is in front of bytes of that size."""
    if size < 256:
        return b'\xc4%c' % size
    return b'\xc5' + size.to_bytes(2, 'big') if size < 65536 else b'\xc6' + size.to_bytes(4, 'big')
