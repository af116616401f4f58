"""Made-up accesses to compare caches with.

Enters: how many accesses to how many objects, a random number generator. Leaves: oids as integers.
Fails: never. ZEO is not imported, so that caches of other versions can be given the same accesses.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect


def uniform(count: int, objects: int, chooser: random.Random) -> list[int]:
    """Return `count` oids, each of the `objects` equally likely."""
    return [chooser.randrange(objects) for _ in range(count)]


def zipf(count: int, objects: int, chooser: random.Random, exponent: float = 0.9) -> list[int]:
    """Return `count` oids, the n-th favourite chosen in proportion to 1 / n ** exponent."""
    weights = list(itertools.accumulate(1 / (n + 1) ** exponent for n in range(objects)))
    favourites = list(range(objects))
    chooser.shuffle(favourites)
    return [
        favourites[min(bisect(weights, chooser.random() * weights[-1]), objects - 1)]
        for _ in range(count)
    ]


def scan(count: int, objects: int, chooser: random.Random) -> list[int]:
    """Return `count` oids: a hot twentieth of the objects, and scans through the others
    meanwhile.
    """
    hot = max(objects // 20, 1)
    oids: list[int] = []
    cold = itertools.cycle(range(hot, objects))
    while len(oids) < count:
        oids += [chooser.randrange(hot) for _ in range(objects // 4)]
        for step in range(objects // 2):
            oids.append(next(cold))
            if step % 2:
                oids.append(chooser.randrange(hot))
    return oids[:count]


WORKLOADS = {'uniform': uniform, 'zipf': zipf, 'scan': scan}
