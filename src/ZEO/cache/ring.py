"""One region of the file: the hand that goes round it, writes records and decides which leave.

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
are worth a round each), or any current record while a sixteenth of the region or more is taken by
other revisions, so that those leave first. What one write may slide down is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ZEO.cache import format
from ZEO.cache.admission import GIVEN_UP, Admission
from ZEO.cache.cache_file import CacheFile
from ZEO.cache.index import PLACE_SHIFT, USES, Index

#: While revisions that are not current take a sixteenth of a region or more, they leave first. A
#: reader of the past reads what ended a moment ago; what is held longer is lost to current ones.
CLOSED_SHARE = 16
#: Units that slide down for one record written, so that none takes long.
MOST_KEPT = 64 * 1024 // format.UNIT
KEPT_PER_UNIT = 8  # the same for each unit of a large record


class DamagedCache(Exception):
    """The file does not hold what this process wrote."""


class NotStored(Exception):
    """The new record could not be written (a full disk?), and nothing else has changed."""


@dataclass
class Moved:
    """A current record on its way to another place."""

    header: format.RecordHeader
    data: bytes
    uses: int

    @property
    def oid(self) -> int:
        """The oid as the index wants it."""
        return int.from_bytes(self.header.oid, 'big')


class Ring:
    """Places and evicts records. Every method needs the cache's lock.

    :param admission: learns which records leave.
    """

    def __init__(self, file: CacheFile, index: Index, admission: Admission) -> None:
        self._file = file
        self._index = index
        self._admission = admission
        # uses of such records are not counted in the index
        self.is_hot: Callable[[bytes], bool] = lambda oid: False
        self.start, self.end = file.start, file.end  # units; the region
        self.hand = self.gap_end = file.start  # units; where the next record goes, the gap ends
        self.closed_units = 0  # taken by revisions that are not current
        self._kept: list[Moved] = []  # what slides down with the next write
        self._allowance = 0  # units that may still be kept
        self._passed: list[int] = []  # places in the gap that may hold records already dropped

    @property
    def size(self) -> int:
        """How many units the region has."""
        return self.end - self.start

    def holds(self, length: int) -> bool:
        """Return whether a record of this many units may be placed here."""
        return length * 2 <= self.size

    def has_old(self) -> bool:
        """Return whether revisions that are not current take so much that they leave first."""
        return self.closed_units * CLOSED_SHARE >= self.size

    def place(self, length: int, pack: Callable[[int], bytes], most_kept: int | None = None) -> int:
        """Write a record, several, or a saved index; return the place, in units.

        :param length: units that it takes.
        :param pack: makes its bytes, given its place.
        :param most_kept: units that may slide down.
        :raises NotStored: when only this could not be written.
        :raises OSError: when the file may not agree with the index any more.
        :raises DamagedCache: when the file does not hold what was written.
        """
        try:
            if self.gap_end - self.hand < length:
                self._allowance = most_kept or max(MOST_KEPT, KEPT_PER_UNIT * length)
                self._make_room(length)
            at = self._note()
        except BaseException:
            self._let_go()
            raise
        parts = [pack(at)]
        rest = self.gap_end - at - length
        if rest:
            parts.append(format.pack_gap(rest, self._file.seed(at + length)))
        self._write(at, parts)
        self.hand = at + length
        return at

    def take_in(self, records: Sequence[Moved]) -> None:
        """Write records that lie elsewhere in the file, where they are overwritten next.

        :raises NotStored: as `place` does.
        """

        def pack(at: int) -> bytes:
            return b''.join(self._pack(records, at))

        at = self.place(sum(record.header.units for record in records), pack, MOST_KEPT)
        for record in records:
            self._index.set(record.oid, at << PLACE_SHIFT | record.uses)
            at += record.header.units

    def begin_at(self, start: int) -> None:
        """Leave what is before `start` to the other region.

        :param start: units; where a record or a gap begins.
        """
        self.start = start
        self.hand = max(self.hand, start)
        self.gap_end = max(self.gap_end, self.hand)

    def reset(self, start: int, end: int) -> None:
        """Make the region one gap."""
        self.start = self.hand = start
        self.end = self.gap_end = end
        self.closed_units = 0
        self._passed.clear()
        self._file.write_gap(start, end - start)

    # Making room.

    def _make_room(self, length: int) -> None:
        at = self.hand
        while self.gap_end - at < length:
            if self._has_gone_round():
                self._turn(at)
                at = self.hand
                continue
            record = self._pass_one()
            if record is not None:
                self._kept.append(record)
                at += record.header.units

    def _has_gone_round(self) -> bool:
        return self.gap_end >= self.end

    def _turn(self, at: int) -> None:
        """Write the kept records and a gap from `at` on; go to the region's start."""
        self._close_up(at)
        self.hand = self.gap_end = self.start

    def _close_up(self, at: int) -> None:
        """Write the kept records and a gap from `at` on, in which no header is left."""
        rest = self.gap_end - at
        gap = (
            format.pack_gap(rest, self._file.seed(at)).ljust(rest * format.UNIT, b'\0')
            if rest
            else b''
        )
        self._note()
        self._write(at, [gap])
        self.hand = at

    def _pass_one(self) -> Moved | None:
        """Take the entry at gap_end into the gap; return it if it is to slide down."""
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
        oid = int.from_bytes(header.oid, 'big')
        value = self._index.get(oid)
        if value is None or value >> PLACE_SHIFT != place:
            self._owner(place).closed_units -= self._index.remove_closed(oid, place) * header.units
            self._extend(header.units)
            return None
        self._extend(header.units)
        return self._pass_current(place, header, value & USES)

    def _pass_current(self, place: int, header: format.RecordHeader, uses: int) -> Moved | None:
        """Drop a current record, or have it moved; return it if it is to slide down."""
        is_used = uses > 0 or self.is_hot(header.oid)
        if header.units <= self._allowance and (is_used or self.has_old()):
            record = self._read(place, header, uses)
            if record is not None:
                self._allowance -= header.units
                return self._keep(record, is_used)
        self._drop(header)
        return None

    def _keep(self, record: Moved, is_used: bool) -> Moved | None:
        """Return a record that is to slide down, or note where else it goes."""
        record.uses = max(record.uses - 1, 0)
        return record

    def _drop(self, header: format.RecordHeader) -> None:
        oid = int.from_bytes(header.oid, 'big')
        self._index.remove(oid)
        self._admission.left(oid, header.units, self._why(), len(self._index))

    def _why(self) -> int:
        """Return why a record leaves here, as `Admission.left` takes it."""
        return GIVEN_UP

    def _read(self, place: int, header: format.RecordHeader, uses: int) -> Moved | None:
        body = self._file.read_units(place, format.RECORD_HEADER + header.length)[format.BODY :]
        if not format.body_checks(header, body, self._file.seed(place)):
            return None
        return Moved(header, body[16:], uses)

    def _owner(self, place: int) -> Ring:
        """Return the region in which a place is that this hand passes."""
        return self

    def _extend(self, length: int) -> None:
        if self.gap_end + length > self._file.end:
            raise DamagedCache(f'the entry at {self.gap_end * format.UNIT} goes beyond the end')
        self.gap_end += length

    def _let_go(self) -> None:
        """Drop the records that were on their way."""
        kept, self._kept = self._kept, []
        for record in kept:
            self._index.remove(record.oid)

    # Writing.

    def _note(self) -> int:
        """Note the places of the kept records in the index; return where they end."""
        # Before they are written: a reader that is too early finds nothing that checks, and waits.
        # And before an index is packed that is to say where they are.
        at = self.hand
        for record in self._kept:
            self._index.set(record.oid, at << PLACE_SHIFT | record.uses)
            at += record.header.units
        return at

    def _pack(self, records: Sequence[Moved], at: int) -> list[bytes]:
        packed = []
        for record in records:
            header = record.header
            packed.append(
                format.pack_record(
                    header.oid, header.tid, header.end, record.data, self._file.seed(at)
                )
            )
            at += header.units
        return packed

    def _write(self, at: int, parts: list[bytes]) -> None:
        """Write the kept records, and from `at` on the parts."""
        try:
            packed = self._pack(self._kept, self.hand) + parts
            self._file.write_units(self.hand, b''.join(packed))
        except OSError as error:
            self._take_back(at)
            raise NotStored(str(error)) from error
        self._passed.clear()
        self._kept = []

    def _take_back(self, at: int) -> None:
        """After a write that failed in the middle, leave no record in the gap."""
        kept = self._kept
        self._let_go()
        # A few bytes each, in blocks that the disk has already. The gap as a whole comes last:
        # until then nothing depends on it.
        places, place = [*self._passed, at], self.hand
        for record in kept:
            places.append(place)
            place += record.header.units
        for place in places:
            if place < self.gap_end:
                self._file.write_gap(place, 1)
        self._file.write_gap(self.hand, self.gap_end - self.hand)
        self._passed.clear()
