"""Calling a function with a lock held, whatever exception strikes the thread.

Enters: a lock, a function. Leaves: what the function returns. Fails: with what it raises, after the
lock was released.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar('Result')


def under(lock: Any, function: Callable[..., Result], *args: Any) -> Result:
    """Call a function with a lock held, and return what it returns.

    An exception may strike a thread between any two bytecodes: a signal handler that raises, one
    that another thread throws in. `with` takes and gives back a lock in one bytecode each. All of
    it has to be one line, so that not even a tracer that raises at every line can come between the
    function and giving back: in two lines, the first would run again for that. ``acquire`` in front
    of a ``try`` can lose the lock for good.

    Where this call would be too much, on the hot path, the same line stands in its place.
    """
    with lock: return function(*args)  # noqa: E701  # fmt: skip
