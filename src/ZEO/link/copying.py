"""Copying of a database to a server, with many transactions on their way at a time.

Enters: a storage with an iterator, and the client storage that it is copied to. Leaves: the same
transactions on the server, in their order, with their tids and blobs. Fails: with the first error,
of either storage; what is on the server then is a first part of the transactions, without a hole.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ZODB.blob import copyTransactionsFromTo

from ZEO.link.blob_store import BlobStore
from ZEO.link.buffer import CommitBuffer
from ZEO.link.commits import Commits
from ZEO.link.waiting import PendingCall

#: Transactions on their way: with one fewer than a disk syncs at once the server would wait for
#: this client; a server accepts 200 open ones.
_MOST = 64

#: Bytes of records on their way; a server keeps 10 MB of a client's in memory.
_MOST_BYTES = 4 * 2**20


class Copy:
    """One copy."""

    def __init__(self, commits: Commits, blobs: BlobStore | None) -> None:
        self._commits = commits
        self._blobs = blobs
        # what was sent and is not answered: the call, the transaction, the bytes of its records
        self._sent: deque[tuple[PendingCall, CommitBuffer, int]] = deque()
        self._size = 0  # of all of them
        self._last: int | None = None  # what the server calls the last one

    def run(self, source: Any, target: Any) -> None:
        """Copy all transactions of `source` to `target`, whose commits were given."""
        try:
            copyTransactionsFromTo(source, _Target(target, self))
            while self._sent:
                self._settle_one()
        except BaseException:
            self._give_up()
            raise

    def sent(self, transaction: Any, size: int) -> None:
        """A transaction is on its way: have the server commit it, once the one before it is.

        :param size: bytes of its records.
        """
        buffer = self._commits.find(transaction)
        call = self._commits.commit_after(transaction, self._last)
        self._last = buffer.txn_id
        self._sent.append((call, buffer, size))
        self._size += size
        while self._sent and (
            len(self._sent) > _MOST or self._size > _MOST_BYTES or self._sent[0][0].done
        ):
            self._settle_one()

    def _settle_one(self) -> None:
        """Wait for the oldest that was sent; raises what it has failed with."""
        call, buffer, size = self._sent.popleft()
        self._size -= size
        tid = None
        try:
            if not call.done:
                buffer.connection.flush()
            tid = call.wait()
        finally:
            if self._blobs is not None:
                if tid is None:
                    self._blobs.aborted(buffer.blobs)
                else:
                    self._blobs.committed(buffer.blobs, tid)

    def _give_up(self) -> None:
        """The copy has failed. What was sent may still be committed: see how it ends, if the
        connection allows it.
        """
        while self._sent:
            try:
                self._settle_one()
            except Exception:  # the first error was raised, or is what these were refused for
                pass


class _Target:
    """The client storage, as what copies its transactions sees it."""

    def __init__(self, storage: Any, copy: Copy) -> None:
        self._storage = storage
        self._copy = copy
        self._size = 0  # bytes of the records of the transaction

    @property
    def fshelper(self) -> Any:
        """Where files that are to become blobs are made."""
        return self._storage.fshelper

    def tpc_begin(self, transaction: Any, tid: bytes, status: str) -> None:
        """Begin a transaction."""
        self._size = 0
        self._storage.tpc_begin(transaction, tid, status)

    def restore(
        self, oid: bytes, serial: bytes, data: bytes | None, version: str, *rest: Any
    ) -> None:
        """Send a record."""
        self._size += len(data or b'')
        self._storage.restore(oid, serial, data, version, *rest)

    def restoreBlob(self, oid: bytes, serial: bytes, data: bytes, *rest: Any) -> None:
        """Send a record and its blob."""
        self._size += len(data)
        self._storage.restoreBlob(oid, serial, data, *rest)

    def tpc_vote(self, transaction: Any) -> None:
        """The transaction is voted on when it is committed."""

    def tpc_finish(self, transaction: Any) -> None:
        """The transaction is whole."""
        self._copy.sent(transaction, self._size)
