"""What hit rate a cache would have had: events or made-up accesses, replayed through the policies.

In: accesses (oid, size in bytes; size 0: forget it), sizes to try. Out: hit rates, and a plot of
them as text. Fails: ValueError when there is nothing to replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ZEO.cache import format, trace
from ZEO.cache.policies import Clock, Lru, Policy, Ring, S3Fifo

POLICIES: dict[str, Callable[[int], Policy]] = {
    'clock': lambda size: Clock(size, 3),  # what ClientCache does
    'ring': Ring,
    'lru': Lru,
    's3-fifo': S3Fifo,
}

Access = tuple[int, int]  # oid, size in bytes; size 0: the record has become useless
_TYPICAL_SIZE = 500  # bytes, for records of which the trace never tells


def accesses_of(events: Iterable[trace.Event]) -> list[Access]:
    """Return the accesses that a trace tells of; what is current is loaded, what ends is
    forgotten.
    """
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
    """Return the share of loads that policy answers, 0 to 1."""
    hits = loads = 0
    for oid, size in accesses:
        if size:
            loads += 1
            hits += policy.access(oid, size)
        else:
            policy.forget(oid)
    return hits / loads if loads else 0.0


def table(
    accesses: Sequence[Access], sizes: Sequence[int], names: Sequence[str]
) -> dict[str, list[float]]:
    """Return {policy: hit rate at each size}. Raises ValueError when there are no accesses."""
    if not accesses:
        raise ValueError('there are no loads to replay')
    return {name: [hit_rate(POLICIES[name](size), accesses) for size in sizes] for name in names}


def text_plot(rates: dict[str, list[float]], labels: Sequence[str], height: int = 12) -> str:
    """Return a plot of hit rate against cache size: a letter per policy, one column per size."""
    letters = {name: name[0].upper() for name in rates}
    width = max(map(len, labels)) + 3
    lines = []
    for row in range(height, -1, -1):
        cells = []
        for column in range(len(labels)):
            here = [
                letters[name]
                for name, values in rates.items()
                if _row(values[column], height) == row
            ]
            cells.append(''.join(here).center(width))
        lines.append(f'{100 * row / height:4.0f} % |' + ''.join(cells).rstrip())
    lines.append('       +' + '-' * (width * len(labels)))
    lines.append('        ' + ''.join(label.center(width) for label in labels).rstrip())
    lines.append('   ' + ', '.join(f'{letter} = {name}' for name, letter in letters.items()))
    return '\n'.join(lines)


def _row(rate: float, height: int) -> int:
    return round(rate * height)
