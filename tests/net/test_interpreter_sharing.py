"""The loop's thread has the interpreter when it needs it, and everything is as usual when nothing
else works any more.
"""

import os
import sys
import threading

import pytest

from ZEO.net import green
from ZEO.net.interpreter_sharing import NICER, InterpreterSharing
from ZEO.net.loop import Loop
from ZEO.net.system import GIVE_WAY, REAL, System
from ZEO.serving.workers import Workers

linux = pytest.mark.skipif(sys.platform != 'linux', reason='only Linux confines single threads')


class Fake(System):
    """Notes what is set."""

    def __init__(self):
        self.quick = 0
        self.processors_now = {0, 1, 2}
        self.nicer = 0

    def begin_quick_switches(self):
        self.quick += 1

    def end_quick_switches(self):
        self.quick -= 1

    def processor(self):
        return {2}

    def run_on(self, processors):
        if processors is None:
            return None
        before, self.processors_now = self.processors_now, processors
        return before

    def lower_priority(self, by):
        self.nicer = by


@pytest.mark.parametrize('order', [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
@pytest.mark.parametrize('kinds', [[True, True, True], [False, True, False], [True, False, True]])
def test_in_whatever_order_threads_end_the_last_one_leaves_everything_as_it_was(order, kinds):
    system = Fake()
    sharing = InterpreterSharing(system)
    for computes in kinds:
        sharing.begin(computes)
    assert (system.quick, system.processors_now, sharing.threads) == (1, {2}, 3)
    for index in order:
        assert system.quick == 1
        sharing.end(kinds[index])
    assert (system.quick, system.processors_now, sharing.threads) == (0, {0, 1, 2}, 0)


def test_the_loop_is_not_confined_for_threads_that_wait():
    system = Fake()
    sharing = InterpreterSharing(system)
    sharing.begin(False)
    assert system.processors_now == {0, 1, 2}


def test_a_thread_that_waits_is_not_confined_with_the_loop():
    system = Fake()
    sharing = InterpreterSharing(system)
    sharing.begin(True)
    sharing.begin(False)
    sharing.enter(False)
    assert system.processors_now == {0, 1, 2} and system.nicer == 0
    sharing.enter(True)
    assert system.processors_now == {2} and system.nicer == NICER


@linux
def test_a_thread_that_computes_shares_the_loops_processor_and_goes_second():
    usual, sharing, seen = os.sched_getaffinity(0), InterpreterSharing(REAL), []

    def computing():
        sharing.enter(True)
        seen.append((os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)))

    mine = os.getpriority(os.PRIO_PROCESS, 0)
    sharing.begin(True)
    confined = os.sched_getaffinity(0)
    thread = threading.Thread(target=computing)
    thread.start()
    thread.join(10)
    sharing.end(True)
    assert len(confined) == 1 and confined <= usual
    assert seen == [(confined, min(mine + NICER, 19))]
    assert (os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)) == (usual, mine)


def test_a_greenlet_leaves_the_priority_of_all_others_as_it_is(monkeypatch):
    monkeypatch.setattr(green, 'are_threads_green', lambda: True)
    before, seen = os.getpriority(os.PRIO_PROCESS, 0), []

    def computing():
        REAL.lower_priority(1)
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))

    thread = threading.Thread(target=computing)
    thread.start()
    thread.join(10)
    assert seen == [before]


@pytest.mark.parametrize('processors', [{10**5}, set()])
def test_what_the_system_does_not_allow_is_left_as_it_is(processors):
    assert REAL.run_on(processors) is None


def test_where_the_processor_is_not_known_nothing_is_confined(monkeypatch):
    monkeypatch.setattr(REAL, 'processor', lambda: None)
    sharing = InterpreterSharing(REAL)
    sharing.begin(True)
    sharing.enter(False)
    sharing.end(True)
    assert sharing.threads == 0


@pytest.fixture
def usual():
    """The interval of switches before a test, which its end brings back."""
    before = sys.getswitchinterval()
    yield before
    sys.setswitchinterval(before)


@pytest.mark.parametrize('first', [0, 1])
def test_several_loops_of_a_process_switch_as_before_when_the_last_has_ended(first, usual):
    both = InterpreterSharing(REAL), InterpreterSharing(REAL)
    for sharing in both:
        sharing.begin(False)
    for sharing in both[first], both[not first]:
        assert sys.getswitchinterval() == pytest.approx(GIVE_WAY, rel=0.02)
        sharing.end(False)
    assert sys.getswitchinterval() == usual


@pytest.mark.parametrize('interval', [0.001, 0.0003, 0.000007])
def test_the_interval_of_a_program_comes_back_to_the_microsecond(interval, usual):
    sys.setswitchinterval(interval)
    before = sys.getswitchinterval()
    for _ in range(5):
        sharing = InterpreterSharing(REAL)
        sharing.begin(False)
        sharing.end(False)
    assert sys.getswitchinterval() == before


def test_an_interval_that_a_program_sets_meanwhile_stays(usual):
    sharing = InterpreterSharing(REAL)
    sharing.begin(False)
    sys.setswitchinterval(0.001)
    sharing.end(False)
    assert sys.getswitchinterval() == pytest.approx(0.001)


@pytest.mark.parametrize('computes', [False, True])
def test_a_loop_that_ends_before_its_workers_leaves_everything_as_it_was(computes, usual):
    go, confined = threading.Event(), os.sched_getaffinity(0)
    loop = Loop()
    Workers(loop, computing=computes).run(lambda: go.wait(20))
    loop.stop()
    loop.run()
    loop.close()
    try:
        assert (sys.getswitchinterval(), os.sched_getaffinity(0)) == (usual, confined)
    finally:
        go.set()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
def test_a_forked_child_switches_as_usual(usual):
    sharing = InterpreterSharing(REAL)
    sharing.begin(False)
    child = os.fork()
    if not child:
        os._exit(int(sys.getswitchinterval() != usual))
    sharing.end(False)
    assert os.waitpid(child, 0)[1] == 0
