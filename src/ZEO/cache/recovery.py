"""Making a usable cache of whatever file is found: loading, scanning, resizing, or starting empty.

In: a path, a size, an identity. Out: file, index and ring that agree with each other. What is wrong
with a file is logged, once, and then the cache starts empty. Fails: ClientStorageError when the file
cannot be opened, or plainly is no cache but somebody's data; OSError when it cannot be written.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

from ZEO.cache import format
from ZEO.cache.cache_file import UNKNOWN_BOOT, CacheFile, boot_id, open_file
from ZEO.cache.index import PLACE_SHIFT, USES, Index
from ZEO.cache.ring import NotStored, Ring
from ZEO.Exceptions import ClientStorageError

log = logging.getLogger('ZEO.cache')

MIN_SIZE = 2 * format.RING_START  # bytes; header and a ring of one page
RESIZED = '.resized'  # added to the path while a file of another size is being made
_CHUNK = 4 * 1024 * 1024  # bytes read at once by a scan
_ANY_MAGIC = re.compile(re.escape(format.RECORD_MAGIC) + b'|' + re.escape(format.GAP_MAGIC))
_FOREIGN = (b'FS21', b'FS30')  # a FileStorage: somebody's database, whatever cache= says


@dataclass
class Parts:
    """A cache file that is ready for use."""

    file: CacheFile
    index: Index
    ring: Ring

    @classmethod
    def around(cls, file: CacheFile) -> Parts:
        """Return the parts of a file that is empty."""
        index = Index()
        return cls(file, index, Ring(file, index))


def open_parts(path: str | None, size: int, identity: str) -> Parts:
    """Open or make the cache file at path (None: temporary), of `size` bytes. The lock is held.

    Raises ClientStorageError, OSError.
    """
    size = min(max(size, MIN_SIZE), format.MAX_SIZE) // format.UNIT * format.UNIT
    file = open_file(path)
    try:
        if path is not None and os.path.exists(path + RESIZED):
            os.unlink(path + RESIZED)  # a resizing that was killed
        parts = _load(file, identity)
        if parts is None:
            return _create(file, size, identity)
        if parts.file.end != size // format.UNIT:
            parts = _resized_if_possible(parts, size, identity)
        _mark_open(parts)
        return parts
    except BaseException:
        file.close()
        raise


def _create(file: CacheFile, size: int, identity: str) -> Parts:
    try:
        file.create(size, identity)
    except OSError:
        file.void()  # half of a cache file would only be complained of the next time
        raise
    return Parts.around(file)


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
    if page.startswith(_FOREIGN):
        raise ClientStorageError(f'{file.path} is a FileStorage, not a cache file: check cache=')
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
        raise ValueError('it was not closed before the machine went down, and parts may not have reached the disk')


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
    return format.parse_record_header(chunk, seed, at) is not None or format.parse_gap(chunk, seed, at) is not None


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


# --- resizing -----------------------------------------------------------------------------------


def _resized_if_possible(parts: Parts, size: int, identity: str) -> Parts:
    try:
        return _resize(parts, size, identity)
    except (OSError, NotStored, ClientStorageError) as error:
        log.warning('Cache file %s keeps its size for now: %s', parts.file.path, error)
        _remove(f'{parts.file.path}{RESIZED}')
        return parts


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # it was never made, or goes the next time


def _resize(parts: Parts, size: int, identity: str) -> Parts:
    """Copy what fits into a file of the new size, and put it in the place of the old one."""
    old = parts.file
    assert old.path is not None
    log.info('Resizing cache file %s to %s bytes', old.path, size)
    new_path = old.path + RESIZED
    new = _create(open_file(new_path), size, identity)
    try:
        for place, oid, value in _what_fits(parts, new):
            _copy(parts, new, place, oid, value)
        for name in ('last_tid', 'hits', 'misses', 'stores'):
            setattr(new.file.state, name, getattr(old.state, name))
        new.ring.save()
        new.file.write_state(both=True)
        os.replace(new_path, old.path)
    except BaseException:
        new.file.close()
        raise
    new.file.path = old.path
    old.close()
    return new


def _what_fits(parts: Parts, new: Parts) -> list[tuple[int, int, int | None]]:
    """Return (place, oid, index value or None) of what to copy, in the order of eviction."""
    hand = parts.ring.hand

    def turn(entry: tuple[int, int, int | None]) -> tuple[bool, bool, int]:
        place, _, value = entry
        return value is not None, place < hand, place

    wanted: list[tuple[int, int, int | None]] = []
    wanted += [(place, oid, None) for oid, place in parts.index.closed_items()]
    wanted += [(value >> PLACE_SHIFT, oid, value) for oid, value in parts.index.current_items()]
    wanted.sort(key=turn)
    room = new.file.end - new.file.start
    fitting: list[tuple[int, int, int | None]] = []
    for entry in reversed(wanted):
        header = parts.file.read_header(entry[0])
        if header is None or not new.ring.holds(header.length):
            continue
        room -= header.units
        if room < 0:
            break
        fitting.append(entry)
    fitting.reverse()
    return fitting


def _copy(parts: Parts, new: Parts, place: int, oid: int, value: int | None) -> None:
    header = parts.file.read_header(place)
    if header is None:
        return
    record = parts.file.read_units(place, format.RECORD_HEADER + header.length)
    if not format.body_checks(header, record[format.BODY :], parts.file.seed(place)):
        return
    fields = header.oid, header.tid, header.end, record[format.RECORD_HEADER :]
    at = new.ring.place(header.units, lambda at: format.pack_record(*fields, new.file.seed(at)))
    if value is None:
        new.index.add_closed(oid, at)
        new.ring.closed_units += header.units
    else:
        new.index.set(oid, at << PLACE_SHIFT | value & USES)
