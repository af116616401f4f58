"""Checks of a peer's message in msgpack before it is unpacked, as `checks` does with pickles.

Enters: the bytes of a message. Leaves: nothing. Fails: :class:`ProtocolError` for a message that
would harm this process: msgpack allocates memory for as many items as a container announces, on
each of a thousand levels, and makes an object of one byte.
"""

from __future__ import annotations

import re
import struct
from typing import Any

from ZEO.Exceptions import ProtocolError
from ZEO.wire.checks import FIRST_PARTS, SHORT, run_of, strings
from ZEO.wire.key_checks import MAX_ODD_KEYS
from ZEO.wire.late_pattern import LatePattern
from ZEO.wire.plain import is_key

_FIXED_TEXT = b'|'.join(re.escape(bytes([0xA0 + size])) + b'.{%d}' % size for size in range(32))

#: Values that are not containers, except for longer texts and bytes; the second pattern below adds
#: containers that announce less than sixteen items.
_SIMPLE = (
    rb'\xc4\x08.{8}',
    rb'[\0-\x7f\xc0\xc2\xc3\xe0-\xff]',
    _FIXED_TEXT,
    strings(b'[\xc4\xd9]'),
    rb'[\xcc\xd0].',
    rb'[\xcd\xd1]..',
    rb'[\xce\xd2\xca].{4}',
    rb'[\xcf\xd3\xcb].{8}',
)
_WITHOUT_CONTAINERS = run_of(*_SIMPLE)
_WITH_SMALL_ONES = run_of(rb'\xc0\x94\xc4\x08.{8}\xc4\x08.{8}', rb'[\x80-\x9f]', *_SIMPLE)

#: The beginning of a message that holds a record: the message's id, flags and name, and up to two
#: oids or tids before the record.
_RECORD = re.compile(
    rb'\x94(?:[\0-\x7f]|\xcc.|\xcd..|\xce.{4}|\x92\xc4\x08.{8}\xc4\x08.{8})[\0-\2\xc2\xc3](?:%b)[\x90-\x9f](?:\xc4\x08.{8}){0,2}'
    rb'(?:\xc4(.)|\xc5(..)|\xc6(.{4}))' % _FIXED_TEXT,
    re.DOTALL,
)

#: The end of one record of an iterator and the next one up to its bytes, with their length.
_NEXT_RECORD = struct.Struct('>4s8x2s8xBH')

#: Longer texts and bytes: first byte -> how many bytes hold the length.
_COUNTED = {0xDA: 2, 0xDB: 4, 0xC5: 2, 0xC6: 4}

_ARRAYS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}


def is_record(data: bytes | bytearray) -> bool:
    """Return whether a message is a record, of any size, with too little around it to do harm."""
    found = _RECORD.match(data)
    return (
        found is not None
        and 0
        <= len(data) - found.end() - int.from_bytes(found[found.lastindex or 0], 'big')
        < SHORT
    )


def check(data: bytes | bytearray, most: int) -> None:
    """Check a request.

    :param most: parts that it may have.
    :raises ProtocolError: when it could do harm.
    """
    _walk(data, most, _WITHOUT_CONTAINERS)


def check_first(data: bytes | bytearray) -> None:
    """Check a message of a client that has not registered.

    :raises ProtocolError: when it could do harm.
    """
    if _walk(data, FIRST_PARTS, _WITHOUT_CONTAINERS):
        raise ProtocolError('a message with dictionaries before register')


def check_answer(data: bytes | bytearray) -> None:
    """Check that no container in a server's message, which may be long, announces too many items.

    :raises ProtocolError: when one does.
    """
    _walk(data, len(data), _WITH_SMALL_ONES)


def _walk(data: bytes | bytearray, items: int, harmless: LatePattern) -> int:
    """Refuse containers that together announce more than `items` items.

    :param harmless: matches what need not be looked at.
    :returns: how many maps there are in the rest.
    """
    position, end, maps = 0, len(data), 0
    while position < end:
        run = harmless.match(data, position)
        if run is not None:
            position = run.end()
            continue
        first = data[position]
        position += 1
        if first in _COUNTED:
            width = _COUNTED[first]
            position += width + int.from_bytes(data[position : position + width], 'big')
            if first == 0xC5 and harmless is _WITH_SMALL_ONES:
                position = _over_records(data, position)
            continue
        is_map = 0x80 <= first <= 0x8F or first in _MAPS
        if not (is_map or 0x90 <= first <= 0x9F or first in _ARRAYS):
            # an extension type, or it ends too early
            raise ProtocolError('a message that is not plain msgpack')
        size, position = _size(data, position, first)
        maps += is_map
        items -= 1 + size * (1 + is_map)
        if items < 0:
            raise ProtocolError(
                f'a message of {end} bytes that announces more parts than it may have'
            )
    return maps


def _over_records(data: bytes | bytearray, position: int) -> int:
    """Return the position behind records of an iterator that follow the bytes of one, if any."""
    parts_at, size = _NEXT_RECORD.unpack_from, _NEXT_RECORD.size
    try:
        while True:
            head, serial, first, length = parts_at(data, position)
            if head != b'\xc0\x94\xc4\x08' or serial != b'\xc4\x08':
                return position
            if first == 0xC5:
                position += size + length
            elif first == 0xC4:  # with a length of one byte
                position += size - 1 + (length >> 8)
            else:
                return position
    except struct.error:  # it ends before that
        return position


def _size(data: bytes | bytearray, position: int, first: int) -> tuple[int, int]:
    """Return the number of items of a container, and where they begin."""
    width = _ARRAYS.get(first) or _MAPS.get(first)
    if width is None:
        return first & 0x0F, position
    return int.from_bytes(data[position : position + width], 'big'), position + width


class Mapping:
    """Makes the dictionaries of one message, and limits keys that are not text, bytes or small."""

    def __init__(self) -> None:
        self._left = MAX_ODD_KEYS

    def __call__(self, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        self._left -= sum(type(key) is not str and not is_key(key) for key, _ in pairs)
        if self._left < 0:
            raise ProtocolError(
                f'a message with more than {MAX_ODD_KEYS} keys that are not text or small numbers'
            )
        return dict(pairs)
