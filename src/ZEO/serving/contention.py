"""Warn operators when the queue for a commit lock grows.

Enters: how many transactions wait, whenever there is one more. Leaves: a warning that says which
client holds the lock and since when, each time that the queue has doubled. Fails: never.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ZEO.serving.moments import lasted

if TYPE_CHECKING:
    from ZEO.serving.hosted import HostedStorage

#: Transactions that may wait before that is worth a line.
USUAL = 3


class Contention:
    """The queue at the commit lock of `hosted`."""

    def __init__(self, hosted: HostedStorage) -> None:
        self._hosted = hosted
        self._next = USUAL + 1  # the length that is reported next

    def one_more(self, waiting: int) -> None:
        """One more waits for the lock now."""
        if waiting == 1:
            self._next = USUAL + 1
        if waiting >= self._next:
            self._next = 2 * waiting
            self._warn(waiting)

    def _warn(self, waiting: int) -> None:
        hosted = self._hosted
        holder, since = hosted.lock.holder, hosted.stats.lock_since
        now = hosted.loop.system.wall_clock()
        time = 'no time yet' if since is None else lasted(now - since)
        hosted.loop.reports.write(
            logging.WARNING,
            'waiting for a commit lock',
            f'storage {hosted.name}',
            'storage %s: %d transactions wait for the commit lock, which %s has held for %s',
            hosted.name,
            waiting,
            holder.peer,
            time,
        )
