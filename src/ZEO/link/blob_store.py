"""A client's blob files, and those of a client that shares the server's own directory.

Enters: files to be stored, oids and serials of committed blobs. Leaves: paths of files and open
files; one-way messages. Fails: ConfigurationError for a directory that can't be used, Unsupported
without one; POSKeyError for a blob that is not there, OSError of the disk.

A client without the server's directory has a cache: :mod:`ZEO.link.cached_blobs`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from typing import Any, NoReturn

from ZODB.blob import BlobFile, FilesystemHelper, rename_or_copy_blob
from ZODB.POSException import POSKeyError, Unsupported

from ZEO.files import remove_if_there
from ZEO.leftovers import prefix
from ZEO.link import directories
from ZEO.link.buffer import CommitBuffer
from ZEO.link.downloads import Downloads
from ZEO.link.options import BlobOptions


class BlobStore(ABC):
    """The blob files of one client storage.

    :param fshelper: knows where a blob's file is.
    """

    def __init__(self, fshelper: FilesystemHelper) -> None:
        self.fshelper = fshelper
        self.temporary_directory = fshelper.temp_dir
        self.announces_lengths = False  # whether the server says how long a blob is
        self._downloads = Downloads()

    def start_afresh(self) -> None:
        """Have no thread at anything: in a forked child, where the locks of other threads stay
        held.
        """
        self._downloads = Downloads()

    # The connection.

    def connected(self, announces_lengths: bool) -> None:
        """There is another connection.

        :param announces_lengths: whether its server says how long a blob is.
        """
        self.announces_lengths = announces_lengths
        self._downloads.forget()

    def arrived(self, name: str, args: Any) -> None:
        """Part of a blob has come; called by the thread that reads the connection.

        :raises ProtocolError: when it was not asked for.
        """
        self._downloads.arrived(name, args)

    def give_up(self, oid: bytes, serial: bytes) -> None:
        """No caller waits any more for a blob that still comes."""
        self._downloads.give_up((oid, serial))

    # Storing.

    def prepare(self) -> str:
        """Return the directory of temporary files, which is made where it has gone."""
        if not os.path.isdir(self.temporary_directory):
            os.makedirs(self.temporary_directory, exist_ok=True)
        return self.temporary_directory

    def send(
        self,
        buffer: CommitBuffer,
        call: str,
        oid: bytes,
        serial: bytes,
        data: bytes,
        path: str,
        *previous: Any,
    ) -> None:
        """Send a blob and its record; takes the file away.

        :param call: ``storeBlob`` or ``restoreBlob``, which has `previous`.
        """
        taken = self._take(oid, path)
        buffer.blobs.append((oid, taken))
        self._send(buffer, call, taken, (oid, serial, data, *previous))

    def send_copy(
        self, buffer: CommitBuffer, call: str, path: str, record: tuple[Any, ...]
    ) -> None:
        """Send a blob and its record; the file stays.

        :param record: what comes before the file in the call, the oid first.
        """
        with open(path, 'rb') as file:
            fd, copy = tempfile.mkstemp('.tmp', prefix('store'), self._folder(record[0]))
            buffer.blobs.append((record[0], copy))
            with os.fdopen(fd, 'wb') as target:
                shutil.copyfileobj(file, target)
        self._send(buffer, call, copy, record)

    def _take(self, oid: bytes, path: str) -> str:
        """Move a file to where it belongs to this client alone; return its path there."""
        descriptor, taken = tempfile.mkstemp('.tmp', prefix('store'), self._folder(oid))
        os.close(descriptor)
        os.unlink(taken)
        try:
            rename_or_copy_blob(path, taken, chmod=False)
        except BaseException:
            remove_if_there(taken)
            raise
        return taken

    @abstractmethod
    def _folder(self, oid: bytes) -> str:
        """Return the directory for a file that is to be stored."""

    @abstractmethod
    def _send(self, buffer: CommitBuffer, call: str, path: str, record: tuple[Any, ...]) -> None:
        """Send the file and the record."""

    @abstractmethod
    def committed(self, blobs: list[tuple[bytes, str]], tid: bytes) -> None:
        """The files of a transaction are in the database."""

    def aborted(self, blobs: list[tuple[bytes, str]]) -> None:
        """The files of a transaction did not get into the database, or it is not known whether
        they did.
        """
        for _, path in blobs:
            remove_if_there(path)
        blobs.clear()

    # Loading.

    @abstractmethod
    def load(self, oid: bytes, serial: bytes) -> str:
        """Return the path of a committed blob's file.

        :raises POSKeyError: when there is none.
        """

    def open(self, oid: bytes, serial: bytes, blob: Any = None) -> Any:
        """Return a committed blob's file, open for reading."""
        try:
            return self._open(oid, serial, blob)
        except FileNotFoundError:  # another process's clean-up has just removed it
            return self._open(oid, serial, blob)

    def _open(self, oid: bytes, serial: bytes, blob: Any) -> Any:
        path = self.load(oid, serial)
        return open(path, 'rb') if blob is None else BlobFile(path, 'r', blob)


class SharedBlobs(BlobStore):
    """The server's own blob directory, which this client can see.

    Files to be stored are put beside the server's, and only their names are sent.

    :raises ConfigurationError: when the directory can't be used; it is never made.
    """

    def __init__(self, options: BlobOptions) -> None:
        super().__init__(directories.shared(options.directory))

    def _folder(self, oid: bytes) -> str:
        return self.fshelper.getPathForOID(oid, create=True)  # where the server looks for it

    def _send(self, buffer: CommitBuffer, call: str, path: str, record: tuple[Any, ...]) -> None:
        name = os.path.basename(path)
        buffer.connection.send(f'{call}Shared', (*record, name, buffer.txn_id))

    def committed(self, blobs: list[tuple[bytes, str]], tid: bytes) -> None:
        """The server has taken the files."""
        blobs.clear()

    def load(self, oid: bytes, serial: bytes) -> str:
        """Return the path of a committed blob's file; nothing is changed there, not even when it
        was used last.

        :raises POSKeyError: when there is none.
        """
        path = self.fshelper.getBlobFilename(oid, serial)
        if not os.path.isfile(path):  # a FIFO would never open
            raise POSKeyError(f'No blob file at {path}', oid, serial)
        return path


def no_blobs() -> NoReturn:
    """Raise Unsupported, for a client without a blob directory."""
    raise Unsupported(
        'Blobs are not supported: this client storage was opened without blob_dir. Give '
        'blob_dir=DIRECTORY for a cache of blob files, or the directory of the server with '
        'shared_blob_dir=True'
    )
