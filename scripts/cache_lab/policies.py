"""Eviction policies as models, to be compared before any of them is built into a cache file.

Enters: accesses, an oid and a size in bytes. Leaves: whether each was a hit. Fails: never.
A miss stores the record, as the client does; `forget` is what an invalidation does to it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from cache_lab.real import InFile, InMemory
from ZEO.cache.file_model import FileModel
from ZEO.cache.simulate import Policy

_MOST_USES = 3  # hits that are counted, as the two bits of the cache's index do


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


class Clock:
    """A hand goes round: a record used since it last passed is kept for another round.

    :param capacity: bytes.
    :param limit: how many hits are counted, each worth one more round.
    """

    def __init__(self, capacity: int, limit: int = _MOST_USES) -> None:
        self._capacity = capacity
        self._limit = limit
        self._used = 0
        self._sizes: OrderedDict[int, int] = OrderedDict()  # in the order the hand will meet them
        self._uses: dict[int, int] = {}  # hits since the hand last passed, at most the limit

    def access(self, oid: int, size: int) -> bool:
        """See :class:`Policy`."""
        if oid in self._sizes:
            self._uses[oid] = min(self._uses[oid] + 1, self._limit)
            return True
        self.add(oid, size)
        return False

    def add(self, oid: int, size: int) -> None:
        """Store a record that is not there, at the expense of others."""
        while self._sizes and self._used + size > self._capacity:
            self._pass_one()
        self._sizes[oid] = size
        self._uses[oid] = 0
        self._used += size

    def __contains__(self, oid: int) -> bool:
        return oid in self._sizes

    def forget(self, oid: int) -> None:
        """See :class:`Policy`."""
        self._used -= self._sizes.pop(oid, 0)
        self._uses.pop(oid, None)

    def _pass_one(self) -> None:
        oid = next(iter(self._sizes))
        if self._uses[oid]:
            self._uses[oid] -= 1
            self._sizes.move_to_end(oid)
        else:
            self.forget(oid)


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


POLICIES: dict[str, Callable[[int], Policy]] = {
    'clock': Clock,
    'ring': Ring,
    'lru': Lru,
    's3-fifo': S3Fifo,
    'model': FileModel,  # of a client cache's file
    'file': InFile,
    'memory': InMemory,
}
#: With which the caches are compared.
USUAL = ('clock', 'lru', 's3-fifo')
