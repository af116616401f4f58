"""Objects on their way into the cache that no thread waits for yet.

Enters: oids that an application will want. Leaves: requests, each for many oids to a server of this
package, for one oid to another server; a few at a time, so that what they bring is bounded. A
thread that wants one of the objects meanwhile waits for it instead of asking again. Fails: never;
an object that did not come is loaded when it is wanted.

A server of this package answers a request for the first of its oids, as many as make a good answer.
The thread that applies the answer asks for the others; that request leaves with the next call of
any thread, or is sent by the thread that watches the connection.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ZODB.POSException import POSKeyError

from ZEO.Exceptions import ClientDisconnected, ClientStorageError, UnrecognizedResult
from ZEO.link.connection import Connection
from ZEO.link.state import ClientState
from ZEO.link.waiting import PendingCall

#: Oids in one request: the most that a server accepts.
BATCH = 1000

#: Requests that are under way at a time: with many oids each, about 1 MB comes for each; with one,
#: one object.
MOST_BATCHES, MOST_LOADS = 8, 1000

Key = tuple[bytes, bytes]  # oid, tid


class Prefetched:
    """The requests that are under way, or were not long ago.

    Callers and the thread that applies answers use it at the same time, without a lock: every step
    is atomic, and what is counted twice or forgotten between two of them costs one request.
    """

    def __init__(self) -> None:
        self.pending: dict[Key, PendingCall] = {}  # the request with that object
        self._left: deque[Key] = deque()  # what was not asked for yet
        # by a number; None until it is known
        self._under_way: dict[int, PendingCall | None] = {}
        self._connection: Connection | None = None

    def start(
        self,
        connection: Connection,
        state: ClientState,
        oids: list[bytes],
        tid: bytes,
        batches: bool,
    ) -> None:
        """Ask for the revisions that were current just before `tid`."""
        self.pending = {key: begun for key, begun in list(self.pending.items()) if not begun.done}
        self._connection = connection
        self._left.extend((oid, tid) for oid in oids if (oid, tid) not in self.pending)
        self._go_on(connection, state, batches)
        connection.flush()

    def wait_for(self, oid: bytes, tid: bytes) -> bool:
        """If an object is on its way, wait until it is there; return whether it was."""
        begun = self.pending.pop((oid, tid), None)
        if begun is None:
            return False
        try:
            if self._connection is not None:
                self._connection.flush()
            begun.wait()
        except (ClientStorageError, POSKeyError):  # asking for it alone will show it
            return False
        return True

    def clear(self) -> None:
        """There is another connection: nothing is on its way any more."""
        self.pending, self._left, self._under_way, self._connection = {}, deque(), {}, None

    def _go_on(self, connection: Connection, state: ClientState, batches: bool) -> None:
        """Ask for more, as long as not too much is under way."""
        most, size = (MOST_BATCHES, BATCH) if batches else (MOST_LOADS, 1)
        while self._left and self._count() < most:
            some = self._take(size)
            if some:
                self._ask(connection, state, some, batches)

    def _count(self) -> int:
        """How many requests are under way; those that were answered with an error are not."""
        for number, begun in list(self._under_way.items()):
            if begun is not None and begun.done:
                self._under_way.pop(number, None)
        return len(self._under_way)

    def _take(self, size: int) -> list[Key]:
        """The next keys that are not under way, all of one tid."""
        some: list[Key] = []
        left, pending, tid = self._left, self.pending, None
        try:
            while len(some) < size:
                key = left.popleft()
                if key[1] != tid is not None:
                    left.appendleft(key)
                    break
                if key not in pending:
                    some.append(key)
                    tid = key[1]
        except IndexError:  # there is no more, or another thread was faster
            pass
        return some

    def _ask(
        self, connection: Connection, state: ClientState, keys: list[Key], batches: bool
    ) -> None:
        under_way, left = self._under_way, self._left  # of this connection

        def applied(result: Any) -> None:
            results = result if batches else [result]
            under_way.pop(id(keys), None)
            if not 1 <= len(results) <= len(keys):
                raise UnrecognizedResult(
                    f'{connection.where} answered load_many for {len(keys)} objects with '
                    f'{len(results)}'
                )
            for (oid, _), loaded in zip(keys, results, strict=False):
                state.loaded(oid, loaded)
            rest = keys[len(results) :]
            for key in rest:
                self.pending.pop(key, None)
            left.extendleft(reversed(rest))
            if left and left is self._left:
                try:
                    self._go_on(connection, state, batches)
                except ClientDisconnected:  # the connection's own end says so
                    pass

        oids, tid = [oid for oid, _ in keys], keys[0][1]
        name, args = ('load_many', (oids, tid)) if batches else ('loadBefore', (oids[0], tid))
        under_way[id(keys)] = None
        try:
            begun = under_way[id(keys)] = connection.begin(name, args, applied)
        except BaseException:
            under_way.pop(id(keys), None)
            raise
        self.pending.update(dict.fromkeys(keys, begun))
