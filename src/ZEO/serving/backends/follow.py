"""The follower of an MVCC storage: what was committed elsewhere, and here, in one order.

Enters: that something may have been committed, or the time of a poll. Leaves: calls in the loop's
thread, with the transactions after the last one that was reported; failures, when the database
does not answer. Fails: never.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from ZODB.POSException import StorageError

from ZEO.net.loop import Loop
from ZEO.net.system import Empty
from ZEO.serving import doors
from ZEO.serving.backends.changes import Changes, Lost, Step
from ZEO.serving.backends.listen import Listener
from ZEO.serving.moments import lasted
from ZEO.wire.quoting import of_database

log = logging.getLogger('ZEO.StorageServer')

#: Seconds after which a database that cannot be asked is asked again.
AGAIN = 0.25

#: Seconds between two polls where every commit is heard: should one not be.
BACKSTOP = 5.0

#: Seconds after which a poll that is under way counts as one that has failed.
LATE = 2.0


class Follows(Protocol):
    """What takes the reports; all in the loop's thread."""

    def reported(self, steps: Iterable[Step]) -> None:
        """These transactions follow those that were reported before."""

    def lost_track(self, last: bytes, why: str) -> None:
        """It is not known what has changed up to `last`, or there is less than there was."""


#: Called when everything is reported that was committed before it was given, with None; or with the
#: error, when the database can't be asked.
Met = Callable[[BaseException | None], None]


class Follower:
    """A thread that asks the database what has changed.

    :param interval: seconds between two polls.
    :param last: the last transaction that is known.
    :param listener: hears of what is committed between two polls, where there is one.
    """

    def __init__(
        self,
        name: str,
        changes: Changes,
        loop: Loop,
        follows: Follows,
        interval: float,
        last: bytes,
        listener: Listener | None = None,
    ) -> None:
        self._listener = listener
        self._name = name
        self._changes = changes
        self._loop = loop
        self._follows = follows
        self._interval = interval
        self._queue = loop.system.queue()
        self._thread: Any = None
        #: Why the database cannot be asked; None when it can.
        self.trouble: BaseException | None = None
        self._away_since = 0.0
        self._asked_at: float | None = None  # when the poll began that is under way
        self._polled_at = loop.system.now()  # when the last poll began that was answered
        self._last = last  # used by the thread
        self._wanted: list[Met] = []  # so are these, which wait for a poll

    def start(self) -> None:
        """Begin to follow.

        :raises StorageError: when no thread can be started.
        """
        try:
            self._thread = self._loop.system.spawn('ZEO follower', doors.within(self._run))
        except (RuntimeError, MemoryError, OSError) as error:
            raise StorageError(f'the server cannot start a thread: {error}') from error

    def request(self, met: Met) -> None:
        """Poll now, and call `met` in the loop's thread; from any thread."""
        self._queue.put(met)

    def is_away(self) -> bool:
        """Return whether the database does not answer."""
        asked_at = self._asked_at
        return self.trouble is not None or (
            asked_at is not None and self._loop.system.now() - asked_at > LATE
        )

    def away_for(self) -> float:
        """Return the seconds for which the database has not answered; 0 while it does."""
        since = self._away_since if self.trouble is not None else self._asked_at
        return self._loop.system.now() - since if since is not None and self.is_away() else 0.0

    def view_age(self) -> float:
        """Return how many seconds ago it was known what had been committed by then."""
        return max(0.0, self._loop.system.now() - self._polled_at)

    def close(self, seconds: float) -> None:
        """End the thread, unless the database does not answer."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(seconds)

    # In the thread.

    def _run(self) -> None:
        while True:
            try:
                if not self._turn():
                    self._end()
                    return
            # the thread's boundary: without it, what others commit would never be seen again
            except MemoryError:
                self._loop.system.sleep(AGAIN)

    def _turn(self) -> bool:
        """Wait until it is time to poll, and do it; return whether to go on."""
        if not self._wait():
            return False
        self._asked_at = began = self._loop.system.now()
        try:
            self._poll(self._wanted)
            self._polled_at = began
        # the boundary of one poll: whatever the database fails with, it is asked again
        except BaseException as error:
            self._loop.from_thread(partial(self._failed, self._wanted, error))
        finally:
            self._asked_at = None
        self._wanted = []
        return True

    def _end(self) -> None:
        try:
            self._changes.close()
        finally:
            if self._listener is not None:
                self._listener.close()

    def _wait(self) -> bool:
        """Collect what is wanted, perhaps nothing, until it is time to poll; return whether to."""
        timeout = self._pause()
        try:
            while (met := self._queue.get(timeout=timeout)) is not None:
                self._wanted.append(met)
                timeout = 0
        except Empty:
            return True
        return False

    def _pause(self) -> float:
        """Return the seconds until the next poll."""
        if self.trouble is not None:
            return AGAIN
        if self._listener is not None and self._listener.is_listening:
            return BACKSTOP
        return self._interval

    def _poll(self, requests: list[Met]) -> None:
        if self._listener is not None:
            self._listener.listen()
        try:
            steps = self._changes.after(self._last)
        except Lost as error:
            last = self._changes.last()
            self._loop.from_thread(partial(self._lost, requests, last, str(error)))
            self._last = last
            return
        if steps or requests or self.trouble is not None:
            self._loop.from_thread(partial(self._polled, requests, steps))
        if steps:  # last: what was not handed over is found again
            self._last = steps[-1][0]

    # In the loop's thread.

    def _polled(self, requests: list[Met], steps: list[Step]) -> None:
        self._is_back()
        if steps:
            self._loop.attempt(partial(self._report, steps))
        self._meet(requests, None)

    def _report(self, steps: list[Step]) -> None:
        try:
            self._follows.reported(steps)
        except Exception:  # as for lack of memory: these are not found again
            self._follows.lost_track(steps[-1][0], 'its last changes could not be told')
            raise

    def _lost(self, requests: list[Met], last: bytes, why: str) -> None:
        self._is_back()
        self._loop.attempt(partial(self._follows.lost_track, last, why))
        self._meet(requests, None)

    def _failed(self, requests: list[Met], error: BaseException) -> None:
        if self.trouble is None:
            self._away_since = self._loop.system.now()
            log.error(
                'storage %s: its database is not available: %s', self._name, of_database(error)
            )
        self.trouble = error
        self._meet(requests, error)

    def _is_back(self) -> None:
        if self.trouble is not None:
            self.trouble = None
            away = self._loop.system.now() - self._away_since
            log.warning(
                'storage %s: its database is available again, after %s', self._name, lasted(away)
            )

    def _meet(self, requests: list[Met], error: BaseException | None) -> None:
        for met in requests:
            self._loop.attempt(partial(met, error))
