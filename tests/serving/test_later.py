"""Answers that come later are told once; work in threads comes back in the loop's thread."""

import threading

import pytest
from ZODB.POSException import StorageError

from ZEO.net.loop import Loop
from ZEO.net.system import System
from ZEO.serving.later import Later
from ZEO.serving.workers import Forgotten, Workers, _Once


def listen(later):
    told = []
    later.then(
        lambda value: told.append(('answer', value)), lambda error: told.append(('fail', error))
    )
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


def test_who_cannot_take_an_answer_is_told_that():
    """There may be no memory for it, and somebody else waits for what was to be done with it."""
    later, told = Later(), []

    def take(value):
        raise MemoryError

    later.then(take, told.append)
    later.answer(5)
    assert [type(error) for error in told] == [MemoryError]


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


@pytest.mark.parametrize(
    'error', [ValueError('x'), SystemExit(), KeyboardInterrupt(), MemoryError()]
)
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


class Client:
    """What is told how many of its calls are not answered."""

    def __init__(self):
        self.told = []

    def outstanding(self, calls):
        self.told.append(calls)


class NoThreads(System):
    """A machine that starts threads only while a test lets it."""

    left = 0

    def spawn(self, name, target, *args):
        if not self.left:
            raise RuntimeError("can't start new thread")
        self.left -= 1
        return super().spawn(name, target, *args)


@pytest.fixture
def short():
    """A loop on a machine that starts no threads yet."""
    loop = Loop(NoThreads())
    yield loop
    loop.close()


def gated():
    """A piece of work that says that it runs and ends when it may."""
    runs, may = threading.Event(), threading.Event()
    return runs, may, lambda: (runs.set(), may.wait(20))


def test_one_client_does_not_have_all_threads(loop):
    workers, greedy, other = Workers(loop, threads=4), Client(), Client()
    may, running, order = threading.Event(), threading.Semaphore(0), []

    def hang():
        running.release()
        may.wait(20)

    told = [listen(workers.run(hang, greedy)) for _ in range(20)]
    for _ in range(2):
        assert running.acquire(timeout=20)
    answered = listen(workers.run(lambda: order.append('other'), other))
    until(loop, lambda: answered)
    assert not running.acquire(blocking=False) and not any(told)
    may.set()
    until(loop, lambda: all(told))
    assert greedy.told[19] == 20 and greedy.told[-1] == 0 and other.told == [1, 0]


def test_clients_take_turns(loop):
    workers, greedy, other = Workers(loop, threads=1), Client(), Client()
    runs, may, work = gated()
    first = listen(workers.run(work, greedy))
    assert runs.wait(20)
    order = []
    told = [
        listen(workers.run(lambda number=number: order.append(number), greedy))
        for number in range(5)
    ]
    told.append(listen(workers.run(lambda: order.append('other'), other)))
    may.set()
    until(loop, lambda: first and all(told))
    assert order.index('other') <= 1
    assert [number for number in order if number != 'other'] == [0, 1, 2, 3, 4]


def test_work_of_the_server_itself_does_not_wait_for_clients(loop):
    workers, runs = Workers(loop, threads=2), []
    hanging = [gated() for _ in range(2)]
    told = [listen(workers.run(work, Client())) for _, _, work in hanging]
    assert all(running.wait(20) for running, _, _ in hanging)
    commit = listen(workers.run(lambda: runs.append(1)))
    until(loop, lambda: commit)
    for _, may, _ in hanging:
        may.set()
    until(loop, lambda: all(told))


def test_what_a_gone_client_waits_for_is_not_done(loop):
    workers, gone, done = Workers(loop, threads=1), Client(), []
    runs, may, work = gated()
    first = listen(workers.run(work, gone))
    assert runs.wait(20)
    told = [listen(workers.run(lambda: done.append('no'), gone)) for _ in range(100)]
    commit = listen(workers.run(lambda: done.append('yes')))
    workers.forget(gone)
    may.set()
    until(loop, lambda: first and commit and not loop.sharing.threads)
    assert done == ['yes']
    assert all(type(error) is Forgotten for ((_, error),) in told)
    assert not workers._outstanding and not workers._busy


@pytest.mark.parametrize('client', [None, Client()])
def test_work_that_gets_no_thread_fails_and_is_not_done_later(short, client):
    workers, done = Workers(short), []
    for _ in range(3):
        with pytest.raises(StorageError, match='cannot start a thread.*new thread'):
            workers.run(lambda: done.append('no'), client)
    assert not short.sharing.threads
    short.system.left = 1
    told = listen(workers.run(lambda: done.append('yes'), client))
    until(short, lambda: told and not short.sharing.threads)
    assert done == ['yes']


def test_work_waits_for_the_thread_that_there_is(short):
    workers = Workers(short)
    short.system.left = 1
    runs, may, work = gated()
    told = [listen(workers.run(work, Client())), listen(workers.run(lambda: 1, Client()))]
    assert runs.wait(20)
    may.set()
    until(short, lambda: all(told))
    assert told[1] == [('answer', 1)]


def test_work_fails_when_the_last_thread_leaves_and_no_other_can_start(short):
    """The thread has seen an empty queue before the work came, and the loop did not hear of that
    yet.
    """
    workers, client = Workers(short), Client()
    short.system.left = 1
    ended = threading.Event()
    short.from_thread = lambda function, post=short.from_thread: (
        post(function),
        isinstance(function, _Once) and ended.set(),
    )
    first = listen(workers.run(lambda: 1, client))
    assert ended.wait(20)
    told = [listen(workers.run(lambda: 2, one)) for one in (client, None)]
    until(short, lambda: first and all(told))
    assert all(type(error) is StorageError for ((_, error),) in told)
    assert client.told[-1] == 0
