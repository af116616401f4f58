"""Clocks and threads, as the rest of the package takes them.

Enters and leaves: nothing but time and callables.  A simulator puts another :class:`System` in the place of :data:`REAL`.
"""
from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any


class System:
    """What a machine offers besides its network."""

    def now(self) -> float:
        """Return the seconds of a clock that never goes back."""
        return time.monotonic()

    def wall_clock(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def spawn(self, name: str, target: Callable[..., None], *args: Any) -> threading.Thread:
        """Run `target` in a new thread, which does not keep the process alive; return the thread."""
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        thread.start()
        return thread

    def lock(self) -> Any:
        """Return a new lock, not held."""
        return threading.Lock()

    def event(self) -> threading.Event:
        """Return a new event, not set."""
        return threading.Event()

    def this_thread(self) -> int:
        """Return a number that tells the calling thread from others."""
        return threading.get_ident()

    def after_fork_in_child(self, function: Callable[[], None]) -> None:
        """Have `function` called in every child process that is forked from now on."""
        if hasattr(os, 'register_at_fork'):
            os.register_at_fork(after_in_child=function)


REAL = System()
