"""Eviction: the hand that goes round the ring, writes new records and decides which ones leave.

Enters: records to place. Leaves: their places. Fails: NotStored when only the new record could not
be written; OSError when the file may now hold records that the index has dropped; DamagedCache when
there is no record where the hand comes to.

Between `hand` and `gap_end` is a gap, in which no record header is left. A new record goes to the
hand. If the gap is too small, it takes in the records behind it one by one: those worth keeping
slide down to the hand, the others are dropped. The records that slid down, the new record and the
rest of the gap go out in one write, which by construction covers the header of every record passed.
So whatever part of that write a kill leaves undone, the file never holds a record that the index
has dropped.

Worth keeping is a current record that was used since the hand last passed (its uses, up to three,
are worth a round each), or any current record while an eighth of the ring or more is taken by other
revisions, so that those leave first. What one write may slide down is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ZEO.cache import format
from ZEO.cache.cache_file import CacheFile
from ZEO.cache.index import PLACE_SHIFT, USES, Index

#: While revisions that are not current take an eighth of the ring or more, they leave first.
CLOSED_SHARE = 8
#: Units that slide down for one record written, so that none takes long.
MOST_KEPT = 64 * 1024 // format.UNIT
KEPT_PER_UNIT = 8  # the same for each unit of a large record


class DamagedCache(Exception):
    """The file does not hold what this process wrote."""


class NotStored(Exception):
    """The new record could not be written (a full disk?), and nothing else has changed."""


@dataclass
class _Kept:
    oid: int
    value: int  # for the index
    units: int
    packed: bytes


class Ring:
    """Places and evicts records. Every method needs the cache's lock.

    :param file: whose state says where the hand is.
    """

    def __init__(self, file: CacheFile, index: Index) -> None:
        self._file = file
        self._index = index
        # uses of such records are not counted in the index
        self.is_hot: Callable[[bytes], bool] = lambda oid: False
        self.hand = file.state.hand  # units; where the next record goes
        self.gap_end = file.state.gap_end  # units; where the gap ends
        self.closed_units = file.state.closed_units  # taken by revisions that are not current
        self._passed: list[int] = []  # places in the gap that may hold records already dropped

    def holds(self, length: int) -> bool:
        """Return whether a record with `length` bytes of data may be placed at all."""
        return format.units(length) * 2 <= self._file.end - self._file.start

    def place(self, length: int, pack: Callable[[int], bytes]) -> int:
        """Write a record or a saved index; return its place, in units.

        :param length: units that it takes.
        :param pack: makes its bytes, given its place.
        :raises NotStored: when only this record could not be written.
        :raises OSError: when the file may not agree with the index any more.
        :raises DamagedCache: when the file does not hold what was written.
        """
        kept = self._make_room(length) if self.gap_end - self.hand < length else []
        at = self.hand + sum(record.units for record in kept)
        self._note(kept)
        parts = [pack(at)]
        rest = self.gap_end - at - length
        if rest:
            parts.append(format.pack_gap(rest, self._file.seed(at + length)))
        self._write(kept, at, parts)
        self.hand = at + length
        return at

    def reset(self) -> None:
        """Make the whole ring one gap."""
        self.hand, self.gap_end = self._file.start, self._file.end
        self.closed_units = 0
        self._passed.clear()
        self._file.write_gap(self.hand, self.gap_end - self.hand)

    def save(self) -> None:
        """Put the hand's place into the file's state, which the caller writes."""
        state = self._file.state
        state.hand, state.gap_end = self.hand, self.gap_end
        # A crash of the machine may have changed records behind a saved index: then more leave than
        # were counted.
        state.closed_units = max(self.closed_units, 0)

    def _make_room(self, length: int) -> list[_Kept]:
        kept: list[_Kept] = []
        at = self.hand
        allowance = max(MOST_KEPT, KEPT_PER_UNIT * length)
        while self.gap_end - at < length:
            if self.gap_end >= self._file.end:
                self._turn(at, kept)
                kept, at = [], self.hand
                continue
            record = self._pass_one(at, allowance)
            if record is not None:
                kept.append(record)
                at += record.units
                allowance -= record.units
        return kept

    def _turn(self, at: int, kept: list[_Kept]) -> None:
        """Write the kept records and a gap from `at` to the ring's end; go to its start."""
        rest = self._file.end - at
        gap = (
            format.pack_gap(rest, self._file.seed(at)).ljust(rest * format.UNIT, b'\0')
            if rest
            else b''
        )
        self._note(kept)
        self._write(kept, at, [gap])
        self.hand = self.gap_end = self._file.start

    def _note(self, kept: list[_Kept]) -> None:
        # Before they are written: a reader that is too early finds nothing that checks, and waits.
        # And before an index is packed that is to say where they are.
        for record in kept:
            self._index.set(record.oid, record.value)

    def _write(self, kept: list[_Kept], at: int, parts: list[bytes]) -> None:
        """Write the kept records, and from `at` on the parts."""
        try:
            self._file.write_units(self.hand, b''.join([record.packed for record in kept] + parts))
        except OSError as error:
            self._take_back(kept, at)
            raise NotStored(str(error)) from error
        self._passed.clear()

    def _take_back(self, kept: list[_Kept], at: int) -> None:
        """After a write that failed in the middle, leave no record in the gap."""
        for record in kept:
            self._index.remove(record.oid)
        # A few bytes each, in blocks that the disk has already. The gap as a whole comes last:
        # until then nothing depends on it.
        for place in [*self._passed, *(record.value >> PLACE_SHIFT for record in kept), at]:
            if place < self._file.end:
                self._file.write_gap(place, 1)
        self._file.write_gap(self.hand, self.gap_end - self.hand)
        self._passed.clear()

    def _pass_one(self, at: int, allowance: int) -> _Kept | None:
        """Take the entry at gap_end into the gap; return it if it is to slide down to `at`."""
        place = self.gap_end
        seed = self._file.seed(place)
        buffer = self._file.read_units(place, format.RECORD_HEADER)
        gap = format.parse_gap(buffer, seed)
        if gap is not None:
            self._extend(gap)
            return None
        self._passed.append(place)
        header = format.parse_record_header(buffer, seed)
        if header is None:
            raise DamagedCache(f'no record at {place * format.UNIT}')
        self._extend(header.units)
        oid = int.from_bytes(header.oid, 'big')
        value = self._index.get(oid)
        if value is None or value >> PLACE_SHIFT != place:
            self.closed_units -= self._index.remove_closed(oid, place) * header.units
            return None
        if header.units <= allowance and self._worth_keeping(header.oid, value):
            body = self._file.read_units(place, format.RECORD_HEADER + header.length)[format.BODY :]
            if format.body_checks(header, body, seed):
                moved = at << PLACE_SHIFT | max((value & USES) - 1, 0)
                packed = format.pack_record(
                    header.oid, header.tid, header.end, body[16:], self._file.seed(at)
                )
                return _Kept(oid, moved, header.units, packed)
        self._index.remove(oid)
        return None

    def _worth_keeping(self, oid: bytes, value: int) -> bool:
        if value & USES or self.is_hot(oid):
            return True
        return self.closed_units * CLOSED_SHARE >= self._file.end - self._file.start

    def _extend(self, length: int) -> None:
        if self.gap_end + length > self._file.end:
            raise DamagedCache(f'the entry at {self.gap_end * format.UNIT} goes beyond the end')
        self.gap_end += length
