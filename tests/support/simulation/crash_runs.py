"""Crashes of a machine or kills of a process, at each change of its disk in turn.

Enters: a program that uses files. Leaves: what the files hold after a restart. Fails: with what the
program or the look at the files raises.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from support.simulation.disk import Disk, PowerCut
from support.simulation.disk_modules import installed

#: Bytes of a write that a kill lets through.
TORN = (0, 1, 100, 600, 5000)


@dataclass
class Stop:
    """How a program was stopped, and what it had done by then."""

    change: int  # of the disk, after which
    variant: int  # which of the subsets of what was not synced, or how much of a write
    program: Any
    disk: Disk

    def __str__(self) -> str:
        return f'after change {self.change}, variant {self.variant}'


def changes_of(program: Callable[[], Any], **options: Any) -> int:
    """Return how many changes of the disk a program makes."""
    disk = Disk(random.Random(0), **options)
    with installed(lambda: disk):
        program()()
    return disk.changes


def crashes(
    program: Callable[[], Any], variants: int, step: int = 1, **options: Any
) -> Iterator[Stop]:
    """Run a program again and again, and have its machine crash at each change.

    :param program: makes what is called, once for each run.
    :param variants: how many subsets of what was not synced are kept, for each change.
    :param step: 1 for each change, 2 for each other one.
    """
    for change in range(0, changes_of(program, **options) + 1, step):
        for variant in range(variants):
            stop = _run(program, change, variant, None, options)
            with installed(lambda disk=stop.disk: disk):
                stop.disk.crash(random.Random(f'{change} {variant}'))
                yield stop


def kills(program: Callable[[], Any], step: int = 1) -> Iterator[Stop]:
    """The same with kills of the process, between two changes and in the middle of a write."""
    for change in range(0, changes_of(program) + 1, step):
        for variant, torn in enumerate((None, *TORN)):
            stop = _run(program, change, variant, torn, {})
            with installed(lambda disk=stop.disk: disk):
                stop.disk.kill()
                yield stop


def _run(
    program: Callable[[], Any], change: int, variant: int, torn: int | None, options: Any
) -> Stop:
    disk = Disk(random.Random(0), **options)
    disk.power_off_at(change, torn)
    running = program()
    with installed(lambda: disk), suppress(PowerCut):
        running()
    return Stop(change, variant, running, disk)
