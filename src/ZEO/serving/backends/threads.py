"""Threads that stay: starting one for each call would cost more than the call.

Enters: functions, for one thread or for whichever is free. Leaves: their calls. Fails: StorageError
where no thread can be started.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZODB.POSException import StorageError

from ZEO.net.loop import Loop
from ZEO.net.system import Empty
from ZEO.serving import doors

#: Seconds after which an idle thread ends its transaction in the database: one that stays open
#: keeps the database from removing old rows.
IDLE = 1.0


class Thread:
    """A thread that calls what it is given, one after the other; it starts with the first.

    :param idle: called in the thread when there was nothing to do for :data:`IDLE` seconds, once.
    :param ended: called in the thread at its end.
    """

    def __init__(
        self,
        name: str,
        loop: Loop,
        idle: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._name = name
        self._loop = loop
        self._idle = idle
        self._ended = ended
        self._now = loop.system.now
        self._queue = loop.system.queue()
        self._thread: Any = None
        #: When it began what it does now; None: it does nothing.
        self.busy_since: float | None = None

    def busy_for(self) -> float:
        """Return for how many seconds it has done what it does now."""
        since = self.busy_since
        return 0.0 if since is None else self._now() - since

    def call(self, function: Callable[[], None]) -> None:
        """Have `function` called; what it raises is logged.

        :raises StorageError: when no thread can be started.
        """
        if self._thread is None:
            self._start()
        self._queue.put(function)

    def _start(self) -> None:
        try:
            self._thread = self._loop.system.spawn(self._name, doors.within(self._run))
        except (RuntimeError, MemoryError, OSError) as error:
            raise StorageError(
                f'the server cannot start a thread for this call: {error}; try again later'
            ) from error

    def end(self) -> None:
        """Have the thread end when it has done what it was given."""
        if self._thread is not None:
            self._queue.put(None)

    def join(self, seconds: float) -> None:
        """Wait for its end; a database that does not answer is not waited for."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        worked = False
        while True:
            try:
                function = self._queue.get(timeout=IDLE if worked else None)
            except Empty:
                worked = False
                self._attempt(self._idle)
                continue
            if function is None:
                self._attempt(self._ended)
                return
            worked = True
            self._attempt(function)
            del function

    def _attempt(self, function: Callable[[], None]) -> None:
        self.busy_since = self._now()
        try:
            function()
        except BaseException as error:  # the thread has more to do, and there is no caller
            self._loop.from_thread(_Failed(self._loop, self._name, error))
        finally:
            self.busy_since = None


class _Failed:
    """Logs an error, in the loop's thread."""

    __slots__ = ('_loop', '_name', '_error')

    def __init__(self, loop: Loop, name: str, error: BaseException) -> None:
        self._loop, self._name, self._error = loop, name, error

    def __call__(self) -> None:
        self._loop.reports.failed('a thread of the server failed', self._name, self._error)
