"""What the recent transactions of one storage changed, so that a client that comes back need not drop its cache.

Enters: each committed transaction.  Leaves: for a tid, what changed after it, or None when that is no longer known.  Fails:
never.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from time import gmtime
from typing import Any

from persistent.TimeStamp import TimeStamp
from ZODB.utils import z64

#: Seconds before the last transaction in which a starting server looks for recent ones, until there are enough.
_WINDOWS = (60, 3600, 86400)

Changes = tuple[bytes, list[bytes]]


class Invalidations:
    """The last `size` transactions as (tid, oids), the newest first."""

    def __init__(self, storage: Any, size: int, age: float | None, wall_clock: Callable[[], float]) -> None:
        self._storage = storage
        self._age = age                                 # seconds a transaction may be old to be asked of the storage
        self._wall_clock = wall_clock
        self._recent: deque[Changes] = deque(maxlen=max(1, size))
        self._known_after: bytes | None = None          # every transaction after this one is in _recent
        self._refill()

    def add(self, tid: bytes, oids: Iterable[bytes]) -> None:
        """Take note of a transaction."""
        if self._known_after is None:   # what was before it is not known, and it may have changed more than it says
            self._known_after = tid
            return
        if len(self._recent) == self._recent.maxlen:
            self._known_after = self._recent[-1][0]
        self._recent.appendleft((tid, list(oids)))

    def clear(self) -> None:
        """Know nothing, up to the next transaction."""
        self._recent.clear()
        self._known_after = None

    def since(self, tid: bytes, last: bytes) -> Changes | None:
        """Return the last tid and the oids that changed after `tid`, or None when that is not known.

        :param last: the storage's last transaction, as it was before the latest :meth:`add`.
        """
        if tid == last:
            return last, []
        if self._known_after is None or tid < self._known_after:
            return self._from_storage(tid)
        if tid != self._known_after and all(changed_at != tid for changed_at, _ in self._recent):
            return None   # not a transaction of ours (a backup was restored?): what else we lack is not known
        changed: set[bytes] = set()
        for changed_at, oids in self._recent:
            if changed_at > tid:
                changed.update(oids)
        return last, list(changed)

    def _from_storage(self, tid: bytes) -> Changes | None:
        """The same by iterating the storage, where it can do so and `tid` is young enough."""
        if self._age is None or not hasattr(self._storage, 'iterator'):
            return None
        if self._wall_clock() - TimeStamp(tid).timeTime() > self._age:
            return None
        changed: set[bytes] = set()
        last, is_ours = tid, False
        for transaction in self._storage.iterator(start=tid):
            last = transaction.tid
            if last > tid:
                changed.update(record.oid for record in transaction)
            else:
                is_ours = True   # as in since
        return (last, list(changed)) if is_ours and last > tid else None

    def _refill(self) -> None:
        """Know the last transactions after a restart of the server as well, where the storage can be iterated."""
        last = self._known_after = self._storage.lastTransaction()
        if last in (None, z64) or not hasattr(self._storage, 'iterator'):
            return
        for window in _WINDOWS:
            start = _earlier(last, window)
            found: deque[Changes] = deque(maxlen=self._recent.maxlen)
            for transaction in self._storage.iterator(start=start):
                found.appendleft((transaction.tid, [record.oid for record in transaction]))
            if found:
                self._recent = found
                self._known_after = found[-1][0]
            if len(found) == found.maxlen:
                break


def _earlier(tid: bytes, seconds: float) -> bytes:
    """Return a tid that is so many seconds older."""
    time = max(0.0, TimeStamp(tid).timeTime() - seconds)
    return TimeStamp(*gmtime(time)[:5], time % 60).raw()
