"""A storage as clients may see it: without the transactions that are hidden.

Enters: calls that read, or pack. Leaves: what the storage returns, up to the last transaction that
may be seen. Fails: with what the storage raises.

A record or a blob is returned for a tid that is given exactly, whichever that is: a client learns
such a tid only from a conflict of its own, which is resolved with the record that it names. What
results is acknowledged later than that.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from persistent.TimeStamp import TimeStamp
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, z64

from ZEO.serving.backends.base import Found
from ZEO.serving.backends.unacknowledged import Waiting


class SeenStorage:
    """`storage`, for clients.

    :param load: its loadBefore, with what is hidden left out.
    """

    def __init__(
        self, storage: Any, waiting: Waiting, load: Callable[[bytes, bytes], Found | None]
    ) -> None:
        self._storage = storage
        self._waiting = waiting
        self.loadBefore = load

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def __len__(self) -> int:
        return len(self._storage)

    def lastTransaction(self) -> bytes:
        # in this order: what is written meanwhile is hidden before it is the last one
        last = self._storage.lastTransaction()
        return min(last, self._waiting.limit)

    def getTid(self, oid: bytes) -> bytes:
        return self._current(oid)[1]

    def _current(self, oid: bytes) -> Found:
        found = self.loadBefore(oid, maxtid)
        if found is None:
            raise POSKeyError(oid)
        return found

    def iterator(self, start: bytes | None = None, stop: bytes | None = None) -> Any:
        seen = self.lastTransaction()
        return self._storage.iterator(start, seen if stop is None else min(stop, seen))

    def history(self, oid: bytes, size: int = 1) -> list[Any]:
        found = self._storage.history(oid, size=size + 1 + len(self._waiting))
        seen = self._waiting.limit
        return [entry for entry in found if entry['tid'] <= seen][:size]

    def undoLog(self, first: int = 0, last: int = -20, filter: Any = None) -> list[Any]:
        return self._without_hidden(self._storage.undoLog(first, last, filter))

    def undoInfo(self, first: int = 0, last: int = -20, specification: Any = None) -> list[Any]:
        return self._without_hidden(self._storage.undoInfo(first, last, specification))

    def _without_hidden(self, found: list[Any]) -> list[Any]:
        seen = self._waiting.limit
        return [entry for entry in found if base64.decodebytes(entry['id'] + b'\n') <= seen]

    def record_iternext(self, next: Any = None) -> Any:
        while True:
            oid, tid, data, next = self._storage.record_iternext(next)
            if tid <= self._waiting.limit:
                return oid, tid, data, next
            found = self.loadBefore(oid, maxtid)
            if found is not None:
                return oid, found[1], found[0], next
            if next is None:  # the last one, which clients do not see yet
                raise POSKeyError(oid)

    def pack(self, time: float, references: Any) -> None:
        """Pack to a time, but not so far that a record goes which clients see as current."""
        seen = self._waiting.limit
        if z64 < seen < maxtid:
            time = min(time, TimeStamp(seen).timeTime())
        self._storage.pack(time, references)
