"""Raising an exception at one chosen line of a thread, or at one chosen bytecode.

Enters: which line event of the client's own code is to be struck. Leaves: :class:`Struck`, out of
that line, once. Fails: never; a point beyond the last one strikes nothing, and says so.

A signal handler that raises, an exception thrown in by another thread, MemoryError: each may strike
anywhere. Where a real one comes by chance, these come everywhere, one after the other.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import ZEO

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


class Striker:
    """Strikes once, at the given event; counts them all."""

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
            wanted = name.startswith(_STRUCK) or name in _ALSO
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


class ThreadStriker(Striker):
    """Strikes a thread that the client starts itself.

    Within a `with` it is waiting for threads whose names begin so.
    """

    def __init__(self, point: int, name: str) -> None:
        super().__init__(point)
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
