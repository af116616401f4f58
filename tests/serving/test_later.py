"""Answers that come later are told once; work in threads comes back in the loop's thread."""

import threading

import pytest

from ZEO.net.loop import Loop
from ZEO.serving.later import Later, Workers


def listen(later):
    told = []
    later.then(lambda value: told.append(('answer', value)), lambda error: told.append(('fail', error)))
    return told


@pytest.mark.parametrize('before', [True, False])
def test_an_answer_before_or_after_somebody_listens(before):
    later = Later()
    if before:
        later.answer(5)
    told = listen(later)
    if not before:
        later.answer(5)
    assert told == [('answer', 5)]


def test_only_the_first_outcome_counts():
    later, error = Later(), ValueError()
    told = listen(later)
    later.fail(error)
    later.answer(5)
    later.fail(KeyError())
    assert told == [('fail', error)]


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.close()


def until(loop, condition):
    for _ in range(1000):
        if condition():
            return
        loop.run_once(0.1)
    raise AssertionError('it does not come')


def test_work_is_done_in_a_thread_and_told_in_the_loops(loop):
    workers, threads = Workers(loop), []
    later = workers.run(lambda: threads.append(threading.get_ident()) or 5)
    told = []
    later.then(lambda value: told.append((value, threading.get_ident())), print)
    until(loop, lambda: told)
    assert told == [(5, threading.get_ident())]
    assert threads[0] != threading.get_ident()


@pytest.mark.parametrize('error', [ValueError('x'), SystemExit(), KeyboardInterrupt(), MemoryError()])
def test_whatever_work_raises_is_the_answer(loop, error):
    def work():
        raise error
    workers = Workers(loop)
    told = listen(workers.run(work))
    until(loop, lambda: told)
    assert told == [('fail', error)]
    again = listen(workers.run(lambda: 1))
    until(loop, lambda: again)


def test_more_work_than_threads(loop):
    workers = Workers(loop, threads=2)
    running, most, lock = 0, 0, threading.Lock()

    def work():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
    told = [listen(workers.run(work)) for _ in range(50)]
    until(loop, lambda: all(told))
    assert most <= 2


def test_the_loop_does_not_look_before_sleeping_while_a_worker_computes(loop):
    workers = Workers(loop)
    told = listen(workers.run(lambda: loop.sharing.threads))
    until(loop, lambda: told and not loop.sharing.threads)
    assert told == [('answer', 1)]
