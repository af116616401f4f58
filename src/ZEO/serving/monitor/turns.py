"""Whose answer is made next, and when: answers take a part of the loop's time only.

Enters: connections with a request; how long each answer took. Leaves: one connection at a time that
is let go. Fails: never.

A connection that was answered goes to the end of the queue, whatever it has sent ahead. Those that
were not answered yet have every other turn: a probe of a supervisor does not wait behind others
that ask without end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ZEO.net.loop import Loop, Timer


class Asking(Protocol):
    """A connection with a request."""

    was_answered: bool

    def let_go(self) -> None:
        """It is this one's turn."""


class Turns:
    """The turns of all connections.

    :param share: returns how much of the loop's time answers may take, from 0 to 1.
    """

    def __init__(self, loop: Loop, share: Callable[[], float]) -> None:
        self._loop = loop
        self._share = share
        self._next = 0.0  # when there may be another answer
        # in the order of their turns: those that were not answered yet, and the others
        self._new: dict[Asking, None] = {}
        self._others: dict[Asking, None] = {}
        self._chosen: set[Asking] = set()  # which were let go, and have not begun yet
        self._timer: Timer | None = None
        self._new_was_last = False

    def begins(self, asking: Asking) -> bool:
        """Return whether it may begin now; if not, it is let go when it may."""
        if asking in self._chosen:
            self._chosen.discard(asking)
            return True
        wait = self._next - self._loop.system.now()
        if wait <= 0 and not self._new and not self._others:
            return True
        (self._others if asking.was_answered else self._new)[asking] = None
        self._look_in(wait)
        return False

    def used(self, seconds: float) -> None:
        """An answer, or a part of one, has taken that long: the next one waits, so that clients
        have the rest of the time.
        """
        self._next = self._loop.system.now() + seconds * (1 / self._share() - 1)

    def gone(self, asking: Asking) -> None:
        """A connection has ended."""
        self._chosen.discard(asking)
        self._new.pop(asking, None)
        self._others.pop(asking, None)

    def _look_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._loop.later(max(0.0, seconds), self._look)

    def _look(self) -> None:
        self._timer = None
        wait = self._next - self._loop.system.now()
        if wait > 0:
            self._look_in(wait)
            return
        queue = self._queue()
        if not queue:
            return
        asking = next(iter(queue))
        del queue[asking]
        self._chosen.add(asking)
        # again at once: it may be one that does not read, and then takes its turn when it does
        self._look_in(0)
        asking.let_go()

    def _queue(self) -> dict[Asking, None]:
        self._new_was_last = bool(self._new) and not (self._new_was_last and self._others)
        return self._new if self._new_was_last else self._others
