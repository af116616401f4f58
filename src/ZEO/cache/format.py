"""The cache file's format: bytes to header, state and records, and back. Pure: no file is touched.

Enters: fields, or bytes read from a cache file and the place they were read from. Leaves: bytes to
write, or fields. Fails: bytes whose CRC is wrong are None (ValueError for the header), never a
guess.

::

    0      header     magic, format version, size of the file, storage identity, CRC. Written once.
    2048   state      } written in turn, so that a torn write leaves the one before;
    3072   state      } the valid one with the higher sequence number counts
    4096   records and gaps, each starting at a multiple of UNIT bytes, without holes

A record has two CRCs. One covers oid, tid and data, which never change; it is what a hit checks.
The other covers the 40 bytes before the data, in which the end tid is written when the revision
ends. Both start from the file's salt and the record's place, so that neither a record left over
from before `clear`, nor one inside the data of another, is ever taken for a record.

Places and lengths in the ring are counted in units, so that 30 bits are enough for 32 GB.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256
from zlib import crc32

UNIT = 32  # bytes; half of one is lost per record, and 30 bits of units reach 32 GB
RING_START = 4096  # bytes; one page for header and states
STATE_PLACES = (2048, 3072)  # bytes; in different disk sectors, since a torn write damages one
MAX_SIZE = UNIT << 30  # bytes; the index has 30 bits for a place

MAGIC = b'ZEOcach\n'
VERSION = 1
_HEADER = struct.Struct('<8sHHQ')  # magic, version, length of identity, size
VERSION_END = 10  # bytes; magic and version
_MAX_IDENTITY = 1024  # bytes; longer ones are hashed

RECORD_MAGIC = b'zR\xc3\xa9'
GAP_MAGIC = b'zG\xc3\xa5'
NO_TID = b'\0' * 8  # as an end tid: the revision is current

RECORD_HEADER = 40  # bytes
# magic, CRC of the rest of these 40 bytes, end tid, length, CRC of oid + tid + data, oid, tid
_RECORD = struct.Struct('<4sI8sII8s8s')
# The same in two: magic and first CRC, and what that covers.
_BEGIN, _CHECKED = struct.Struct('<4sI'), struct.Struct('<8sII8s8s')
CHECKED_FROM = 8  # bytes; where the first CRC begins to cover the header
BODY = 24  # bytes; oid and tid, which the second CRC covers together with the data
# The CRC and end tid of _RECORD: all that is written when a revision ends.
END_FIELDS = struct.Struct('<I8s')
END_PLACE = 4  # bytes; where in the record they are
# What fills the last unit, by the bytes in it.
_PADDING = tuple(bytes(-length % UNIT) for length in range(UNIT))
_GAP = struct.Struct('<4sIQ')  # magic, CRC, units

# What a hit needs of _RECORD: end tid, length, CRC, oid, tid.
unpack_hit = struct.Struct('<8x8sII8s8s').unpack_from

_STATE = struct.Struct('<Q8sII16sQQQQQIQQQ')
_CRC = struct.Struct('<I')
# Behind the state and its CRC, with another CRC that begins with that one. A release that keeps one
# region neither reads nor writes it, so that it is void when that has written a state.
_REGIONS = struct.Struct('<QQQQQ')
_REGIONS_PLACE = _STATE.size + _CRC.size
STATE_LENGTH = _REGIONS_PLACE + _REGIONS.size + _CRC.size
_FLAG_TID, _FLAG_CLEAN = 1, 2


def units(length: int) -> int:
    """Return how many units a record with `length` bytes of data takes."""
    return (RECORD_HEADER + length + UNIT - 1) // UNIT


# The header.


def is_this_format(start: bytes) -> bool:
    """Return whether a file is a cache of this version.

    :param start: its first VERSION_END bytes, or all that it has.
    """
    return start == struct.pack('<8sH', MAGIC, VERSION)


def pack_header(size: int, identity: str) -> bytes:
    """Return the file's header.

    :param size: bytes of the whole file.
    :param identity: which storage of which database this is.
    """
    name = _identity_bytes(identity)
    packed = _HEADER.pack(MAGIC, VERSION, len(name), size) + name
    return packed + struct.pack('<I', crc32(packed))


def parse_header(page: bytes) -> tuple[int, bytes]:
    """Return (size in bytes, identity) from the first page.

    :raises ValueError: when it cannot be used; the text says why.
    """
    if len(page) < _HEADER.size + 4:
        raise ValueError('it is too short')
    magic, version, name_length, size = _HEADER.unpack_from(page)
    if magic != MAGIC:
        raise ValueError('it is not a cache file of this kind')
    if version != VERSION:
        raise ValueError(f'its format version is {version}, not {VERSION}')
    end = _HEADER.size + name_length
    if len(page) < end + 4 or page[end : end + 4] != struct.pack('<I', crc32(page[:end])):
        raise ValueError('its header is damaged')
    return size, page[_HEADER.size : end]


def same_identity(stored: bytes, identity: str) -> bool:
    """Return whether a header's identity is this one; an empty one on either side matches all."""
    return not stored or not identity or stored == _identity_bytes(identity)


def _identity_bytes(identity: str) -> bytes:
    name = identity.encode('utf-8', 'surrogateescape')
    return name if len(name) <= _MAX_IDENTITY else sha256(name).hexdigest().encode()


# The state.


@dataclass
class State:
    """The part of the file's description that changes."""

    sequence: int = 0  # of the writes of a state
    last_tid: bytes | None = None  # every invalidation up to it is in the file
    clean: bool = False  # closed properly: the saved index is right and everything is on disk
    salt: int = 0  # start value for CRCs; a new one makes all records void
    boot: bytes = b'\0' * 16  # which boot of the machine wrote this; zeros: unknown
    hand: int = 0  # units; where the next record goes
    gap_end: int = 0  # units; where the space before the next record ends
    closed_units: int = 0  # units taken by revisions that are not current
    index_at: int = 0  # units; where close() saved the index, 0: nowhere
    index_length: int = 0  # bytes
    index_crc: int = 0
    hits: int = 0  # loads answered, since the file was made
    misses: int = 0
    stores: int = 0
    small_hand: int = 0  # units; the same as above in the region for new records
    small_gap_end: int = 0
    small_end: int = 0  # units; where that region ends; 0: not known
    small_closed_units: int = 0
    small_target: int = 0  # units; how large it is to be


def pack_state(state: State) -> bytes:
    """Return the bytes of a state."""
    flags = (_FLAG_TID if state.last_tid is not None else 0) | (_FLAG_CLEAN if state.clean else 0)
    packed = _STATE.pack(
        state.sequence, state.last_tid or NO_TID, flags, state.salt, state.boot, state.hand,
        state.gap_end, state.closed_units, state.index_at, state.index_length, state.index_crc,
        state.hits, state.misses, state.stores,
    )  # fmt: skip
    crc = crc32(packed)
    regions = _REGIONS.pack(
        state.small_hand, state.small_gap_end, state.small_end, state.small_closed_units,
        state.small_target,
    )  # fmt: skip
    return b''.join((packed, _CRC.pack(crc), regions, _CRC.pack(crc32(regions, crc))))


def parse_state(packed: bytes) -> State | None:
    """Return the state in these bytes, or None if their CRC is wrong."""
    if len(packed) < _STATE.size + 4:
        return None
    crc = crc32(packed[: _STATE.size])
    if packed[_STATE.size : _REGIONS_PLACE] != _CRC.pack(crc):
        return None
    sequence, tid, flags, *rest = _STATE.unpack_from(packed)
    last_tid = tid if flags & _FLAG_TID else None
    rest += _parse_regions(packed[_REGIONS_PLACE:], crc)
    return State(sequence, last_tid, bool(flags & _FLAG_CLEAN), *rest)


def _parse_regions(packed: bytes, crc: int) -> tuple[int, ...]:
    """Return where the small region is, or nothing if that is not known."""
    regions = packed[: _REGIONS.size]
    if packed[_REGIONS.size :] != _CRC.pack(crc32(regions, crc)):
        return ()  # another release has written this state, and not this part of it
    return _REGIONS.unpack(regions)


# Records and gaps.


@dataclass
class RecordHeader:
    """The first 40 bytes of a record."""

    end: bytes  # tid; NO_TID: current
    length: int  # of the data, in bytes
    body_crc: int
    oid: bytes
    tid: bytes

    @property
    def units(self) -> int:
        """How many units the record takes."""
        return units(self.length)


def pack_record(oid: bytes, tid: bytes, end: bytes, data: bytes, seed: int) -> bytes:
    """Return a record, padded to whole units.

    :param seed: the start value for its CRCs: the file's salt + its place in units.
    """
    length = len(data)
    body_crc = crc32(data, crc32(oid + tid, seed))
    checked = _CHECKED.pack(end, length, body_crc, oid, tid)
    begin = _BEGIN.pack(RECORD_MAGIC, crc32(checked, seed & 0xFFFFFFFF))
    return b''.join((begin, checked, data, _PADDING[(RECORD_HEADER + length) % UNIT]))


def pack_end(header: RecordHeader, end: bytes, seed: int) -> bytes:
    """Return what to write at END_PLACE of a record to end its revision at the tid `end`."""
    crc = _head_crc(end, header.length, header.body_crc, header.oid, header.tid, seed)
    return END_FIELDS.pack(crc, end)


def parse_record_header(buffer: bytes, seed: int, at: int = 0) -> RecordHeader | None:
    """Return the record header at byte `at` of buffer, or None if there is no valid one."""
    if len(buffer) < at + RECORD_HEADER:
        return None
    magic, head_crc, end, length, body_crc, oid, tid = _RECORD.unpack_from(buffer, at)
    checked = buffer[at + CHECKED_FROM : at + RECORD_HEADER]
    if magic != RECORD_MAGIC or crc32(checked, seed & 0xFFFFFFFF) != head_crc:
        return None
    return RecordHeader(end, length, body_crc, oid, tid)


def body_checks(header: RecordHeader, body: bytes, seed: int) -> bool:
    """Return whether `body` (oid + tid + data as read) has the CRC that the header says."""
    return len(body) == 16 + header.length and crc32(body, seed & 0xFFFFFFFF) == header.body_crc


def pack_gap(length: int, seed: int) -> bytes:
    """Return the header of a gap of `length` units."""
    return _GAP.pack(GAP_MAGIC, crc32(b'%d' % length, seed & 0xFFFFFFFF), length)


def parse_gap(buffer: bytes, seed: int, at: int = 0) -> int | None:
    """Return the units of the gap whose header is at byte `at`, or None if there is no gap."""
    if len(buffer) < at + _GAP.size:
        return None
    magic, crc, length = _GAP.unpack_from(buffer, at)
    if magic != GAP_MAGIC or crc32(b'%d' % length, seed & 0xFFFFFFFF) != crc or length < 1:
        return None
    return int(length)


def _head_crc(end: bytes, length: int, body_crc: int, oid: bytes, tid: bytes, seed: int) -> int:
    return crc32(_CHECKED.pack(end, length, body_crc, oid, tid), seed & 0xFFFFFFFF)
