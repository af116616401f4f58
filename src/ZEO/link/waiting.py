"""A call whose answer has not come yet, and the thread that sleeps until it has.

Enters: what the answer is to be applied to. Leaves: the result, or the error, once it is there.
Fails: never.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from ZEO.net.system import System


class Waiting:
    """A call without its answer.

    :param name: of the call.
    :param applied: is called with the result by the thread that reads; returns the caller's.
    :param has_effect: whether that brings anything to this client that is not the caller's alone.
    :param check: returns whether a result has the shape of one, before it is applied; None where
        `applied` looks, or nothing does.
    """

    # What a call that is answered at once never sets is not set for each call anew.
    sent = False  # wholly
    done = False
    result: Any = None
    error: BaseException | None = None
    since: float | None = None  # when its caller began to sleep
    # seconds that it may take, where its caller says so; math.inf: any
    limit: float | None = None
    # when its caller last began to wait for the stream, as the reader
    looked: float | None = None
    seen: tuple[Any, ...] | None = None  # the reader, its `looked`, and since when that is so
    bell: Any = None  # held by the caller, who sleeps or is about to; None: it can't be woken

    def __init__(
        self,
        name: str,
        applied: Callable[[Any], Any] | None = None,
        has_effect: bool = False,
        check: Callable[[Any], bool] | None = None,
    ) -> None:
        self.name = name
        self.applied = applied
        self.has_effect = has_effect
        self.check = check

    @property
    def awaited(self) -> str:
        """What the server has not done, if it takes too long."""
        return f'answered {self.name}'

    def sleep(self, system: System, seconds: float) -> None:
        """Wait to be woken, at most that long; the first time, just get ready for it, since it may
        have been done before that.
        """
        bell = self.bell
        if bell is None:
            bell = system.lock()
            bell.acquire()
            self.bell = bell
        else:
            bell.acquire(timeout=seconds)

    def wake(self) -> None:
        """Wake the caller, if it sleeps."""
        if self.bell is not None:
            try:
                self.bell.release()
            except RuntimeError:  # woken already, and on its way
                pass


class Load(Waiting):
    """A loadBefore, of which there are more than of all others.

    :param state: takes what is loaded: a :class:`ZEO.link.state.ClientState`.
    """

    name = 'loadBefore'
    has_effect = True
    check = None  # `applied` looks

    def __init__(self, oid: bytes, state: Any) -> None:
        self.oid = oid
        self.state = state

    def applied(self, result: Any) -> Any:
        """Have the answer applied, and return it."""
        return self.state.loaded(self.oid, result)


class SharedWaiting(Waiting):
    """A call that was begun, for whose answer any number of threads may wait, or none.

    Each of them has a :class:`Waiting` of its own: to read, to sleep and to be woken are affairs of
    one thread.
    """

    _done = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._followers: list[Waiting] = []

    @property
    def done(self) -> bool:
        """Whether the answer was applied, or will never come."""
        return self._done

    @done.setter
    def done(self, done: bool) -> None:
        self._done = done
        for follower in self._followers.copy():
            follower.done = done
            follower.wake()

    def follow(self, follower: Waiting) -> None:
        """Have what one thread waits for done with this."""
        self._followers.append(follower)
        if self._done:  # maybe before it was there
            follower.done = True


class News(Waiting):
    """Something that the server sends without a call, for which a thread waits until some time.

    The thread that applies it says that it has come, by setting `done` and calling `wake`.

    :param seconds: until the wait is over in any case.
    """

    _done = False
    limit = inf

    def __init__(self, seconds: float, system: System) -> None:
        super().__init__('news')
        self._now = system.now
        self._until = system.now() + seconds

    @property
    def done(self) -> bool:
        """Whether it has come, or time is over."""
        return self._done or self._now() >= self._until

    @done.setter
    def done(self, done: bool) -> None:
        self._done = done


class PendingCall:
    """A call that was made without waiting for its answer."""

    def __init__(self, finish: Callable[[SharedWaiting], Any], waiting: SharedWaiting) -> None:
        self._finish = finish
        self._waiting = waiting

    @property
    def done(self) -> bool:
        """Whether the answer was applied, or will never come."""
        return self._waiting.done

    def wait(self) -> Any:
        """Return the result; raises what a call raises."""
        return self._finish(self._waiting)
