"""A thread that reads records of an MVCC storage, from a snapshot of its own.

Enters: loads, several at a time. Leaves: what was found for each, with its snapshot, in the loop's
thread. Fails: what the storage raises is what was found; StorageError where no thread can be
started.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from transaction.interfaces import TransientError
from ZODB.POSException import POSError

from ZEO.net.loop import Loop
from ZEO.serving.backends import connections
from ZEO.serving.backends.instances import Instances, Keeper, plain, poll, read
from ZEO.serving.backends.threads import Thread
from ZEO.serving.backends.view import View
from ZEO.serving.later import Later
from ZEO.serving.workers import Client

#: Seconds after which a reader that is never idle takes a newer snapshot; see threads.IDLE.
OLDEST = 1.0

#: Objects that are fetched with one query; more would hold up the loads that came later.
MOST_AT_ONCE = 100

Found = tuple[bytes, bytes, Any]  # data, tid, end tid or None


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


class ReadingThread:
    """One thread with its instance.

    :param done: called in the loop's thread with this, with each load, what was found and the
        snapshot that it comes from, and with the number of resets of the view that it knows.
    :param batch: bytes after which an answer of several objects is complete.
    """

    def __init__(
        self,
        instances: Instances,
        view: View,
        loop: Loop,
        done: Callable[[ReadingThread, list[Any], int], None],
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
        """Have the thread read.

        :raises StorageError: when it cannot be started.
        """
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
