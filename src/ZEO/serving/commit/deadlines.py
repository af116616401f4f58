"""When transactions have held a commit lock for too long: one timer for all of them.

Enters: each transaction that gets the lock, and until when it may have it. Leaves: the call of its
``timed_out``, if it still has it then. Fails: never. All in the loop's thread.

A commit takes a fraction of a millisecond, and may take 30 seconds: a timer for each would be set
and cancelled, for 4 % of a server's work for it. This one stays set while transactions come and go.
"""

from __future__ import annotations

from math import inf
from typing import Any, Protocol

from ZEO.net.loop import Loop
from ZEO.serving.commit.lock import CommitLock

#: Seconds by which the timer may be early, since times are rounded.
_EARLY = 0.001


class Holder(Protocol):
    """A transaction that has the lock."""

    until: float  # when it has had it for too long, by the loop's clock

    def timed_out(self) -> None:
        """It has had it for too long."""


class Deadlines:
    """Those of the transactions that hold `lock`."""

    def __init__(self, loop: Loop, lock: CommitLock) -> None:
        self._loop = loop
        self._lock = lock
        self._timer: Any = None
        self._next = inf  # when it goes off

    def begin(self, holder: Holder, until: float) -> None:
        """A transaction has got the lock."""
        holder.until = until
        if until < self._next:
            self._set(until)

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = when
        self._timer = self._loop.later(max(0.0, when - self._loop.system.now()), self._look)

    def _look(self) -> None:
        """Some have had it for too long, unless others have it now."""
        self._timer, self._next = None, inf
        now = self._loop.system.now() + _EARLY
        holders = self._lock.holders
        late = [holder for holder in holders if holder.until <= now]
        for holder in late:
            holder.until = inf  # it may have it a little longer, until its storage has stopped
        following = min((holder.until for holder in holders), default=inf)
        if following < inf:
            self._set(following)
        for holder in late:
            self._loop.attempt(holder.timed_out)
