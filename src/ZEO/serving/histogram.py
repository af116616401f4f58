"""How often something has taken how long, or was how large.

Enters: durations in seconds, or other numbers. Leaves: their count and sum, and how many were no
longer than each of some bounds. Fails: never.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

#: Seconds: from a commit in memory to the longest that a client may hold the commit lock.
BOUNDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Histogram:
    """Durations of one kind, or other numbers.

    :param bounds: in ascending order.
    """

    __slots__ = ('bounds', 'counts', 'sum')

    def __init__(self, bounds: tuple[float, ...] = BOUNDS) -> None:
        self.bounds = bounds
        self.sum = 0.0
        #: How many were longer than a bound and not than the next one.
        self.counts = [0] * (len(bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def add_all(self, durations: list[Any]) -> None:
        """Count several, which takes less time than one by one."""
        durations.sort()
        before = 0
        for place, bound in enumerate(self.bounds):
            up_to = bisect_right(durations, bound, before)
            self.counts[place] += up_to - before
            before = up_to
        self.counts[-1] += len(durations) - before
        self.sum += sum(durations)

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def up_to(self) -> Iterator[tuple[float, int]]:
        """Yield each bound with the number of those that were no longer; the last is infinite."""
        return zip((*self.bounds, float('inf')), accumulate(self.counts), strict=True)
