"""Calls that read one storage, or pack it.

Enters: the client's calls. Leaves: records, tids, logs. Fails: with what the storage raises.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid

from ZEO.serving.calls.family import Family
from ZEO.serving.later import Later, after
from ZEO.wire.plain import plain


class ReadingCalls(Family):
    """Calls that read."""

    def lastTransaction(self) -> Any:
        hosted = self._hosted
        if self._client in hosted.followers:
            return hosted.storage.lastTransaction()
        refresh, last = hosted.backend.refresh, hosted.last_transaction
        return last() if refresh is None else after(refresh(), lambda _: last())

    def getInvalidations(self, tid: bytes) -> Any:
        """Return the last tid and the oids that changed after `tid`, or None if that is not
        known.
        """
        refresh = self._hosted.backend.refresh
        return (
            self._changes(tid)
            if refresh is None
            else after(refresh(), lambda _: self._changes(tid))
        )

    def _changes(self, tid: bytes) -> Any:
        hosted = self._hosted
        last = hosted.seen.lastTransaction()
        # a storage's own thread posts what changed before it says that it did
        self._loop.run_posted()
        last = max(last or b'', hosted.invalidations.newest) or last
        if hosted.invalidations.knows(tid, last):
            return hosted.invalidations.since(tid, last)
        return hosted.backend.compute(
            partial(hosted.invalidations.from_storage, tid, last), self._client
        )

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        return self._hosted.backend.load(oid, tid, self._client)

    def load_many(self, oids: list[bytes], tid: bytes) -> list[Any] | Later:
        """Return what loadBefore returns for the first of some oids, as many as a bounded answer
        holds and time allows; None too where there is no such object.
        """
        return self._hosted.backend.load_many(oids, tid, self._client) if oids else []

    def used_ahead(self, oids: list[bytes]) -> None:
        """The client has used these of the records that it was sent without asking."""
        self._client.used_ahead(oids)

    def loadSerial(self, oid: bytes, tid: bytes) -> bytes:
        return self._hosted.backend.load_serial(oid, tid, self._client)

    def getTid(self, oid: bytes) -> bytes:
        storage = self._hosted.seen
        if hasattr(storage, 'getTid'):
            return storage.getTid(oid)
        current = storage.loadBefore(oid, maxtid)
        if current is None:
            raise POSKeyError(oid)
        return current[1]

    def history(self, oid: bytes, size: int) -> Later:
        return self._listed(self._hosted.seen.history, oid, size=size)

    def undoLog(self, first: int, last: int) -> Later:
        return self._listed(self._hosted.seen.undoLog, first, last)

    def undoInfo(self, first: int = 0, last: int = -20, specification: Any = None) -> Later:
        return self._listed(self._hosted.seen.undoInfo, first, last, specification)

    def record_iternext(self, next: Any = None) -> Any:
        return self._hosted.seen.record_iternext(next)

    def pack(self, time: float, wait: bool = True) -> Later | None:
        """Pack to `time`, in seconds since the epoch; the answer comes when it is done, or at
        once.
        """
        answer = self._hosted.packs.start(self._client, time)
        return answer if wait else None

    def _listed(self, read: Callable[..., Any], *args: Any, **named: Any) -> Later:
        """Return in plain data what takes long to be read."""
        return self._hosted.backend.compute(lambda: plain(list(read(*args, **named))), self._client)
