"""Raising an exception at one chosen line of a thread, or at one chosen bytecode.

Enters: which line event of the client's own code is to be struck. Leaves: :class:`Struck`, out of
that line, once. Fails: never; a point beyond the last one strikes nothing, and says so.

A signal handler that raises, an exception thrown in by another thread, MemoryError: each may strike
anywhere. Where a real one comes by chance, these come everywhere, one after the other.
"""

from __future__ import annotations

import functools
import itertools
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import ZEO
from support.out_of_memory import lines_that_allocate

_HOME = Path(ZEO.__file__).parent

#: What runs while a role is held, or what has arrived is applied.
_STRUCK = (str(_HOME / 'link') + '/', str(_HOME / 'cache') + '/')
_ALSO = {
    str(_HOME / 'net' / name) for name in ('stream.py', 'tls_socket.py', 'locks.py', 'busy_poll.py')
} | {str(_HOME / name) for name in ('locks.py', 'ClientStorage.py')}

#: Every so many points are struck in each run of the tests, all of them in the slow ones.
SOME, EVERY = 29, 1

everywhere = pytest.mark.parametrize(
    'step', [SOME, pytest.param(EVERY, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)


class Struck(BaseException):
    """What a thread was struck with."""


@functools.cache
def allocating(code: CodeType) -> frozenset[int]:
    """Return the lines of a function at which there may be no memory."""
    return lines_that_allocate(code)


class Striker:
    """Strikes once, at the given event; counts them all."""

    struck: tuple[str, ...] = _STRUCK  # how the names of files begin

    def __init__(
        self, point: int, opcodes_of: tuple[str, ...] = (), error: type[BaseException] = Struck
    ) -> None:
        """Be ready to strike.

        :param point: the number of the event, from 1.
        :param opcodes_of: names of functions that are struck at every bytecode instead of every
            line; then no others are.
        :param error: what to strike with.
        """
        self.point = point
        self.error = error
        self.events = 0
        self.where: str | None = None  # what was struck
        self._opcodes_of = opcodes_of
        self._known: dict[Any, bool] = {}

    def run(self, function: Callable[[], Any]) -> None:
        """Call a function, struck; what it raises of itself passes."""
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            function()
        except Struck:
            pass
        finally:
            sys.settrace(before)

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Watch the client's own functions, as of ``sys.settrace``."""
        code = frame.f_code
        wanted = self._known.get(code)
        if wanted is None:
            name = code.co_filename
            wanted = name.startswith(self.struck) or name in _ALSO
            if self._opcodes_of:
                wanted = wanted and code.co_name in self._opcodes_of
            self._known[code] = wanted
        if not wanted or self.where is not None:
            return None
        if self._opcodes_of:
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event in ('line', 'opcode') and self.where is None:
            self.events += 1
            if self.events == self.point:
                self.where = (
                    f'{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}'
                )
                raise self.error(self.where)
        return self._step


class WithoutMemory(Striker):
    """Strikes with MemoryError, at lines that may need memory; also in what the client's calls
    share with a server.
    """

    struck = (*_STRUCK, str(_HOME / 'net') + '/', str(_HOME / 'wire') + '/')

    def __init__(self, point: int) -> None:
        super().__init__(point, error=MemoryError)

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == 'line' and frame.f_lineno not in allocating(frame.f_code):
            return self._step
        return super()._step(frame, event, argument)


class StillWithoutMemory(WithoutMemory):
    """Strikes a second time: at one of the next calls, such as one in a handler of the first, or
    when the next line of the log is written.

    A function that traces is taken away when it has raised; one that profiles stays.
    """

    def __init__(self, point: int) -> None:
        super().__init__(point)
        self._calls_left = 1 + point % 5
        self._thread: int | None = None

    def run(self, function: Callable[[], Any]) -> None:
        """Call a function, struck twice."""
        self._thread = threading.get_ident()
        logger = logging.getLogger('ZEO.ClientStorage')
        logger.addFilter(self._refuse)
        sys.setprofile(self._profile)
        try:
            super().run(function)
        except MemoryError:  # out of `quietly`, which it may strike as well
            pass
        finally:
            sys.setprofile(None)
            logger.removeFilter(self._refuse)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.where is None or event != 'call' or not self._calls_left:
            return
        if frame.f_code.co_filename.startswith(self.struck):
            self._calls_left -= 1
            if not self._calls_left:
                self.where += f', then {frame.f_code.co_name}'
                raise MemoryError(self.where)

    def _refuse(self, record: logging.LogRecord) -> bool:
        if self.where is not None and self._calls_left and threading.get_ident() == self._thread:
            self._calls_left = 0
            self.where += f', then the log: {record.msg}'
            raise MemoryError(self.where)
        return True


class ThreadStriker(Striker):
    """Strikes a thread that the client starts itself.

    Within a `with` it is waiting for threads whose names begin so.
    """

    def __init__(self, point: int, name: str, error: type[BaseException] = Struck) -> None:
        super().__init__(point, error=error)
        self._name = name

    def __enter__(self) -> ThreadStriker:
        threading.settrace(self.trace)
        return self

    def __exit__(self, *exception: Any) -> None:
        threading.settrace(None)  # type: ignore[arg-type]

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not threading.current_thread().name.startswith(self._name):
            return None
        return super().trace(frame, event, argument)


def strike(
    step: int,
    act: Callable[[], Any],
    verify: Callable[[], Any],
    striker: Callable[[int], Striker] = Striker,
    most: int = 100_000,
) -> int:
    """Strike at one point after the other, until there is none left; returns how many were
    struck.

    :param step: from one point to the next.
    :param verify: is called after each strike.
    """
    struck = []
    for point in itertools.count(1 + len(act.__name__) % step, step):
        striking = striker(point)
        striking.run(lambda: quietly(act))
        if striking.where is None:
            break
        struck.append(striking.where)
        try:
            verify()
        except BaseException as error:
            raise AssertionError(f'struck at {point}: {striking.where}') from error
        assert len(struck) < most
    assert struck
    print(f'{act.__name__}: {len(struck)} points of {len(set(struck))} lines')
    return len(struck)


def quietly(function: Callable[[], Any]) -> None:
    """What follows from a strike is an error of the application's to handle."""
    try:
        function()
    except Exception:
        pass


#: With what a calling thread is struck.
kinds = pytest.mark.parametrize('striker', [Striker, WithoutMemory])
