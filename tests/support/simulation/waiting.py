"""Locks, conditions, events and queues of simulated threads.

Enters: what threads of Python do with those of :mod:`threading` and :mod:`queue`. Leaves: the same,
with waits in virtual time. Fails: as those do; :class:`Killed` in a thread of a process that is
dead, for whatever takes time, while giving back does nothing there.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from typing import Any

from support.simulation.scheduler import Scheduler, Thread


class Lock:
    """As ``threading.Lock``."""

    __slots__ = ('_scheduler', '_waiters', '_held')

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiters: list[tuple[Thread, int]] = []
        self._held: Any = None  # by which thread; True: by what sets up the world

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        scheduler = self._scheduler
        scheduler.door('acquire')
        if self._held is not None and not (blocking and self._wait(timeout)):
            return False
        self._held = scheduler.current or True
        return True

    def _wait(self, timeout: float) -> bool:
        """Return whether it is free in time."""
        scheduler = self._scheduler
        until = None if timeout < 0 else scheduler.now + timeout
        while self._held is not None:
            left = None if until is None else until - scheduler.now
            if left is not None and left <= 0:
                return False
            self._waiters.append(scheduler.me())
            scheduler.wait(f'a lock that {self._held!r} holds', left)
        return True

    def release(self) -> None:
        if self._held is None:
            raise RuntimeError('release unlocked lock')
        self._held = None
        waiters = self._waiters
        if waiters:
            self._waiters = []
            for waiter in waiters:  # they find out who is the first
                self._scheduler.wake(waiter)

    def locked(self) -> bool:
        self._scheduler.door('locked')
        return self._held is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class RLock:
    """As ``threading.RLock``."""

    __slots__ = ('_lock', '_scheduler', '_count')

    def __init__(self, scheduler: Scheduler) -> None:
        self._lock = Lock(scheduler)
        self._scheduler = scheduler
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._count and self._lock._held is (self._scheduler.current or True):
            self._count += 1
            return True
        if not self._lock.acquire(blocking, timeout):
            return False
        self._count = 1
        return True

    def release(self) -> None:
        if not self._is_owned():
            raise RuntimeError('cannot release un-acquired lock')
        self._count -= 1
        if not self._count:
            self._lock.release()

    def _is_owned(self) -> bool:
        return self._count > 0 and self._lock._held is (self._scheduler.current or True)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    # For conditions.

    def _release_save(self) -> int:
        count, self._count = self._count, 0
        self._lock.release()
        return count

    def _acquire_restore(self, count: int) -> None:
        self._lock.acquire()
        self._count = count


class Condition:
    """As ``threading.Condition``."""

    def __init__(self, scheduler: Scheduler, lock: Any = None) -> None:
        self._scheduler = scheduler
        self._lock = RLock(scheduler) if lock is None else lock
        self._waiters: list[tuple[Thread, int]] = []
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def wait(self, timeout: float | None = None) -> bool:
        scheduler = self._scheduler
        saved = self._lock._release_save() if isinstance(self._lock, RLock) else self.release()
        self._waiters.append(scheduler.me())
        try:
            return bool(scheduler.wait('a condition', timeout))
        finally:
            if isinstance(self._lock, RLock):
                self._lock._acquire_restore(saved)
            else:
                self.acquire()

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        until = None if timeout is None else self._scheduler.now + timeout
        while not (result := predicate()):
            left = None if until is None else until - self._scheduler.now
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        while n and self._waiters:
            n -= self._scheduler.wake(self._waiters.pop(0))

    def notify_all(self) -> None:
        self.notify(len(self._waiters))

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class Event:
    """As ``threading.Event``."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_set = False
        self._waiters: list[tuple[Thread, int]] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            self._scheduler.wake(waiter)

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        self._scheduler.door('wait')
        if not self._is_set:
            self._waiters.append(self._scheduler.me())
            self._scheduler.wait('an event', timeout)
        return self._is_set


class Queue:
    """As ``queue.SimpleQueue``."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._items: deque[Any] = deque()
        self._waiters: list[tuple[Thread, int]] = []

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        self._items.append(item)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            self._scheduler.wake(waiter)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        scheduler = self._scheduler
        scheduler.door('get')
        until = None if timeout is None else scheduler.now + timeout
        while not self._items:
            left = None if until is None else until - scheduler.now
            if not block or (left is not None and left <= 0):
                raise queue.Empty
            self._waiters.append(scheduler.me())
            scheduler.wait('an item of a queue', left)
        return self._items.popleft()

    def get_nowait(self) -> Any:
        return self.get(False)

    def empty(self) -> bool:
        return not self._items

    def qsize(self) -> int:
        return len(self._items)
