"""A storage that is itself a client of another server: it is asked in worker threads.

Enters: as :class:`~ZEO.serving.backends.base.Backend`. Leaves: Laters. Fails: with what the storage
raises; StorageError where no thread can be started.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ZODB.POSException import POSError

from ZEO.net.loop import ENDS, Loop
from ZEO.serving.backends.base import Backend, Committing, Reader, is_tried_again
from ZEO.serving.backends.cached import CachedSource, can_show_cache
from ZEO.serving.backends.loads import RemoteLoads
from ZEO.serving.backends.upstream import Upstream
from ZEO.serving.later import Later
from ZEO.serving.read_ahead.source import Source
from ZEO.serving.workers import Client, Workers
from ZEO.wire.extensions import BATCHES, EXACT


class RemoteBackend(Backend):
    """A storage on a network.

    :param reconnected: called when there is a new connection, before the storage reports what it
        has missed.
    """

    without_extensions = frozenset({BATCHES})
    votes_end = False

    def __init__(
        self,
        name: str,
        storage: Any,
        loop: Loop,
        workers: Workers,
        reconnected: Callable[[], None],
    ) -> None:
        super().__init__(name, storage, loop, workers)
        self.waiting_threads = workers
        self._loads = RemoteLoads(storage, workers)
        self._upstream = Upstream(storage, loop, workers, reconnected, self._is_exact_again)
        self._told = b''  # the last transaction that clients were sent, as far as that is known

    @property
    def trouble(self) -> str | None:
        return None if self._upstream.is_there else 'this server is not connected to it'

    @property
    def is_exact(self) -> bool:  # type: ignore[override]
        return self._upstream.is_exact

    def _is_exact_again(self) -> None:
        self._clients.send(None, 'info', {EXACT: True})

    def load(self, oid: bytes, tid: bytes, client: Reader) -> Later:
        client.loads += 1
        return self._loads.load(oid, tid, client)

    def load_many(self, oids: list[bytes], tid: bytes, client: Reader) -> Later:
        client.loads += 1
        return self._loads.load_first(oids, tid, client)

    @property
    def reads_ahead(self) -> bool:
        return can_show_cache(self._storage)

    def source(self, client: Client) -> Source:
        if not self._told:
            self._told = self._last()
        return CachedSource(self._storage, self._workers, client, lambda: self._told)

    def _last(self) -> bytes:
        """Return what a client was told when it registered, or nothing."""
        try:
            return self._storage.lastTransaction()
        except ENDS:
            raise
        except BaseException:  # it is not connected: nothing is sent ahead before it is
            return b''

    def iterate(self, start: bytes | None, stop: bytes | None, client: Client) -> Any:
        return self._storage.iterator(start, stop)

    def compute(self, work: Callable[[], Any], client: Client | None = None) -> Later:
        return self._workers.run(work, client)

    def give_back(self, close: Callable[[], None]) -> None:
        try:
            self._workers.run(close)
        except POSError:  # no thread: the other server ends them when there are too many
            pass

    def ping(self) -> Later | None:
        return self._upstream.wait()

    # Committing.

    def prepare(self, commit: Committing) -> None:
        self._prepare_in_worker(commit)

    def finish(self, commit: Committing) -> Later:
        """Have a worker make it permanent.

        A remote storage calls its callback between reporting the transactions before this one and
        those after it: what is posted there comes to the loop in that order. The worker's own
        return may come behind a later transaction.
        """
        answer = Later()
        tids: list[bytes] = []  # the transaction's, once it is known
        from_thread = self._loop.from_thread

        def finished(tid: bytes) -> None:
            if not tids:
                tids.append(tid)
                commit.phase.finished(commit, tid)
            answer.answer(tid)

        def not_finished(error: BaseException) -> None:
            if tids:  # which was answered then
                self._report('the storage failed after it had finished a transaction', error)
            else:
                if isinstance(error, MemoryError):  # which may have come after the end
                    self._loop.lost_task = True
                commit.phase.failed(commit, error)
                answer.fail(error)

        def finish() -> bytes:
            return self._storage.tpc_finish(
                commit.transaction, lambda tid: from_thread(lambda: finished(tid))
            )

        try:
            done = self._workers.run(finish)
        except POSError as error:
            commit.phase.failed(commit, error)
            raise
        commit.at_work = done
        done.then(finished, not_finished)
        return answer

    def abort(
        self, commit: Committing, over: Callable[[BaseException | None], None]
    ) -> Later | None:
        ended, transaction = Later(), commit.transaction

        def done(result: Any) -> None:
            error = result if isinstance(result, BaseException) else None
            if error is not None and is_tried_again(commit, error):
                raise error
            over(error)
            ended.answer(None)

        try:
            aborted = self._workers.run(lambda: self._abort(transaction))
        except POSError:  # no thread: better wait for the network than keep its lock
            return super().abort(commit, over)
        commit.at_work = aborted
        aborted.then(done, done)
        return ended

    # Changes.

    @property
    def is_catching_up(self) -> bool:
        return self._upstream.is_catching_up

    def changed(self, tid: bytes, oids: Collection[bytes]) -> None:
        self._told = max(tid, self._told)
        self._loads.changed(oids)

    def forget_records(self, tid: bytes | None = None) -> None:
        """No record is kept here."""
        self._told = b''
