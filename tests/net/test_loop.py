"""The loop: timers in their order, files, and the one door for other threads; time is a fake clock
where it matters.
"""

import errno
import os
import select
import socket
import threading

import pytest

from support.clock import Clock
from ZEO.net.loop import FAILED, MOST_CANCELLED, READ, WRITE, Loop
from ZEO.net.poller import Epoll, Portable


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=[Portable, *([Epoll] if hasattr(select, 'epoll') else [])])
def loop(clock, monkeypatch, request):
    monkeypatch.setattr('ZEO.net.loop.new_poller', request.param)
    loop = Loop(clock)
    yield loop
    loop.close()


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    one.setblocking(False)
    with one, other:
        yield one, other


def test_timers_run_when_due_in_the_order_of_their_times(loop, clock):
    ran = []
    for seconds in (3, 1, 2, 1):
        loop.later(seconds, lambda seconds=seconds: ran.append(seconds))
    loop.run_once(0)
    assert ran == []
    clock.time += 2
    loop.run_once(0)
    assert ran == [1, 1, 2]
    clock.time += 1
    loop.run_once(0)
    loop.run_once(0)
    assert ran == [1, 1, 2, 3]


def test_a_cancelled_timer_does_not_run(loop, clock):
    ran = []
    timer = loop.later(1, lambda: ran.append(1))
    loop.later(1, timer.cancel).cancel()
    timer.cancel()
    clock.time += 5
    loop.run_once(0)
    assert ran == []


def timers_of(loop):
    return loop._timers


def test_cancelled_timers_do_not_pile_up(loop, clock):
    ran = []
    last = loop.later(30, lambda: ran.append('last'))
    for number in range(10_000):
        timer = loop.later(20, lambda: ran.append('cancelled'))
        if number == 5000:
            loop.later(10, lambda: ran.append('first'))
        timer.cancel()
        timer.cancel()
        assert len(timers_of(loop)) <= 2 * MOST_CANCELLED + 4
    clock.time += 25
    loop.run_once(0)
    assert ran == ['first']
    last.cancel()
    clock.time += 25
    loop.run_once(0)
    assert ran == ['first'] and timers_of(loop) == []


def test_a_timer_may_cancel_another_that_is_due(loop, clock):
    ran = []
    loop.later(1, lambda: other.cancel())
    other = loop.later(2, lambda: ran.append(1))
    clock.time += 5
    loop.run_once(0)
    assert ran == []


def test_a_timer_that_sets_itself_again_waits_for_its_time(loop, clock):
    ran = []

    def again():
        ran.append(clock.time)
        loop.later(1, again)

    loop.later(1, again)
    clock.time += 1
    loop.run_once(0)
    assert ran == [101]


def test_soon_comes_after_the_files_of_the_wake_up(loop, pair):
    one, other = pair
    order = []
    loop.add(
        one, READ, lambda events: (loop.soon(lambda: order.append('soon')), order.append('file'))
    )
    other.send(b'x')
    loop.run_once(1)
    assert order == ['file', 'soon']


def test_ready_events_are_told(loop, pair):
    one, other = pair
    told = []
    loop.add(one, READ | WRITE, told.append)
    loop.run_once(1)
    other.send(b'x')
    loop.run_once(1)
    assert told == [WRITE, READ | WRITE]


def test_a_file_that_is_closed_at_the_other_end_is_told_of_whatever_is_waited_for(loop, pair):
    one, other = pair
    told = []
    loop.add(one, READ, lambda events: told.append((READ, events)))
    other.close()
    loop.run_once(1)
    loop.change(one, WRITE, lambda events: told.append((WRITE, events)))
    loop.run_once(1)
    assert len(told) == 2 and all(events & wanted for wanted, events in told)


def test_a_file_that_is_neither_readable_nor_writable_is_told_of_as_well(loop):
    """Such as a pipe that nobody can write to any more; without an event its callback would be
    called for ever.
    """
    reading, writing = os.pipe()
    os.close(writing)
    told = []
    with open(reading, 'rb', buffering=0) as file:
        loop.add(file, READ, told.append)
        loop.run_once(1)
        loop.remove(file)
    assert len(told) == 1 and told[0] & READ


def test_a_paused_file_is_left_alone_until_it_is_wanted_again(loop, pair):
    one, other = pair
    told = []
    loop.add(one, READ, told.append)
    loop.change(one, 0, told.append)
    other.send(b'x')
    loop.run_once(0)
    assert told == []
    loop.change(one, READ, told.append)
    loop.run_once(1)
    assert told == [READ]


def test_removing_twice_and_removing_a_closed_file_is_no_harm(loop, pair):
    one, _ = pair
    loop.add(one, READ, print)
    loop.remove(one)
    loop.remove(one)
    one.close()
    loop.remove(one)


def test_a_callback_may_remove_another_file_that_is_ready(loop):
    pairs = [socket.socketpair() for _ in range(2)]
    told = []

    def callback(number):
        def called(events):
            told.append(number)
            loop.remove(pairs[1 - number][0])
            pairs[1 - number][0].close()

        return called

    for number, (one, other) in enumerate(pairs):
        loop.add(one, READ, callback(number))
        other.send(b'x')
    loop.run_once(1)
    assert len(told) == 1
    for one, other in pairs:
        one.close()
        other.close()


def running(loop):
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    return thread


def test_stop_from_another_thread_wakes_a_loop_that_has_nothing_to_do():
    loop = Loop()
    thread = running(loop)
    loop.stop()
    thread.join(20)
    assert not thread.is_alive()
    loop.close()


def test_stop_before_run():
    loop = Loop()
    loop.stop()
    loop.run()
    loop.close()


def test_a_loop_without_the_memory_to_wait_tries_again_and_forgets_no_turn(
    loop, clock, monkeypatch
):
    failures, done = [MemoryError(), MemoryError()], []

    def without_memory(wait):
        def wait_or_fail(*seconds):
            if failures:
                raise failures.pop()
            return wait(*seconds)

        return wait_or_fail

    monkeypatch.setattr(loop._poller, 'look', without_memory(loop._poller.look))
    loop.next_turn(lambda: (done.append('turn'), loop.stop()))
    loop.run()

    assert done == ['turn']
    assert clock.now() > 100.1


def test_turns_are_not_forgotten_where_there_is_no_memory_in_the_middle(loop, monkeypatch):
    failures, done, run_timers = [MemoryError()], [], loop._run_timers

    def fail():
        if failures:
            raise failures.pop()
        run_timers()

    monkeypatch.setattr(loop, '_run_timers', fail)
    loop.later(0, lambda: done.append('timer'))
    loop.next_turn(lambda: (done.append('turn'), loop.stop()))
    loop.run()
    assert not failures and sorted(done) == ['timer', 'turn']


def test_it_is_told_of_a_task_that_was_lost_for_want_of_memory(loop):
    """As long as what it does about that fails in the same way."""
    told = []

    def again():
        told.append('lost')
        if len(told) < 3:
            loop.soon(fail)
        else:
            loop.stop()

    def fail():
        raise MemoryError

    loop.task_was_lost = again
    loop.soon(fail)
    loop.run()
    assert told == ['lost'] * 3


def test_a_callback_that_has_raised_is_told_so(loop, pair):
    """What it is of is to end, or to go on if that was an error of the moment."""
    told = []

    def take(events):
        told.append(events)
        if len(told) == 1:
            raise MemoryError
        loop.remove(pair[0])

    loop.add(pair[0], READ, take)
    pair[1].send(b'x')
    loop.run_once(1)
    assert told == [READ, FAILED]


def test_functions_of_other_threads_run_in_the_loops_thread_and_in_their_order():
    loop = Loop()
    thread = running(loop)
    calls, done = [], threading.Event()
    senders = [
        threading.Thread(
            target=lambda sender=sender: [
                loop.from_thread(
                    lambda number=number: calls.append((sender, number, threading.current_thread()))
                )
                for number in range(500)
            ]
        )
        for sender in range(4)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(20)
    loop.from_thread(done.set)
    assert done.wait(20)
    assert {call[2] for call in calls} == {thread}
    for sender in range(4):
        assert [call[1] for call in calls if call[0] == sender] == list(range(500))
    loop.stop()
    thread.join(20)
    loop.close()


class Ringer:
    """Rings the bell of a loop, unless it has to fail."""

    def __init__(self, ringer, *failures):
        self.ringer, self.failures = ringer, list(failures)

    def __getattr__(self, name):
        return getattr(self.ringer, name)

    def send(self, data):
        if self.failures:
            raise self.failures.pop(0)
        return self.ringer.send(data)


def test_a_loop_is_woken_although_there_was_no_memory_for_that(loop, clock, monkeypatch):
    failures = MemoryError(), OSError(errno.ENOBUFS, 'No buffer space available')
    monkeypatch.setattr(loop, '_ringer', Ringer(loop._ringer, *failures))
    loop.from_thread(loop.stop)
    loop.run()
    assert clock.now() > 100.1


def test_who_posts_next_wakes_the_loop_when_a_thread_was_struck_before_it_could(loop, monkeypatch):
    monkeypatch.setattr(loop, '_ringer', Ringer(loop._ringer, KeyboardInterrupt()))
    done = []
    with pytest.raises(KeyboardInterrupt):
        loop.from_thread(lambda: done.append('first'))
    loop.from_thread(lambda: (done.append('second'), loop.stop()))
    loop.run()
    assert done[:2] == ['first', 'second']


def test_a_bell_that_takes_memory_that_there_is_not_rings_again(loop, monkeypatch):
    class Bell:
        failures = [MemoryError()]

        def __init__(self, bell):
            self.bell = bell

        def __getattr__(self, name):
            return getattr(self.bell, name)

        def recv(self, size):
            if self.failures:
                raise self.failures.pop()
            return self.bell.recv(size)

    monkeypatch.setattr(loop, '_bell', Bell(loop._bell))
    calls = []
    for number in range(3):
        loop.from_thread(lambda number=number: calls.append(number))
        loop.run_once(1)

    assert calls == [0, 1, 2]


def test_a_post_may_post(loop):
    order = []
    loop.from_thread(lambda: (order.append(1), loop.from_thread(lambda: order.append(2))))
    assert loop.has_posts
    loop.run_once(1)
    loop.run_once(0)
    assert order == [1, 2]
    assert not loop.has_posts


def test_posts_can_be_taken_early_and_are_called_once(loop):
    order = []
    loop.from_thread(lambda: order.append(1))
    loop.run_posted()
    loop.run_once(0)
    assert order == [1]


def test_posting_to_a_closed_loop_is_no_harm():
    loop = Loop()
    loop.close()
    loop.from_thread(print)
    loop.stop()


def asks_in_a_callback(loop, sock):
    """Have the loop serve one file; return whether others have waited meanwhile."""
    said = []
    loop.add(sock, READ, lambda events: said.append(loop.others_wait()))
    loop.run_once(0)
    loop.remove(sock)
    return said


def test_what_is_being_served_does_not_wait_for_itself(loop, pair):
    one, other = pair
    other.send(b'x')
    assert asks_in_a_callback(loop, one) == [False]
    assert not loop.others_wait()


def test_another_file_waits(loop, pair):
    one, other = pair
    with socket.socketpair()[0] as third:
        other.send(b'x')
        loop.add(third, READ, lambda events: None)  # its other end is closed
        assert asks_in_a_callback(loop, one) == [True]
        loop.remove(third)
    assert not loop.others_wait()


def test_the_file_that_was_served_before_waits_in_a_turn(loop, pair):
    one, other = pair
    other.send(b'x')
    said = []
    loop.add(one, READ, lambda events: loop.next_turn(lambda: said.append(loop.others_wait())))
    loop.run_once(0)
    loop.run_once(0)
    assert said == [True]


def test_what_was_served_in_one_turn_waits_in_the_next(loop, pair):
    one, other = pair
    other.send(b'x')
    said = []
    loop.add(one, READ, lambda events: None)
    loop.next_turn(lambda: setattr(loop, 'serving', one.fileno()))
    loop.next_turn(lambda: said.append(loop.others_wait()))
    loop.run_once(0)
    assert said == [True]


@pytest.mark.parametrize(
    'begin',
    [
        lambda loop: loop.later(0, lambda: None),
        lambda loop: loop.next_turn(lambda: None),
        lambda loop: loop.from_thread(lambda: None),
        lambda loop: setattr(loop.sharing, 'threads', 1),
    ],
)
def test_a_timer_a_turn_a_post_and_a_thread_that_computes_wait(loop, begin, pair):
    one, other = pair
    assert not loop.others_wait()
    begin(loop)
    other.send(b'x')
    assert loop.others_wait() and asks_in_a_callback(loop, one)
