"""Simulated threads: their waits, their end, and what they are told apart by."""

import queue
import time

import pytest
import ZODB.utils

import ZEO.locks
import ZEO.net.loop
from support.simulation.scheduler import Hang, Livelock
from support.simulation.world import World


def run(function, seed=1, **options):
    """Run `function(world, process)` in a thread; return what it returns."""
    with World(seed, **options) as world:
        process = world.process('one')
        thread = process.start(function, 'main', world, process)
        world.run()
        assert world.errors == []
        return thread.result


def test_a_lock_is_held_by_one_thread_at_a_time():
    def work(world, process):
        lock, inside, most = process.system.lock(), [], []

        def enter():
            for _ in range(20):
                with lock:
                    inside.append(1)
                    most.append(len(inside))
                    process.system.give_way()
                    inside.pop()

        threads = [process.start(enter, str(number)) for number in range(3)]
        for thread in threads:
            thread.join()
        return max(most)

    assert run(work, switches=0.5) == 1


def test_a_wait_for_a_lock_ends_in_time():
    def work(world, process):
        lock = process.system.lock()
        lock.acquire()
        began = world.now
        assert not lock.acquire(timeout=3)
        return world.now - began

    assert run(work) == pytest.approx(3, abs=0.001)


def test_a_lock_may_be_given_back_by_another_thread_and_not_twice():
    def work(world, process):
        lock = process.system.lock()
        lock.acquire()
        process.start(lock.release, 'other')
        assert lock.acquire(timeout=5)
        lock.release()
        with pytest.raises(RuntimeError):
            lock.release()

    run(work)


def test_a_reentrant_lock_knows_its_thread():
    def work(world, process):
        lock = process.system.reentrant_lock()
        other = process.start(lambda: lock.acquire(timeout=1), 'other')
        with lock, lock:
            other.join()
        return other.result

    assert run(work) is False


def test_conditions_events_and_queues():
    def work(world, process):
        system, got = process.system, []
        condition, event, items = system.condition(), system.event(), system.queue()

        def give():
            system.sleep(1)
            items.put('item')
            with condition:
                condition.notify_all()
            event.set()

        with condition:
            process.start(give, 'give')
            got.append(condition.wait(5))
        got += [items.get(timeout=1), event.wait(5)]
        with pytest.raises(queue.Empty):
            items.get(timeout=1)
        return got

    assert run(work) == [True, 'item', True]


def test_time_passes_only_while_all_threads_wait():
    def work(world, process):
        began = process.system.now(), process.system.wall_clock()
        process.system.sleep(1000)
        return process.system.now() - began[0], process.system.wall_clock() - began[1]

    assert run(work) == (pytest.approx(1000, abs=0.01), pytest.approx(1000, abs=0.01))


def test_a_wall_clock_may_jump_and_the_other_clock_does_not():
    def work(world, process):
        now, wall = process.system.now(), process.system.wall_clock()
        process.jump_clock(-3600)
        return process.system.now() - now, process.system.wall_clock() - wall

    assert run(work) == (pytest.approx(0, abs=0.01), pytest.approx(-3600, abs=0.01))


def test_two_threads_that_wait_for_each_other_are_a_hang():
    with World(1) as world:
        process = world.process('one')
        locks = [process.system.lock(), process.system.lock()]

        def take(first, second):
            with first:
                process.system.sleep(1)
                with second:
                    pass

        process.start(take, 'forwards', *locks)
        process.start(take, 'backwards', *locks[::-1])
        with pytest.raises(Hang, match='nothing can happen any more') as found:
            world.run()

    assert 'one/forwards waits for a lock that <one/backwards> holds' in str(found.value)
    assert 'one/backwards waits for a lock that <one/forwards> holds' in str(found.value)


def test_threads_without_end_are_a_livelock():
    def spin(system):
        while True:
            system.give_way()

    with World(1) as world:
        process = world.process('one')
        process.start(spin, 'main', process.system)
        with pytest.raises(Livelock, match='one/main can run'):
            world.run(steps=100)


def test_nothing_of_a_killed_process_runs_any_more():
    done = []

    def work(system):
        try:
            with system.lock():
                system.sleep(10)
                done.append('after its end')
        finally:
            system.sleep(0)
            done.append('cleaned up')

    with World(1) as world:
        process = world.process('one')
        process.start(work, 'main', process.system)
        world.later(5, process.crash)
        world.run()
        world.run(until=world.now + 20)

    assert done == []
    assert world.errors == []


def test_a_paused_process_goes_on_later():
    def work(world, process):
        world.later(1, process.pause, 60)
        process.system.sleep(2)
        return world.now

    assert run(work) == pytest.approx(1061, abs=0.01)


def test_a_call_fails_when_the_plan_says_so():
    def work(world, process):
        world.faults.fail('one', 'spawn', lambda: RuntimeError('no thread'), after=1, times=2)
        found = []
        for number in range(4):
            try:
                process.system.spawn(str(number), lambda: None)
                found.append(True)
            except RuntimeError:
                found.append(False)
        return found

    assert run(work) == [True, False, False, True]


def test_an_exception_strikes_a_thread_that_waits():
    def work(world, process):
        lock = process.system.lock()
        lock.acquire()
        world.later(1, process.strike, TimeoutError('too late'))
        with pytest.raises(TimeoutError):
            lock.acquire()
        return world.now

    assert run(work) == pytest.approx(1001, abs=0.01)


def test_an_exception_strikes_a_thread_that_runs():
    def work(world, process):
        world.later(0.0001, process.strike, TimeoutError('too late'))
        with pytest.raises(TimeoutError):
            while True:
                process.system.give_way()
                process.system.now()

    run(work)


def test_what_a_thread_ends_with_is_kept():
    with World(1) as world:
        process = world.process('one')
        thread = process.start(lambda: 1 // 0, 'main')
        world.run()

    assert [found for found, _ in world.errors] == [thread]
    assert isinstance(thread.error, ZeroDivisionError)


def test_a_world_that_was_left_has_changed_nothing():
    before = ZODB.utils.Lock, ZODB.utils.time, ZEO.net.loop.socket, ZEO.net.loop.Loop.run.__code__
    with World(1, preempted=0.1):
        assert ZODB.utils.time is not time
        assert ZEO.net.loop.Loop.run.__code__ is not before[3]
    after = ZODB.utils.Lock, ZODB.utils.time, ZEO.net.loop.socket, ZEO.net.loop.Loop.run.__code__
    assert after == before


class Noisy:
    """A lock that keeps no thread out."""

    def __init__(self, events):
        self.events = events

    def __enter__(self):
        self.events.append('enters')

    def __exit__(self, *error):
        self.events.append('leaves')


@pytest.mark.parametrize('share', [0, 0.9])
def test_with_preemption_a_thread_is_interrupted_between_any_two_statements(share):
    histories = set()
    for seed in range(20):
        events = []
        with World(seed, preempted=share) as world:
            process = world.process('one')
            for name in ('a', 'b'):
                process.start(ZEO.locks.under, name, Noisy(events), events.append, 'inside')
            world.run()
        histories.add(tuple(events[:2]))

    assert histories == {('enters', 'inside'), *([('enters', 'enters')] if share else [])}
