"""Which current record of a cache in memory leaves next.

Enters: records that come in, and those that leave for another reason; oids that were hit, which
readers put into a set. Leaves: the oid of a record that is to go. Fails: never.

At first all wait in the main queue: what was used stays there as long as that lasts
(:class:`~ZEO.cache.admission.Beginning`), and all else leaves. Then there is a small queue for what
is new, and what was used since its last turn goes to the end of the main one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ZEO.cache.admission import FILTERED, GIVEN_UP, Admission, Beginning
from ZEO.cache.eviction_queue import EvictionQueue
from ZEO.cache.hot_records import RECORD_OVERHEAD


class MemoryQueues:
    """The two queues. Every method needs the cache's lock.

    :param size: bytes that the cache holds.
    """

    def __init__(self, size: int) -> None:
        #: Oids hit since they had their turn; readers add to it without the lock.
        self.touched: set[bytes] = set()
        #: The main queue, and whether a record has had its turn: until then what comes in may be
        #: added to that queue without :meth:`let_in`.
        self.main, self.was_full = EvictionQueue(), False
        self._small = EvictionQueue()
        self._in_small: set[bytes] = set()
        self._admission, self._beginning = Admission(size), Beginning(size)

    def __len__(self) -> int:
        """Return the number of records that wait."""
        return len(self._small) + len(self.main)

    @property
    def used(self) -> int:
        """Return the bytes of all records."""
        return self._small.used + self.main.used

    def let_in(self, oid: bytes, length: int, is_full: bool) -> None:
        """Put a record into one of the queues.

        :param is_full: whether another one has to leave for it.
        """
        queue = self.main
        returns = self._admission.returns(int.from_bytes(oid, 'big'), length)
        if self._beginning.lasts:
            if returns:
                self.touched.add(oid)
        elif returns and (not is_full or self._makes_way()):
            self._admission.rises()
        else:
            queue = self._small
            self._in_small.add(oid)
        queue.order.append(oid)
        queue.used += length

    def grow(self, oid: bytes, by: int) -> None:
        """A record has some bytes more, or less."""
        self._of(oid).used += by

    def leave(self, oid: bytes) -> None:
        """Take a record out before its turn; the cache calls :meth:`forget` as well."""
        self._of(oid).leave(oid)

    def forget(self, oid: bytes, length: int) -> None:
        """A record is in no queue any more."""
        self._of(oid).used -= length
        self._in_small.discard(oid)

    def pass_one(self, has_chance: bool, records: Mapping[bytes, Any]) -> bytes | None:
        """Give the record whose turn it is another one, or return its oid: it is to go.

        :param has_chance: whether it may stay.
        :param records: by oid, the data first.
        """
        self.was_full = True
        small, main = self._small, self.main
        # a queue without bytes has no records, each of which takes some
        is_long = small.used > self._admission.target or not main.used
        queue = small if is_long and small.used else main
        oid = queue.pop()
        assert oid is not None
        length = len(records[oid][0]) + RECORD_OVERHEAD
        stays, at_first = has_chance and oid in self.touched, self._beginning.lasts
        if at_first:
            self._pass_at_first(oid, length, stays)
        elif stays:
            self.touched.discard(oid)
            if queue is small:
                self.forget(oid, length)
                main.used += length
            main.order.append(oid)
        if stays:
            return None
        why = FILTERED if at_first or queue is small else GIVEN_UP
        self._admission.left(int.from_bytes(oid, 'big'), length, why, len(records) - 1)
        return oid

    def _pass_at_first(self, oid: bytes, length: int, stays: bool) -> None:
        """Do it while all records are in the main queue: what was used stays used."""
        if stays:
            self.main.order.append(oid)
        self._beginning.pass_one(length, stays)
        if not self._beginning.lasts:
            self.touched.clear()  # those that stayed have to be used again

    def _of(self, oid: bytes) -> EvictionQueue:
        return self._small if oid in self._in_small else self.main

    def _makes_way(self) -> bool:
        """Return whether the main queue has an unused record at its turn, or none."""
        main = self.main
        oid = main.pop()
        if oid is None:
            return True
        if oid in self.touched:
            self.touched.discard(oid)
            main.order.append(oid)
            return False
        main.order.appendleft(oid)
        return True
