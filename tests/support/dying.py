"""Commands that are killed at one of many points.

Enters: a command of ``zeo``, what its steps are, and the number of the step at which the process is
killed. Leaves: what a process leaves that gets SIGKILL there; whether it came that far. Fails:
AssertionError when it ends in another way.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from ZEO.commands import zeo

#: Exit status of a child that came to its end before the step.
_NO_STEP = 98


def fail_at(steps: list[tuple[Any, str]], number: int, args: list[str], error: int) -> int | None:
    """Run a command in a child in which a step fails; return its exit status, or None when there
    was no such step.

    :param error: the number of the OSError; 0 to end it by SIGKILL.
    """
    pid = os.fork()
    if not pid:
        _child(steps, number, args, error)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFEXITED(status), status
    return None if os.WEXITSTATUS(status) == _NO_STEP else os.WEXITSTATUS(status)


def die_at(steps: list[tuple[Any, str]], number: int, args: list[str]) -> bool:
    """Run a command in a child that is killed at a step; return whether there was such a step.

    :param steps: objects and the names of their functions; each call of one is two steps, before
        it and after it.
    :param number: of the step, from 0 on.
    :param args: of ``zeo``.
    """
    pid = os.fork()
    if not pid:
        _child(steps, number, args)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, status
    return False


def _child(steps: list[tuple[Any, str]], number: int, args: list[str], error: int = 0) -> None:
    status = 99
    try:
        signal.alarm(60)
        counter = itertools.count()

        def step() -> None:
            if next(counter) == number:
                if error:
                    raise OSError(error, os.strerror(error))
                os.kill(os.getpid(), signal.SIGKILL)

        for owner, name in steps:
            setattr(owner, name, _counted(getattr(owner, name), step))
        status = zeo.main(args)
        if error and next(counter) <= number:
            status = _NO_STEP
    finally:
        os._exit(status)


def _counted(function: Callable[..., Any], step: Callable[[], None]) -> Callable[..., Any]:
    def counted(*args: Any, **options: Any) -> Any:
        step()
        try:
            return function(*args, **options)
        finally:
            step()

    return counted


def deaths(
    steps: list[tuple[Any, str]], args: list[str], every: int, first: int = 0
) -> Iterator[int]:
    """Run a command again and again, killed at each `every`-th of its steps, until it ends by
    itself; yield the number of the step after each death.
    """
    number = first
    while die_at(steps, number, args):
        yield number
        number += every
