"""What the storages of a server have done in the last ten minutes.

Enters: a look at their counters every few seconds, by the loop's timer. Leaves: those looks, the
oldest first; how late the timer came, which is how long the loop has kept others waiting. Fails:
never; a storage whose counters cannot be read is left out of a look.

A look costs a few microseconds for each storage, and some more for each hundred clients; a kept one
takes about 300 bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from ZEO.net.loop import Loop
from ZEO.serving.histogram import Histogram
from ZEO.serving.hosted import HostedStorage

#: Seconds between two looks, and how many are kept: ten minutes.
STEP, MOST_LOOKS = 5.0, 121

#: Seconds between two measurements of the loop's delay; a look is taken with every fifth.
_TICK = 1.0


class Look(NamedTuple):
    """The counters of one storage at one time, and some numbers of that moment."""

    loads: int
    misses: int
    stores: int
    commits: int
    aborts: int
    conflicts: int
    received: int
    sent: int
    invalidations: int
    held: float  # seconds that the commit lock was held
    clients: int
    waiting: int


def look(hosted: HostedStorage) -> Look:
    """Look at a storage."""
    stats, peers, records = hosted.stats, hosted.peers, hosted.backend.records
    return Look(
        peers.loads,
        0 if records is None else records.missed,
        stats.stores,
        stats.commits,
        stats.aborts,
        stats.conflicts,
        peers.bytes_received,
        peers.bytes_sent,
        stats.invalidations,
        round(stats.durations.hold.sum, 4),
        len(peers),
        hosted.lock.waiting,
    )


class History:
    """The looks of one server; all in the loop's thread."""

    def __init__(self, loop: Loop, storages: Mapping[str, HostedStorage]) -> None:
        self._loop = loop
        self._storages = storages
        self._looks: deque[tuple[int, float, dict[str, Look]]] = deque(maxlen=MOST_LOOKS)
        self._count = 0
        self._next_look = 0.0
        self._timer: Any = None
        self.delay = Histogram()

    def start(self) -> None:
        """Begin with a look now."""
        self._tick(self._loop.system.now())

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self, due: float) -> None:
        now = self._loop.system.now()
        self._timer = self._loop.later(_TICK, partial(self._tick, now + _TICK))
        self.delay.add(max(0.0, now - due))
        if now >= self._next_look:
            # so that a timer which is a bit early or late does not shift all looks after it
            self._next_look = now + STEP - _TICK / 2
            self._look()

    def _look(self) -> None:
        looks: dict[str, Look] = {}
        for name, hosted in self._storages.items():
            self._loop.attempt(partial(self._add, looks, name, hosted))
        self._count += 1
        self._looks.append((self._count, self._loop.system.wall_clock(), looks))

    def _add(self, looks: dict[str, Look], name: str, hosted: HostedStorage) -> None:
        looks[name] = look(hosted)

    def since(self, number: int) -> Iterator[tuple[int, float, dict[str, Look]]]:
        """Yield the looks after the one of that number: number, seconds since the epoch, and the
        counters by storage.
        """
        return (entry for entry in self._looks if entry[0] > number)
