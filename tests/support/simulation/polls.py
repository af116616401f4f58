"""Simulated poll objects, which wait for sockets.

Enters: sockets, each with the events to wait for. Leaves: those that are ready. Fails: as the real
ones do.
"""

from __future__ import annotations

from typing import Any

from support.simulation.scheduler import Scheduler
from support.simulation.sockets import CLOSED, ERROR, HANGUP, Socket


class Poll:
    """As ``select.poll``: one thread at a time, and a descriptor that was closed is ready."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._files: dict[Socket, int] = {}
        self._waiter: Any = None

    def register(self, file: Socket, events: int) -> None:
        if file.closed:
            raise ValueError('file descriptor cannot be a negative integer (-1)')
        self._files[file] = events

    def poll(self, milliseconds: float | None = None) -> list[tuple[int, int]]:
        seconds = None if milliseconds is None or milliseconds < 0 else milliseconds / 1000
        return self.wait(seconds)

    def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """Return the files that are ready in time."""
        scheduler = self._scheduler
        scheduler.door('poll')  # first: another thread may take this object meanwhile
        if self._waiter is not None:
            raise RuntimeError('concurrent poll() invocation')
        until = None if seconds is None else scheduler.now + seconds
        ready = self._ready()
        if ready or seconds == 0:
            return ready
        try:
            for file in self._files:
                file.watchers[self] = None
            while not ready:
                left = None if until is None else until - scheduler.now
                if left is not None and left <= 0:
                    break
                self._waiter = scheduler.me()
                scheduler.wait('files', left)
                ready = self._ready()
            return ready
        finally:
            self._waiter = None
            for file in self._files:
                file.watchers.pop(self, None)

    def look(self) -> list[tuple[int, int]]:
        """Return the files that are ready now."""
        return self.wait(0)

    def _ready(self) -> list[tuple[int, int]]:
        found = []
        for file, events in self._files.items():
            ready = file.events() & (events | ERROR | HANGUP | CLOSED)
            if ready:
                found.append((file._fd, ready))
        return found

    def wake(self) -> None:
        """A file has changed."""
        if self._waiter is not None:
            self._scheduler.wake(self._waiter)


class Epoll(Poll):
    """As :class:`ZEO.net.poller.Epoll`: files leave it when they are closed."""

    def __init__(self, scheduler: Scheduler, process: Any) -> None:
        super().__init__(scheduler)
        self._process = process

    def register(self, file: Any, events: int) -> None:
        self._files[self._process.files[file]] = events

    modify = register

    def unregister(self, fd: int) -> None:
        self._files.pop(self._process.files.get(fd), None)  # type: ignore[arg-type]

    def poll(self, seconds: float | None = None) -> list[tuple[int, int]]:
        return self.wait(seconds)

    def _ready(self) -> list[tuple[int, int]]:
        for file in [file for file in self._files if file.closed]:
            del self._files[file]
        return super()._ready()

    def close(self) -> None:
        self._files.clear()
