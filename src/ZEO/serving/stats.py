"""The figures of one storage's service.

Enters: events, as plain increments. Leaves: figures by their names. Fails: never.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import ctime
from typing import Any

from ZEO.serving.commit.times import Durations
from ZEO.serving.histogram import Histogram
from ZEO.serving.moments import time_of


class Stats:
    """Counters since the server's start."""

    def __init__(self, now: float, began: float = 0.0) -> None:
        self.start = now  # seconds since the epoch
        self.began = began  # the same on the clock that never goes back
        self.stores = 0
        self.commits = 0
        self.aborts = 0
        self.active_txns = 0
        self.conflicts = 0
        self.conflicts_resolved = 0
        self.durations = Durations()  # of what commits spend their time with
        self.delays = Histogram()  # of transactions of others, until clients were sent them
        self.connections = 0  # clients that have registered
        self.invalidations = 0  # messages to clients about what others have committed
        # when the commit lock was taken, seconds since the epoch
        self.lock_since: float | None = None
        self.pack_since: float | None = None  # when the running pack began
        self.packed_at: float | None = None  # when the last pack has ended, whatever came of it
        # what clients of this server were denied, by kind; shared by its storages
        self.denied: Mapping[str, int] = {}

    def heard(self, tid: bytes, now: float) -> None:
        """Clients were sent a transaction that others have committed, elsewhere.

        :param now: seconds since the epoch.
        """
        self.delays.add(max(0.0, now - (time_of(tid) or now)))

    def report(self) -> dict[str, Any]:
        """Return the figures by the names that monitoring programs know."""
        return {
            'stores': self.stores,
            'commits': self.commits,
            'aborts': self.aborts,
            'active_txns': self.active_txns,
            'lock_time': self.lock_since,
            'conflicts': self.conflicts,
            'conflicts_resolved': self.conflicts_resolved,
            'start': ctime(self.start),
            'packing': self.pack_since is not None,
            'pack-start': ctime(self.pack_since) if self.pack_since is not None else None,
            'denied': dict(self.denied),
        }
