"""The two regions of a cache file: a small one that filters new records, and the main one.

Enters: records to place. Leaves: their places. Fails: as `cache.ring` says.

The small region is at the file's start, the main one behind it, each with a hand of its own. New
records go to the small one. When its hand comes to a record that was used, the record moves to the
main one; else it leaves. A record that comes back soon after that goes to the main one, if what the
hand meets there was not used (`cache.admission` says which, and how large the small region is to
be).

Where one region ends is decided by the small one's hand, always where a record or a gap begins: it
goes on into the main region while its own is to be larger, and turns back early while it is to be
smaller.

At first everything is main, and its hand does the work of both: new records go there, those that
were used stay, all others leave as filtered. Once most of what the hand passes stays, or not more
than a round ago, the small region begins. So the main one begins with what has proven itself; what
happened to come first would stay there for long, since the main hand moves only for what comes
back.

Nothing of this is in the format of records and gaps: a file is as good with one region, with two,
or with none that are known.
"""

from __future__ import annotations

from collections.abc import Callable

from ZEO.cache import format
from ZEO.cache.admission import FILTERED, GIVEN_UP, Admission, Beginning
from ZEO.cache.cache_file import CacheFile
from ZEO.cache.index import PLACE_SHIFT, USES, Index
from ZEO.cache.ring import KEPT_PER_UNIT, MOST_KEPT, Moved, NotStored, Ring

#: While the main region's gap is larger than this share of it, new records go there: it was never
#: filled, or has been emptied. What an evicted record leaves beside its follower is smaller.
FREE_SHARE = 64
#: Units that are taken for a round of the hand if the file is larger, so that in a large one that
#: was used by an older release no more than that slides.
SAMPLE = 16 * 1024 * 1024 // format.UNIT


class MainRing(Ring):
    """The region for what was used; at first for everything."""

    def __init__(self, file: CacheFile, index: Index, admission: Admission) -> None:
        super().__init__(file, index, admission)
        self.is_alone = True  # whether there is no small region yet
        self._beginning = Beginning(min(self.size, SAMPLE))

    def begin_at(self, start: int) -> None:
        """See `Ring`."""
        super().begin_at(start)
        self.is_alone = False

    def reset(self, start: int, end: int) -> None:
        """See `Ring`."""
        super().reset(start, end)
        self.is_alone, self._beginning = True, Beginning(min(self.size, SAMPLE))

    def makes_way(self, length: int) -> bool:
        """Return whether there is a gap of this many units, or what the hand meets was not used.

        A record that was used slides down to the hand, at the cost of its uses.

        :raises NotStored, OSError, DamagedCache: as `place` does.
        """
        place = self.gap_end
        if place - self.hand >= length or place >= self.end or not self._is_used(place):
            return True
        self._allowance = max(MOST_KEPT, KEPT_PER_UNIT * length)
        try:
            record = self._pass_one()
            if record is None:  # too large to slide down: `place` overwrites it
                return True
            record.uses = 0
            self._kept.append(record)
            self._close_up(self.hand + record.header.units)
        except BaseException:
            self._let_go()
            raise
        return False

    def _why(self) -> int:
        return FILTERED if self.is_alone else GIVEN_UP

    def _pass_current(self, place: int, header: format.RecordHeader, uses: int) -> Moved | None:
        if not self.is_alone:
            return super()._pass_current(place, header, uses)
        is_used = uses > 0 or self.is_hot(header.oid)
        record = super()._pass_current(place, header, uses)
        self._beginning.pass_one(header.units, is_used and record is not None)
        self.is_alone = self._beginning.lasts
        return record

    def _keep(self, record: Moved, is_used: bool) -> Moved | None:
        if not self.is_alone:
            return super()._keep(record, is_used)
        if is_used:  # it has proven itself, and stays
            record.uses = max(record.uses, 1)
        return record

    def _is_used(self, place: int) -> bool:
        """Return whether there is a current record that was used."""
        header = self._file.read_header(place)
        if header is None:
            return False  # a gap
        value = self._index.get(int.from_bytes(header.oid, 'big'))
        if value is None or value >> PLACE_SHIFT != place:
            return False
        return value & USES > 0 or self.is_hot(header.oid)


class SmallRing(Ring):
    """The region for new records.

    :param main: where records go that were used here.
    """

    def __init__(self, file: CacheFile, index: Index, admission: Admission, main: Ring) -> None:
        super().__init__(file, index, admission)
        self._main = main
        self._rising: list[Moved] = []  # what moves to the main region before the next write
        self.end = self.start

    def _has_gone_round(self) -> bool:
        if self.gap_end >= self._file.end:
            return True
        # a region that is smaller than one record has to grow for it
        is_long_enough = self.gap_end - self.start >= self._admission.target
        return is_long_enough and self.hand > self.start

    def _turn(self, at: int) -> None:
        self._let_rise(at)
        end = self.gap_end
        super()._turn(at)
        if end < self.end:
            self._give_away(end)

    def _give_away(self, end: int) -> None:
        """Leave what is behind `end` to the main region."""
        old = 0
        for _, place in self._index.closed_items():
            if end <= place < self.end:
                header = self._file.read_header(place)
                old += 0 if header is None else header.units
        self.closed_units -= old
        self._main.closed_units += old
        self.end = self._main.start = end

    def _note(self) -> int:
        self._let_rise(self.hand)
        return super()._note()

    def _let_rise(self, at: int) -> None:
        """Move the records that were used here, before anything is written where they are."""
        if not self._rising:
            return
        if not self._main.holds(sum(record.header.units for record in self._rising)):
            self._drop_rising()
            return
        try:
            self._main.take_in(self._rising)
        except NotStored:
            self._take_back(at)
            raise
        self._rising = []

    def _drop_rising(self) -> None:
        rising, self._rising = self._rising, []
        for record in rising:
            self._index.remove(record.oid)

    def _let_go(self) -> None:
        self._drop_rising()
        super()._let_go()

    def _keep(self, record: Moved, is_used: bool) -> Moved | None:
        if is_used and self._main.holds(record.header.units):
            record.uses = 0
            self._rising.append(record)
            return None
        return super()._keep(record, is_used)

    def _why(self) -> int:
        return FILTERED

    def _owner(self, place: int) -> Ring:
        return self if place < self.end else self._main

    def _extend(self, length: int) -> None:
        super()._extend(length)
        if self.gap_end > self.end:
            self.end = self.gap_end
            self._main.begin_at(self.end)


class Regions:
    """Both regions. Every method needs the cache's lock.

    :param file: whose state says where the hands are.
    """

    def __init__(self, file: CacheFile, index: Index) -> None:
        self._file = file
        self._admission = Admission(file.end - file.start)
        self.main = MainRing(file, index, self._admission)
        self.small = SmallRing(file, index, self._admission, self.main)
        self._load()

    def _load(self) -> None:
        state, main, small = self._file.state, self.main, self.small
        main.hand, main.gap_end = state.hand, state.gap_end
        main.closed_units = state.closed_units
        main.end = self._file.end
        places = (
            self._file.start, state.small_hand, state.small_gap_end, state.small_end,
            state.hand, state.gap_end, self._file.end,
        )  # fmt: skip
        if list(places) == sorted(places):  # else another release has written the file
            small.hand, small.gap_end = state.small_hand, state.small_gap_end
            small.end = main.start = state.small_end
            main.is_alone = small.end == small.start
            small.closed_units = state.small_closed_units
            main.closed_units -= small.closed_units
            self._admission.aim(state.small_target)

    def use_hot(self, is_hot: Callable[[bytes], bool]) -> None:
        """Have records kept of which is_hot says so: their uses are not counted in the index."""
        self.main.is_hot = self.small.is_hot = is_hot

    def holds(self, length: int) -> bool:
        """Return whether a record with `length` bytes of data may be placed at all."""
        return format.units(length) * 2 <= self._file.end - self._file.start

    def place(self, length: int, pack: Callable[[int], bytes], oid: int) -> int:
        """Write a record; return its place and uses, as the index has them.

        :param length: units that it takes.
        :param pack: makes its bytes, given its place.
        :raises NotStored, OSError, DamagedCache: as `Ring.place` does.
        """
        is_known = self._admission.returns(oid, length)
        main = self.main
        if main.is_alone:
            if is_known:
                self._admission.rises()
            return main.place(length, pack) << PLACE_SHIFT | is_known
        is_free = (main.gap_end - main.hand - length) * FREE_SHARE > main.size
        if main.holds(length):
            if is_free or main.has_old():
                return main.place(length, pack) << PLACE_SHIFT
            if is_known and main.makes_way(length):
                self._admission.rises()
                return main.place(length, pack) << PLACE_SHIFT
        return self.small.place(length, pack) << PLACE_SHIFT

    def place_index(self, length: int, pack: Callable[[int], bytes]) -> int | None:
        """Write a saved index; return its place, or None if it is too large.

        :raises NotStored, OSError, DamagedCache: as `Ring.place` does.
        """
        larger = self.main if self.main.size >= self.small.size else self.small
        if not larger.holds(length):
            return None
        place = larger.place(length, pack)
        larger.hand = place  # once it has been read, its space is free
        return place

    def note_closed(self, place: int, units: int) -> None:
        """Count a revision that is not current any more, or (`units` < 0) has left."""
        region = self.small if place < self.small.end else self.main
        region.closed_units += units

    def free(self) -> int:
        """Return the units of both gaps."""
        return sum(ring.gap_end - ring.hand for ring in (self.main, self.small))

    def reset(self) -> None:
        """Make everything one gap, of the main region."""
        start = self._file.start
        self.small.reset(start, start)
        self.main.reset(start, self._file.end)

    def save(self) -> None:
        """Put the places of the hands into the file's state, which the caller writes."""
        state, main, small = self._file.state, self.main, self.small
        state.hand, state.gap_end = main.hand, main.gap_end
        state.small_hand, state.small_gap_end = small.hand, small.gap_end
        state.small_end = small.end
        # A crash of the machine may have changed records behind a saved index: then more leave than
        # were counted.
        state.small_closed_units = max(small.closed_units, 0)
        state.closed_units = max(main.closed_units, 0) + state.small_closed_units
        state.small_target = int(self._admission.target)
