"""A cache file after a crash: every record is verified, and the index is made anew.

Enters: a file that was not closed, or whose saved index is damaged. Leaves: an index of the
records that are whole; all else in the file is a gap. Fails: OSError when the file cannot be read
or written.

A process that was killed leaves a file whose parts agree, except for the saved index (see
`cache.revisions`); a machine that went down does not, and such a file is not used at all
(`cache.opening.check_usable`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ZEO.cache import format
from ZEO.cache.cache_file import CacheFile
from ZEO.cache.index import PLACE_SHIFT, Index

_CHUNK = 4 * 1024 * 1024  # bytes read at once
_ANY_MAGIC = re.compile(re.escape(format.RECORD_MAGIC) + b'|' + re.escape(format.GAP_MAGIC))


@dataclass
class Entry:
    """What lies at a place of the ring: a record, a gap, or (neither) what cannot be read."""

    place: int
    units: int
    header: format.RecordHeader | None = None
    is_gap: bool = False


def recover(file: CacheFile, index: Index) -> None:
    """Rebuild the index, and make the file agree with it: what is not in the index becomes a gap.

    :param index: empty.
    :raises OSError: when the file cannot be read or written.
    """
    state = file.state
    small, main = _Found(file.start, state.small_hand), _Found(file.end, state.hand)
    for entry in verify(file):
        region = small if entry.place < state.small_end else main
        region.start = min(region.start, entry.place)
        header = entry.header
        if header is None:
            if not entry.is_gap:
                file.write_gap(entry.place, entry.units)
            region.note_gap(entry)
        elif header.end != format.NO_TID:
            region.closed_units += entry.units
            index.add_closed(int.from_bytes(header.oid, 'big'), entry.place)
        else:
            _add_current(file, index, entry, header)
    state.small_end = main.start  # a record or a gap begins there
    state.small_hand, state.small_gap_end = small.gap()
    state.hand, state.gap_end = main.gap()
    state.small_closed_units = small.closed_units
    state.closed_units = small.closed_units + main.closed_units


@dataclass
class _Found:
    """What was found in one region."""

    start: int  # units
    last_hand: int  # units; as the file says
    closed_units: int = 0
    first: Entry | None = None  # the first gap
    behind: Entry | None = None  # the first one from where the hand was

    def note_gap(self, entry: Entry) -> None:
        """Look at a gap; they come in their order."""
        self.first = self.first or entry
        if self.behind is None and entry.place + entry.units > self.last_hand:
            self.behind = entry

    def gap(self) -> tuple[int, int]:
        """Return hand and end of the gap where to continue; without one, at the start."""
        gap = self.behind or self.first
        return (self.start, self.start) if gap is None else (gap.place, gap.place + gap.units)


def _add_current(file: CacheFile, index: Index, entry: Entry, header: format.RecordHeader) -> None:
    oid = int.from_bytes(header.oid, 'big')
    known = index.get(oid)
    if known is not None:  # a record that was being moved is there twice: either will do
        place = known >> PLACE_SHIFT
        other = file.read_header(place)
        if other is not None and other.tid >= header.tid:
            file.write_gap(entry.place, entry.units)
            return
        if other is not None:
            file.write_gap(place, other.units)
    index.set(oid, entry.place << PLACE_SHIFT)


def verify(file: CacheFile) -> Iterator[Entry]:
    """Check everything in the ring and yield it, in order and without holes.

    :raises OSError: when the file cannot be read.
    """
    place = file.start
    chunk, chunk_place = b'', place
    while place < file.end:
        at = (place - chunk_place) * format.UNIT
        entry = _parse(file, chunk, at, place)
        if entry is None and (at or not chunk):  # it may go beyond the chunk
            chunk, chunk_place = file.read_units(place, _CHUNK), place
            entry = _parse(file, chunk, 0, place)
        if entry is None:
            chunk, chunk_place, entry = _large_or_damaged(file, chunk, place)
        yield entry
        place += entry.units


def _parse(file: CacheFile, chunk: bytes, at: int, place: int) -> Entry | None:
    seed = file.seed(place)
    header = format.parse_record_header(chunk, seed, at)
    if header is not None and place + header.units <= file.end:
        end = at + format.RECORD_HEADER + header.length
        if format.body_checks(header, chunk[at + format.BODY : end], seed):
            return Entry(place, header.units, header)
        return None
    gap = format.parse_gap(chunk, seed, at)
    if gap is not None and place + gap <= file.end:
        return Entry(place, gap, is_gap=True)
    return None


def _large_or_damaged(file: CacheFile, chunk: bytes, place: int) -> tuple[bytes, int, Entry]:
    """Return the next chunk, its place, and the entry at `place`, where `chunk` begins, and which
    is damaged or does not end in it.
    """
    header = format.parse_record_header(chunk, file.seed(place))
    if header is not None and place + header.units <= file.end:
        whole = file.read_units(place, header.units * format.UNIT)
        entry = _parse(file, whole, 0, place)
        if entry is not None:
            return b'', place + entry.units, entry
    for match in _ANY_MAGIC.finditer(chunk, 1):
        at = match.start()
        next_place = place + at // format.UNIT
        if at % format.UNIT == 0 and _begins(file, chunk, at, next_place):
            return chunk, place, Entry(place, next_place - place)
    # The end of the chunk may cut a header in two, so the last two units are looked at again.
    length = max(len(chunk) // format.UNIT - 2, 1) if len(chunk) >= _CHUNK else file.end - place
    length = min(length, file.end - place)
    return b'', place + length, Entry(place, length)


def _begins(file: CacheFile, chunk: bytes, at: int, place: int) -> bool:
    seed = file.seed(place)
    return (
        format.parse_record_header(chunk, seed, at) is not None
        or format.parse_gap(chunk, seed, at) is not None
    )
