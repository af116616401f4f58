"""The hit rate that a client cache of another size would have had: a trace, replayed.

Enters: the events of a trace, and a size in bytes. Leaves: a hit rate, by a model of what the cache
file keeps. Fails: never; a trace without loads has a hit rate of 0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from ZEO.cache import format, trace

Access = tuple[int, int]  # oid, size in bytes; size 0: the record has become useless

_TYPICAL_SIZE = 500  # bytes, for records whose size the trace does not have
_MOST_USES = 3  # hits that are counted, as the two bits of the cache's index do


class Policy(Protocol):
    """A model of a cache: what it keeps."""

    def access(self, oid: int, size: int) -> bool:
        """Load a record of `size` bytes; return whether it was there. If not it is stored."""

    def forget(self, oid: int) -> None:
        """Drop a record that has become useless."""


class Clock:
    """What a cache file does: a record used since the hand last passed it is kept for another
    round.

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
