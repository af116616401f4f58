"""Clocks and threads, for the rest of the package.

Enters: callables. Leaves: times, threads, locks. Fails: RuntimeError where a thread cannot start. A
test puts another :class:`System` in the place of :data:`REAL`.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ZEO.net import green

#: Raised by the ``get`` of a queue that stays empty for the given time.
Empty = queue.Empty


#: Seconds within which a new thread begins to run.
_BEGINS_IN = 2.0


class _Started(threading.Event):
    """The event that ``Thread.start`` waits for, with a time limit.

    An exception that is thrown into the calling thread may strike the new one instead (until Python
    3.11 both have one number for a moment). The new thread then ends before it sets this event.
    """

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(_BEGINS_IN if timeout is None else timeout)


#: Seconds after which a thread that computes gives way to the loop. The loop releases the
#: interpreter at each of the half a dozen system calls of a load; with Python's 5 ms a pack would
#: add 30 ms to a load.
GIVE_WAY = 0.0002


class _Switches:
    """How often the threads of this process switch, which several loops may want quick at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = 0  # by how many
        self._usual = 0.0  # seconds between two switches when there are none
        self._quick = 0.0  # the same now, as Python has rounded it

    def begin(self) -> None:
        with self._lock:
            if not self._wanted:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(GIVE_WAY)
                self._quick = sys.getswitchinterval()
            self._wanted += 1

    def end(self) -> None:
        with self._lock:
            self._wanted -= 1
            if not self._wanted and sys.getswitchinterval() == self._quick:
                # not where a program has set its own meanwhile; Python cuts off microseconds
                sys.setswitchinterval(self._usual + 5e-7)

    def begin_anew(self) -> None:
        """In a forked child: the loops of its parent are gone."""
        self._lock = threading.Lock()
        if self._wanted:
            self._wanted = 1
            self.end()


_SWITCHES = _Switches()
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_SWITCHES.begin_anew)


class System:
    """What the operating system offers besides networks and files."""

    #: Lets another thread have the processor, if one wants it.
    give_way: Callable[[], None] = staticmethod(getattr(os, 'sched_yield', partial(time.sleep, 0)))

    #: Returns the seconds of a clock that never goes back. Not wrapped in a method: it is called
    #: several times for each message.
    now: Callable[[], float] = staticmethod(time.monotonic)

    def processors(self) -> int:
        """Return how many processors this process may use."""
        if hasattr(os, 'sched_getaffinity'):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def processor(self) -> set[int] | None:
        """Return the number of the processor that the calling thread runs on, in a set; None where
        that is not known.
        """
        try:
            with open('/proc/thread-self/stat', 'rb') as file:
                # binary: decoding may have to load a codec, without a free file descriptor
                return {int(file.read().rpartition(b')')[2].split()[36])}
        except (OSError, ValueError, IndexError):
            return None

    def run_on(self, processors: set[int] | None) -> set[int] | None:
        """Run the calling thread, and threads that it starts, on these processors only.

        :param processors: their numbers; None changes nothing.
        :returns: those that it could run on before; None where nothing has changed.
        """
        if processors is None or not hasattr(os, 'sched_setaffinity'):
            return None
        try:
            before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, processors)
        except OSError:  # a container may forbid it
            return None
        return before

    def resident_memory(self) -> int | None:
        """Return the bytes of memory that this process occupies; None where that is not known."""
        try:
            with open('/proc/self/statm', 'rb') as file:  # binary: as in processor()
                return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
        except (OSError, ValueError, IndexError):
            return None

    def lower_priority(self, by: int) -> None:
        """Lower the priority of the calling thread until it ends: only root could raise it again.

        :param by: what to add to its nice value.
        """
        # elsewhere threads have no priority of their own, and greenlets have that of all
        if sys.platform != 'linux' or green.are_threads_green():
            return
        try:
            os.setpriority(
                os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + by
            )
        except OSError:  # as above
            pass

    def wall_clock(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Suspend the calling thread."""
        time.sleep(seconds)

    def spawn(self, name: str, target: Callable[..., None], *args: Any) -> threading.Thread:
        """Run `target` in a new thread, which does not keep the process alive, and return it."""
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        thread._started = _Started()  # type: ignore[attr-defined]
        thread.start()
        return thread

    def begin_quick_switches(self) -> None:
        """Have threads that compute give way to others often, until :meth:`end_quick_switches` is
        called as many times; from any thread.
        """
        _SWITCHES.begin()

    def end_quick_switches(self) -> None:
        """Let threads compute for as long as before, unless others want to switch often."""
        _SWITCHES.end()

    def lock(self) -> Any:
        """Return a new lock, not held."""
        return threading.Lock()

    def reentrant_lock(self) -> Any:
        """Return a new lock that its holder may take again."""
        return threading.RLock()

    def queue(self) -> Any:
        """Return a new queue that threads put to and get from."""
        return green.waiting('queue', 'SimpleQueue')()

    def condition(self) -> threading.Condition:
        """Return a new condition with its lock."""
        return threading.Condition()

    def event(self) -> threading.Event:
        """Return a new event, not set."""
        return threading.Event()

    def current_thread(self) -> threading.Thread:
        """Return the calling thread."""
        return threading.current_thread()

    def this_thread(self) -> int:
        """Return the number of the calling thread."""
        return threading.get_ident()

    def has_ended(self, thread: int) -> bool:
        """Return whether the thread with this number has ended; greenlets of gevent cannot be
        found.
        """
        return not green.are_threads_green() and thread not in sys._current_frames()

    def calls_of(self, thread: int) -> list[tuple[str, str]]:
        """Return the functions that the thread with this number is in, the innermost first: the
        name of each, and file and line.
        """
        found, frame = [], sys._current_frames().get(thread)
        while frame is not None:
            code = frame.f_code
            file = '/'.join(code.co_filename.split(os.sep)[-2:])
            found.append((code.co_name, f'{file}:{frame.f_lineno}'))
            frame = frame.f_back
        return found

    def thread_numbers(self) -> Callable[[], int]:
        """Return the function that :meth:`this_thread` calls, for callers on a hot path; gevent may
        replace it later.
        """
        return threading.get_ident

    @contextmanager
    def signals_written_to(self, fd: int) -> Iterator[bool]:
        """Inside, have every signal of this process write a byte to a descriptor before its handler
        is called.

        Python calls handlers between two bytecodes of the main thread. The handler of a signal that
        arrives just before a system call runs when that call returns, which may never happen while
        it waits for files: the byte makes it return.

        :returns: False where the calling thread runs handlers and such bytes go elsewhere already,
            to a program's own loop.
        """
        if threading.current_thread() is not threading.main_thread():
            yield True  # it runs no handlers: the thread that does wakes it
            return
        try:
            before = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
        except ValueError:  # a subinterpreter, which has no signals
            yield True
            return
        if before != -1:
            signal.set_wakeup_fd(before)
            yield False
            return
        try:
            yield True
        finally:
            now = signal.set_wakeup_fd(-1)
            if now not in (fd, -1):  # a program has set its own meanwhile
                signal.set_wakeup_fd(now)

    def after_fork_in_child(self, method: Callable[[], None]) -> None:
        """Call a bound method in every child process that is forked while its object lives."""
        reference = weakref.WeakMethod(method, partial(_forget, _IN_CHILDREN))
        _IN_CHILDREN[id(reference)] = reference


def _forget(known: dict[int, Any], gone: object) -> None:
    known.pop(id(gone), None)


#: What is called in a forked child. A registration of Python's own stays for good: a program that
#: opens and closes clients would keep something of each.
_IN_CHILDREN: dict[int, weakref.WeakMethod[Callable[[], None]]] = {}


def _call_in_child() -> None:
    for reference in tuple(_IN_CHILDREN.values()):
        method = reference()
        if method is not None:
            try:
                method()
            except Exception:  # as Python does with its own: the others are called as well
                sys.excepthook(*sys.exc_info())


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_call_in_child)


REAL = System()
