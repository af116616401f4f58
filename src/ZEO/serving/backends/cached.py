"""What a storage that is a client of another server has in its cache, for this server's clients.

Enters: oids. Leaves: current records, without asking the other server: those in the cache, and what
that server has sent before it was asked. Fails: never.

A change reaches the cache before it is reported to this server, and so before any client is sent
it: what is current in the cache is never older than what the clients know. What is newer is not
shown.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ZODB.POSException import StorageError

from ZEO.serving.read_ahead.source import Found
from ZEO.serving.workers import Client, Workers

#: Objects of which it is remembered that they were brought for one client.
_MOST_PASSED_ON = 4096


def can_show_cache(storage: Any) -> bool:
    """Return whether it is known what is in the cache; not where a wrapper changes records."""
    return hasattr(type(storage), 'cached')


class CachedSource:
    """The cache of `storage`, for one client.

    :param workers: threads that wait for what is under way to the cache.
    :param told: returns the last transaction that clients were sent.
    """

    is_choosy = fetches = True

    def __init__(
        self, storage: Any, workers: Workers, client: Client, told: Callable[[], bytes]
    ) -> None:
        self._storage = storage
        self._workers = workers
        self._client = client
        self._told = told
        # what was brought for this client, and is not used; the oldest first
        self._passed_on: dict[bytes, None] = {}

    def at_hand(self, oid: bytes) -> Found | None:
        found = self._storage.cached(oid)
        return found if found is not None and found[1] <= self._told() else None

    def may_come(self, oid: bytes) -> bool:
        return self._storage.comes_ahead(oid) or self.at_hand(oid) is not None

    def fetch(self, oids: list[bytes], over: Callable[[], None]) -> None:
        coming = [oid for oid in oids if self._storage.comes_ahead(oid)]
        if not coming:
            over()
            return
        passed_on = self._passed_on
        passed_on.update(dict.fromkeys(coming))
        while len(passed_on) > _MOST_PASSED_ON:
            del passed_on[next(iter(passed_on))]
        try:
            brought = self._workers.run(partial(self._storage.bring_ahead, coming), self._client)
        except StorageError:  # no thread
            over()
        else:
            brought.then(lambda _: over(), lambda _: over())

    def used(self, oids: list[bytes]) -> None:
        """Have the other server know it, in another thread: it may have to be waited for."""
        passed_on = [oid for oid in oids if oid in self._passed_on]
        if passed_on:
            for oid in passed_on:
                self._passed_on.pop(oid, None)
            try:
                self._workers.run(partial(self._storage.used_ahead, passed_on), self._client)
            except StorageError:  # no thread: that server sends less
                pass
