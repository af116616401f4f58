"""Where transactions are copied to: any storage that restores what another one has committed.

Enters: transactions, with their records and blob files. Leaves: the same in the storage. Fails:
:class:`~ZEO.data.outcome.DataError` for a storage that cannot take them; with what the storage
raises; ClientDisconnected when the connection to a server is lost.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from ZODB.interfaces import IBlobStorageRestoreable
from ZODB.utils import z64

from ZEO.data.blobfiles import MISSING
from ZEO.data.history import named
from ZEO.data.outcome import DataError
from ZEO.data.sources import FileSource, Record, Source, StorageSource
from ZEO.files import opened
from ZEO.leftovers import prefix, remove_leftovers
from ZEO.net.system import REAL
from ZEO.serving.filestorage import file_storages, take_last_whole_transaction
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.serving.torn_commit import MOST_BYTES, MOST_TRANSACTIONS
from ZEO.wire.guarded import is_blob

#: How the names of blob files begin that are on their way into a storage.
_KIND = 'copied'

#: Bytes of a blob that are copied at once.
_AT_ONCE = 1 << 20


class Destination(StorageSource):
    """An open storage that is written to; what it has is read like any source.

    :param name: for people.
    :param private: as for a source.
    """

    def __init__(self, name: str, storage: Any, private: str | None = None) -> None:
        super().__init__(name, storage, private)
        for file in file_storages(storage):  # after a kill it has the tid of what was cut off
            take_last_whole_transaction(file)
        if not hasattr(storage, 'restore'):
            raise DataError(
                f'{name} cannot take transactions of another storage: {type(storage).__name__} '
                'has no method "restore"'
            )
        #: The last transaction that is known to be there, as far as this has written any.
        self.reached = z64
        self._last = z64  # that was written
        self._unsynced: list[int] = []  # bytes of the transactions since the last sync
        if isinstance(storage, GroupedFileStorage):
            storage.system = REAL
        if self._takes_blobs():
            remove_leftovers(storage.temporaryDirectory(), (_KIND,), REAL.wall_clock())

    def _takes_blobs(self) -> bool:
        return self._private is not None or IBlobStorageRestoreable.providedBy(self.storage)

    def write(
        self, transaction: Any, source: Source, seen: Callable[[Any, int], None], blobs: bool
    ) -> None:
        """Commit a transaction of a source; it may be lost in a crash until :meth:`settle`.

        :param seen: is called with each record, and the size of its blob.
        :param blobs: whether blobs are copied; else only their records are.
        """
        storage = self.storage
        storage.tpc_begin(transaction, transaction.tid, transaction.status)
        try:
            for record in transaction:
                size = self._write(transaction, record, source, blobs and is_blob(record.data))
                seen(record, size)
            self._commit(transaction)
        except BaseException:
            self._abort(transaction)
            raise

    def _commit(self, transaction: Any) -> None:
        self.storage.tpc_vote(transaction)
        self._may_wait(transaction)
        self.storage.tpc_finish(transaction)
        self._last = transaction.tid
        if not self._unsynced:
            self.reached = self._last

    def _may_wait(self, transaction: Any) -> None:
        """Have one sync for many transactions, but for no more than can be told from damage when
        the next start looks at what a crash has left.
        """
        storage, unsynced = self.storage, self._unsynced
        if isinstance(storage, GroupedFileStorage):
            size = storage.voted_size
            if len(unsynced) >= MOST_TRANSACTIONS or sum(unsynced) + size > MOST_BYTES:
                self.settle()
            if size <= MOST_BYTES:
                storage.postpone_sync(transaction)
                unsynced.append(size)

    def settle(self) -> None:
        """Have all that is written on the disk.

        :raises StorageError: when the disk fails.
        """
        if self._unsynced:
            try:
                self.storage.sync()
            except BaseException:
                self.reached = self.last_tid()  # some were given up
                raise
            self._unsynced.clear()
            self.reached = self._last

    def _abort(self, transaction: Any) -> None:
        try:
            self.storage.tpc_abort(transaction)
        except Exception:  # what led here matters more; the transaction ends with the connection
            pass

    def _write(self, transaction: Any, record: Record, source: Source, blob: bool) -> int:
        """Write one record; return the size of its blob."""
        path = self._blob_file(record, source) if blob else None
        if path is None:
            self._restore(transaction, record)
            return 0
        size = os.path.getsize(path)
        self._restore_blob(transaction, record, path)
        source.release(path)
        return size

    def _restore(self, transaction: Any, record: Record) -> None:
        self.storage.restore(record.oid, record.tid, record.data, '', record.data_txn, transaction)

    def _restore_blob(self, transaction: Any, record: Record, path: str) -> None:
        """Write a record and a copy of its blob's file."""
        self.storage.restoreBlob(
            record.oid, record.tid, record.data, self._copied(path), record.data_txn, transaction
        )

    def _blob_file(self, record: Record, source: Source) -> str | None:
        """Return the source's file of a blob; None for one that is left out, since it has none."""
        if not self._takes_blobs():
            raise DataError(
                f'{source.name} has blobs, and {self.name} has no directory for them: give '
                '--to-blobs DIRECTORY, or --no-blobs to leave them out'
            )
        path = source.blob(record.oid, record.tid)
        if path is None:
            text = f'blob {record.oid.hex()} of {named(record.tid)}'
            if source.lost is None:
                raise DataError(f'{source.name} has no file for the {text}: {_advice(source)}')
            source.lost.add(MISSING, f'{self.name}: {text} has no file')
        return path

    def _copied(self, path: str) -> str:
        """Return a file of this storage with a copy of a blob."""
        fd, copy = tempfile.mkstemp('.tmp', prefix(_KIND), self.storage.temporaryDirectory())
        with os.fdopen(fd, 'wb') as target, open(path, 'rb', opener=opened) as file:
            shutil.copyfileobj(file, target, _AT_ONCE)
            target.flush()
            if not isinstance(self.storage, GroupedFileStorage):  # which does that itself, later
                os.fsync(fd)
        return copy

    def length(self) -> int:
        """Return how many objects it has, as far as it knows."""
        return len(self.storage)


class ServerDestination(Destination):
    """A client of a server that commits many transactions without a wait for each.

    :param copy: what commits them.
    """

    def __init__(self, name: str, storage: Any, copy: Any, private: str | None = None) -> None:
        super().__init__(name, storage, private)
        self._copy = copy
        self._records = self._in_blobs = 0  # bytes of the transaction

    def _restore(self, transaction: Any, record: Record) -> None:
        self._records += len(record.data or b'')
        super()._restore(transaction, record)

    def _restore_blob(self, transaction: Any, record: Record, path: str) -> None:
        self._records += len(record.data or b'')
        self._in_blobs += os.path.getsize(path)
        self._copy.send_blob(
            transaction, path, record.oid, record.tid, record.data, record.data_txn
        )

    def _commit(self, transaction: Any) -> None:
        records, blobs = self._records, self._in_blobs
        self._records = self._in_blobs = 0
        try:
            self._copy.sent(transaction, records, blobs)
        finally:
            self._note()

    def settle(self) -> None:
        """Have all that was sent committed.

        :raises Exception: the error of the first one that was not.
        """
        try:
            self._copy.settle()
        finally:
            self._note()

    def _note(self) -> None:
        if self._copy.reached is not None:
            self.reached = self._copy.reached


def destination(name: str, storage: Any, private: str | None = None) -> Destination:
    """Return what writes to an open storage; the parameters are those of :class:`Destination`.

    :raises DataError: when it cannot take transactions of another storage.
    """
    begin = getattr(storage, 'begin_copy', None)
    copy = None if begin is None else begin(keeps_blobs=False)
    if copy is None:
        return Destination(name, storage, private)
    return ServerDestination(name, storage, copy, private)


def _advice(source: Source) -> str:
    if isinstance(source, FileSource) and source.blobs is None:
        return 'give the directory of its blobs with --blobs, or --no-blobs to leave blobs out'
    return 'give --skip-lost-blobs to copy everything else'
