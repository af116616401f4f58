"""One simulated world: processes that run the real server and clients, all in this thread.

Enters: a seed, and functions to run as threads of processes. Leaves: one history, the same for the
same seed. Fails: :class:`~support.simulation.scheduler.Hang` and
:class:`~support.simulation.scheduler.Livelock`, with the stack of every thread.

    with World(seed) as world:
        server = world.process('server')
        server.start(serve, 'main', daemon=True)
        client = world.process('client')
        client.start(work, 'main')
        world.run()

While a world is entered, the modules of ZEO and ZODB that reach sockets, clocks and locks reach
those of the world, see :mod:`support.simulation.installing`. Only one can be entered at a time.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable
from random import Random
from typing import Any

from support.simulation import installing, preemption
from support.simulation.faults import Faults
from support.simulation.network import Network
from support.simulation.scheduler import Scheduler, Thread
from support.simulation.system import SimulatedSystem

#: Virtual seconds and steps of a history, unless the caller says otherwise.
LONGEST, MOST_STEPS = 3600.0, 2_000_000

#: Descriptors 0 to 2 are not given out.
_FIRST_FILE = 3

_LOGGERS = ('ZEO', 'ZODB', 'txn')


class Process:
    """Threads that die together, with one system, and files that its kernel closes at its end."""

    def __init__(self, world: World, name: str, disk: Any) -> None:
        self.world = world
        self.name = name
        self.disk = disk
        self.dead = False
        self.paused: list[Thread] | None = None  # threads that could run if it were not paused
        self.clock_offset = 0.0  # seconds that its wall clock is wrong
        self.files: dict[int, Any] = {}  # open sockets, by their descriptors
        self.system = SimulatedSystem(world.scheduler, self)

    def start(
        self, function: Callable[..., Any], name: str, *args: Any, daemon: bool = False
    ) -> Thread:
        """Run a function in a new thread of this process.

        :param daemon: whether the end of the history does not wait for it.
        """
        return self.world.scheduler.spawn(self, name, function, *args, daemon=daemon)

    def crash(self, power: bool = False) -> None:
        """Kill it (SIGKILL): no thread of it does anything more, and its sockets are closed.

        :param power: its machine loses its power instead: the other sides are told nothing. Its
            disk is the caller's affair.
        """
        if not self.dead:
            self.dead = True
            self.world.note('loses its power' if power else 'crashes', self.name)
            network = self.world.network
            (network.machine_ended if power else network.process_ended)(self)
            self.world.scheduler.forget(self)

    def pause(self, seconds: float) -> None:
        """Stop it (SIGSTOP) for a while; its connections stay, and take what arrives."""
        scheduler = self.world.scheduler
        if self.paused is None and not self.dead:
            self.world.note('pauses', self.name, seconds)
            scheduler.pause(self)
            scheduler.later(seconds, scheduler.resume, self)

    def strike(self, error: BaseException) -> None:
        """Have an exception strike one of its threads, where it calls the outside next."""
        threads = self.world.scheduler.threads_of(self)
        if threads and not self.dead:
            thread = self.world.random.choice(threads)
            self.world.note('is struck', repr(thread), repr(error))
            self.world.scheduler.strike(thread, error)

    def jump_clock(self, seconds: float) -> None:
        """Change its wall clock, forwards or backwards."""
        self.clock_offset += seconds

    def new_file(self, file: Any) -> int:
        """Return a descriptor for a file: the lowest that is free."""
        number = _FIRST_FILE
        while number in self.files:
            number += 1
        self.files[number] = file
        return number


class World:
    """Everything in it.

    :param seed: of all choices.
    :param switches: the share of calls to the outside at which another thread may go on.
    :param preempted: the share of the product's statements before which another thread may go on;
        more than 0 makes a history slower.
    :param pieces: the share of sends and receives that take a part of what they could.
    :param traced: whether to keep a trace of all steps and messages.
    """

    def __init__(
        self,
        seed: int,
        switches: float = 0.02,
        pieces: float = 0.02,
        preempted: float = 0.0,
        traced: bool = False,
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.scheduler = Scheduler(self.random, switches, preempted)
        self._is_preemptive = preempted > 0
        self.network = Network(self.scheduler)
        self.network.pieces = pieces
        self.faults = Faults(self)
        self.processes: list[Process] = []  # all that there ever were
        self.log: list[tuple[float, str, logging.LogRecord]] = []  # when, by which thread
        self.events: list[tuple[Any, ...]] = []  # what was done to processes, when
        self.trace: list[Any] | None = [] if traced else None
        self.scheduler.trace = self.network.trace = self.trace
        self._handler = _Handler(self)
        self._undo: list[Callable[[], None]] = []

    @property
    def errors(self) -> list[tuple[Thread, BaseException]]:
        """What threads have ended with, other than by returning."""
        return self.scheduler.errors

    @property
    def now(self) -> float:
        """The virtual time, in seconds."""
        return self.scheduler.now

    def process(self, name: str, disk: Any = None) -> Process:
        """Return a new process; one that is to take the place of a dead one has the same name.

        :param disk: what it has for files.
        """
        process = Process(self, name, disk)
        self.network.machine_began(name)
        self.processes.append(process)
        return process

    def current_process(self) -> Process | None:
        """Return the process whose thread runs; None while none does."""
        thread = self.scheduler.current
        return None if thread is None else thread.process

    def run(
        self,
        until: float | Callable[[], bool] | None = None,
        longest: float = LONGEST,
        steps: int = MOST_STEPS,
    ) -> None:
        """Run the threads.

        :param until: a time, a condition, or None: until all threads but daemons have ended.
        :param longest: virtual seconds from now on after which that is taken for a hang.
        :raises Hang: when it takes longer, or nothing can happen any more.
        :raises Livelock: when it takes more steps.
        """
        scheduler = self.scheduler
        if until is None:
            scheduler.run(lambda: not scheduler.unfinished, self.now + longest, steps)
        elif callable(until):
            scheduler.run(until, self.now + longest, steps)
        else:
            time = until
            scheduler.later(time - self.now, lambda: None)
            scheduler.run(lambda: scheduler.now >= time, time + longest, steps)

    def later(self, seconds: float, function: Callable[..., None], *args: Any) -> None:
        """Call a function that does not wait, such as a crash, at a later time."""
        self.scheduler.later(seconds, function, *args)

    def note(self, *event: Any) -> None:
        """Keep what was done for those who look at a history."""
        self.events.append((self.now, *event))

    # Entering and leaving.

    def __enter__(self) -> World:
        gc.disable()  # which would collect at other moments in the same history
        self._undo.append(installing.install(self))
        if self._is_preemptive:
            self._undo.append(preemption.install(self.scheduler.statement))
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            self._undo.append(_restorer(logger))
            logger.handlers, logger.propagate = [self._handler], False
            logger.setLevel(logging.INFO if name == 'ZEO' else logging.WARNING)
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.dead = True
        logging.disable()
        before, sys.unraisablehook = sys.unraisablehook, _say_nothing  # of finalizers
        try:
            self.scheduler.close()
        finally:
            sys.unraisablehook = before
            logging.disable(logging.NOTSET)
            for undo in reversed(self._undo):
                undo()
            self._undo.clear()
            gc.enable()


def _say_nothing(error: object) -> None:
    """What a thread of a dead process fails with is of no concern."""


def _restorer(logger: logging.Logger) -> Callable[[], None]:
    handlers, propagate, level = logger.handlers, logger.propagate, logger.level

    def restore() -> None:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)

    return restore


class _Handler(logging.Handler):
    """Keeps the records that the product logs."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        thread = self._world.scheduler.current
        self._world.log.append((self._world.now, repr(thread), record))

    def createLock(self) -> None:
        """There is one real thread."""
        self.lock = None
