"""Making a usable cache of whatever file is found: loading, scanning, resizing, or starting empty.

In: a path, a size, an identity. Out: file, index and ring that agree with each other. What is wrong
with a file is logged, once, and then the cache starts empty. Fails: ClientStorageError when the
file cannot be opened, or plainly is no cache but somebody's data; OSError when it cannot be
written.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

from ZEO.cache import format
from ZEO.cache.cache_file import UNKNOWN_BOOT, CacheFile, boot_id
from ZEO.cache.index import PLACE_SHIFT, Index
from ZEO.cache.ownership import open_cache_file
from ZEO.cache.parts import MIN_SIZE, Parts, create
from ZEO.cache.resizing import remove_half_made, resized_if_possible
from ZEO.cache.ring import Ring

log = logging.getLogger('ZEO.cache')

_CHUNK = 4 * 1024 * 1024  # bytes read at once by a scan
_ANY_MAGIC = re.compile(re.escape(format.RECORD_MAGIC) + b'|' + re.escape(format.GAP_MAGIC))


def open_parts(path: str | None, size: int, identity: str, linked: bool = False) -> Parts:
    """Open or make the cache file at path (None: temporary), of `size` bytes. The lock is held.

    linked: a symbolic link has led here, so that a file that is not a cache is not even renamed.
    Raises ClientStorageError, OSError.
    """
    size = min(max(size, MIN_SIZE), format.MAX_SIZE) // format.UNIT * format.UNIT
    file = open_cache_file(path, linked)
    try:
        if path is not None:
            remove_half_made(path)
        parts = _load(file, identity)
        if parts is None:
            return create(file, size, identity)
        if parts.file.end != size // format.UNIT:
            parts = resized_if_possible(parts, size, identity)
        _mark_open(parts)
        return parts
    except BaseException:
        file.close()
        raise


def _mark_open(parts: Parts) -> None:
    """From now on the file is not clean: a saved index is void in both states."""
    state = parts.file.state
    state.clean = False
    state.index_at = 0
    state.boot = boot_id()
    parts.ring.save()
    parts.file.write_state(both=True)


def _load(file: CacheFile, identity: str) -> Parts | None:
    """Return what is in the file, or None (and say why in the log) if nothing can be used."""
    page = file.read(0, format.RING_START)
    if not page:
        return None  # new
    try:
        size, whose = format.parse_header(page)
        check_usable(file, size, whose, identity)
    except ValueError as error:
        log.warning('Cache file %s cannot be used: %s; it starts empty', file.path, error)
        return None
    index = Index()
    if not (file.state.clean and load_index(file, index)):
        log.info('Cache file %s has no valid index (not closed?); scanning it', file.path)
        if os.fstat(file.fd).st_size != size:
            os.ftruncate(file.fd, size)
        index.clear()
        scan(file, index)
    return Parts(file, index, Ring(file, index))


def check_usable(file: CacheFile, size: int, whose: bytes, identity: str) -> None:
    """Raise ValueError saying why this file's contents may not be served; load its state."""
    if not format.same_identity(whose, identity):
        raise ValueError(f'it belongs to {whose.decode(errors="replace")}, not to {identity}')
    if size < MIN_SIZE or size > format.MAX_SIZE:
        raise ValueError('its header is damaged')
    if not file.load_state():
        raise ValueError('its state is damaged')
    file.set_size(size)
    boot = boot_id()
    if not file.state.clean and (boot == UNKNOWN_BOOT or file.state.boot != boot):
        raise ValueError(
            'it was not closed before the machine went down, and parts may not have reached the '
            'disk'
        )


def load_index(file: CacheFile, index: Index) -> bool:
    """Load the index that close() saved; return whether it could be used."""
    state = file.state
    if not state.index_at or not file.start <= state.hand <= state.gap_end <= file.end:
        return False
    if os.fstat(file.fd).st_size != file.end * format.UNIT:
        return False
    saved = _Saved(file, (state.index_at + 1) * format.UNIT, state.index_length)
    try:
        index.load(saved.read)
    except ValueError:
        return False
    return saved.crc == state.index_crc


class _Saved:
    """The saved index, read piece by piece."""

    def __init__(self, file: CacheFile, offset: int, length: int) -> None:
        self._file = file
        self._offset = offset
        self._left = length  # bytes
        self.crc = 0  # of what has been read

    def read(self, length: int) -> bytes:
        """Return the next `length` bytes, or what is left. Raises OSError."""
        piece = self._file.read(self._offset, min(length, self._left))
        self._offset += len(piece)
        self._left -= len(piece)
        self.crc = crc32(piece, self.crc)
        return piece


# --- scanning -----------------------------------------------------------------------------------


@dataclass
class Found:
    """What lies at a place of the ring: a record, a gap, or (neither) what cannot be read."""

    place: int
    units: int
    header: format.RecordHeader | None = None
    is_gap: bool = False


def walk(file: CacheFile) -> Iterator[Found]:
    """Yield everything in the ring, in order and without holes. Raises OSError."""
    place = file.start
    chunk, chunk_place = b'', place
    while place < file.end:
        at = (place - chunk_place) * format.UNIT
        found = _parse(file, chunk, at, place)
        if found is None and (at or not chunk):  # it may go beyond the chunk
            chunk, chunk_place = file.read_units(place, _CHUNK), place
            found = _parse(file, chunk, 0, place)
        if found is None:
            chunk, chunk_place, found = _large_or_damaged(file, chunk, place)
        yield found
        place += found.units


def _parse(file: CacheFile, chunk: bytes, at: int, place: int) -> Found | None:
    seed = file.seed(place)
    header = format.parse_record_header(chunk, seed, at)
    if header is not None and place + header.units <= file.end:
        end = at + format.RECORD_HEADER + header.length
        if format.body_checks(header, chunk[at + format.BODY : end], seed):
            return Found(place, header.units, header)
        return None
    gap = format.parse_gap(chunk, seed, at)
    if gap is not None and place + gap <= file.end:
        return Found(place, gap, is_gap=True)
    return None


def _large_or_damaged(file: CacheFile, chunk: bytes, place: int) -> tuple[bytes, int, Found]:
    """chunk begins at place, and nothing that begins there ends in it."""
    header = format.parse_record_header(chunk, file.seed(place))
    if header is not None and place + header.units <= file.end:
        whole = file.read_units(place, header.units * format.UNIT)
        found = _parse(file, whole, 0, place)
        if found is not None:
            return b'', place + found.units, found
    for match in _ANY_MAGIC.finditer(chunk, 1):
        at = match.start()
        next_place = place + at // format.UNIT
        if at % format.UNIT == 0 and _begins(file, chunk, at, next_place):
            return chunk, place, Found(place, next_place - place)
    # The end of the chunk may cut a header in two, so the last two units are looked at again.
    length = max(len(chunk) // format.UNIT - 2, 1) if len(chunk) >= _CHUNK else file.end - place
    length = min(length, file.end - place)
    return b'', place + length, Found(place, length)


def _begins(file: CacheFile, chunk: bytes, at: int, place: int) -> bool:
    seed = file.seed(place)
    return (
        format.parse_record_header(chunk, seed, at) is not None
        or format.parse_gap(chunk, seed, at) is not None
    )


def scan(file: CacheFile, index: Index) -> None:
    """Rebuild the index, and make the file agree with it: what is not in the index becomes a gap.

    Raises OSError.
    """
    gap, gap_behind = None, None  # the first one, and the first one from where the hand was
    last_hand = file.state.hand
    closed_units = 0
    for found in walk(file):
        header = found.header
        if header is None:
            if not found.is_gap:
                file.write_gap(found.place, found.units)
            gap = gap or found
            if gap_behind is None and found.place + found.units > last_hand:
                gap_behind = found
        elif header.end != format.NO_TID:
            closed_units += found.units
            index.add_closed(int.from_bytes(header.oid, 'big'), found.place)
        else:
            _add_current(file, index, found, header)
    file.state.closed_units = closed_units
    _choose_hand(file, gap_behind or gap)


def _add_current(file: CacheFile, index: Index, found: Found, header: format.RecordHeader) -> None:
    oid = int.from_bytes(header.oid, 'big')
    known = index.get(oid)
    if known is not None:  # one that was being moved is there twice: any of the two will do
        place = known >> PLACE_SHIFT
        other = file.read_header(place)
        if other is not None and other.tid >= header.tid:
            file.write_gap(found.place, found.units)
            return
        if other is not None:
            file.write_gap(place, other.units)
    index.set(oid, found.place << PLACE_SHIFT)


def _choose_hand(file: CacheFile, gap: Found | None) -> None:
    """Go on at this gap; with none, from the start."""
    state = file.state
    state.hand = state.gap_end = file.start
    if gap is not None:
        state.hand, state.gap_end = gap.place, gap.place + gap.units
