"""What a database has changed reaches the clients though memory is short for a moment."""

import queue
import threading

import pytest
from ZODB.utils import p64

from ZEO.net.loop import Loop
from ZEO.serving.backends.follow import Follower

WAIT = 20


class Changes:
    """A database in which there are two transactions."""

    def after(self, last):
        return [(tid, [p64(7)]) for tid in (p64(1), p64(2)) if tid > last]

    def close(self):
        """Nothing is open."""


class Follows:
    """Takes the reports."""

    def __init__(self):
        self.told, self.failures, self.done = [], [], threading.Event()

    def reported(self, steps):
        if self.failures:
            raise self.failures.pop()
        self.told += [tid for tid, _ in steps]
        self.done.set()

    def lost_track(self, last, why):
        self.told.append(('lost track', last))
        self.done.set()


@pytest.fixture
def loop():
    loop = Loop()
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield loop
    loop.from_thread(loop.stop)
    thread.join(WAIT)
    loop.close()


@pytest.fixture
def follow(loop):
    """A function that has a follower begin, with a queue that may fail."""
    begun = []

    def follow(follows, failing=None):
        follower = Follower('1', Changes(), loop, follows, 0.01, p64(0))
        if failing:
            setattr(follower, failing[0], Failing(getattr(follower, failing[0]), failing[1]))
        begun.append(follower)
        follower.start()
        return follower

    yield follow
    for follower in begun:
        follower.close(WAIT)


class Failing:
    """The same as something else, but for one call that fails."""

    def __init__(self, original, name):
        self._original, self._failing = original, [name]

    def __getattr__(self, name):
        if name in self._failing:
            self._failing.remove(name)
            return self._fail
        return getattr(self._original, name)

    def _fail(self, *args, **named):
        raise MemoryError


@pytest.mark.parametrize('failing', [None, ('_queue', 'get'), ('_loop', 'from_thread')])
def test_every_transaction_is_reported_once(follow, failing):
    follows, asked = Follows(), queue.SimpleQueue()
    follower = follow(follows, failing)
    assert follows.done.wait(WAIT)
    follower.request(asked.put)
    assert asked.get(timeout=WAIT) is None
    assert follows.told == [p64(1), p64(2)]


def test_what_cannot_be_reported_is_not_passed_over(follow):
    """It would not be found again: the clients have to ask for everything."""
    follows = Follows()
    follows.failures.append(MemoryError())
    follow(follows)
    assert follows.done.wait(WAIT)
    assert follows.told == [('lost track', p64(2))]
