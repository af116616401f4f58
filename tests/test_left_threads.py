"""Threads that a test leaves behind are found."""

import threading

import pytest

from support.left_threads import _described, threads_left
from ZEO.net.system import REAL


@pytest.fixture
def ends():
    """An event that ends the threads of a test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_thread_that_was_started_by_zeo_is_found_with_its_origin(ends):
    before = set(threading.enumerate())
    thread = REAL.spawn('ZEO something', ends.wait)
    assert threads_left(before, 0) == [thread]
    assert 'ZEO something, started at' in _described(thread)
    assert 'found_with_its_origin' in _described(thread)


def test_a_thread_of_a_test_that_runs_zeo_is_found(ends, serving):
    from ZODB.MappingStorage import MappingStorage

    before = set(threading.enumerate())
    serving(MappingStorage())
    assert len(threads_left(before, 0)) == 1


def test_a_thread_of_something_else_is_not(ends):
    before = set(threading.enumerate())
    threading.Thread(target=ends.wait).start()
    assert threads_left(before, 0) == []


def test_one_that_was_there_may_start_others(ends):
    started, go = [], threading.Event()

    def later():
        go.wait(20)
        started.append(REAL.spawn('ZEO worker', ends.wait))

    parent = REAL.spawn('ZEO server', later)
    before = set(threading.enumerate())
    go.set()
    parent.join(20)
    assert started[0].is_alive()
    assert threads_left(before, 0) == []


def test_one_that_ends_in_time_is_waited_for(ends):
    before = set(threading.enumerate())
    waits = threading.Event()
    REAL.spawn('ZEO something', waits.wait)
    threading.Timer(0.05, waits.set).start()
    assert threads_left(before) == []
