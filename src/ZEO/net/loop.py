"""The server's select loop: readers, writers, timers, and one door for other threads.

Enters: file objects with a callback, timers, and functions from other threads by
:meth:`Loop.from_thread`. Leaves: calls of those, all in the thread that runs :meth:`Loop.run`.
Fails: never by a callback; what one raises is logged and the loop goes on. The callback of a file
that has raised is told so, and if that fails, too, the file is no longer watched, since it may stay
ready.

Only KeyboardInterrupt and SystemExit leave :meth:`Loop.run`: they come from a signal handler of the
program, which wants to end.
"""

from __future__ import annotations

import heapq
import socket
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from ZEO.net.busy_poll import BusyPoll
from ZEO.net.interpreter_sharing import InterpreterSharing
from ZEO.net.poller import HANGUP, READ, WRITE, new_poller
from ZEO.net.reports import Reports
from ZEO.net.system import REAL, System

__all__ = ['FAILED', 'HANGUP', 'READ', 'WRITE', 'Loop', 'Timer']

#: The events of a file that is neither readable nor writable: reading or writing will say what is
#: wrong with it.
_BOTH = READ | WRITE

#: Events that are passed on as they are.
_KNOWN = _BOTH | HANGUP

#: What the callback of a file is given after it has raised, so that it ends what the file is of:
#: who is on the other side would wait without end.
FAILED = 1 << 30

Callback = Callable[[int], None]

#: No file's descriptor.
NOTHING = -1

#: Exceptions that end the process, and so the loop.
ENDS = (KeyboardInterrupt, SystemExit)

#: Seconds of a client's turn at least: with less, too much time is spent on switching between
#: clients.
SHORTEST_TURN = 0.0005

#: Cancelled timers that stay in the heap. When there are more, and they are half of it, they are
#: removed.
MOST_CANCELLED = 100

#: Seconds that the loop sleeps at most where a program uses signal.set_wakeup_fd itself: a signal
#: whose handler ran just before the sleep is noticed then.
SIGNALS_UNSEEN = 0.5

#: Seconds until the loop waits for its files again when it had no memory to do so.
NO_MEMORY = 0.1

#: How often another thread tries to wake the loop while there is no memory for that.
_RINGS = 50


class Timer:
    """A call at a later time, until :meth:`cancel`."""

    __slots__ = ('when', 'function', '_cancelled')

    def __init__(
        self, when: float, function: Callable[[], None], cancelled: Callable[[], None]
    ) -> None:
        self.when = when
        self.function: Callable[[], None] | None = function  # None: cancelled, or called already
        self._cancelled = cancelled  # called at a cancellation

    def cancel(self) -> None:
        """Do not call the function; harmless when it was called already."""
        if self.function is not None:
            self.function = None
            self._cancelled()


class Loop:
    """One thread's loop over sockets and timers."""

    def __init__(self, system: System = REAL, turn: float = 0.004) -> None:
        """Make a loop with nothing to do.

        :param turn: seconds of one round of all clients that take turns.
        """
        self.system = system
        self._now = system.now
        self._turn = turn
        self._poller = new_poller()
        # of every watched file, by its descriptor
        self._callbacks: dict[int, Callback] = {}
        # the next request often arrives soon
        self._busy_poll = BusyPoll(system)
        # other threads that want the interpreter
        self.sharing = InterpreterSharing(system)
        # log lines that peers can cause at will
        self.reports = Reports(self.later)
        # a heap; the number keeps equal times comparable
        self._timers: list[tuple[float, int, Timer]] = []
        self._on_cancelled = self._note_cancelled  # one for all timers
        self._cancelled = 0  # how many of them will not be called
        self._numbers = count()
        # to be called at the end of this wake-up
        self._soon: deque[Callable[[], None]] = deque()
        # to be called after the other clients were served
        self._turns: list[Callable[[], None]] = []
        #: What other threads have posted, and was not called yet: see :meth:`run_posted`.
        self.posted: deque[Callable[[], None]] = deque()
        #: The descriptor of the file whose callback, or whose turn, is under way.
        self.serving = NOTHING
        # whether functions of _from_threads are being called
        self._running_posted = False
        #: Is called after something was left undone for want of memory, again and again until it
        #: leaves nothing undone itself: it is not known who waits for that.
        self.task_was_lost: Callable[[], None] = lambda: None
        #: Whether that is to be called; to be set by whoever leaves something undone.
        self.lost_task = False
        self._running = False
        self._stopped = False
        self._longest: float | None = None  # seconds of one sleep
        self._bell, self._ringer = socket.socketpair()  # by which other threads wake the loop
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._rung = False
        self.add(self._bell, READ, self._on_bell)

    def add(self, file: Any, events: int, callback: Callback) -> None:
        """Call ``callback(ready events)`` whenever `file` is ready for one of `events`."""
        fd = file.fileno()
        self._poller.register(fd, events)
        self._callbacks[fd] = callback

    def change(self, file: Any, events: int, callback: Callback) -> None:
        """Wait for other events of a file; none (0) is allowed and pauses it."""
        if not events:
            self.remove(file)
        elif file.fileno() in self._callbacks:
            self._poller.modify(file.fileno(), events)
            self._callbacks[file.fileno()] = callback
        else:
            self.add(file, events, callback)

    def remove(self, file: Any) -> None:
        """Stop watching a file, before it is closed; harmless if it is paused or not watched."""
        if self._callbacks.pop(file.fileno(), None) is not None:
            self._poller.unregister(file.fileno())

    def later(self, seconds: float, function: Callable[[], None]) -> Timer:
        """Call `function` once after that many seconds."""
        timer = Timer(self._now() + seconds, function, self._on_cancelled)
        heapq.heappush(self._timers, (timer.when, next(self._numbers), timer))
        return timer

    def _note_cancelled(self) -> None:
        """Remove cancelled timers when there are many: every commit makes one for a time far ahead,
        and cancels it.
        """
        self._cancelled += 1
        if self._cancelled > MOST_CANCELLED and self._cancelled > len(self._timers) // 2:
            self._timers = [entry for entry in self._timers if entry[2].function is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def soon(self, function: Callable[[], None]) -> None:
        """Call `function` after the callbacks of this wake-up; for the loop's own thread."""
        self._soon.append(function)

    def next_turn(self, function: Callable[[], None]) -> None:
        """Call `function` after everything else that is ready now was served once; for long work in
        several turns.
        """
        self._turns.append(function)

    def slice(self) -> float:
        """Return the time until which one of those that take turns may go on: they share what one
        may have.
        """
        return self._now() + max(SHORTEST_TURN, self._turn / (1 + len(self._turns)))

    def others_wait(self) -> bool:
        """Return whether something else is ready than the file that is being served; for long work
        in the loop's own thread.
        """
        if self._turns or self.sharing.threads:  # threads that compute: a look would let them go on
            return True
        timers, own = self._timers, self.serving
        return any(fd != own for fd, _ in self._poller.look()) or bool(
            timers and timers[0][0] <= self._now()
        )

    def from_thread(self, function: Callable[[], None]) -> None:
        """Have `function` called in the loop's thread: the one door for other threads and signal
        handlers.
        """
        self.posted.append(function)
        if not self._rung:
            self._rung = True
            try:
                self._ring()
            except BaseException:  # of a signal handler: the next one that posts rings
                self._rung = False
                raise

    def _ring(self) -> None:
        for _ in range(_RINGS):
            try:
                self._ringer.send(b'!')
                return
            except BlockingIOError:  # the bell is full, so it has rung
                return
            except (OSError, MemoryError):  # the kernel may have no memory for it, too
                if self._ringer.fileno() < 0:  # the loop is closed
                    return
                self.system.sleep(NO_MEMORY)
        raise MemoryError('there was no memory to wake the loop')

    @property
    def has_posts(self) -> bool:
        """Whether other threads have posted functions that were not called yet."""
        return bool(self.posted)

    def run_posted(self) -> None:
        """Call the functions that other threads have posted, in order; harmless within one."""
        if self._running_posted:
            return
        self._running_posted = True
        try:
            while self.posted:
                self.attempt(self.posted.popleft())
        finally:
            self._running_posted = False

    def run(self) -> None:
        """Run until :meth:`stop`."""
        self._running = True
        try:
            with self.system.signals_written_to(self._ringer.fileno()) as rings:
                self._longest = None if rings else SIGNALS_UNSEEN
                while not self._stopped:
                    try:
                        if self.lost_task:
                            self.lost_task = False
                            self.attempt(self.task_was_lost)
                        self.run_once(NO_MEMORY if self.lost_task else self._longest)
                    except MemoryError as error:  # of waiting: what is called has its own boundary
                        self.reports.failed('waiting for clients failed', 'server', error)
                        self.system.sleep(NO_MEMORY)
        finally:
            self._running = False
            self._longest = None
            self.sharing.leave()

    def run_once(self, timeout: float | None) -> None:
        """Wait for something to do, and do it.

        :param timeout: seconds to wait at most; None: no limit.
        """
        turns: list[Callable[[], None]] | None = None
        if self._turns or self._soon or timeout == 0:
            ready = self._poller.look()
            turns, self._turns = self._turns, []
        else:
            # While other threads compute, each look would give them the interpreter for a while.
            # When the next timer is due is asked only before a sleep.
            ready = [] if self.sharing.threads else self._busy_poll.poll(self._poller.look)
            if not ready:
                ready = self._poller.poll(self._timeout(timeout))
        try:
            callbacks = self._callbacks
            for fd, events in ready:
                callback = callbacks.get(fd)
                if callback is not None:  # a callback before it may have removed this file
                    self.serving = fd
                    try:
                        callback(events & _KNOWN or _BOTH)
                    except ENDS:
                        raise
                    except BaseException as error:  # the loop serves the others as well
                        self._file_failed(fd, callback, error)
            self.serving = NOTHING
            timers = self._timers
            if timers and timers[0][0] <= self._now():
                self._run_timers()
            soon = self._soon
            while soon:
                self.attempt(soon.popleft())
            while turns:
                self.attempt(turns.pop(0))
                self.serving = NOTHING
        except BaseException:  # for want of memory: these still have their turn
            self.lost_task = True
            if turns:
                self._turns = turns + self._turns
            raise

    def attempt(self, function: Callable[[], Any]) -> bool:
        """Call `function`; log an exception that it raises. Return whether it has raised none."""
        try:
            try:
                function()
                return True
            except ENDS:
                raise
            except MemoryError as error:
                self.lost_task = True
                self.reports.failed('a task of the server failed', 'server', error)
            except BaseException as error:
                self.reports.failed('a task of the server failed', 'server', error)
        except MemoryError:  # for that line in the log
            self.lost_task = True
        return False

    def _file_failed(self, fd: int, callback: Callback, error: BaseException) -> None:
        """Have a callback that has failed end what it is of; if it fails again, stop watching its
        file, since it might do so without end. That of the bell never fails.
        """
        try:
            if isinstance(error, MemoryError):
                self.lost_task = True
            self.reports.failed('a connection failed', 'server', error)
            if self._callbacks.get(fd) is callback:
                callback(FAILED)
        except ENDS:
            raise
        except BaseException as failure:
            self.reports.failed(
                'a connection failed again: it is not watched any more', 'server', failure
            )
            self._unwatch(fd, callback)

    def _unwatch(self, fd: int, callback: Callback) -> None:
        if self._callbacks.get(fd) is callback:
            del self._callbacks[fd]
            try:
                self._poller.unregister(fd)
            except (OSError, KeyError, ValueError):  # it was closed already
                pass

    def stop(self) -> None:
        """End :meth:`run` soon; from any thread or signal handler."""
        self.from_thread(self._stop)

    def close(self) -> None:
        """Free the loop's own files; the files that it watched stay open."""
        self.sharing.close()
        self._poller.close()
        self._bell.close()
        self._ringer.close()

    def _stop(self) -> None:
        self._stopped = True

    def _timeout(self, longest: float | None) -> float | None:
        """Return for how many seconds the loop may sleep: until the next timer, at most `longest`;
        None for no limit.
        """
        timers = self._timers
        while timers and timers[0][2].function is None:
            heapq.heappop(timers)
            self._cancelled -= 1
        if not timers:
            return longest
        left = timers[0][0] - self._now()
        if longest is not None and longest < left:
            return longest
        return left if left > 0.0 else 0.0

    def _run_timers(self) -> None:
        now = self._now()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            function, timer.function = timer.function, None
            if function is None:
                self._cancelled -= 1
            else:
                self.attempt(function)

    def _on_bell(self, events: int) -> None:
        try:
            self._bell.recv(4096)
        except (OSError, MemoryError):  # there is nothing to read; or it rings again
            pass
        self._rung = False  # first, so that what is posted from now on rings again
        self.run_posted()
