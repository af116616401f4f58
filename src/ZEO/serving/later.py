"""Answers that come later: work in another thread, and waits for something that other clients hold.

Enters: a :class:`Later` that a handler returned instead of a result.  Leaves: one call of its `answered` or `failed`, in the
loop's thread.  Fails: never; what the work raises is the failure.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ZEO.net.loop import Loop


class Later:
    """The answer to a call, which is not known yet."""

    def __init__(self) -> None:
        self._answered: Callable[[Any], None] | None = None
        self._failed: Callable[[BaseException], None] | None = None
        self._outcome: tuple[bool, Any] | None = None

    def then(self, answered: Callable[[Any], None], failed: Callable[[BaseException], None]) -> None:
        """Have one of these called, at once if the outcome is known already."""
        self._answered, self._failed = answered, failed
        self._tell()

    def answer(self, result: Any) -> None:
        """The call has succeeded."""
        self._settle(True, result)

    def fail(self, error: BaseException) -> None:
        """The call has failed."""
        self._settle(False, error)

    def _settle(self, good: bool, value: Any) -> None:
        if self._outcome is None:   # a commit that timed out may be answered a second time
            self._outcome = good, value
            self._tell()

    def _tell(self) -> None:
        if self._outcome is None or self._answered is None or self._failed is None:
            return
        good, value = self._outcome
        (self._answered if good else self._failed)(value)


class Workers:
    """The threads in which slow storage calls run: a few, started when there is work, ended when there is none.

    :param computing: they do not wait for something else, but compute; the loop goes first.
    """

    def __init__(self, loop: Loop, threads: int = 8, computing: bool = False) -> None:
        self._loop = loop
        self._limit = threads
        self._computing = computing
        self._running = 0
        self._work: deque[tuple[Callable[[], Any], Later]] = deque()

    def run(self, work: Callable[[], Any]) -> Later:
        """Call `work` in a thread; what it returns or raises becomes the answer."""
        later = Later()
        self._work.append((work, later))
        self._start_one()
        return later

    def _start_one(self) -> None:
        if self._running < self._limit:
            self._running += 1
            self._loop.sharing.begin(self._computing)
            self._loop.system.spawn('ZEO worker', self._serve)

    def _serve(self) -> None:
        self._loop.sharing.enter(self._computing)
        while True:
            try:
                work, later = self._work.popleft()
            except IndexError:
                self._loop.from_thread(self._ended)
                return
            try:
                result = work()
            # A worker's boundary: whatever a storage raises is the answer to the client who asked.
            except BaseException as error:
                self._loop.from_thread(_Outcome(later.fail, error))
            else:
                self._loop.from_thread(_Outcome(later.answer, result))

    def _ended(self) -> None:
        self._running -= 1
        self._loop.sharing.end(self._computing)
        if self._work:   # it came in while the last thread was leaving
            self._start_one()


class _Outcome:
    """A call with its argument, bound now: a lambda in a loop would see the next round's."""

    __slots__ = ('_function', '_value')

    def __init__(self, function: Callable[[Any], None], value: Any) -> None:
        self._function, self._value = function, value

    def __call__(self) -> None:
        self._function(self._value)
