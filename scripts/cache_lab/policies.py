"""Eviction policies as models, to be compared before any of them is built into a cache file.

Enters: accesses, an oid and a size in bytes. Leaves: whether each was a hit. Fails: never.
A miss stores the record, as the client does; `forget` is what an invalidation does to it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ZEO.cache.simulate import Clock, Policy


class Ring:
    """First in, first out: what a plain circular file does.

    :param capacity: bytes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._used = 0
        self._sizes: OrderedDict[int, int] = OrderedDict()  # oldest first

    def access(self, oid: int, size: int) -> bool:
        """See :class:`Policy`."""
        if oid in self._sizes:
            return True
        self._sizes[oid] = size
        self._used += size
        while self._used > self._capacity:
            self._used -= self._sizes.popitem(last=False)[1]
        return False

    def forget(self, oid: int) -> None:
        """See :class:`Policy`."""
        self._used -= self._sizes.pop(oid, 0)


class Lru(Ring):
    """Least recently used leaves first; in a file every hit would have to move its record."""

    def access(self, oid: int, size: int) -> bool:
        """See :class:`Policy`."""
        hit = super().access(oid, size)
        if hit:
            self._sizes.move_to_end(oid)
        return hit


class S3Fifo:
    """A small queue that filters, a main clock that keeps, and the names of what was filtered out.

    New records pass through the small queue, a tenth of the space; those used there move to the
    main clock, the others only leave their names behind. A record that comes back while its name
    is still known goes to the main clock directly.

    :param capacity: bytes.
    :param small: the share of the small queue.
    :param needed: hits that admit to the main clock.
    """

    def __init__(self, capacity: int, small: float = 0.1, needed: int = 1, limit: int = 3) -> None:
        self._small_capacity = int(capacity * small)
        self._needed = needed
        self._main = Clock(capacity - self._small_capacity, limit)
        self._ghost_capacity = capacity - self._small_capacity
        self._small: OrderedDict[int, int] = OrderedDict()
        self._small_used = 0
        self._uses: dict[int, int] = {}
        self._ghosts: OrderedDict[int, int] = OrderedDict()
        self._ghosts_used = 0

    def access(self, oid: int, size: int) -> bool:
        """See :class:`Policy`."""
        if oid in self._main:
            return self._main.access(oid, size)
        if oid in self._small:
            self._uses[oid] += 1
            return True
        if oid in self._ghosts:
            self._ghosts_used -= self._ghosts.pop(oid)
            self._main.add(oid, size)
            return False
        self._small[oid] = size
        self._uses[oid] = 0
        self._small_used += size
        while self._small_used > self._small_capacity:
            self._filter_one()
        return False

    def forget(self, oid: int) -> None:
        """See :class:`Policy`."""
        self._main.forget(oid)
        self._small_used -= self._small.pop(oid, 0)

    def _filter_one(self) -> None:
        oid, size = self._small.popitem(last=False)
        self._small_used -= size
        if self._uses.pop(oid) >= self._needed:
            self._main.add(oid, size)
            return
        self._ghosts[oid] = size
        self._ghosts_used += size
        while self._ghosts_used > self._ghost_capacity:
            self._ghosts_used -= self._ghosts.popitem(last=False)[1]


class Adaptive:
    """S3-FIFO whose small queue has the size that its mistakes ask for.

    A record that was filtered out and comes back shows that the small queue is too short; one that
    main has given up and comes back, that it is too long. Both go to main, which is a clock.

    :param capacity: bytes.
    """

    #: The small queue's share of the space, at least and at most, and the part of a record's size
    #: by which each mistake changes it.
    LOW, HIGH, STEP = 0.05, 0.9, 0.5

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._target = capacity * self.LOW  # bytes of the small queue
        self._uses: dict[int, int] = {}  # of all that is there
        self._small, self._main = _Queue(), _Queue()
        self._filtered, self._given_up = _Queue(), _Queue()  # names of what was there

    def access(self, oid: int, size: int) -> bool:
        """See :class:`Policy`."""
        if oid in self._uses:
            self._uses[oid] = min(self._uses[oid] + 1, 3)
            return True
        if oid in self._filtered:
            self._filtered.take(oid)
            self._move(size * max(1, self._given_up.used / (self._filtered.used + size)))
            self._main.add(oid, size)
        elif oid in self._given_up:
            self._given_up.take(oid)
            self._move(-size * max(1, self._filtered.used / (self._given_up.used + size)))
            self._main.add(oid, size)
        else:
            self._small.add(oid, size)
        self._uses[oid] = 0
        while self._small.used + self._main.used > self._capacity:
            self._evict()
        return False

    def forget(self, oid: int) -> None:
        """See :class:`Policy`."""
        if self._uses.pop(oid, None) is not None:
            (self._small if oid in self._small else self._main).take(oid)

    def _move(self, step: float) -> None:
        low, high = self._capacity * self.LOW, self._capacity * self.HIGH
        self._target = min(high, max(low, self._target + step * self.STEP))

    def _evict(self) -> None:
        from_small = bool(self._small) and (self._small.used > self._target or not self._main)
        queue = self._small if from_small else self._main
        oid = next(iter(queue))
        size = queue.take(oid)
        if self._uses[oid]:
            self._uses[oid] = 0 if from_small else self._uses[oid] - 1
            self._main.add(oid, size)
            return
        del self._uses[oid]
        names = self._filtered if from_small else self._given_up
        names.add(oid, size)
        while names.used > self._capacity:
            names.take(next(iter(names)))


class _Queue(OrderedDict[int, int]):
    """Sizes of records, the oldest first."""

    used = 0  # bytes

    def add(self, oid: int, size: int) -> None:
        """Put a record behind the others."""
        self[oid] = size
        self.used += size

    def take(self, oid: int) -> int:
        """Remove a record; return its size."""
        size = self.pop(oid)
        self.used -= size
        return size


POLICIES: dict[str, Callable[[int], Policy]] = {
    'clock': Clock,  # what a cache file does
    'ring': Ring,
    'lru': Lru,
    's3-fifo': S3Fifo,
    'adaptive': Adaptive,
}
