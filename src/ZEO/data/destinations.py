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

from ZEO.data.blobfiles import MISSING
from ZEO.data.history import named
from ZEO.data.outcome import DataError
from ZEO.data.sources import FileSource, Record, Source, StorageSource
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
            storage.tpc_vote(transaction)
            self._may_wait(transaction)
            storage.tpc_finish(transaction)
        except BaseException:
            self._abort(transaction)
            raise

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
            self.storage.sync()
            self._unsynced.clear()

    def _abort(self, transaction: Any) -> None:
        try:
            self.storage.tpc_abort(transaction)
        except Exception:  # what led here matters more; the transaction ends with the connection
            pass

    def _write(self, transaction: Any, record: Record, source: Source, blob: bool) -> int:
        """Write one record; return the size of its blob."""
        file = self._blob_file(record, source) if blob else None
        if file is None:
            self.storage.restore(
                record.oid, record.tid, record.data, '', record.data_txn, transaction
            )
            return 0
        path, size = file
        self.storage.restoreBlob(
            record.oid, record.tid, record.data, path, record.data_txn, transaction
        )
        return size

    def _blob_file(self, record: Record, source: Source) -> tuple[str, int] | None:
        """Return a file of this storage with a copy of a blob, and its size; None for one that is
        left out, since it has no file.
        """
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
            return None
        fd, copy = tempfile.mkstemp('.tmp', prefix(_KIND), self.storage.temporaryDirectory())
        with os.fdopen(fd, 'wb') as target, open(path, 'rb') as file:
            shutil.copyfileobj(file, target, _AT_ONCE)
            size = target.tell()
            target.flush()
            os.fsync(fd)
        source.release(path)
        return copy, size

    def length(self) -> int:
        """Return how many objects it has, as far as it knows."""
        return len(self.storage)


def _advice(source: Source) -> str:
    if isinstance(source, FileSource) and source.blobs is None:
        return 'give the directory of its blobs with --blobs, or --no-blobs to leave blobs out'
    return 'give --skip-lost-blobs to copy everything else'
