"""Where transactions come from: a file, or any storage that can be iterated over.

Enters: the path of a FileStorage, or an open storage. Leaves: its transactions in order, with their
records and blob files. Fails: :class:`~ZEO.data.outcome.DataError`, and with what the storage
raises; ClientDisconnected when the connection to a server is lost.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from ZODB.blob import FilesystemHelper
from ZODB.POSException import POSKeyError, Unsupported
from ZODB.utils import z64

from ZEO.data.datafile import DataFile, Header, tid_of_last
from ZEO.data.outcome import Findings
from ZEO.wire.guarded import extension


class Record(NamedTuple):
    """One revision of an object."""

    oid: bytes
    tid: bytes
    data: bytes | None  # None when it deletes the object
    data_txn: bytes | None  # the transaction that has stored the same data, for an undo


class Source(Protocol):
    """What transactions are read from. Each of them has the attributes of ZODB's: `tid`, `status`,
    `user`, `description` and `extension_bytes`; its records have those of :class:`Record`.
    """

    name: str  # for people
    lost: Findings | None  # blobs without a file that are left out; None: such a blob is an error

    def last_tid(self) -> bytes:
        """Return the tid of the last transaction; zeros if there is none."""

    def transactions(self, start: bytes | None, stop: bytes | None) -> Iterator[Any]:
        """Yield the transactions between two tids, both of which are included."""

    def blob(self, oid: bytes, tid: bytes) -> str | None:
        """Return the path of a blob's file, which :meth:`release` is given afterwards; None without
        one.
        """

    def release(self, path: str) -> None:
        """The file of a blob is not needed any more."""

    def keeps_history(self) -> bool:
        """Return whether it has all revisions that no pack has removed; else it has the last one of
        each object, and no texts of transactions.
        """

    def size(self) -> int:
        """Return about how many bytes there are; 0 if that is not known."""

    def close(self) -> None:
        """Close it."""


class FileTransaction:
    """One transaction in a file."""

    def __init__(self, file: DataFile, header: Header) -> None:
        self._file, self._header = file, header
        self.tid, self.status, self.user = header.tid, header.status, header.user
        self.description, self.extension_bytes = header.description, header.extension_bytes

    @property
    def extension(self) -> dict[str, Any]:
        """What is plain data in the extension."""
        return extension(self.extension_bytes)[0]

    def __iter__(self) -> Iterator[Record]:
        for entry, data in self._file.entries(self._header):
            data_txn = None
            if data is None:
                data, data_txn = self._file.behind(entry)
            yield Record(entry.oid, entry.tid, data, data_txn)


class FileSource:
    """The file of a FileStorage, and the directory of its blobs.

    :param path: of the file.
    :param blobs: the directory; None if it is not given.
    """

    def __init__(self, path: str, blobs: str | None = None) -> None:
        self.name = self.path = path
        self.lost: Findings | None = None
        self.blobs = blobs
        self._helper = None if blobs is None else FilesystemHelper(blobs)
        DataFile(path).close()  # so that an error comes at once

    def last_tid(self) -> bytes:
        return tid_of_last(self.path)

    def transactions(self, start: bytes | None, stop: bytes | None) -> Iterator[FileTransaction]:
        file = DataFile(self.path)
        try:
            position = () if start is None or start == z64 else (file.first_from(start),)
            for header in file.headers(*position):
                if stop is not None and header.tid > stop:
                    break
                yield FileTransaction(file, header)
        finally:
            file.close()

    def blob(self, oid: bytes, tid: bytes) -> str | None:
        if self._helper is None:
            return None
        path = self._helper.getBlobFilename(oid, tid)
        # what is no file is an error of the one that opens it
        return path if os.path.exists(path) else None

    def release(self, path: str) -> None:
        """It stays: it is the blob itself."""

    def keeps_history(self) -> bool:
        return True

    def size(self) -> int:
        return os.path.getsize(self.path)

    def close(self) -> None:
        """There is nothing to close."""


class StorageSource:
    """An open storage: a client of a server, or of any other kind.

    :param name: for people.
    :param private: a directory in which the storage keeps copies of blobs for this program alone,
        which are removed when they were used, and with it in the end; None if there is none.
    """

    def __init__(self, name: str, storage: Any, private: str | None = None) -> None:
        self.name, self.storage = name, storage
        self._private = private
        self.lost: Findings | None = None

    def last_tid(self) -> bytes:
        return self.storage.lastTransaction() or z64

    def transactions(self, start: bytes | None, stop: bytes | None) -> Iterator[Any]:
        found = self.storage.iterator(start, stop)
        try:
            # not `yield from`, in which Python crashes at the end of RelStorage's iterators: they
            # raise ZODB's StorageStopIteration, which has no place for a value
            for transaction in found:  # noqa: UP028
                yield transaction
        finally:
            close = getattr(found, 'close', None)
            if close is not None:
                close()

    def blob(self, oid: bytes, tid: bytes) -> str | None:
        try:
            return self.storage.loadBlob(oid, tid)
        except (POSKeyError, Unsupported, AttributeError):  # it keeps no blobs, or not this one
            return None

    def release(self, path: str) -> None:
        if self._private is not None:
            os.unlink(path)

    def keeps_history(self) -> bool:
        supports = getattr(self.storage, 'supportsUndo', None)
        return supports is not None and bool(supports())

    def size(self) -> int:
        return self.storage.getSize()

    def close(self) -> None:
        try:
            self.storage.close()
        finally:
            if self._private is not None:
                shutil.rmtree(self._private, ignore_errors=True)
