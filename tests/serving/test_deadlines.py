"""One timer watches how long transactions hold the commit lock, however many there are."""

from types import SimpleNamespace

import pytest

from ZEO.serving.commit.deadlines import Deadlines
from ZEO.serving.commit.lock import CommitLock


class Loop:
    """Its timers go off when a test lets time pass."""

    def __init__(self):
        self.time, self.timers = 0.0, {}
        self.system = SimpleNamespace(now=lambda: self.time)

    def later(self, seconds, function):
        key = object()
        self.timers[key] = self.time + seconds, function
        return SimpleNamespace(cancel=lambda: self.timers.pop(key, None))

    def attempt(self, function):
        function()

    def run_until(self, time):
        """Have the timers go off that are due until then."""
        while self.timers and (first := min(self.timers.items(), key=lambda one: one[1][0])):
            key, (when, function) = first
            if when > time:
                break
            self.time = when
            del self.timers[key]
            function()
        self.time = time


class Holder:
    until = float('inf')
    late_at = None

    def __init__(self, loop, lock, lasts=False):
        self.loop, self.lock, self.lasts = loop, lock, lasts

    def timed_out(self):
        assert self.late_at is None
        self.late_at = self.loop.time
        if not self.lasts:
            self.lock.release(self)


@pytest.fixture
def loop():
    return Loop()


def begin(loop, lock, deadlines, seconds, **options):
    holder = Holder(loop, lock, **options)
    lock.acquire(holder, lambda: deadlines.begin(holder, loop.time + seconds))
    return holder


def test_one_timer_serves_any_number_and_ends_by_itself(loop):
    lock = CommitLock(lambda function: function())
    deadlines = Deadlines(loop, lock)
    for number in range(100):
        loop.run_until(number / 100)
        lock.release(begin(loop, lock, deadlines, 30))
        assert len(loop.timers) == 1
    loop.run_until(100)
    assert not loop.timers


@pytest.mark.parametrize('before', [0, 10, 29, 90])
def test_each_holder_has_its_whole_time(loop, before):
    lock = CommitLock(lambda function: function())
    deadlines = Deadlines(loop, lock)
    lock.release(begin(loop, lock, deadlines, 30))
    loop.run_until(before)
    holder = begin(loop, lock, deadlines, 30)
    loop.run_until(200)
    assert holder.late_at == before + 30 and lock.holder is None


def test_a_shorter_time_counts_at_once(loop):
    lock = CommitLock(lambda function: function())
    deadlines = Deadlines(loop, lock)
    lock.release(begin(loop, lock, deadlines, 30))
    holder = begin(loop, lock, deadlines, 2)
    assert len(loop.timers) == 1
    loop.run_until(100)
    assert holder.late_at == 2


def test_several_holders_are_late_each_at_its_time(loop):
    lock = CommitLock(lambda function: function(), places=3)
    deadlines = Deadlines(loop, lock)
    holders = [begin(loop, lock, deadlines, seconds) for seconds in (5, 3, 3)]
    loop.run_until(100)
    assert [holder.late_at for holder in holders] == [5, 3, 3]


def test_one_that_still_holds_the_lock_then_is_late_once(loop):
    lock = CommitLock(lambda function: function())
    holder = begin(loop, lock, Deadlines(loop, lock), 3, lasts=True)
    loop.run_until(100)
    assert holder.late_at == 3 and lock.holder is holder and not loop.timers
