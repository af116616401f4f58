"""Calls that write: the parts of transactions, their votes and ends.

Enters: the client's calls. Leaves: commits, with their operations. Fails:
StorageTransactionError for a transaction that is not open; ProtocolError for what no client sends;
the error of a one-way call is raised by the vote.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ZEO.Exceptions import ProtocolError
from ZEO.net.loop import ENDS, Loop
from ZEO.serving.account import size_of
from ZEO.serving.calls.chained import Chain, Steps
from ZEO.serving.calls.family import Client, Family
from ZEO.serving.commit import Commit
from ZEO.serving.commit.operations import (
    CheckCurrent,
    Delete,
    Operation,
    Restore,
    Store,
    Undo,
)
from ZEO.serving.doors import Metadata
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.later import Later
from ZEO.serving.transactions import Transactions
from ZEO.wire.quoting import explained

#: Object ids in one answer to new_oids.
MAX_OIDS = 100

#: Bytes of the id of a transaction to be undone; storages have some ten.
LONGEST_UNDO_ID = 1000


class TransactionCalls(Family):
    """Calls that write, except for those that bring blobs."""

    def __init__(self, client: Client, hosted: HostedStorage, loop: Loop) -> None:
        super().__init__(client, hosted, loop)
        self.open = Transactions(client.account, hosted.limits)
        self._commits = self.open.commits
        self._chain = Chain(Steps(self._vote_chained, self.tpc_finish, self.tpc_abort))
        #: Called when a transaction is over and no other one is open.
        self.none_left: Callable[[], None] | None = None

    def new_oids(self, n: int = MAX_OIDS) -> list[bytes]:
        hosted = self._hosted
        return hosted.oids.note(
            [hosted.storage.new_oid() for _ in range(max(1, min(int(n), MAX_OIDS)))]
        )

    def tpc_begin(
        self,
        txn_id: Any,
        user: bytes,
        description: bytes,
        extension: Any,
        tid: bytes | None = None,
        status: str = ' ',
    ) -> None:
        size = len(user) + len(description) + (size_of(extension) if extension else 0)
        refusal = self.open.refusal(txn_id, size)
        if refusal is not None:
            user, description, extension, size = b'', b'', {}, 0
        commit = Commit(
            self._hosted,
            self._client,
            Metadata(user, description, extension),
            tid,
            status,
            self._client.resolves,
        )
        self.open.add(txn_id, commit, size)
        if refusal is not None:
            commit.phase.fail(commit, refusal)

    def storea(self, oid: bytes, serial: Any, data: bytes, txn_id: Any) -> None:
        # without a call, since most calls come here; the id is a number or a text
        commit = self._commits.get(txn_id) or self.open.find(txn_id)
        if type(serial) is str:
            serial = as_bytes(serial)
        commit.phase.add(commit, Store(oid, serial, data))

    def restorea(
        self, oid: bytes, serial: Any, data: bytes | None, previous: bytes | None, txn_id: Any
    ) -> None:
        self._add(txn_id, Restore(oid, as_bytes(serial), data, previous))

    def several_storea(self, txn_id: int, stores: list[tuple[bytes, bytes, bytes]]) -> None:
        """What :meth:`storea` does for each."""
        commit = self.open.find(txn_id)
        commit.phase.add_all(commit, [Store(*store) for store in stores])

    def several_restorea(
        self, txn_id: int, restores: list[tuple[bytes, bytes, bytes, bytes | None]]
    ) -> None:
        """What :meth:`restorea` does for each."""
        commit = self.open.find(txn_id)
        commit.phase.add_all(commit, [Restore(*restore) for restore in restores])

    def checkCurrentSerialInTransaction(self, oid: bytes, serial: Any, txn_id: Any) -> None:
        self._add(txn_id, CheckCurrent(oid, as_bytes(serial)))

    def deleteObject(self, oid: bytes, serial: Any, txn_id: Any) -> None:
        self._add(txn_id, Delete(oid, as_bytes(serial)))

    def undoa(self, undo_id: bytes, txn_id: Any) -> None:
        if not isinstance(undo_id, (bytes, str)) or len(undo_id) > LONGEST_UNDO_ID:
            raise ProtocolError('client asked to undo a transaction whose id is malformed')
        self._add(txn_id, Undo(undo_id))

    def _add(self, txn_id: Any, operation: Operation) -> None:
        commit = self.open.find(txn_id)
        commit.phase.add(commit, operation)

    def vote(self, txn_id: Any) -> Later:
        commit = self.open.find(txn_id)
        return commit.phase.vote(commit)

    def tpc_finish(self, txn_id: Any) -> Any:
        tid = self._finish(txn_id)
        try:
            if isinstance(tid, Later):
                return self.finished_later(txn_id, tid)
            return self._told(txn_id, tid)
        except ENDS:
            raise
        except BaseException as error:  # which must not be taken for that of the transaction
            self._client.close(f'closed by this server: {explained(error)}')
            return tid  # which is sent nowhere

    def _finish(self, txn_id: Any) -> bytes | Later:
        """Make a transaction permanent."""
        commit = self.open.find(txn_id)
        try:
            return commit.phase.finish(commit)
        except BaseException:
            if commit.phase.is_over:
                # so that no abort has to come for it, as none does from most clients
                self.forget(txn_id)
            raise

    def commit_after(self, txn_id: Any, after: Any = None) -> Later:
        """Vote and finish, if the transaction `after` was finished; any number of these may be
        under way.
        """
        most = 2 * self._hosted.limits.transactions
        if len(self._chain) >= most:
            raise ProtocolError(
                f'client has {most} transactions wait to be committed, and may have half of that '
                'open (max-transactions)'
            )
        return self._chain.add(txn_id, after)

    def _vote_chained(self, txn_id: Any) -> Later:
        commit = self.open.find(txn_id)
        commit.is_chained = True
        return commit.phase.vote(commit)

    def finished_later(self, txn_id: Any, tid: Later) -> Later:
        """Return the answer for a transaction that is permanent once `tid` is answered."""
        answer = Later()

        def failed(error: BaseException) -> None:
            self.forget(txn_id)
            if isinstance(error, MemoryError):  # it may be permanent
                self._loop.lost_task = True
            answer.fail(error)

        def finished(tid: bytes) -> None:
            try:
                self._told(txn_id, tid)
            except ENDS:
                raise
            except BaseException as error:  # behind what is permanent
                self._loop.reports.failed('a client was not sent the size', 'server', error)
            answer.answer(tid)

        tid.then(finished, failed)
        return answer

    def _told(self, txn_id: Any, tid: bytes) -> bytes:
        self.forget(txn_id)
        self._client.commits += 1
        self._hosted.sizes.send(self._client)
        return tid

    def tpc_abort(self, txn_id: Any) -> Later | None:
        commit = self.open.get(txn_id)
        if commit is None:
            return None
        ended = commit.phase.abort(commit)
        self.forget(txn_id)  # not before
        return ended

    def forget(self, txn_id: Any) -> Commit | None:
        """Drop and return a transaction, which is over."""
        commit = self.open.forget(txn_id)
        if self.none_left is not None and not self.open:
            self.none_left()
        return commit

    def close(self) -> None:
        for txn_id, commit in list(self.open.commits.items()):
            self._loop.attempt(partial(_abort, commit))
            if not self._loop.lost_task:  # else it is closed again
                self.open.forget(txn_id)


def _abort(commit: Commit) -> None:
    commit.phase.abort(commit)


def as_bytes(serial: Any) -> Any:
    """Return a serial as storages compare it; some clients send text."""
    return serial.encode('latin-1') if type(serial) is str else serial
