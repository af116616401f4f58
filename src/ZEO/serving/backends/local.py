"""A storage in this process, which never waits for a network: it is asked in the loop's thread.

Enters: as :class:`~ZEO.serving.backends.base.Backend`. Leaves: results at once, except for
what takes long or a commit during a pack: those are given to threads. Fails: with what the storage
raises.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from ZODB.FileStorage.format import CorruptedError
from ZODB.POSException import POSKeyError

from ZEO.net.loop import ENDS, Loop
from ZEO.serving.backends.base import Backend, Committing, Found, Reader
from ZEO.serving.backends.recent import RecentRecords
from ZEO.serving.direct_reads import DirectReads
from ZEO.serving.filestorage import file_storages, iterator_from
from ZEO.serving.later import Later
from ZEO.serving.limits import Limits
from ZEO.serving.slices import Slice
from ZEO.serving.workers import Client, Workers

#: Seconds for which objects are stored at once where no client waits: timeouts, and what the loop
#: does at the end of a turn, wait for it.
LONGEST = 0.005

#: How many of the last transactions are looked at in the loop's thread for the start of an
#: iteration, as a follower asks for it after each commit: 20 take 1 ms.
_NEAR = 20


class LocalBackend(Backend):
    """A storage that is asked in the loop's thread."""

    takes_together = True

    def __init__(
        self, name: str, storage: Any, loop: Loop, workers: Workers, limits: Limits
    ) -> None:
        super().__init__(name, storage, loop, workers)
        self._computers = Workers(loop, computing=True)
        # A FileStorage looks when a pack begins which old records its undone transactions point to.
        # An undo that it does not see then makes the pack fail, if what it needs is packed away.
        self.packs_between_commits = bool(file_storages(storage))
        self._batch = limits.batch
        self.load_now: Callable[[bytes, bytes], Found | None] = storage.loadBefore

    def load(self, oid: bytes, tid: bytes, client: Reader) -> Found | None:
        client.loads += 1
        return self.load_now(oid, tid)

    def load_many(self, oids: list[bytes], tid: bytes, client: Reader) -> list[Found | None]:
        found: list[Found | None] = []
        space, is_over = self._batch, Slice(self._loop).is_over
        for oid in oids:
            client.loads += 1
            try:
                record = self.load_now(oid, tid)
            except POSKeyError:
                record = None
            found.append(record)
            if record is not None:
                space -= len(record[0] or b'')
            if space <= 0 or is_over():
                break
        return found

    def queues(self) -> dict[str, int]:
        return {'calls': self._computers.waiting}

    def iterate(self, start: bytes | None, stop: bytes | None, client: Client) -> Any:
        if start is None:
            return self._storage.iterator(start, stop)
        # to find `start` a storage may go over all its transactions
        return self.compute(partial(self._storage.iterator, start, stop), client)

    def compute(self, work: Callable[[], Any], client: Client | None = None) -> Later:
        return self._computers.run(work, client)

    def forget(self, client: Client) -> None:
        super().forget(client)
        self._computers.forget(client)

    def size(self) -> int | None:
        return self._storage.getSize()

    # Committing.

    def prepare(self, commit: Committing) -> None:
        if self.is_packing:  # which may hold the storage's own commit lock
            self._prepare_in_worker(commit)
        elif commit.together is None:
            self._advance(commit, commit.steps())
        else:
            try:
                commit.take_together()
            except ENDS:
                raise
            except BaseException as error:  # as in _advance
                commit.phase.failed(commit, error)
            else:
                self._prepared(commit)

    def _advance(self, commit: Committing, steps: Iterator[None]) -> None:
        """Go on for one slice of time."""
        loop = self._loop
        is_over = Slice(loop, loop.system.now() + LONGEST).is_over
        try:
            for _ in steps:
                if is_over():
                    self._loop.next_turn(partial(self._advance, commit, steps))
                    return
        except ENDS:
            raise
        except BaseException as error:  # anything that a storage raises fails the vote
            commit.phase.failed(commit, error)
        else:
            self._prepared(commit)

    def finish(self, commit: Committing) -> bytes | Later:
        try:
            tid = self._finish(commit.transaction)
        except BaseException as error:
            commit.phase.failed(commit, error)
            raise
        commit.phase.finished(commit, tid)
        return tid

    def _finish(self, transaction: Any) -> bytes:
        """Return the tid, which some storages give to the callback only."""
        storage = self._storage
        tids: list[bytes] = []
        try:
            returned = storage.tpc_finish(transaction, tids.append)
            return returned or (tids[0] if tids else storage.lastTransaction())
        except ENDS:
            raise
        except BaseException as error:
            if not self._is_permanent(tids):
                raise
            self._report('the storage failed after it had finished a transaction', error)
            self.forget_records()
            # harmless, and frees its lock
            self._loop.attempt(partial(storage.tpc_abort, transaction))
            return tids[0]

    def _is_permanent(self, tids: list[bytes]) -> bool:
        """Whether the storage has made it its last transaction before it failed."""
        try:
            return bool(tids) and self._storage.lastTransaction() == tids[0]
        except ENDS:
            raise
        except BaseException:  # a storage that cannot say so has most likely not finished
            return False

    # Changes.

    def changed(self, tid: bytes, oids: Collection[bytes]) -> None:
        """No record is kept."""

    def forget_records(self, tid: bytes | None = None) -> None:
        """No record is kept."""


class FileBackend(LocalBackend):
    """A FileStorage that no other process changes: the records that clients loaded last are kept in
    memory.
    """

    records: RecentRecords

    def __init__(
        self, name: str, storage: Any, loop: Loop, workers: Workers, limits: Limits
    ) -> None:
        super().__init__(name, storage, loop, workers, limits)
        self._reads = DirectReads(storage)
        self.records = RecentRecords(storage, limits.record_memory, self._reads.load)
        self.load_now = self.records.load

    def close(self) -> None:
        self._reads.close()
        super().close()

    def iterate(self, start: bytes | None, stop: bytes | None, client: Client) -> Any:
        if start is None:
            return super().iterate(start, stop, client)
        near = iterator_from(self._storage, start, stop, _NEAR)
        if near is not None:  # never tell by its truth: its length is 0
            return near
        return self.compute(partial(self._iterate_far, start, stop), client)

    def _iterate_far(self, start: bytes, stop: bytes | None) -> Any:
        try:
            return self._storage.iterator(start, stop)
        except (CorruptedError, AttributeError, ValueError):
            # of a commit that is being written; one of these is a slip of FileStorage
            return iterator_from(self._storage, start, stop)

    def _finish(self, transaction: Any) -> bytes:
        # with the storage's commit lock held, so that this transaction is the next one
        try:
            self.records.look_for_others()
        except Exception as error:  # the transaction is more important
            self._report('looking for what else was written failed', error)
            self.forget_records()
        return super()._finish(transaction)

    def changed(self, tid: bytes, oids: Collection[bytes]) -> None:
        self.records.changed(tid, oids)

    def forget_records(self, tid: bytes | None = None) -> None:
        self.records.clear()
