"""Simulated threads in one real thread, and virtual time: a seed says what runs next.

Enters: functions to run as threads; waits; wake-ups. Leaves: one history, the same for the same
seed. Fails: :class:`Hang` when threads wait for something that never comes, or for longer than the
given virtual time; :class:`Livelock` after too many steps; both with the stack of every thread.

A thread is a greenlet. It gives way to another one only where it calls the outside: at locks, sends
and receives, clocks, new threads and the like (:meth:`Scheduler.door`). At a wait it always does;
at another door with a probability. What may happen between two bytecodes that are not such calls is
explored only where :mod:`support.simulation.preemption` has put a switch before each statement.

Time stands still while threads run, but for a microsecond with each step and each look at a clock,
so that no two moments are the same. It passes to the next timer only when no thread can run.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from threading import get_ident
from typing import Any

from greenlet import getcurrent

from support.simulation.threads import Hang, Killed, Livelock, SimulationFailed, Thread

__all__ = ['Hang', 'Killed', 'Livelock', 'Scheduler', 'SimulationFailed', 'Thread']

#: Seconds that a step takes, and a look at a clock.
STEP = 1e-6

#: Seconds on the monotonic clock at the beginning.
BEGINNING = 1000.0


class Scheduler:
    """All threads of one world.

    :param random: the source of all choices.
    :param switches: the share of doors at which another thread may go on.
    :param preemption: the share of statements before which another thread may go on.
    """

    def __init__(self, random: Random, switches: float = 0.0, preemption: float = 0.0) -> None:
        self.random = random
        self.now = BEGINNING
        self.numbers = count(1)
        self.steps = 0
        self._running: Thread | None = None
        self.unfinished = 0  # threads that are not daemons
        self.errors: list[tuple[Thread, BaseException]] = []  # of threads that ended by one
        self.faults: Any = None  # asked at every door
        self.trace: list[Any] | None = None  # what has happened, for those who compare
        self.threads: dict[Thread, None] = {}  # that have not ended, in the order of their start
        self._ready: list[Thread] = []
        self._timers: list[tuple[float, int, Callable[..., None] | Thread, Any]] = []
        self._timer_numbers = count()
        self._switches = _Rhythm(random, switches)
        self._countdown = self._switches.next()
        self._preemption = _Rhythm(random, preemption)
        self._statements = self._preemption.next()
        self._strikes = 0  # exceptions that have not struck yet
        self.hub = getcurrent()  # of what makes the world, and runs it
        self._ident = get_ident()

    @property
    def is_foreign(self) -> bool:
        """Whether the caller is a real thread, which another test has left behind."""
        return get_ident() != self._ident

    @property
    def current(self) -> Thread | None:
        """The simulated thread that calls; None for what sets up the world."""
        return self._running if get_ident() == self._ident else None

    # For threads.

    def spawn(
        self,
        process: Any,
        name: str,
        target: Callable[..., Any],
        *args: Any,
        daemon: bool = True,
    ) -> Thread:
        """Start a thread."""
        thread = Thread(self, process, name, target, args, daemon)
        self.threads[thread] = None
        self.unfinished += not daemon
        self._make_ready(thread)
        return thread

    def door(self, kind: str) -> None:
        """The calling thread is about to call the outside: another one may go on first."""
        thread = self.current
        if thread is None:  # what sets up the world
            return
        if thread.process.dead:
            raise Killed
        if self.faults is not None:
            self.faults.at(thread, kind)
        self._countdown -= 1
        if self._countdown < 0:
            self._be_interrupted(thread)

    def statement(self) -> None:
        """The calling thread is about to execute a statement: another one may go on first."""
        if get_ident() == self._ident:
            running = self._running
            if self.faults is not None and running is not None and running.call:
                self.faults.at(running, 'statement')
            self._statements -= 1
            if self._statements < 0 and self._running is not None:
                self._be_interrupted(self._running)

    def _be_interrupted(self, thread: Thread) -> None:
        if thread.process.dead:
            raise Killed
        self._raise_struck(thread)
        if not self._strikes:
            if self._countdown < 0:
                self._countdown = self._switches.next()
            if self._statements < 0:
                self._statements = self._preemption.next()
        self.give_way()

    def _raise_struck(self, thread: Thread) -> None:
        if thread.struck is not None:
            error, thread.struck = thread.struck, None
            self._strikes -= 1
            raise error

    def strike(self, thread: Thread, error: BaseException) -> None:
        """Have an exception strike a thread, as a signal's handler may, or another thread."""
        if thread.struck is None and thread.is_alive() and not thread.process.dead:
            thread.struck = error
            self._strikes += 1
            self._countdown = self._statements = -1.0  # all threads look until it has struck
            self.wake((thread, thread.epoch))

    def give_way(self) -> None:
        """Let other threads run, or go on at once."""
        thread = self.current
        if thread is not None:
            self._make_ready(thread)
            self._leave(thread)

    def clock(self) -> float:
        """Return the monotonic clock's time."""
        self.now += STEP
        self.door('now')
        return self.now

    def me(self) -> tuple[Thread, int]:
        """Return what :meth:`wake` takes to end the next wait of the calling thread."""
        thread = self.current
        if thread is None:
            raise RuntimeError('what sets up the world cannot wait: start a thread for it')
        return thread, thread.epoch + 1

    def wait(self, what: str, seconds: float | None = None) -> Any:
        """Suspend the calling thread; return what :meth:`wake` was given, None when time is over.

        :param what: for the report of a hang.
        """
        thread, epoch = self.me()
        if thread.process.dead:
            raise Killed
        thread.epoch = epoch
        thread.waits_for = what
        thread.woken_by = None
        if seconds is not None:
            entry = (self.now + max(seconds, 0.0), next(self._timer_numbers), thread, epoch)
            heapq.heappush(self._timers, entry)
        self._leave(thread)
        if thread.struck is not None:
            self._raise_struck(thread)
        return thread.woken_by

    def _leave(self, thread: Thread) -> None:
        self.hub.switch()
        if thread.process.dead:
            raise Killed

    # For those who wake others.

    def wake(self, waiter: tuple[Thread, int], value: Any = True) -> bool:
        """End a wait, unless it has ended; return whether it had not."""
        thread, epoch = waiter
        if thread.epoch != epoch or not thread.waits_for or thread.process.dead:
            return False
        thread.waits_for = ''
        thread.woken_by = value
        self._make_ready(thread)
        return True

    def later(self, seconds: float, function: Callable[..., None], *args: Any) -> None:
        """Call a function, which does not wait, at a later time."""
        entry = (self.now + seconds, next(self._timer_numbers), function, args)
        heapq.heappush(self._timers, entry)

    def _make_ready(self, thread: Thread) -> None:
        paused = thread.process.paused
        (self._ready if paused is None else paused).append(thread)

    def pause(self, process: Any) -> None:
        """Stop all threads of a process until :meth:`resume`."""
        if process.paused is None:
            process.paused = [thread for thread in self._ready if thread.process is process]
            self._ready = [thread for thread in self._ready if thread.process is not process]

    def resume(self, process: Any) -> None:
        """Let a paused process go on."""
        threads, process.paused = process.paused, None
        self._ready.extend(threads or ())

    def forget(self, process: Any) -> None:
        """A process is dead: none of its threads ever runs again."""
        self._ready = [thread for thread in self._ready if thread.process is not process]
        for thread in self.threads_of(process):
            self._strikes -= thread.struck is not None
            thread.struck = None
            if not thread.daemon:
                thread.daemon = True
                self.unfinished -= 1

    def threads_of(self, process: Any) -> list[Thread]:
        """Return those that have not ended."""
        return [thread for thread in self.threads if thread.process is process]

    def ended(self, thread: Thread, joined: list[tuple[Thread, int]]) -> None:
        """A thread has ended, and wakes those that wait for that."""
        self._strikes -= thread.struck is not None
        self.threads.pop(thread, None)
        self.unfinished -= not thread.daemon
        if thread.error is not None:
            self.errors.append((thread, thread.error))
        for waiter in joined:
            self.wake(waiter)

    # The hub.

    def run(self, done: Callable[[], bool], until: float, steps: int) -> None:
        """Run threads until `done()` says so.

        :param until: the virtual time at which that is taken for a hang.
        :param steps: how many steps are taken for a livelock.
        """
        if self.current is not None:
            raise RuntimeError('only what has made the world may run it')
        random, last = self.random.random, self.steps + steps
        while not done():
            timers = self._timers
            if timers and timers[0][0] <= self.now:
                self._fire()
                continue
            ready = self._ready
            if not ready:
                self._pass_time(until)
                continue
            index = int(random() * len(ready))
            thread, ready[index] = ready[index], ready[-1]
            ready.pop()
            if self.steps >= last:
                raise Livelock(f'{steps} steps, and no end\n{self.stacks()}')
            self._step(thread)

    def _step(self, thread: Thread) -> None:
        self.steps += 1
        self.now += STEP
        if self.trace is not None:
            self.trace.append((self.steps, self.now, thread.ident, thread.name))
        self._running = thread
        try:
            thread.greenlet.switch()
        finally:
            self._running = None

    def _pass_time(self, until: float) -> None:
        """Go to the time of the next timer, since no thread can run."""
        timers = self._timers
        while timers and _is_void(timers[0]):
            heapq.heappop(timers)
        if not timers:
            raise Hang(f'nothing can happen any more\n{self.stacks()}')
        if timers[0][0] > until:
            raise Hang(f'not done at {until:.3f} s\n{self.stacks()}')
        self.now = max(self.now, timers[0][0])

    def _fire(self) -> None:
        entry = heapq.heappop(self._timers)
        what, arguments = entry[2:]
        if isinstance(what, Thread):
            self.wake((what, arguments), None)
        else:
            what(*arguments)

    # The end.

    def stacks(self) -> str:
        """Return where each thread is, for people."""
        texts = []
        for thread in self.threads:
            if thread.process.dead:
                continue
            what = f'waits for {thread.waits_for}' if thread.waits_for else 'can run'
            texts.append(f'{thread.process.name}/{thread.name} {what}:\n{thread.stack()}')
        return '\n'.join(texts) or 'no thread is left'

    def close(self) -> None:
        """End all threads; their processes have to be marked as dead."""
        self._timers.clear()
        self._ready.clear()
        for thread in list(self.threads):
            self._running = thread
            try:
                thread.greenlet.throw(Killed)
            finally:
                self._running = None
        self.threads.clear()


class _Rhythm:
    """Says after how many calls something happens again.

    :param share: of the calls, on average; 0: never.
    """

    def __init__(self, random: Random, share: float) -> None:
        self._random = random
        self._share = share

    def next(self) -> float:
        """Return after how many."""
        return self._random.expovariate(self._share) if self._share else float('inf')


def _is_void(entry: tuple[float, int, Any, Any]) -> bool:
    """Whether a timer is for a wait that has ended, or a process that is dead."""
    thread = entry[2]
    return isinstance(thread, Thread) and (
        thread.epoch != entry[3] or not thread.waits_for or thread.process.dead
    )
