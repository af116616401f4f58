"""What recent transactions changed, so that a client that comes back can keep its cache.

Enters: each committed transaction. Leaves: for a tid, what changed after it, or None when that is
no longer known. Fails: ClientDisconnected where a storage on a network is asked and can't be
reached.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import islice
from time import gmtime
from typing import Any

from persistent.TimeStamp import TimeStamp
from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

from ZEO.Exceptions import ClientDisconnected
from ZEO.serving import filestorage
from ZEO.wire.big_invalidation import MANY
from ZEO.wire.quoting import explained

log = logging.getLogger('ZEO.StorageServer')

#: Seconds before the last transaction in which a starting server looks for recent ones, until there
#: are enough.
_WINDOWS = (60, 3600, 86400)

Changes = tuple[bytes, list[bytes]]


class Invalidations:
    """The last `size` transactions as (tid, oids), the newest first; with `most` oids together."""

    def __init__(
        self,
        storage: Any,
        size: int,
        age: float | None,
        wall_clock: Callable[[], float],
        most: int = 100_000,
        recent: list[Changes] | None = None,
    ) -> None:
        self._storage = storage
        # seconds a transaction may be old to be asked of the storage
        self._age = age
        self._wall_clock = wall_clock
        self._size = max(1, size)
        self._most = most
        self._recent: deque[Changes] = deque()
        self._oids = 0  # in all of them
        # every transaction after this one is in _recent
        self._known_after: bytes | None = None
        #: The newest transaction that was noted, as far as all are known since.
        self.newest = b''
        self._refill(recent)

    def add(self, tid: bytes, oids: list[bytes]) -> None:
        """Take note of a transaction."""
        if tid > self.newest:
            self.newest = tid
        if self._known_after is None:
            # what was before it is not known, and it may have changed more than it says
            self._known_after = tid
            return
        if len(oids) > MANY:
            if len(oids) > self._most:  # it would be forgotten at once
                self._recent.clear()
                self._oids, self._known_after = 0, tid
                return
            oids = list(oids)  # whose commit frees its own in its way
        recent, number = self._recent, self._oids + len(oids)
        recent.appendleft((tid, oids))
        if len(recent) > self._size:
            number -= len(self._forget_oldest())
        self._oids = number
        if number > self._most:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Forget transactions until the others have changed few enough objects."""
        while self._oids > self._most:
            self._oids -= len(self._forget_oldest())

    def _forget_oldest(self) -> list[bytes]:
        """Forget the transaction that was noted first, and return what it has changed."""
        tid, oids = self._recent.pop()
        if self._known_after is None or tid > self._known_after:  # not one that was told late
            self._known_after = tid
        return oids

    @property
    def held(self) -> tuple[int, int]:
        """How many transactions are remembered, and how many objects they have changed."""
        return len(self._recent), self._oids

    def clear(self) -> None:
        """Know nothing, up to the next transaction."""
        self._recent.clear()
        self._oids = 0
        self._known_after = None
        self.newest = b''

    def knows(self, tid: bytes, last: bytes) -> bool:
        """Return whether :meth:`since` can answer; otherwise only :meth:`from_storage` may."""
        return (
            tid == last
            or not (self._known_after is None or tid < self._known_after)
            or not self._may_ask(tid)
        )

    def number_after(self, tid: bytes) -> int | None:
        """Return how many transactions there are after `tid`; None where that is not known."""
        if self._known_after is None or tid < self._known_after:
            return None
        return sum(changed_at > tid for changed_at, _ in self._recent)

    def since(self, tid: bytes, last: bytes) -> Changes | None:
        """Return the last tid and the oids that changed after `tid`, or None when that is not
        known.

        :param last: the storage's last transaction, as it was before the latest :meth:`add`.
        """
        if tid == last:
            return last, []
        if self._known_after is None or tid < self._known_after:
            return None
        if tid != self._known_after and all(changed_at != tid for changed_at, _ in self._recent):
            # not a transaction of this storage (a backup was restored?), and there may be more of
            # those
            return None
        changed: set[bytes] = set()
        for changed_at, oids in self._recent:
            if changed_at > tid:
                changed.update(oids)
        return last, list(changed)

    def _may_ask(self, tid: bytes) -> bool:
        """Whether the storage can be iterated, and `tid` is young enough."""
        return (
            self._age is not None
            and hasattr(self._storage, 'iterator')
            and self._wall_clock() - TimeStamp(tid).timeTime() <= self._age
        )

    def from_storage(self, tid: bytes, last: bytes) -> Changes | None:
        """The same by iterating the storage; in any thread. It may be ahead of `last`, up to which
        clients were sent all.
        """
        try:
            return self._iterated(tid, last)
        except ClientDisconnected:
            raise
        # Any storage, maybe with half a transaction at the end of its file: then it does not know.
        except Exception as error:
            log.warning(
                '%s cannot list what changed since %s: %s',
                self._storage.getName(),
                tid.hex(),
                explained(error),
            )
            return None

    def _iterated(self, tid: bytes, stop: bytes) -> Changes | None:
        changed: set[bytes] = set()
        last, is_ours = tid, False
        for transaction in self._storage.iterator(tid, stop):
            last = transaction.tid
            if last > tid:
                changed.update(record.oid for record in transaction)
            else:
                is_ours = True  # as in since
        return (last, list(changed)) if is_ours and last > tid else None

    def _refill(self, recent: list[Changes] | None) -> None:
        """Know the last transactions after a restart of the server as well, where the storage knows
        them.

        :param recent: all that were after the first of them, where they have been read already.
        """
        last = self._known_after = self._storage.lastTransaction()
        if recent:
            self._take(recent[-self._size - 1 :])
        if last in (None, z64) or recent is not None:
            return
        try:
            found = self._last_transactions(last)
        except ClientDisconnected:
            raise
        except Exception as error:  # as in from_storage
            log.warning(
                '%s cannot list what its last transactions have changed: %s',
                self._storage.getName(),
                explained(error),
            )
            return
        # A storage on a network may list newer ones by now. The other way round there are some that
        # it does not list.
        if found and found[0][0] >= last:
            self._take(found[::-1])

    def _take(self, found: list[Changes]) -> None:
        """Know these, the oldest first."""
        self._known_after = found[0][0]
        for tid, oids in found:
            self.add(tid, oids)

    def _last_transactions(self, last: bytes) -> list[Changes]:
        """Return transactions of the storage, the newest first."""
        storage = self._storage
        if isinstance(storage, FileStorage):
            return filestorage.last_transactions(storage, self._size, self._most)
        if hasattr(storage, 'lastInvalidations'):
            return [
                (tid, list(oids))
                for tid, oids in reversed(list(storage.lastInvalidations(self._size)))
            ]
        return self._windows(last) if hasattr(storage, 'iterator') else []

    def _windows(self, last: bytes) -> list[Changes]:
        """The same by iterating from some time before the last transaction."""
        tids: deque[bytes] = deque(maxlen=self._size)
        for window in _WINDOWS:
            tids.clear()
            tids.extend(
                transaction.tid
                for transaction in self._storage.iterator(start=_earlier(last, window))
            )
            if len(tids) == tids.maxlen:
                break
        found: deque[Changes] = deque()
        space = self._most
        for transaction in self._storage.iterator(start=tids[0]) if tids else ():
            # now with the records
            oids = list(islice((record.oid for record in transaction), self._most + 1))
            found.appendleft((transaction.tid, oids))
            space -= len(oids)
            while space < 0:
                space += len(found.pop()[1])
        return list(found)


def _earlier(tid: bytes, seconds: float) -> bytes:
    """Return a tid that is older by a number of seconds."""
    time = max(0.0, TimeStamp(tid).timeTime() - seconds)
    return TimeStamp(*gmtime(time)[:5], time % 60).raw()
