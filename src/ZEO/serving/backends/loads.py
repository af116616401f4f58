"""Loads from a storage on a network: never older than the invalidations that were sent.

Enters: loads, and the oids of every invalidation. Leaves: answers. Fails: with what the storage
raises.

Between the worker's reading and the answer's leaving, a transaction may come in that ends the
revision. A client that gets the invalidation first would go on taking the answer for current, so
such a load is made again.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from ZODB.POSException import POSKeyError, StorageError

from ZEO.serving.later import Later
from ZEO.serving.workers import Client, Workers


class _Load:
    """One load under way."""

    __slots__ = ('overtaken',)

    def __init__(self) -> None:
        self.overtaken = False


class RemoteLoads:
    """Loads under way from `storage`; all in the loop's thread, except for the reading itself."""

    def __init__(self, storage: Any, workers: Workers) -> None:
        self._storage = storage
        self._workers = workers
        self._under_way: dict[bytes, list[_Load]] = {}

    def load(self, oid: bytes, tid: bytes, client: Client) -> Later:
        """Answer with what loadBefore returns."""
        answer = Later()
        self._read(oid, tid, answer, client)
        return answer

    def load_first(self, oids: list[bytes], tid: bytes, client: Client) -> Later:
        """Answer with a list of that for the first oid alone; None in it where there is no such
        object.

        While a second one was read, the first might be overtaken.
        """
        answer = Later()

        def failed(error: BaseException) -> None:
            answer.answer([None]) if isinstance(error, POSKeyError) else answer.fail(error)

        self.load(oids[0], tid, client).then(lambda result: answer.answer([result]), failed)
        return answer

    def changed(self, oids: Iterable[bytes]) -> None:
        """Clients are about to be sent the invalidation of these."""
        if self._under_way:
            for oid in oids:
                for load in self._under_way.get(oid, ()):
                    load.overtaken = True

    def _read(self, oid: bytes, tid: bytes, answer: Later, client: Client) -> None:
        load = _Load()
        read = self._workers.run(partial(self._storage.loadBefore, oid, tid), client)
        self._under_way.setdefault(oid, []).append(load)

        def done(result: Any) -> None:
            self._ended(oid, load)
            if load.overtaken and result is not None and result[2] is None:
                try:
                    self._read(oid, tid, answer, client)
                except StorageError as error:  # no thread
                    answer.fail(error)
            else:
                answer.answer(result)

        def failed(error: BaseException) -> None:
            self._ended(oid, load)
            answer.fail(error)

        read.then(done, failed)

    def _ended(self, oid: bytes, load: _Load) -> None:
        loads = self._under_way[oid]
        loads.remove(load)
        if not loads:
            del self._under_way[oid]
