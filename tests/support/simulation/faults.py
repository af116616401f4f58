"""Errors at calls to the outside, such as a send or the start of a thread.

Enters: which process, which call, and the error. Leaves: that error, raised by the call. Fails:
never by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.simulation.strikes import ERRORS, Strike


class Faults:
    """Those of one world; none cost anything while there are none."""

    def __init__(self, world: Any) -> None:
        self._world = world
        # (process name, kind of call): calls that still succeed, calls that fail then, the error
        self._due: dict[tuple[str, str], list[Any]] = {}
        self._strikes: list[Strike] = []

    def fail(
        self,
        process: str,
        kind: str,
        error: Callable[[], BaseException],
        after: int = 0,
        times: int = 1,
    ) -> None:
        """Have calls of a kind fail in the threads of a process.

        :param kind: the door's name: ``send``, ``recv``, ``spawn``, ``accept``, ``connect``, ...
        :param error: makes the error.
        :param after: calls that succeed before.
        :param times: calls that fail then.
        """
        self._due[process, kind] = [after, times, error]
        self._world.scheduler.faults = self

    def strike(self, strike: Strike) -> None:
        """Have an exception strike a thread of an application."""
        self._strikes.append(strike)
        self._world.scheduler.faults = self

    def clear(self) -> None:
        """Have no more errors."""
        self._due.clear()
        self._strikes.clear()
        self._world.scheduler.faults = None

    def at(self, thread: Any, kind: str) -> None:
        """A thread makes a call."""
        if thread.call and self._strikes:
            self._strike(thread, kind)
        due = self._due.get((thread.process.name, kind))
        if due is None:
            return
        if due[0]:
            due[0] -= 1
            return
        due[1] -= 1
        if due[1] <= 0:
            del self._due[thread.process.name, kind]
        self._fail(thread, kind, due[2]())

    def _strike(self, thread: Any, kind: str) -> None:
        for one in self._strikes:
            if one.is_met(thread, kind):
                self._strikes.remove(one)
                self._fail(thread, f'{kind} in {thread.call}', ERRORS[one.error]())

    def _fail(self, thread: Any, where: str, error: BaseException) -> None:
        self._world.note('fails', repr(thread), where, repr(error))
        raise error
