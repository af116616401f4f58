"""A client cache in memory: nothing on disk, hits at the speed of a dictionary.

Enters: revisions of objects as the server sent them, invalidations, the tid up to which the cache
is valid. Leaves: the revision asked for, or None. Fails: never; a record too large for the cache is
not kept. A thread that an exception strikes within a change leaves an empty cache, since after half
a change stale data might be served; so does a fork, in the child.

Revisions that are not current leave before all others. Of current ones `cache.memory_queues` says
which is next. A hit only adds its oid to a set, and takes no lock.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ZEO.cache.early_ends import EndsEarly
from ZEO.cache.hot_records import RECORD_OVERHEAD
from ZEO.cache.memory_queues import MemoryQueues
from ZEO.locks import under

__all__ = ['RECORD_OVERHEAD', 'MemoryCache']


class MemoryCache(EndsEarly):
    """A cache of object revisions in dictionaries; any thread may call any method.

    :param size: bytes that it may hold, RECORD_OVERHEAD for each record included.
    """

    def __init__(self, size: int = 20_000_000) -> None:
        self.size = size
        self._lock = threading.Lock()  # taken by everything that changes something
        # oid: (data, tid, None), as loadBefore returns it
        self._current: dict[bytes, tuple[bytes, bytes, None]] = {}
        self._start_queues()
        # (oid, tid): (data, tid, end tid), oldest first; and the tids there are for one oid,
        # sorted: a counter that is written all the time may have thousands
        self._closed: OrderedDict[tuple[bytes, bytes], tuple[bytes, bytes, bytes]] = OrderedDict()
        self._closed_tids: dict[bytes, list[bytes]] = {}
        self._used = 0  # bytes, overhead included
        self._last_tid: bytes | None = None

    def load(self, oid: bytes) -> tuple[bytes, bytes] | None:
        """Return (data, tid) of the current revision of oid, or None."""
        found = self._current.get(oid)
        if found is None:
            return None
        self._touched.add(oid)
        return found[:2]

    def loadBefore(self, oid: bytes, before: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return (data, tid, end tid or None) of the revision current just before tid `before`."""
        current = self._current.get(oid)
        if current is not None and current[1] < before:
            self._touched.add(oid)
            return current
        if oid not in self._closed_tids:
            return None  # no lock for a miss
        return under(self._lock, self._closed_before, oid, before)

    def store(self, oid: bytes, tid: bytes, end_tid: bytes | None, data: bytes) -> None:
        """Keep a revision that is valid from `tid` until before `end_tid`; None: it is current.

        It is not kept as current when the cache has a newer revision, or knows when it ended.
        """
        # In place of `under`, which would be one more call for each load.
        with self._lock: self._store(oid, tid, end_tid, data)  # noqa: E701  # fmt: skip

    def invalidate(self, oid: bytes, tid: bytes | None) -> None:
        """End the current revision of oid at `tid`, if it is older; None: forget all revisions."""
        # As in `store`: a client gets one of these for each object that others change.
        with self._lock: self._invalidate(oid, tid)  # noqa: E701  # fmt: skip

    def invalidate_all(self, transactions: Iterable[tuple[bytes, Iterable[bytes]]]) -> None:
        """Do what :meth:`invalidate` does, for the tid and the oids of each transaction."""
        with self._lock: self._invalidate_each(transactions)  # noqa: E701  # fmt: skip

    def replace(self, oid: bytes, tid: bytes, data: bytes) -> None:
        """End the current revision of oid at `tid`, and keep what is current from then on; the same
        as :meth:`invalidate` and :meth:`store`, in a third of the steps.
        """
        with self._lock: self._change(self._replace_current, oid, tid, data)  # noqa: E701  # fmt: skip

    def getLastTid(self) -> bytes | None:
        """Return the tid up to which the cache has seen every invalidation, or None."""
        return self._last_tid

    def setLastTid(self, tid: bytes | None) -> None:
        """Record that every invalidation up to tid has been applied."""
        self._last_tid = tid

    def drop_noncurrent(self) -> None:
        """Forget the revisions that are not current: after a pack the storage may not have them."""
        under(self._lock, self._change, self._drop_noncurrent)

    def clear(self) -> None:
        """Forget every revision and the last tid."""
        under(self._lock, self._change, self._forget_all)
        self._last_tid = None

    def close(self) -> None:
        """Forget everything."""
        self.clear()

    def detach(self) -> None:
        """In a forked child: memory is the child's own, but a thread that the child does not have
        may have been in the middle of a change.
        """
        is_whole = not self._lock.locked()
        self._lock = threading.Lock()
        if not is_whole:
            self._forget_all()

    def __len__(self) -> int:
        """Return the number of revisions held."""
        return len(self._current) + len(self._closed)

    def contents(self) -> Iterator[tuple[bytes, bytes, bytes | None]]:
        """Yield (oid, tid, end tid or None) of every revision held when called."""
        return iter(under(self._lock, self._held))

    # With the lock held.

    def _start_queues(self) -> None:
        # of the oids in _current; those that were hit since they had their turn
        self._queues = MemoryQueues(self.size)
        self._touched = self._queues.touched

    def _change(self, change: Callable[..., None], *args: Any) -> None:
        """Make a whole change, or forget everything; an empty cache is valid up to any tid."""
        try:
            change(*args)
        except BaseException:
            self._forget_all()
            raise

    def _forget_all(self) -> None:
        # Whole dictionaries at a time: a reader sees one or the other.
        self._current, self._closed, self._closed_tids = {}, OrderedDict(), {}
        self._start_queues()
        self._used = 0

    def _held(self) -> list[tuple[bytes, bytes, bytes | None]]:
        held: list[tuple[bytes, bytes, bytes | None]]
        held = [(oid, tid, None) for oid, (_, tid, _) in self._current.items()]
        held += [(oid, tid, end) for (oid, tid), (_, _, end) in self._closed.items()]
        return held

    def _closed_before(self, oid: bytes, before: bytes) -> tuple[bytes, bytes, bytes] | None:
        tids = self._closed_tids.get(oid, [])
        place = bisect_left(tids, before)
        if place:
            revision = self._closed[oid, tids[place - 1]]
            if before <= revision[2]:
                return revision
        return None

    def _store(self, oid: bytes, tid: bytes, end_tid: bytes | None, data: bytes) -> None:
        """Do what `store` says; wholly, or forget everything, as `_change` does."""
        try:
            current = self._current.get(oid)
            if (
                current is None
                and end_tid is None
                and not (self._closed and (oid, tid) in self._closed)
            ):  # as mostly
                self._current[oid] = data, tid, None
                length = len(data) + RECORD_OVERHEAD
                self._used += length
                queues = self._queues
                if queues.was_full:
                    queues.let_in(oid, length, self._used > self.size)
                else:
                    queues.main.order.append(oid)
                    queues.main.used += length
                if self._used > self.size:
                    self._make_room()
            else:
                self._replace(oid, tid, end_tid, data, current)
        except BaseException:
            self._forget_all()
            raise

    def _replace(
        self,
        oid: bytes,
        tid: bytes,
        end_tid: bytes | None,
        data: bytes,
        current: tuple[bytes, bytes, None] | None,
    ) -> None:
        if end_tid is None:
            if (oid, tid) in self._closed or (current and current[1] >= tid):
                return
            self._drop_current(oid)  # its end is not known
            self._add_current(oid, data, tid)
        else:
            if current and current[1] == tid:
                self._drop_current(oid)
            self._add_closed(oid, tid, end_tid, data)
        self._make_room()

    def _replace_current(self, oid: bytes, tid: bytes, data: bytes) -> None:
        current = self._current.get(oid)
        if current is None or current[1] >= tid or (oid, tid) in self._closed:
            self._invalidate(oid, tid)
            self._store(oid, tid, None, data)
            return
        # It keeps its turn, as a record that was used: what is written is read again soon.
        before = current[0]
        self._add_closed(oid, current[1], tid, before)  # first, for those who read
        self._current[oid] = data, tid, None
        self._touched.add(oid)
        growth = len(data) - len(before)
        if growth:
            self._used += growth
            self._queues.grow(oid, growth)
        if self._used > self.size:
            self._make_room()

    def _invalidate(self, oid: bytes, tid: bytes | None) -> None:
        """Do what `invalidate` says; wholly, or forget everything, as `_change` does."""
        try:
            if tid is None:
                self._forget(oid)
                return
            current = self._current.get(oid)
            if current is not None and current[1] < tid:
                self._add_closed(oid, current[1], tid, current[0])  # first, for those who read
                self._drop_current(oid)
        except BaseException:
            self._forget_all()
            raise

    def _invalidate_each(self, transactions: Iterable[tuple[bytes, Iterable[bytes]]]) -> None:
        current = self._current
        for tid, oids in transactions:
            for oid in oids:
                if oid in current:
                    self._invalidate(oid, tid)

    def _forget(self, oid: bytes) -> None:
        self._drop_current(oid)
        for closed in list(self._closed_tids.get(oid, ())):
            self._drop_closed(oid, closed)

    def _drop_noncurrent(self) -> None:
        for oid, tid in list(self._closed):
            self._drop_closed(oid, tid)

    def _add_current(self, oid: bytes, data: bytes, tid: bytes) -> None:
        self._current[oid] = data, tid, None
        length = len(data) + RECORD_OVERHEAD
        self._used += length
        self._queues.let_in(oid, length, self._used > self.size)

    def _drop_current(self, oid: bytes) -> None:
        if oid in self._current:
            self._queues.leave(oid)
            self._forget_current(oid)

    def _forget_current(self, oid: bytes) -> None:
        """Forget a record that is in no queue any more."""
        length = len(self._current.pop(oid)[0]) + RECORD_OVERHEAD
        self._touched.discard(oid)
        if len(self._touched) > len(self._current):  # a reader may touch what has just left
            self._touched.intersection_update(list(self._current))
        self._used -= length
        self._queues.forget(oid, length)

    def _add_closed(self, oid: bytes, tid: bytes, end_tid: bytes, data: bytes) -> None:
        if (oid, tid) in self._closed:
            if self._closed[oid, tid][2] < end_tid:  # it was ended early
                self._closed[oid, tid] = data, tid, end_tid
            return
        self._closed[oid, tid] = data, tid, end_tid
        insort(self._closed_tids.setdefault(oid, []), tid)
        self._used += len(data) + RECORD_OVERHEAD

    def _drop_closed(self, oid: bytes, tid: bytes) -> None:
        self._used -= len(self._closed.pop((oid, tid))[0]) + RECORD_OVERHEAD
        tids = self._closed_tids[oid]
        del tids[bisect_left(tids, tid)]
        if not tids:
            del self._closed_tids[oid]

    def _make_room(self) -> None:
        while self._used > self.size and self._closed:
            self._drop_closed(*next(iter(self._closed)))
        chances = len(self._current)  # other threads go on touching: every record gets one at most
        while self._used > self.size and self._current:
            chances -= 1
            oid = self._queues.pass_one(chances > 0, self._current)
            if oid is not None:
                self._forget_current(oid)
