"""Which records may stay in a cache: what was used, and what comes back. Pure.

Enters: the names of records that leave a cache, and of those that come into it. Leaves: whether a
record has proven itself, and how much space those take that have not. Fails: never.

A new record waits in a small queue. What is used there moves to the main one; all else leaves at
the queue's end, so that what is read once pushes out nothing that is read often (S3-FIFO). How
small that queue is, its mistakes decide: a record that left it unused and comes back shows that it
is too short, one that the main queue gave up and that comes back shows that it is too long.

The first of these goes to the main queue at once, if the record whose turn it is there was not
used; else that one has its next turn later, and the one that comes back waits like a new one. The
second waits too: it had its time in the main queue. So in a loop over more than the cache holds
the main queue keeps a part of it; if all that comes back went there, each would push out what is
needed before it. While the main queue's records are all used, what comes back does not show that
the small one should take much of their space.

Of a name a hash of ten bits is kept, with its age, in two bytes for every second record that
the cache holds. A name that is lost, or taken for another, costs a load at worst.
"""

from __future__ import annotations

from array import array

#: The small queue's share of the space, at least and at most, and the part of a record's size by
#: which each mistake changes it.
LOW, HIGH, STEP = 0.05, 0.9, 0.05

#: The share up to which also those records make the small queue longer that come back while the
#: main one needs all it has: enough to follow when other records come into use.
MODEST = 0.2

FILTERED, GIVEN_UP = 0, 1  # why a record has left: unused in the small queue, or in the main one

_WAYS = 4  # places in the table for one name
# Records held for each place in the table. With more names, more comes back that is used only then,
# at the next report, and is let in.
_RECORDS_PER_NAME = 2
_LEAST_NAMES = 64
_TICKS_PER_WINDOW = 12  # a name's age is known to this part of the window
_TICKS = 32  # different ages, more than a window has: a name older than that is overwritten
_TICK = _TICKS - 1  # the bits of a tick
_MOST_TICKS = _TICKS // 2  # in a window
_MULTIPLIER = 0x9E3779B97F4A7C15  # spreads oids, which are mostly consecutive
_LOW_64 = (1 << 64) - 1
_MARK_SHIFT, _MARK = 20, (1 << 10) - 1  # ten bits of a name's hash, not all zero
_TICK_SHIFT, _MARK_PLACE = 1, 6  # a name is mark << 6 | tick << 1 | why; 0: none


#: What has proven itself is to take such a share of the cache before there is a small queue. Until
#: then each new record makes one over one minus the share seen then move on, five at most.
_PROVEN_SHARE = 0.8
#: Or a part of the cache has hardly more of it than a round ago, or none in the first round: then
#: more would not come of waiting, and what is there serves those better who read in turn more than
#: fits.
_LEAST_MORE = 0.01
#: So many parts are looked at, one after the other. What stays keeps its order, so that a part has
#: what it had a round ago, and what has proven itself since.
_PARTS = 4


class Beginning:
    """Whether there is no small queue yet: until enough has proven itself in the main one.

    :param size: of the cache, in any unit.
    """

    def __init__(self, size: int) -> None:
        self.lasts = True
        self._size = max(size // _PARTS, 1)
        self._shares = [0.0] * _PARTS  # of what has proven itself, by part, a round ago
        self._part = 0
        self._passed = self._proven = 0  # of this part

    def pass_one(self, size: int, is_used: bool) -> None:
        """Count a current record that has its turn."""
        self._passed += size
        if is_used:
            self._proven += size
        if self._passed >= self._size:
            self._look()

    def _look(self) -> None:
        """Decide whether it ends: enough has proven itself, or not much more than before."""
        share = self._proven / self._passed
        has_more = share >= self._shares[self._part] + _LEAST_MORE
        self._shares[self._part] = share
        self.lasts = has_more and sum(self._shares) < _PROVEN_SHARE * _PARTS
        self._part = (self._part + 1) % _PARTS
        self._passed = self._proven = 0


class Window:
    """The names that left for one reason, by age: as many as `capacity` bytes of records had.

    :param capacity: of the cache, in any unit.
    """

    def __init__(self, capacity: int) -> None:
        self.used = 0  # of the records whose names are known
        self.tick = 0
        self.span = 0  # ticks of which names are known, besides this one
        self._capacity = capacity
        self._used_at = [0] * _TICKS
        self._most_at_once = max(capacity // _TICKS_PER_WINDOW, 1)

    def add(self, size: int) -> int:
        """Count a record that leaves; return its tick."""
        at = self.tick & _TICK
        if self._used_at[at] >= self._most_at_once:
            self.tick += 1
            self.span += 1
            at = self.tick & _TICK
        self._used_at[at] += size
        self.used += size
        while self.used > self._capacity or self.span >= _MOST_TICKS:
            self._expire()
        return at

    def holds(self, at: int) -> bool:
        """Return whether names of this tick are known still."""
        return self.tick - at & _TICK <= self.span

    def take(self, at: int, size: int) -> None:
        """Count a record that comes back."""
        size = min(size, self._used_at[at])
        self._used_at[at] -= size
        self.used -= size

    def _expire(self) -> None:
        at = self.tick - self.span & _TICK
        self.used -= self._used_at[at]
        self._used_at[at] = 0
        if self.span:
            self.span -= 1


class Admission:
    """What a cache knows of the records that it does not hold.

    :param capacity: what the cache holds, in any unit.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = max(capacity, 1)
        self.aim(0)  # how much the small queue takes
        self._longer = self.target  # how much it takes if the last one that came back rises
        self._windows = Window(self._capacity), Window(self._capacity)
        self.names = array('H')  # empty while nothing has left

    def aim(self, target: float) -> None:
        """Set how much the small queue takes, within the bounds."""
        self.target = min(self._capacity * HIGH, max(self._capacity * LOW, target))

    def left(self, oid: int, size: int, why: int, held: int) -> None:
        """Note that a record leaves the cache.

        :param why: FILTERED or GIVEN_UP.
        :param held: records that the cache holds.
        """
        wanted = max(held // _RECORDS_PER_NAME, _LEAST_NAMES)
        if wanted > len(self.names) * 3 // 2:
            self.names = array('H', [0]) * (wanted // _WAYS * _WAYS)
        # This runs for each load of a full cache: what it looks at is at hand, and a name that is
        # not known any more, or none, ends the search for the oldest.
        names, windows = self.names, self._windows
        spread = oid * _MULTIPLIER & _LOW_64  # as in _place
        oldest = at = (spread * (len(names) // _WAYS) >> 64) * _WAYS
        greatest = -1
        for name in names[at : at + _WAYS]:
            window = windows[name & 1]
            age = window.tick - (name >> _TICK_SHIFT) & _TICK
            if not name or age > window.span:
                oldest = at
                break
            if age > greatest:
                oldest, greatest = at, age
            at += 1
        mark = spread >> _MARK_SHIFT & _MARK or 1
        names[oldest] = mark << _MARK_PLACE | windows[why].add(size) << _TICK_SHIFT | why

    def returns(self, oid: int, size: int) -> bool:
        """Note that a record comes in; return whether the small queue let it go lately.

        If so, and it goes to the main queue, `rises` is to be called.
        """
        if not self.names:
            return False
        at, mark = self._place(oid)
        for name in self.names[at : at + _WAYS]:
            if name >> _MARK_PLACE == mark:
                self.names[at] = 0
                return self._welcome(name, size)
            at += 1
        return False

    def rises(self) -> None:
        """Note that the record that has come back last goes to the main queue."""
        self.aim(self._longer)

    def _welcome(self, name: int, size: int) -> bool:
        why, tick = name & 1, name >> _TICK_SHIFT & _TICK
        window, other = self._windows[why], self._windows[1 - why]
        if not window.holds(tick):
            return False
        window.take(tick, size)
        step = size * max(1, other.used / (window.used + size)) * STEP
        if why == GIVEN_UP:
            self.aim(self.target - step)
            return False
        self._longer = self.target + step
        self.aim(max(self.target, min(self._longer, self._capacity * MODEST)))
        return True

    def _place(self, oid: int) -> tuple[int, int]:
        """Return where in the table a name may be, and its mark."""
        spread = oid * _MULTIPLIER & _LOW_64
        ways = len(self.names) // _WAYS
        return (spread * ways >> 64) * _WAYS, spread >> _MARK_SHIFT & _MARK or 1
