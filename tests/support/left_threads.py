"""Threads of ZEO that a test leaves behind: they would run on beside the tests after it.

Enters: tests, and the modules with them. Leaves: nothing. Fails: AssertionError at the end of the
test, or of the module, when all its fixtures have ended, with where each thread was started.

Servers and clients that are there for a whole module may start threads while a test runs.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Iterator

import pytest

#: Seconds in which the threads of what was closed end.
PATIENCE = 20.0

#: Seconds between two looks.
PAUSE = 0.002

_start = threading.Thread.start


def _noting_start(thread: threading.Thread) -> None:
    thread._begun_at = traceback.StackSummary.extract(  # type: ignore[attr-defined]
        traceback.walk_stack(sys._getframe(1)), limit=12, lookup_lines=False
    )
    thread._begun_by = threading.current_thread()  # type: ignore[attr-defined]
    _start(thread)


threading.Thread.start = _noting_start  # type: ignore[method-assign]


@pytest.fixture(scope='module', autouse=True)
def _module_leaves_no_thread() -> Iterator[None]:
    """A module ends the threads of the fixtures that its tests share."""
    yield from _leaving_none()


@pytest.fixture(autouse=True)
def _test_leaves_no_thread(_module_leaves_no_thread: None) -> Iterator[None]:
    """A test ends its threads."""
    yield from _leaving_none()


def _leaving_none() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = threads_left(before)
    assert not left, 'threads were left behind:\n' + '\n'.join(map(_described, left))


def threads_left(
    before: set[threading.Thread], patience: float = PATIENCE
) -> list[threading.Thread]:
    """Return the threads of ZEO that do not end in time.

    :param before: those that may be there, as may those that they start; the main thread, which
        starts whatever tests want, only itself.
    :param patience: how many seconds each has.
    """
    end = time.monotonic() + patience
    while (found := _found(before)) and time.monotonic() < end:
        time.sleep(PAUSE)  # one that is about to start cannot be joined
    return found


def _found(before: set[threading.Thread]) -> list[threading.Thread]:
    parents = before - {threading.main_thread()}
    return [
        thread
        for thread in set(threading.enumerate()) - before
        if not isinstance(thread, threading._DummyThread)  # which is there for ever
        and not parents.intersection(_ancestors(thread))
        and _is_ours(thread)
    ]


def _ancestors(thread: threading.Thread | None) -> Iterator[threading.Thread]:
    while thread := getattr(thread, '_begun_by', None):
        yield thread


def _is_ours(thread: threading.Thread) -> bool:
    """Whether it was started by ZEO, or runs code of ZEO for a test."""
    target = getattr(thread, '_target', None)  # gone when it has returned
    if thread.name.startswith('ZEO ') or str(getattr(target, '__module__', '')).startswith('ZEO.'):
        return True
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_globals.get('__name__', '').startswith('ZEO.'):
            return True
        frame = frame.f_back
    return False


def _described(thread: threading.Thread) -> str:
    begun = getattr(thread, '_begun_at', None)
    lines = reversed(begun.format()) if begun else ['  it is not known where\n']
    return f'{thread.name}, started at:\n' + ''.join(lines)
