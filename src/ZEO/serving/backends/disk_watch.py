"""How long a disk takes for a sync, and what is said when that is too long.

Enters: the beginnings and ends of syncs, one at a time. Leaves: one call for a sync that does not
end in time; the errors and the lines of the log about it. Fails: never. All in the loop's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from transaction.interfaces import TransientError

from ZEO.net.loop import Loop

log = logging.getLogger('ZEO.StorageServer')

#: Seconds that a sync may take before its clients hear that it does not end.
LONGEST_SYNC = 60.0


class DiskWatch:
    """That of the storage `name`."""

    def __init__(self, name: str, loop: Loop) -> None:
        self._name = name
        self._loop = loop
        self._timer: Any = None  # of the sync that runs
        #: Whether the sync that runs has taken too long; nothing is committed meanwhile.
        self.is_late = False

    @property
    def trouble(self) -> str | None:
        """What is wrong with the disk; None when it is well."""
        return (
            f'its disk has not finished a sync within {LONGEST_SYNC:g} s' if self.is_late else None
        )

    def refused(self) -> TransientError:
        """Return the error for a transaction of which nothing is committed."""
        return TransientError(
            f'the storage {self._name!r} takes no commits now: {self.trouble}; try again later'
        )

    def begins(self, late: Callable[[], None]) -> None:
        """A sync begins.

        :param late: called when it has not ended in time.
        """
        self._timer = self._loop.later(LONGEST_SYNC, late)

    def lasts(self) -> None:
        """It has not ended in time."""
        self._timer = None
        self.is_late = True
        log.error(
            'storage %s: the disk has not finished a sync within %s s: commits are refused until '
            'it has',
            self._name,
            LONGEST_SYNC,
        )

    def over(self, failed: bool = False) -> None:
        """It has ended.

        :param failed: whether with an error, after which nothing is committed any more.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.is_late:
            self.is_late = False
            if not failed:
                log.warning('storage %s: the disk has finished the sync, commits go on', self._name)
