"""A model of the cache file: which records it would hold, without a file or their data. Pure.

Enters: loads and invalidations, an oid and a size in bytes. Leaves: whether each load is a hit.
Fails: never.

It does what `cache.ring` and `cache.regions` do, record for record, and asks the same
`cache.admission`; only a record's place is not a number, but its turn in a queue of what lies
before the hand of its region, or behind it. So a trace is replayed in about a fifth of the time
that a file takes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from ZEO.cache import format, hot_records
from ZEO.cache.admission import FILTERED, GIVEN_UP, Admission, Beginning
from ZEO.cache.index import USES
from ZEO.cache.regions import FREE_SHARE, SAMPLE
from ZEO.cache.ring import CLOSED_SHARE, KEPT_PER_UNIT, MOST_KEPT

_MOST_KEPT = MOST_KEPT * format.UNIT  # bytes
_GAP = -1  # in place of an oid


@dataclass(eq=False, slots=True)
class _Record:
    """What lies in the file: a current revision, if the model holds it by its oid; else an ended
    one, or a gap.
    """

    oid: int
    size: int  # bytes
    uses: int = 0
    is_closed: bool = False  # counted as not current
    is_main: bool = True  # which region it lies in


class _Region:
    """A region: what lies before its hand, a gap, and what its hand will meet.

    :param model: what it belongs to.
    """

    is_main = True

    def __init__(self, model: FileModel, size: int) -> None:
        self.model = model
        self.size = size  # bytes, the gap included
        self.gap = size
        self.before: deque[_Record] = deque()  # from the region's start to the hand
        self.behind: deque[_Record] = deque()  # from the gap to the region's end
        self.closed = 0  # bytes of revisions that are not current
        self._kept: list[_Record] = []
        self._kept_size = 0
        self._allowance = 0
        self._passed = 0  # bytes from the region's start to the end of the gap

    def holds(self, size: int) -> bool:
        """See `Ring`."""
        return size * 2 <= self.size

    def has_old(self) -> bool:
        """See `Ring`."""
        return self.closed * CLOSED_SHARE >= self.size

    def place(self, records: list[_Record], size: int) -> None:
        """Write records of `size` bytes at the hand."""
        if self.gap < size:
            self._allowance = max(_MOST_KEPT, KEPT_PER_UNIT * size)
            self._make_room(size)
        self._write_kept()
        self._write(records, size)

    def _make_room(self, size: int) -> None:
        while self.gap - self._kept_size < size:
            if self._has_gone_round():
                self._turn()
                continue
            self._pass_one()

    def _has_gone_round(self) -> bool:
        return not self.behind

    def _turn(self) -> None:
        self._write_kept()
        if self.gap:
            self.before.append(_Record(_GAP, self.gap))
        self.before, self.behind, self.gap, self._passed = deque(), self.before, 0, 0

    def _write_kept(self) -> None:
        self._write(self._kept, self._kept_size)
        self._kept, self._kept_size = [], 0

    def _write(self, records: list[_Record], size: int) -> None:
        for record in records:
            record.is_main = self.is_main
        self.before.extend(records)
        self.gap -= size

    def _next(self) -> _Record:
        return self.behind.popleft()

    def _pass_one(self) -> None:
        """Take what the hand meets into the gap, to be written again or not."""
        record = self._next()
        self.gap += record.size
        self._passed += record.size
        if self.model.current.get(record.oid) is not record:
            self.model.forget_closed(record)
            return
        is_used = self.model.is_used(record)
        if record.size <= self._allowance and (is_used or self.has_old()):
            self._allowance -= record.size
            self._keep(record, is_used)
        else:
            self.model.drop(record, self._why())

    def _keep(self, record: _Record, is_used: bool) -> None:
        record.uses = max(record.uses - 1, 0)
        self._slide(record)

    def _slide(self, record: _Record) -> None:
        self._kept.append(record)
        self._kept_size += record.size

    def _why(self) -> int:
        return GIVEN_UP


class _Main(_Region):
    """See `MainRing`."""

    def __init__(self, model: FileModel, size: int) -> None:
        super().__init__(model, size)
        self.beginning = Beginning(min(size, SAMPLE * format.UNIT))

    @property
    def is_alone(self) -> bool:
        """Whether there is no small region yet."""
        return self.beginning.lasts

    def makes_way(self, size: int) -> bool:
        """See `MainRing`."""
        if self.gap >= size or not self.behind or not self.model.is_used(self.behind[0]):
            return True
        record = self.behind.popleft()
        if record.size > max(_MOST_KEPT, KEPT_PER_UNIT * size):
            self.gap += record.size
            self.model.drop(record, GIVEN_UP)
            return True
        record.uses = 0
        self.before.append(record)
        return False

    def first(self) -> _Record:
        """Give away what lies at the region's start."""
        if self.before:
            record = self.before.popleft()
        elif self.gap:
            record = _Record(_GAP, self.gap)
            self.gap = 0
        else:
            record = self.behind.popleft()
        self.size -= record.size
        return record

    def _why(self) -> int:
        return FILTERED if self.is_alone else GIVEN_UP

    def _pass_one(self) -> None:
        record = self.behind[0]
        is_current = self.is_alone and self.model.current.get(record.oid) is record
        is_used = self.model.is_used(record)
        super()._pass_one()
        if is_current:
            self.beginning.pass_one(record.size, is_used and record.oid in self.model.current)

    def _keep(self, record: _Record, is_used: bool) -> None:
        if not self.is_alone:
            super()._keep(record, is_used)
            return
        if is_used:
            record.uses = max(record.uses, 1)
        self._slide(record)


class _Small(_Region):
    """See `SmallRing`."""

    is_main = False

    def __init__(self, model: FileModel, main: _Main) -> None:
        super().__init__(model, 0)
        self._main = main
        self._rising: list[_Record] = []

    def _has_gone_round(self) -> bool:
        if not self.behind and not self._main.size:
            return True
        return bool(self.before) and self._passed >= self.model.admission.target

    def _turn(self) -> None:
        rest, self.behind = self.behind, deque()
        super()._turn()
        for record in reversed(rest):
            self.size -= record.size
            self._main.size += record.size
            record.is_main = True
            if record.is_closed:
                self.closed -= record.size
                self._main.closed += record.size
            self._main.before.appendleft(record)

    def _write_kept(self) -> None:
        if self._rising:
            self._write_rising()
        super()._write_kept()

    def _write_rising(self) -> None:
        rising, self._rising = self._rising, []
        size = sum(record.size for record in rising)
        if self._main.holds(size):
            self._main.place(rising, size)
        else:
            for record in rising:
                del self.model.current[record.oid]

    def _next(self) -> _Record:
        if self.behind:
            return super()._next()
        record = self._main.first()
        self.size += record.size
        return record

    def _keep(self, record: _Record, is_used: bool) -> None:
        if is_used and self._main.holds(record.size):
            record.uses = 0
            self._rising.append(record)
        else:
            super()._keep(record, is_used)

    def _why(self) -> int:
        return FILTERED


class FileModel:
    """What a cache file would hold.

    :param capacity: bytes that the file has besides its header.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.admission = Admission(capacity)
        self.current: dict[int, _Record] = {}  # by oid
        self.hot = _Hot(min(hot_records.MOST, (capacity + format.RING_START) // 2))
        self._main = _Main(self, capacity)
        self._small = _Small(self, self._main)

    def access(self, oid: int, size: int) -> bool:
        """Load a record of `size` bytes; return whether it was there. If not it is stored."""
        if oid in self.hot:
            return True
        record = self.current.get(oid)
        if record is None:
            self._store(oid, size)
            return False
        if record.uses < USES:
            record.uses += 1
            if record.uses == USES:
                self.hot.add(oid, record.size)
        return True

    def forget(self, oid: int) -> None:
        """End the current revision, which goes on to take space."""
        self.hot.discard(oid)
        record = self.current.pop(oid, None)
        if record is not None:
            record.is_closed = True
            (self._main if record.is_main else self._small).closed += record.size

    def is_used(self, record: _Record) -> bool:
        """Return whether a record was used since the hand passed; not if it is not current."""
        if self.current.get(record.oid) is not record:
            return False
        return record.uses > 0 or record.oid in self.hot

    def drop(self, record: _Record, why: int) -> None:
        """Forget a current record, which leaves."""
        del self.current[record.oid]
        self.admission.left(record.oid, record.size, why, len(self.current))

    def forget_closed(self, record: _Record) -> None:
        """Note that the space of what is not current is free."""
        if record.is_closed:
            (self._main if record.is_main else self._small).closed -= record.size

    def _store(self, oid: int, size: int) -> None:
        if size * 2 > self._capacity:
            return
        is_known = self.admission.returns(oid, size)
        record = _Record(oid, size)
        self._region_for(record, is_known).place([record], size)
        self.current[oid] = record

    def _region_for(self, record: _Record, is_known: bool) -> _Region:
        """Return where a new record goes; see `Regions.place`."""
        main, size = self._main, record.size
        if main.is_alone:
            if is_known:
                self.admission.rises()
                record.uses = 1
            return main
        if main.holds(size):
            if (main.gap - size) * FREE_SHARE > main.size or main.has_old():
                return main
            if is_known and main.makes_way(size):
                self.admission.rises()
                return main
        return self._small


class _Hot(OrderedDict[int, int]):
    """See `HotRecords`: oids and bytes, the oldest first.

    :param size: bytes that they may take in memory.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._used = 0

    def add(self, oid: int, size: int) -> None:
        """Hold a record, and drop the oldest ones to make space; one too large is not held."""
        self.discard(oid)
        size += hot_records.RECORD_OVERHEAD - format.RECORD_HEADER
        if size * 8 > self._size:
            return
        self[oid] = size
        self._used += size
        while self._used > self._size:
            self._used -= self.popitem(last=False)[1]

    def discard(self, oid: int) -> None:
        """Drop a record, if it is held."""
        self._used -= self.pop(oid, 0)
