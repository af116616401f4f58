"""Calls that send and bring blobs, in chunks or through a shared directory.

Enters: the client's calls. Leaves: the messages that send a blob, as a stream; blob files, for the
transaction that they belong to. Fails: Unsupported for a storage without blobs; ProtocolError for
chunks that belong to no blob, or to no transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ZODB.POSException import StorageTransactionError

from ZEO.Exceptions import ProtocolError
from ZEO.net.loop import Loop
from ZEO.serving import blobs
from ZEO.serving.answers import Streamed
from ZEO.serving.calls.family import Client, Family
from ZEO.serving.calls.transactions import TransactionCalls, as_bytes
from ZEO.serving.commit.operations import Operation, RestoreBlob, StoreBlob
from ZEO.serving.downloads import Downloads, Wanted
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.uploads import Uploads


class SendingBlobs(Family):
    """Blobs on their way to the client."""

    def __init__(self, client: Client, hosted: HostedStorage, loop: Loop) -> None:
        super().__init__(client, hosted, loop)
        self._downloads = Downloads(client, hosted.limits.downloads)

    def sendBlob(self, oid: bytes, serial: bytes, announced: bool = False) -> Streamed:
        """Send a blob.

        :param announced: begin with its length in bytes; clients of this package ask for it.
        """
        storage = self._hosted.storage
        blobs.require(storage)
        self._downloads.check()
        wanted = Wanted(storage.loadBlob(oid, serial), oid, serial, bool(announced))
        return Streamed(partial(self._downloads.start, wanted))

    def close(self) -> None:
        self._downloads.close()


class StoringBlobs(Family):
    """Blobs that the client brings, for its open transactions."""

    def __init__(
        self,
        client: Client,
        hosted: HostedStorage,
        loop: Loop,
        transactions: TransactionCalls,
    ) -> None:
        super().__init__(client, hosted, loop)
        self._transactions = transactions
        self._uploads = Uploads(hosted.storage, client.account)
        # an unfinished blob belongs to one of the open transactions
        transactions.none_left = self._uploads.discard

    def storeBlobStart(self) -> None:
        blobs.require(self._hosted.storage)
        if not self._transactions.open:
            raise ProtocolError('client sent a blob outside of a transaction')
        self._uploads.start()

    def storeBlobChunk(self, chunk: bytes | memoryview) -> None:
        self._uploads.add(chunk)

    def storeBlobEnd(self, oid: bytes, serial: Any, data: bytes, txn_id: Any) -> None:
        self._add_upload(txn_id, partial(StoreBlob, oid, as_bytes(serial), data))

    def storeBlobShared(self, oid: bytes, serial: Any, data: bytes, name: str, txn_id: Any) -> None:
        self._add_shared(txn_id, oid, name, partial(StoreBlob, oid, as_bytes(serial), data))

    def restoreBlobEnd(
        self, oid: bytes, serial: Any, data: bytes, previous: bytes | None, txn_id: Any
    ) -> None:
        """As storeBlobEnd, for a transaction that is copied."""
        self._add_upload(txn_id, partial(RestoreBlob, oid, as_bytes(serial), data, previous))

    def restoreBlobShared(
        self, oid: bytes, serial: Any, data: bytes, previous: bytes | None, name: str, txn_id: Any
    ) -> None:
        """As storeBlobShared, for a transaction that is copied."""
        self._add_shared(
            txn_id, oid, name, partial(RestoreBlob, oid, as_bytes(serial), data, previous)
        )

    def _add_upload(self, txn_id: Any, operation: Callable[[str], Operation]) -> None:
        # first: what belongs to no transaction stays with the connection, and ends with it
        commit = self._transactions.open.find(txn_id)
        uploaded = self._uploads.take()
        commit.phase.keep_file(commit, uploaded.path, uploaded.size)
        if uploaded.error is not None:
            commit.phase.fail(commit, uploaded.error)
        commit.phase.add_blob(commit, operation(uploaded.path))

    def _add_shared(
        self, txn_id: Any, oid: bytes, name: str, operation: Callable[[str], Operation]
    ) -> None:
        storage = self._hosted.storage
        blobs.require(storage)
        path = blobs.shared_path(storage, oid, name)
        try:
            commit = self._transactions.open.find(txn_id)
        except StorageTransactionError:
            blobs.remove_files(storage, [path])
            raise
        commit.phase.keep_file(commit, path, 0)
        commit.phase.add_blob(commit, operation(path))

    def close(self) -> None:
        self._uploads.discard()
