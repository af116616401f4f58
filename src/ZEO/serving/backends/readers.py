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

from transaction.interfaces import TransientError
from ZODB.POSException import POSError, POSKeyError

from ZEO.Exceptions import ClientDisconnected
from ZEO.net.loop import Loop
from ZEO.serving.backends import connections
from ZEO.serving.backends.instances import Instances, Keeper, plain, poll, read
from ZEO.serving.backends.threads import Thread
from ZEO.serving.backends.view import View
from ZEO.serving.later import Client, Later

#: Threads, each of which has a connection to the database.
THREADS = 4

#: Objects that are fetched with one query; more would hold up the loads that came later.
MOST_AT_ONCE = 100

#: Seconds after which a reader that is never idle takes a newer snapshot; see threads.IDLE.
OLDEST = 1.0

#: Seconds after which a load is given up that the database does not answer.
LONGEST = 30.0

Found = tuple[bytes, bytes, Any]


class Load:
    """One load under way, of one object or several.

    :param one: whether the answer is what loadBefore returns, instead of a list of that.
    """

    __slots__ = ('oids', 'tid', 'client', 'one', 'answer', 'since')

    def __init__(
        self, oids: list[bytes], tid: bytes, client: Client, one: bool, since: float
    ) -> None:
        self.oids = oids
        self.tid = tid
        self.client = client
        self.one = one
        self.answer = Later()
        self.since = since


class Readers:
    """The threads that load; all in the loop's thread, but for the reading itself.

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
        self._free = [_Reader(instances, view, loop, self._done, batch) for _ in range(THREADS)]
        self._readers = tuple(self._free)
        self._sweeping = False

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
        self._waiting = deque(load for load in self._waiting if load.client is not client)
        for load in [load for load in self._under_way if load.client is client]:
            del self._under_way[load]

    def overdue(self, longest: float) -> list[Any]:
        """Return the connections of threads that have read for longer than that many seconds."""
        return [
            connection
            for reader in self._readers
            if reader.thread.busy_for() > longest
            for connection in reader.connections()
        ]

    def close(self, seconds: float) -> None:
        """End the threads."""
        for reader in self._readers:
            reader.thread.end()
        for reader in self._readers:
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

    def _done(self, reader: _Reader, results: list[tuple[Load, Any, bytes]], resets: int) -> None:
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


class _Reader:
    """One thread with its instance."""

    def __init__(
        self,
        instances: Instances,
        view: View,
        loop: Loop,
        done: Callable[[_Reader, list[Any], int], None],
        batch: int,
    ) -> None:
        self.thread = Thread('ZEO reader', loop, self._rest, self._release)
        self._instances = instances
        self._view = view
        self._loop = loop
        self._done = done
        self._batch = batch
        self._keeper = Keeper(instances, instances.new_reader)
        # what the instance's snapshot has at least; None: it has none
        self._snapshot: bytes | None = None
        self._taken = 0.0  # when the snapshot was
        self._resets = view.resets

    def connections(self) -> list[Any]:
        """Return the connections that the thread may wait for."""
        return connections.of(self._keeper.instance)

    def take(self, loads: list[Load]) -> None:
        """Have the thread read."""
        self.thread.call(partial(self._serve, loads))

    # In the thread.

    def _serve(self, loads: list[Load]) -> None:
        results: list[Any] = []
        try:
            results = self._read_all(loads)
        # a thread's boundary: what the database fails with is the answer
        except BaseException as error:
            self._release()
            error = self._instances.disconnected(error)
            results = [(load, error, b'') for load in loads]
        finally:
            self._loop.from_thread(partial(self._done, self, results, self._resets))

    def _read_all(self, loads: list[Load]) -> list[Any]:
        for is_last in (False, True):
            try:
                snapshot = self._prepare(loads)
                return [(load, self._read(load), snapshot) for load in loads]
            except BaseException as error:
                # a connection that was lost, or a snapshot that has become too old
                if is_last or not self._may_help(error):
                    raise
                self._release()
        raise AssertionError('not reached')

    def _may_help(self, error: BaseException) -> bool:
        """Whether reading once more may help, with a new instance."""
        return self._instances.is_lost(error) or isinstance(error, TransientError)

    def _prepare(self, loads: list[Load]) -> bytes:
        """Have a snapshot that is new enough for all loads, and their objects in it."""
        resets = self._view.resets
        if resets != self._resets:  # the connection may be to another database
            self._release()
            self._resets = resets
        is_behind, snapshot = self._view.is_behind, self._snapshot
        now = self._loop.system.now()
        if (
            snapshot is None
            or now - self._taken > OLDEST
            or any(is_behind(oid, snapshot) for load in loads for oid in load.oids)
        ):
            snapshot = self._poll(now)
        oids = list(dict.fromkeys(oid for load in loads for oid in load.oids))
        instance = self._keeper.instance
        if len(oids) > 1 and hasattr(instance, 'prefetch'):
            instance.prefetch(oids)
        return snapshot

    def _poll(self, now: float) -> bytes:
        sent = self._view.last  # which the database has: it comes from there
        self._snapshot = snapshot = max(sent, poll(self._keeper.get()))
        self._taken = now
        return snapshot

    def _read(self, load: Load) -> list[Any]:
        """Return what was found for each object, or the error: as much as an answer holds."""
        found: list[Any] = []
        space = self._batch
        for oid in load.oids:
            try:
                record: Any = read(self._keeper.instance, oid, load.tid)
            except (POSError, KeyError) as error:
                if isinstance(error, TransientError):
                    raise
                record = plain(error)
            found.append(record)
            if type(record) is tuple:
                space -= len(record[0] or b'')
            if space <= 0:
                break
        return found

    def _rest(self) -> None:
        if self._snapshot is not None:
            self._snapshot = None
            self._keeper.rest()

    def _release(self) -> None:
        self._snapshot = None
        self._keeper.release()
