"""Locks that are given back whatever strikes the thread that holds them, and found out where one was not.

Enters: a lock, a function.  Leaves: what the function returns.  Fails: with what it raises, the lock given back.

An exception may strike a thread between any two bytecodes: a signal handler that raises, one that another thread throws in.
"""
from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from ZEO.net import green
from ZEO.net.system import System

Result = TypeVar('Result')

#: Seconds between two looks whether a lock is free.
_PAUSE = 0.001


def under(lock: Any, function: Callable[..., Result], *args: Any) -> Result:
    """Call a function with a lock held, and return what it returns.

    `with` takes and gives back a lock in one bytecode each, and since all of it is one line, not even a tracer that raises at
    every line can come between; ``acquire`` in front of a ``try`` can lose the lock for good.
    """
    with lock: return function(*args)   # noqa: E701


def is_left_behind(lock: Any) -> bool:
    """Tell whether a lock is held, and no thread is in :func:`under` with it: its holder has left without giving it back."""
    if not lock.locked() or green.are_threads_green():   # of which only the running one can be looked at
        return False
    for frame in sys._current_frames().values():
        inner: FrameType | None = frame
        while inner is not None:
            if inner.f_code is under.__code__ and inner.f_locals.get('lock') is lock:
                return False
            inner = inner.f_back
    return True


def under_in_time(lock: Any, function: Callable[[], Any], seconds: float, system: System) -> bool:
    """Call a function with a lock held, if that is free within some seconds; tell whether it was."""
    until = system.now() + seconds
    while lock.locked():
        if is_left_behind(lock):
            take_back(lock)
        elif system.now() > until:
            return False
        system.sleep(_PAUSE)
    under(lock, function)
    return True


def take_back(lock: Any) -> None:
    """Give back a lock in the place of a thread that has left it behind."""
    try:
        lock.release()
    except RuntimeError:   # by now it was given back
        pass
