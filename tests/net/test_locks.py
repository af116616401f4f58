"""Locks that are not given back are found; those that many threads take in turn never are."""

import threading

from support.clock import Clock
from ZEO.locks import under
from ZEO.net.locks import GONE_AFTER, LONGEST_HOLD, Suspicion, take_back, under_in_time


class Role:
    """A lock, and who took it last."""

    def __init__(self):
        self.clock = Clock(0.0)
        self.lock = threading.Lock()
        self.taken = 0
        self.thread = None
        self.suspicion = Suspicion(self.lock, lambda: (self.taken, self.thread), self.clock)

    def take(self, thread=None):
        self.lock.acquire()
        self.taken += 1
        self.thread = threading.get_ident() if thread is None else thread

    def is_lost_after(self, seconds):
        self.suspicion.is_lost()
        self.clock.time += seconds
        return self.suspicion.is_lost()


def ended_thread():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    return thread.ident


def test_a_free_lock_is_never_lost():
    assert not Role().is_lost_after(10 * LONGEST_HOLD)


def test_a_lock_that_is_taken_again_and_again_is_never_lost():
    role = Role()
    for _ in range(10):
        role.take(ended_thread())
        assert not role.suspicion.is_lost()
        role.clock.time += LONGEST_HOLD
        role.lock.release()


def test_a_lock_that_is_taken_at_the_moment_of_a_look_after_a_long_time_is_not_lost():
    role = Role()
    assert not role.suspicion.is_lost()
    role.clock.time += 10 * LONGEST_HOLD
    role.lock.acquire()  # and its holder has not said so yet
    assert not role.suspicion.is_lost()


def test_a_lock_is_lost_with_the_thread_that_holds_it():
    role = Role()
    role.take(ended_thread())
    assert not role.is_lost_after(GONE_AFTER / 2)
    assert role.is_lost_after(GONE_AFTER)


def test_a_lock_is_lost_that_no_thread_has_taken_for_anything():
    role = Role()
    role.take()
    role.thread = None
    assert not role.is_lost_after(GONE_AFTER / 2)
    assert role.is_lost_after(GONE_AFTER)


def test_a_living_thread_may_hold_a_lock_for_as_long_as_a_blocked_send():
    role = Role()
    role.take()
    assert not role.is_lost_after(60)
    assert role.is_lost_after(LONGEST_HOLD)


def test_a_lost_lock_is_taken_back_in_time():
    role = Role()
    role.take(ended_thread())
    assert under_in_time(role.lock, lambda: None, 2 * GONE_AFTER, role.suspicion, role.clock)
    assert not role.lock.locked() and role.clock.time < 2 * GONE_AFTER


def test_a_lock_that_is_in_use_is_not_waited_for_without_an_end():
    role = Role()
    role.take()
    assert not under_in_time(role.lock, lambda: None, 30, role.suspicion, role.clock)
    assert role.lock.locked()


def test_a_lock_that_was_given_back_meanwhile_is_not_given_back_twice():
    role = Role()
    take_back(role.lock)
    assert under(role.lock, lambda: 5) == 5
