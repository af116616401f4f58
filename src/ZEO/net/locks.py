"""Locks that an exception in their thread has left locked: they are found and released.

Enters: a lock, how often it was taken, and by which thread. Leaves: whether it is lost. Fails:
never; :func:`under_in_time` fails with what its function raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZEO.locks import under
from ZEO.net.system import System

#: Seconds between two checks whether a lock is free.
_PAUSE = 0.001

#: Seconds for which a lock may be held: a blocked send gives up after 60.
LONGEST_HOLD = 90.0

#: Seconds within which a thread says that it has taken a lock: a hundred busy threads delay one for
#: seconds.
GONE_AFTER = 30.0

#: Stands for a lock that is free, in place of how often it was taken.
_FREE = -1


class Suspicion:
    """Finds out that a lock is never released, for any reason.

    It is asked now and then. The state of all threads at one moment would not show it: between two
    bytecodes of the thread that looks, others release a lock and take it.

    :param holding: returns how often the lock was taken so far, and which thread runs the function
        that it is held for, None for none.
    """

    def __init__(
        self, lock: Any, holding: Callable[[], tuple[int, int | None]], system: System
    ) -> None:
        self._lock = lock
        self._holding = holding
        self._system = system
        self._seen = _FREE  # how often it had been taken when it was last seen held
        self._since = 0.0  # when it was first seen held with that number

    def is_lost(self) -> bool:
        """Return whether the lock is held for too long, or while no thread runs the function."""
        taken, thread = self._holding()
        now = self._system.now()
        if not self._lock.locked():
            # if it is held at the next look, it was taken since then, counted or not
            self._seen = _FREE
            return False
        if taken != self._seen:
            self._seen, self._since = taken, now
            return False
        held = now - self._since
        return held > LONGEST_HOLD or (
            held > GONE_AFTER and (thread is None or self._system.has_ended(thread))
        )


def under_in_time(
    lock: Any, function: Callable[[], Any], seconds: float, suspicion: Suspicion, system: System
) -> bool:
    """Call a function with a lock held, if the lock is free in time; return whether it was.

    :param seconds: how long to wait.
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
    """Release a lock in the place of a thread that never does."""
    try:
        lock.release()
    except RuntimeError:  # it was released meanwhile
        pass
