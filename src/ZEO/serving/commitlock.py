"""One storage's commit lock: first come, first served.

Enters: who wants it, and what to do when he has it.  Leaves: that call, at once or when those before him are done.  Fails:
never.  All in the loop's thread.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class CommitLock:
    """A lock that is waited for without blocking.

    :param soon: how to call a function a little later, in the same thread: a hundred waiters must not be a hundred calls deep.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], None]) -> None:
        self._soon = soon
        self.holder: Any = None
        self._waiting: deque[tuple[Any, Callable[[], None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for the lock."""
        return len(self._waiting)

    def acquire(self, who: Any, granted: Callable[[], None]) -> None:
        """Call `granted` once `who` holds the lock."""
        if self.holder is None:
            self.holder = who
            granted()
        else:
            self._waiting.append((who, granted))

    def release(self, who: Any) -> None:
        """Take back the lock, or the wish for it; harmless where there is neither."""
        if self.holder is who:
            self.holder = None
            if self._waiting:
                self.holder, granted = self._waiting.popleft()
                self._soon(granted)
        else:
            self._waiting = deque(entry for entry in self._waiting if entry[0] is not who)
