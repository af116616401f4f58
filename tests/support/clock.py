"""One clock for tests that wait for nothing.

Enters: what a test adds to `time` or `ahead`. Leaves: a :class:`System` whose time is that. Fails:
never, but for a server that does not look at the time.
"""

import threading
from functools import partial
from typing import Any

from support.processes import PATIENCE
from ZEO.net.system import System


class Clock(System):
    """Time that passes when a test says so, and when somebody sleeps."""

    def __init__(self, time: float = 100.0, ahead: float = 0.0) -> None:
        """Set it.

        :param time: seconds on the monotonic clock.
        :param ahead: seconds that the wall clock is ahead of the real one.
        """
        self.time = time
        self.ahead = ahead

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def wall_clock(self) -> float:
        return super().wall_clock() + self.ahead


def let_pass(clock: Clock, server: Any, seconds: float) -> None:
    """Have time pass for a server with this clock; wait until it has called what is due by then."""
    clock.time += seconds
    looked = threading.Event()
    server.post(partial(server.later, 0, looked.set))  # called after all that was due before
    assert looked.wait(PATIENCE)
