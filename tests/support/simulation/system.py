"""What an operating system offers to one simulated process, in the place of ``net.system.REAL``.

Enters: what the product asks of :class:`ZEO.net.system.System`. Leaves: virtual time, simulated
threads and locks. Fails: as the real one; RuntimeError where the plan says that no thread starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from support.simulation import waiting
from support.simulation.scheduler import Scheduler, Thread
from ZEO.net.system import System

#: Seconds since the epoch when a world begins.
EPOCH = 1_800_000_000.0

#: Stands for the thread that sets up the world.
_OUTSIDE = SimpleNamespace(name='outside', ident=0, is_alive=lambda: True)


class SimulatedSystem(System):
    """That of one process.

    :param process: its threads are the process's; it has `clock_offset` in seconds.
    """

    def __init__(self, scheduler: Scheduler, process: Any) -> None:
        self._scheduler = scheduler
        self._process = process
        self.now = scheduler.clock
        self.give_way = scheduler.give_way

    def processors(self) -> int:
        """One: with more, waits would begin by looking for a while, which takes steps."""
        return 1

    def processor(self) -> set[int] | None:
        return None

    def run_on(self, processors: set[int] | None) -> set[int] | None:
        return None

    def resident_memory(self) -> int | None:
        return None

    def lower_priority(self, by: int) -> None:
        pass

    def wall_clock(self) -> float:
        scheduler = self._scheduler
        return EPOCH + scheduler.clock() + self._process.clock_offset

    def sleep(self, seconds: float) -> None:
        self._scheduler.door('sleep')
        self._scheduler.wait('the end of a sleep', seconds)

    def spawn(self, name: str, target: Callable[..., None], *args: Any) -> Any:
        self._scheduler.door('spawn')
        return self._scheduler.spawn(self._process, name, target, *args)

    def begin_quick_switches(self) -> None:
        """Change nothing."""

    end_quick_switches = begin_quick_switches

    def lock(self) -> waiting.Lock:
        return waiting.Lock(self._scheduler)

    def reentrant_lock(self) -> waiting.RLock:
        return waiting.RLock(self._scheduler)

    def queue(self) -> waiting.Queue:
        return waiting.Queue(self._scheduler)

    def condition(self) -> Any:
        return waiting.Condition(self._scheduler)

    def event(self) -> Any:
        return waiting.Event(self._scheduler)

    def current_thread(self) -> Any:
        return self._scheduler.current or _OUTSIDE

    def this_thread(self) -> int:
        return self.current_thread().ident

    def has_ended(self, thread: int) -> bool:
        return not any(one.ident == thread for one in self._scheduler.threads)

    def thread_numbers(self) -> Callable[[], int]:
        return self.this_thread

    @contextmanager
    def signals_written_to(self, fd: int) -> Iterator[bool]:
        yield True

    def after_fork_in_child(self, method: Callable[[], None]) -> None:
        pass


def current_system(scheduler: Scheduler) -> Any:
    """Return the system of the process whose thread runs; None while none does."""
    thread: Thread | None = scheduler.current
    return None if thread is None else thread.process.system
