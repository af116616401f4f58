"""Copying of a database to a server, with many transactions on their way at a time.

Enters: a storage with an iterator, and the client storage that it is copied to. Leaves: the same
transactions on the server, in their order, with their tids and blobs. Fails: with the first error,
of either storage; what is on the server then is a first part of the transactions, without a hole.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, NamedTuple

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

#: Bytes of blobs on their way, which a server has on its disk: a second of a fast network.
_MOST_IN_BLOBS = 64 * 2**20


class _Sent(NamedTuple):
    """A transaction that is not answered yet."""

    call: PendingCall
    buffer: CommitBuffer
    records: int  # bytes
    blobs: int  # bytes


class Copy:
    """One copy.

    :param keeps_blobs: whether this client keeps the files of blobs that it has sent.
    """

    def __init__(self, commits: Commits, blobs: BlobStore | None, keeps_blobs: bool = True) -> None:
        self._commits = commits
        self._blobs = blobs
        self._keeps_blobs = keeps_blobs
        self._sent: deque[_Sent] = deque()
        self._records = self._in_blobs = 0  # bytes of all of them
        self._last: CommitBuffer | None = None  # the last one that was sent
        self._has_failed = False
        #: The tid of the last transaction that the server has committed; None before the first.
        self.reached: bytes | None = None

    def run(self, source: Any, target: Any) -> None:
        """Copy all transactions of `source` to `target`, whose commits were given."""
        try:
            copyTransactionsFromTo(source, _Target(target, self))
            self.settle()
        except BaseException:
            self._give_up()
            raise

    def send_blob(self, transaction: Any, path: str, *record: Any) -> None:
        """Send a blob and its record.

        :param path: of the file, which stays.
        :param record: oid, serial, data, and the tid of a transaction with the same data.
        """
        assert self._blobs is not None
        buffer = self._commits.find(transaction)
        self._blobs.send_copy(buffer, 'restoreBlob', path, record)

    def sent(self, transaction: Any, records: int, blobs: int) -> None:
        """A transaction is on its way: have the server commit it, once the one before it is.

        :param records: bytes of its records.
        :param blobs: bytes of the files of its blobs.
        :raises Exception: the error of one that was sent before.
        """
        buffer, last = self._commits.find(transaction), self._last
        if last is not None and last.connection is not buffer.connection:
            self.settle()  # this server knows nothing of those that another one was sent
            last = None
        after = None if last is None else last.txn_id
        call = self._commits.commit_after(transaction, after)
        self._last = buffer
        self._sent.append(_Sent(call, buffer, records, blobs))
        self._records += records
        self._in_blobs += blobs
        while self._sent and (
            len(self._sent) > _MOST
            or self._records > _MOST_BYTES
            or self._in_blobs > _MOST_IN_BLOBS
            or self._sent[0].call.done
        ):
            self._settle_one()

    def settle(self) -> None:
        """Wait for all that were sent.

        :raises Exception: the first error, unless an error was raised before.
        """
        if self._has_failed:
            self._give_up()
        while self._sent:
            self._settle_one()

    def _settle_one(self) -> None:
        """Wait for the oldest that was sent; raises what it has failed with."""
        call, buffer, records, blobs = self._sent.popleft()
        self._records -= records
        self._in_blobs -= blobs
        tid = None
        try:
            if not call.done:
                buffer.connection.flush()
            tid = self.reached = call.wait()
        finally:
            self._has_failed = self._has_failed or tid is None
            if self._blobs is not None:
                if tid is None or not self._keeps_blobs:
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
        self._records = self._in_blobs = 0  # bytes of the transaction

    @property
    def fshelper(self) -> Any:
        """Where files that are to become blobs are made."""
        return self._storage.fshelper

    def tpc_begin(self, transaction: Any, tid: bytes, status: str) -> None:
        """Begin a transaction."""
        self._records = self._in_blobs = 0
        self._storage.tpc_begin(transaction, tid, status)

    def restore(
        self, oid: bytes, serial: bytes, data: bytes | None, version: str, *rest: Any
    ) -> None:
        """Send a record."""
        self._records += len(data or b'')
        self._storage.restore(oid, serial, data, version, *rest)

    def restoreBlob(self, oid: bytes, serial: bytes, data: bytes, path: str, *rest: Any) -> None:
        """Send a record and its blob."""
        self._records += len(data)
        self._in_blobs += os.path.getsize(path)
        self._storage.restoreBlob(oid, serial, data, path, *rest)

    def tpc_vote(self, transaction: Any) -> None:
        """The transaction is voted on when it is committed."""

    def tpc_finish(self, transaction: Any) -> None:
        """The transaction is whole."""
        self._copy.sent(transaction, self._records, self._in_blobs)
