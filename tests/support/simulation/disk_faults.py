"""What is wrong with a simulated disk, and the moment when its power is cut.

Enters: every call of a process. Leaves: the same, later, or not at all. Fails: OSError as it was
asked for; :class:`PowerCut` from every call once the power is cut.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class PowerCut(BaseException):
    """The process or its machine is gone: nothing that it does has an effect any more."""


@dataclass
class Faults:
    """What is wrong with a disk."""

    room: int | None = None  # bytes that are free, in whole sectors; None: enough
    most_open: int | None = None  # descriptors that the process may have
    read_only: bool = False
    failing: dict[int, int] = field(default_factory=dict)  # number of the call: errno
    delay: Callable[[str], float] | None = None  # seconds that a call takes
    sleep: Callable[[float], None] | None = None  # waits for them
    #: returns the seconds that a sync takes: what is written meanwhile is not synced
    sync_time: Callable[[], float] | None = None
    #: the change after which the power is cut; 0: never
    last_change: int = 0
    #: bytes that are written of the change that would come next, if that is a write
    torn: int | None = None
    #: is called when it is cut, to end the process
    when_cut: Callable[[], None] | None = None


def error(number: int, path: Any = None) -> OSError:
    """Return the OSError of a number."""
    return OSError(number, os.strerror(number), *(() if path is None else (path,)))


class Door:
    """What every call goes through."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.calls = 0  # of all kinds
        self.changes = 0  # calls that may change the disk
        self._is_off = False

    def power_off_at(self, change: int, torn: int | None = None) -> None:
        """Cut the power after so many more changes.

        :param torn: bytes that are written of the next change, if that is a write.
        """
        self.faults.last_change, self.faults.torn = self.changes + change, torn
        self._is_off = change <= 0 and torn is None

    def call(self, kind: str) -> None:
        """Every call comes here first."""
        if self._is_off:
            raise PowerCut
        self.calls += 1
        faults = self.faults
        if faults.failing and (number := faults.failing.pop(self.calls, None)):
            raise error(number)
        if faults.delay is not None and faults.sleep is not None and (wait := faults.delay(kind)):
            faults.sleep(wait)

    def _change(self, kind: str) -> None:
        """A call that changes the disk comes here first."""
        self.call(kind)
        self._begin_change()

    def _begin_change(self) -> None:
        if self.faults.read_only:
            raise error(errno.EROFS)
        if self.faults.last_change and self.changes >= self.faults.last_change:
            self._cut()
        self.changes += 1

    def _done(self) -> None:
        """A call that has changed the disk comes here last."""
        faults = self.faults
        if faults.last_change and self.changes >= faults.last_change and faults.torn is None:
            self._cut()

    def _cut(self) -> None:
        self._is_off = True
        when_cut, self.faults.when_cut = self.faults.when_cut, None
        if when_cut is not None:
            when_cut()
        raise PowerCut
