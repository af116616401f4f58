"""The hit rate that a client cache of another size would have had: a trace, replayed.

Enters: the events of a trace, and a size in bytes. Leaves: a hit rate, by a model of what the cache
keeps. Fails: never; a trace without loads has a hit rate of 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ZEO.cache import format, trace

Access = tuple[int, int]  # oid, size in bytes; size 0: the record has become useless

_TYPICAL_SIZE = 500  # bytes, for records whose size the trace does not have


class Policy(Protocol):
    """A model of a cache: what it keeps."""

    def access(self, oid: int, size: int) -> bool:
        """Load a record of `size` bytes; return whether it was there. If not it is stored."""

    def forget(self, oid: int) -> None:
        """Drop a record that has become useless."""


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
