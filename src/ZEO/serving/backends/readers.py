"""Loads from an MVCC storage: a few threads, each with a view of the database of its own.

Enters: loads of clients. Leaves: answers that are never older than what the clients were sent.
Fails: with what the storage raises; ClientDisconnected where the database does not answer.

A thread takes all loads that wait, and has the storage fetch their objects with one query.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ZODB.POSException import POSKeyError

from ZEO.Exceptions import ClientDisconnected
from ZEO.net.loop import Loop
from ZEO.serving.backends.guesses import Guesses
from ZEO.serving.backends.instances import Instances
from ZEO.serving.backends.reading import MOST_AT_ONCE, Found, Load, ReadingThread
from ZEO.serving.backends.view import View
from ZEO.serving.later import Later
from ZEO.serving.workers import Client

#: Threads, each of which has a connection to the database.
THREADS = 4

#: Seconds after which a load is given up that the database does not answer.
LONGEST = 30.0


class Readers:
    """The threads that load; all in the loop's thread, except for the reading itself.

    :param keep: called with an object id and its current record, when that leaves.
    :param ahead: called when the database is seen to be ahead of the view.
    :param batch: bytes after which an answer of several objects is complete.
    """

    def __init__(
        self,
        instances: Instances,
        view: View,
        loop: Loop,
        keep: Callable[[bytes, Found], None],
        ahead: Callable[[], None],
        batch: int,
    ) -> None:
        self._view = view
        self._loop = loop
        self._keep = keep
        self._ahead = ahead
        self._waiting: deque[Load] = deque()
        self._under_way: dict[Load, None] = {}  # all that are not answered, the oldest first
        self._outstanding: dict[Client, int] = {}
        self._free = [
            ReadingThread(instances, view, loop, self._done, batch) for _ in range(THREADS)
        ]
        self._readers = tuple(self._free)
        self._sweeping = False
        #: What clients have not asked for.
        self.guesses = Guesses(instances, view, loop, keep, batch)

    def load(self, oids: list[bytes], tid: bytes, client: Client, one: bool) -> Later:
        """Load objects as they were before `tid`.

        :raises StorageError: when no thread can be started.
        """
        load = Load(oids[:MOST_AT_ONCE], tid, client, one, self._loop.system.now())
        self._waiting.append(load)
        try:
            self._give()
        except BaseException:
            if load in self._waiting:
                self._waiting.remove(load)
            raise
        self._under_way[load] = None
        self._count(client, 1)
        if not self._sweeping:
            self._sweeping = True
            self._loop.later(LONGEST, self._sweep)
        return load.answer

    @property
    def waiting(self) -> int:
        """How many loads are not answered yet."""
        return len(self._under_way)

    def forget(self, client: Client) -> None:
        """Drop the loads of a client that is gone."""
        self._outstanding.pop(client, None)
        self.guesses.forget(client)
        self._waiting = deque(load for load in self._waiting if load.client is not client)
        for load in [load for load in self._under_way if load.client is client]:
            del self._under_way[load]

    def overdue(self, longest: float) -> list[Any]:
        """Return the connections of threads that have read for longer than that many seconds."""
        return [
            connection
            for reader in (*self._readers, self.guesses.reader)
            if reader.thread.busy_for() > longest
            for connection in reader.connections()
        ]

    def close(self, seconds: float) -> None:
        """End the threads."""
        readers = *self._readers, self.guesses.reader
        for reader in readers:
            reader.thread.end()
        for reader in readers:
            reader.thread.join(seconds)

    def _count(self, client: Client, change: int) -> None:
        calls = self._outstanding.get(client, 0) + change
        if calls > 0:
            self._outstanding[client] = calls
        else:
            self._outstanding.pop(client, None)
        client.outstanding(max(0, calls))

    def _give(self) -> None:
        """Give a free reader all that waits."""
        while self._waiting and self._free:
            loads: list[Load] = []
            objects, begun = 0, self._loop.system.now()
            while self._waiting and objects < MOST_AT_ONCE:
                loads.append(self._waiting.popleft())
                objects += len(loads[-1].oids)
                loads[-1].answer.begun = begun
            reader = self._free.pop()
            try:
                reader.take(loads)
            except BaseException:
                self._free.insert(0, reader)
                self._waiting.extendleft(reversed(loads))
                raise

    def _done(
        self, reader: ReadingThread, results: list[tuple[Load, Any, bytes]], resets: int
    ) -> None:
        """In the loop's thread: what was read, each with the snapshot that it comes from."""
        self._free.append(reader)
        for load, found, snapshot in results:
            if load not in self._under_way:  # it is given up, or its client is gone
                continue
            if resets != self._view.resets:  # maybe of a database that is another one now
                self._waiting.append(load)
            else:
                self._leave(load, found, snapshot)
        self._loop.attempt(self._give)

    def _leave(self, load: Load, found: Any, snapshot: bytes) -> None:
        if isinstance(found, BaseException):
            self._settle(load, load.answer.fail, found)
            return
        is_behind = self._view.is_behind
        whole = 0  # objects that may leave
        for oid, record in zip(load.oids, found, strict=False):
            if is_behind(oid, snapshot):
                break
            whole += 1
            if record is None:  # only a newer revision is left, which clients were not sent yet
                self._ahead()
            elif type(record) is tuple and record[2] is None and record[1] <= self._view.last:
                self._keep(oid, record)
        if not whole:  # once more, with a newer snapshot
            self._waiting.append(load)
            return
        if not load.one:
            records = [None if isinstance(one, POSKeyError) else one for one in found[:whole]]
            self._settle(load, load.answer.answer, records)
        elif isinstance(found[0], BaseException):
            self._settle(load, load.answer.fail, found[0])
        else:
            self._settle(load, load.answer.answer, found[0])

    def _settle(self, load: Load, pass_on: Callable[[Any], None], value: Any) -> None:
        del self._under_way[load]
        self._count(load.client, -1)
        self._loop.attempt(partial(pass_on, value))

    def _sweep(self) -> None:
        """Give up what the database has not answered for too long."""
        self._sweeping = False
        until = self._loop.system.now() - LONGEST
        for load in [load for load in self._under_way if load.since <= until]:
            error = ClientDisconnected(f'the database did not answer a load within {LONGEST:g} s')
            self._settle(load, load.answer.fail, error)
        self._waiting = deque(load for load in self._waiting if load in self._under_way)
        if self._under_way:
            self._sweeping = True
            oldest = next(iter(self._under_way)).since
            self._loop.later(max(0.1, oldest - until), self._sweep)
