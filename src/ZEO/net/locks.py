"""Locks that are never given back, since the thread that took one was torn away: found and freed.

Enters: a lock, and how often it was taken by which thread. Leaves: whether it is lost. Fails:
never; :func:`under_in_time` fails with what its function raises.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ZEO.locks import under
from ZEO.net import green
from ZEO.net.system import System

#: Seconds between two looks whether a lock is free.
_PAUSE = 0.001

#: Seconds for which a lock may be held: a blocked send gives up after 60.
LONGEST_HOLD = 90.0

#: Seconds for which a thread may be kept from saying that it has taken a lock: a hundred busy
#: threads keep one for seconds.
GONE_AFTER = 30.0


#: No number of times that a lock was taken.
_FREE = -1


class Suspicion:
    """Finds a lock that is never given back, because the thread that had taken it was torn away, or
    for whatever reason.

    It is asked now and then. No look at what threads do at one moment can tell that: between two
    steps of the one that looks, others give a lock back and take it.

    :param holding: returns how often the lock was taken so far, and which thread is in what is done
        under it, None for none.
    """

    def __init__(
        self, lock: Any, holding: Callable[[], tuple[int, int | None]], system: System
    ) -> None:
        self._lock = lock
        self._holding = holding
        self._system = system
        self._seen = _FREE  # how often it had been taken at the last look, if it was held
        self._since = 0.0  # when it was found to be held so for the first time

    def is_lost(self) -> bool:
        """Tell whether the lock is held for longer than anything takes, or while no thread does
        what it is held for.
        """
        taken, thread = self._holding()
        now = self._system.now()
        if not self._lock.locked():
            # what is held at the next look has been taken since, counted or not
            self._seen = _FREE
            return False
        if taken != self._seen:
            self._seen, self._since = taken, now
            return False
        held = now - self._since
        return held > LONGEST_HOLD or (held > GONE_AFTER and (thread is None or _has_ended(thread)))


def _has_ended(thread: int) -> bool:
    """Tell whether there is not such a thread; greenlets of gevent's can't be looked for."""
    return not green.are_threads_green() and thread not in sys._current_frames()


def under_in_time(
    lock: Any, function: Callable[[], Any], seconds: float, suspicion: Suspicion, system: System
) -> bool:
    """Call a function with a lock held, if that is free within some seconds; tell whether it
    was.
    """
    until = system.now() + seconds
    while lock.locked():
        if suspicion.is_lost():
            take_back(lock)
        elif system.now() > until:
            return False
        system.sleep(_PAUSE)
    under(lock, function)
    return True


def take_back(lock: Any) -> None:
    """Give back a lock in the place of a thread that never does."""
    try:
        lock.release()
    except RuntimeError:  # by now it was given back
        pass
