"""One simulated thread, and the ways in which a simulation does not come to its end.

Enters: a function. Leaves: its result, or the error that has ended it. Fails: never.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit, greenlet

if TYPE_CHECKING:
    from support.simulation.scheduler import Scheduler


class SimulationFailed(Exception):
    """The history has not come to its end."""


class Hang(SimulationFailed):
    """Threads wait, and nothing will ever wake them; or they have waited for too long."""


class Livelock(SimulationFailed):
    """There were too many steps."""


class Killed(GreenletExit):
    """Raised in a thread of a process that is dead: nothing it does reaches the outside."""


class Thread:
    """A simulated thread, with the methods of Python's that programs use."""

    def __init__(
        self,
        scheduler: Scheduler,
        process: Any,
        name: str,
        target: Callable[..., Any],
        args: tuple[Any, ...],
        daemon: bool,
    ) -> None:
        self.ident = next(scheduler.numbers)
        self.process = process  # has `dead` and `paused`
        self.name = name
        self.daemon = daemon  # whether the end of the history does not wait for it
        self.error: BaseException | None = None  # what it has ended with
        self.result: Any = None
        self.epoch = 0  # how often it has waited: a wake-up for another wait is void
        self.waits_for = ''  # for people; empty while it can run
        self.woken_by: Any = None
        self.call = ''  # of a client storage, in which it is
        self.has_begun = False  # whether it has come to a point in that
        self.struck: BaseException | None = None  # raised where it calls the outside next
        self._scheduler = scheduler
        self._target: Callable[..., Any] | None = target
        self._args = args
        self._joined: list[tuple[Thread, int]] = []
        self.greenlet = greenlet(self._run, scheduler.hub)

    def __repr__(self) -> str:
        return f'<{self.process.name}/{self.name}>'

    def is_alive(self) -> bool:
        """Return whether it has not ended."""
        return self._target is not None

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        if self.is_alive():
            scheduler = self._scheduler
            self._joined.append(scheduler.me())
            scheduler.wait(f'the end of {self!r}', timeout)

    def stack(self) -> str:
        """Return where it is, for people."""
        frame = self.greenlet.gr_frame
        if frame is None:
            return '  not begun\n'
        lines = traceback.format_stack(frame)
        return ''.join(line for line in lines if '/simulation/scheduler.py' not in line)

    def _run(self) -> None:
        try:
            self.result = self._target(*self._args)  # type: ignore[misc]
        except BaseException as error:
            if not self.process.dead:
                self.error = error
        finally:
            self._target, self._args = None, ()
            self._scheduler.ended(self, self._joined)
