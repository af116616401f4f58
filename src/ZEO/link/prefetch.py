"""Objects on their way into the cache that nobody waits for yet.

Enters: oids that an application will want.  Leaves: one request for all of them to a server of ours, one for each, all at
once, to another; whoever wants one of them meanwhile waits for that instead of asking again.  Fails: never; an object that
did not come is loaded when it is wanted.
"""
from __future__ import annotations

from typing import Any

from ZODB.POSException import POSKeyError

from ZEO.Exceptions import ClientStorageError, UnrecognizedResult
from ZEO.link.connection import Connection
from ZEO.link.state import ClientState
from ZEO.link.waiting import Begun

#: Oids in one request: the answer to it has to fit into one message.
BATCH = 1000


class Prefetched:
    """The requests that are under way, or were not long ago."""

    def __init__(self) -> None:
        self.pending: dict[tuple[bytes, bytes], Begun] = {}   # (oid, tid) -> the request with it

    def start(self, connection: Connection, state: ClientState, oids: list[bytes], tid: bytes, batches: bool) -> None:
        """Ask for the revisions that were current just before `tid`."""
        self.pending = {key: begun for key, begun in list(self.pending.items()) if not begun.done}
        size = BATCH if batches else 1
        for first in range(0, len(oids), size):
            some = [oid for oid in oids[first:first + size] if (oid, tid) not in self.pending]
            if some:
                self._ask(connection, state, some, tid, batches)
        connection.flush()

    def wait_for(self, oid: bytes, tid: bytes) -> bool:
        """If an object is on its way, wait until it is there; tell whether it was."""
        begun = self.pending.pop((oid, tid), None)
        if begun is None:
            return False
        try:
            begun.wait()
        except (ClientStorageError, POSKeyError):   # asking for it by itself will tell
            return False
        return True

    def clear(self) -> None:
        """There is another connection: nothing is on its way any more."""
        self.pending = {}

    def _ask(self, connection: Connection, state: ClientState, oids: list[bytes], tid: bytes, batches: bool) -> None:
        def applied(result: Any) -> None:
            found = result if batches else [result]
            if len(found) != len(oids):
                raise UnrecognizedResult(f'{connection.where} answered load_many for {len(oids)} objects with {len(found)}')
            for oid, loaded in zip(oids, found, strict=True):
                state.loaded(oid, loaded)
        name, args = ('load_many', (oids, tid)) if batches else ('loadBefore', (oids[0], tid))
        begun = connection.begin(name, args, applied)
        for oid in oids:
            self.pending[oid, tid] = begun
