"""The thread that syncs a storage's file while the loop goes on.

Enters: that something is written. Leaves: in the loop's thread, up to which transaction the disk
has everything; figures. Fails: in the loop's thread, with what the storage raises.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ZEO.net.loop import Loop
from ZEO.serving.commit.times import AT_ONCE
from ZEO.serving.histogram import Histogram

#: How many transactions one sync makes permanent: bounds of the histogram.
SHARED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128)

#: What the last syncs weigh against the newest.
_MEMORY = 0.8


class Syncing:
    """Syncs of `storage`, one at a time; all but the sync itself in the loop's thread.

    :param synced: called with the last tid that is on the disk.
    :param failed: called with the error of a sync.
    """

    def __init__(
        self,
        loop: Loop,
        storage: Any,
        synced: Callable[[bytes], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._loop = loop
        self._storage = storage
        self._tell_synced, self._tell_failed = synced, failed
        self._wanted: Any = None  # the event for which the thread waits
        self._is_closed = False
        self.is_busy = False
        self.count = 0  # syncs, here and elsewhere
        #: Seconds that the last one of the thread has taken; None where it has failed.
        self.last_seconds: float | None = None
        #: Seconds that one takes, of late.
        self.typical: float | None = None
        self._seconds = Histogram()
        self._shared = Histogram(SHARED)
        #: Seconds and transactions of syncs that are not counted yet.
        self._new: list[tuple[float, int]] = []

    def start(self) -> None:
        """Begin a sync of what is written.

        :raises RuntimeError: when the thread cannot be started.
        """
        if self._wanted is None:
            self._wanted = self._loop.system.event()
            try:
                self._loop.system.spawn('ZEO sync', self._serve)
            except BaseException:
                self._wanted = None
                raise
        self._loop.sharing.begin(False)
        try:
            self._wanted.set()
        except BaseException:
            self._loop.sharing.end(False)
            raise
        self.is_busy = True

    def note(self, seconds: float, transactions: int) -> None:
        """Note a sync, wherever it was done."""
        self.count += 1
        self._new.append((seconds, transactions))
        if len(self._new) >= AT_ONCE:
            self._add_new()
        typical = self.typical
        self.typical = seconds if typical is None else _MEMORY * typical + (1 - _MEMORY) * seconds

    @property
    def seconds(self) -> Histogram:
        """How long syncs have taken."""
        self._add_new()
        return self._seconds

    @property
    def shared(self) -> Histogram:
        """How many transactions each has made permanent."""
        self._add_new()
        return self._shared

    def _add_new(self) -> None:
        new, self._new = self._new, []
        self._seconds.add_all([seconds for seconds, _ in new])
        self._shared.add_all([transactions for _, transactions in new])

    def close(self) -> None:
        """End the thread, after a sync that it may be at."""
        self._is_closed = True
        if self._wanted is not None:
            self._wanted.set()

    # In the thread.

    def _serve(self) -> None:
        self._loop.sharing.enter(False)
        wanted = self._wanted
        while True:
            wanted.wait()
            if self._is_closed:
                return
            wanted.clear()
            began = self._loop.system.now()
            try:
                last = self._storage.sync()
            except BaseException as error:  # the boundary of the thread: the loop has to know
                outcome = partial(self._ended, self._tell_failed, error, None)
            else:
                seconds = self._loop.system.now() - began
                outcome = partial(self._ended, self._tell_synced, last, seconds)
            self._loop.from_thread(outcome)

    def _ended(self, tell: Callable[[Any], None], value: Any, seconds: float | None) -> None:
        self.is_busy = False
        self.last_seconds = seconds
        try:
            tell(value)
        finally:
            self._loop.sharing.end(False)
