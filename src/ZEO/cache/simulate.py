"""The hit rate that a client cache of another size would have had: a trace, replayed.

Enters: the events of a trace, and a size in bytes. Leaves: a hit rate, by a model of what the cache
keeps. Fails: never; a trace without loads has a hit rate of 0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from ZEO.cache import format, trace
from ZEO.cache.admission import FILTERED, GIVEN_UP, Admission

Access = tuple[int, int]  # oid, size in bytes; size 0: the record has become useless

_TYPICAL_SIZE = 500  # bytes, for records whose size the trace does not have
_MOST_USES = 3  # hits that are counted, as the two bits of the cache's index do


class Policy(Protocol):
    """A model of a cache: what it keeps."""

    def access(self, oid: int, size: int) -> bool:
        """Load a record of `size` bytes; return whether it was there. If not it is stored."""

    def forget(self, oid: int) -> None:
        """Drop a record that has become useless."""


class Adaptive:
    """What a client cache does: a small queue that filters, and a main one that is a clock.

    :param capacity: bytes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._admission = Admission(capacity)
        self._uses: dict[int, int] = {}  # of all that is there
        self._small, self._main = _Queue(), _Queue()

    def access(self, oid: int, size: int) -> bool:
        """See :class:`Policy`."""
        if oid in self._uses:
            self._uses[oid] = min(self._uses[oid] + 1, _MOST_USES)
            return True
        rises = self._admission.returns(oid, size) and self._makes_way(size)
        if rises:
            self._admission.rises()
        (self._main if rises else self._small).add(oid, size)
        self._uses[oid] = 0
        while self._small.used + self._main.used > self._capacity:
            self._evict()
        return False

    def forget(self, oid: int) -> None:
        """See :class:`Policy`."""
        if self._uses.pop(oid, None) is not None:
            (self._small if oid in self._small else self._main).take(oid)

    def _makes_way(self, size: int) -> bool:
        """Return whether the main queue has space or an unused record at its turn."""
        if self._small.used + self._main.used + size <= self._capacity or not self._main:
            return True
        oid = next(iter(self._main))
        if not self._uses[oid]:
            return True
        self._uses[oid] = 0
        self._main.move_to_end(oid)
        return False

    def _evict(self) -> None:
        is_long = self._small.used > self._admission.target or not self._main
        from_small = bool(self._small) and is_long
        queue = self._small if from_small else self._main
        oid = next(iter(queue))
        size = queue.take(oid)
        if self._uses[oid]:
            self._uses[oid] = 0 if from_small else self._uses[oid] - 1
            self._main.add(oid, size)
            return
        del self._uses[oid]
        self._admission.left(oid, size, FILTERED if from_small else GIVEN_UP, len(self._uses))


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


def accesses_of(events: Iterable[trace.Event]) -> list[Access]:
    """Return the accesses in a trace: every load, and every end of a current revision."""
    kept = list(events)
    sizes: dict[bytes, int] = {}
    for event in kept:
        if event.size:
            sizes.setdefault(event.oid, event.size)
    accesses = []
    for event in kept:
        number = int.from_bytes(event.oid, 'big')
        if event.size:
            sizes[event.oid] = event.size
        if event.what <= trace.BEFORE_MISS:
            length = format.units(sizes.get(event.oid, _TYPICAL_SIZE)) * format.UNIT
            accesses.append((number, length))
        elif event.what == trace.INVALIDATE:
            accesses.append((number, 0))
    return accesses


def hit_rate(policy: Policy, accesses: Iterable[Access]) -> float:
    """Return the share of loads that `policy` answers, 0 to 1."""
    hits = loads = 0
    for oid, size in accesses:
        if size:
            loads += 1
            hits += policy.access(oid, size)
        else:
            policy.forget(oid)
    return hits / loads if loads else 0.0
