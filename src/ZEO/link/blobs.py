"""A client's blob files: the server's own directory, shared, or a cache of files that were fetched.

Enters: files to be stored, oids and serials of committed blobs.  Leaves: paths of files and open files; one-way messages with
chunks.  Fails: Unsupported without a blob directory, POSKeyError for a blob that is not there, OSError of the disk.

A file comes into the cache under a temporary name and is renamed when it is whole; several processes may share the directory.
"""
from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import zc.lockfile
from ZODB.blob import LAYOUTS, BlobFile, FilesystemHelper, rename_or_copy_blob
from ZODB.POSException import POSKeyError, Unsupported
from ZODB.utils import u64

from ZEO.cache.arriving import ArrivingFile, remove
from ZEO.link.buffer import CommitBuffer
from ZEO.net.system import REAL, System

log = logging.getLogger('ZEO.ClientStorage')

#: Bytes of one chunk; what older servers expect at most.
CHUNK = 59_000

#: Seconds for which a file that was asked for is not removed: its path was given out, it may be about to be opened.
IN_USE = 60.0

#: The layout's name in the directory's marker file, which caches of earlier releases have as well.
_LAYOUT = 'zeocache'

_BUCKETS = 997


class _CacheLayout:
    """Where a cached blob's file is: in one of many directories, all of one depth."""

    def oid_to_path(self, oid: bytes) -> str:
        return str(u64(oid) % _BUCKETS)

    def getBlobFilePath(self, oid: bytes, tid: bytes) -> str:
        return os.path.join(self.oid_to_path(oid), f'{oid.hex()}.{tid.hex()}.blob')


LAYOUTS[_LAYOUT] = _CacheLayout()


class BlobStore:
    """The blob files of one client storage.

    :param directory: the blob directory, made if need be.
    :param shared: whether it is the server's.
    :param size: bytes that the cache may take; None for no bound.
    :param check: per cent of `size` that come in between two looks at the bound.
    :param fetch: has the server send a blob; returns when :meth:`arrived` was told the last of it.
    """

    def __init__(self, directory: str, shared: bool, size: int | None, check: int, fetch: Callable[[bytes, bytes], None],
                 system: System = REAL) -> None:
        self._shared = shared
        self._size = None if shared else size
        self._check_after = 0 if size is None else size * check // 100
        self._fetch = fetch
        self._system = system
        directory = os.path.abspath(directory)
        self.fshelper = FilesystemHelper(directory, 'automatic' if shared else _LAYOUT)
        self.fshelper.create()
        self.temporary_directory = self.fshelper.temp_dir
        self._come_in = self._check_after                     # bytes since the last look at the bound: look at the start
        self.start_afresh()
        self._clean_if_due(0)

    def start_afresh(self) -> None:
        """Have no thread at anything: new, or in a forked child, where other threads' locks stay held."""
        self._downloads: dict[tuple[bytes, bytes], ArrivingFile] = {}
        self._fetching: dict[tuple[bytes, bytes], Any] = {}   # a lock for each blob that a thread is fetching
        self._guard = self._system.lock()                     # of _fetching
        self._uploading = self._system.lock()                 # the server takes the chunks of one blob at a time
        self._cleaning = self._system.lock()

    # Storing.

    def send(self, buffer: CommitBuffer, call: str, oid: bytes, serial: bytes, data: bytes, path: str, *previous: Any) -> None:
        """Send a blob and its record; takes the file away.

        :param call: ``storeBlob`` or ``restoreBlob``, which has `previous`.
        """
        connection, txn_id = buffer.connection, buffer.txn_id
        mine = self._take(oid, path)
        buffer.blobs.append((oid, mine))
        if self._shared:
            connection.send(call + 'Shared', (oid, serial, data, *previous, os.path.basename(mine), txn_id))
            return
        with self._uploading, open(mine, 'rb') as file:
            connection.send('storeBlobStart', ())
            while chunk := file.read(CHUNK):
                connection.send('storeBlobChunk', (chunk,))
            connection.send(call + 'End', (oid, serial, data, *previous, txn_id))

    def committed(self, blobs: list[tuple[bytes, str]], tid: bytes) -> None:
        """Our own blobs are in the database: keep their files as if they had been fetched."""
        for oid, path in blobs:
            if not self._shared:   # else the server has taken it
                size = os.path.getsize(path)
                self._put(path, oid, tid)
                self._clean_if_due(size)
        blobs.clear()

    def aborted(self, blobs: list[tuple[bytes, str]]) -> None:
        """Our own blobs did not get into the database."""
        for _, path in blobs:
            remove(path)
        blobs.clear()

    def _take(self, oid: bytes, path: str) -> str:
        """Move a file to where it is ours alone: in a shared directory, to where the server looks for it."""
        folder = self.fshelper.getPathForOID(oid, create=True) if self._shared else self.temporary_directory
        descriptor, mine = tempfile.mkstemp('.tmp', 'store-', folder)
        os.close(descriptor)
        os.unlink(mine)
        rename_or_copy_blob(path, mine, chmod=False)
        return mine

    # Loading.

    def load(self, oid: bytes, serial: bytes) -> str:
        """Return the path of a committed blob's file; it stays there for at least :data:`IN_USE` seconds."""
        path = self.fshelper.getBlobFilename(oid, serial)
        if _touch(path):
            return path
        if self._shared:
            raise POSKeyError(f'No blob file at {path}', oid, serial)
        with self._guard:
            lock = self._fetching.setdefault((oid, serial), self._system.lock())
        try:
            with lock:
                if not _touch(path):   # another thread may have fetched it meanwhile
                    self._fetch_to(path, oid, serial)
        finally:
            with self._guard:
                self._fetching.pop((oid, serial), None)
        return path

    def open(self, oid: bytes, serial: bytes, blob: Any = None) -> Any:
        """Return a committed blob's file, open for reading."""
        for attempt in (1, 2):   # another process's clean-up may remove it just before it is open
            path = self.load(oid, serial)
            try:
                return open(path, 'rb') if blob is None else BlobFile(path, 'r', blob)
            except FileNotFoundError:
                if attempt == 2:
                    raise
        raise AssertionError

    def _fetch_to(self, path: str, oid: bytes, serial: bytes) -> None:
        download = self._downloads[oid, serial] = ArrivingFile(self.temporary_directory, 'fetch-')
        try:
            self._fetch(oid, serial)
            download.close()
            if download.error is not None:
                raise download.error
            size = os.path.getsize(download.path)
            self._put(download.path, oid, serial)
        except BaseException:
            download.discard()
            raise
        finally:
            self._downloads.pop((oid, serial), None)
        self._clean_if_due(size)

    def _put(self, source: str, oid: bytes, serial: bytes) -> None:
        self.fshelper.getPathForOID(oid, create=True)
        target = self.fshelper.getBlobFilename(oid, serial)
        os.chmod(source, 0o444)   # nobody is to write into a committed blob
        os.replace(source, target)

    def arrived(self, name: str, args: tuple[Any, ...]) -> None:
        """Part of a blob has come; called by whichever thread reads the connection."""
        download = self._downloads.get((args[0], args[1]))
        if download is None:   # whoever wanted it has given up
            return
        if name == 'receiveBlobChunk':
            download.add(args[2])
        elif name == 'receiveBlobStop':
            download.close()

    # The bound.

    def _clean_if_due(self, size: int) -> None:
        if self._size is None:
            return
        self._come_in += size
        if self._come_in >= self._check_after and self._cleaning.acquire(blocking=False):
            self._come_in = 0
            self._system.spawn('ZEO blob cache clean-up', self._clean)

    def _clean(self) -> None:
        """Remove the files that were unused longest until the bound is kept; one process at a time does so."""
        try:
            lock = zc.lockfile.LockFile(os.path.join(self.fshelper.base_dir, 'clean-up.lock'))
        except zc.lockfile.LockError:
            self._cleaning.release()
            return
        try:
            self._remove_oldest()
        except OSError as error:   # the directory may be gone by now
            log.warning('the blob cache could not be cleaned up: %s', error)
        finally:
            lock.close()
            self._cleaning.release()

    def _remove_oldest(self) -> None:
        assert self._size is not None
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        too_new = self._system.wall_clock() - IN_USE
        for used, size, path in files:
            if total <= self._size or used > too_new:
                break
            if remove(path):
                total -= size

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """Yield (last use, size, path) of every blob in the cache."""
        for folder, _, names in os.walk(self.fshelper.base_dir):
            if os.path.abspath(folder) == os.path.abspath(self.temporary_directory):
                continue
            for name in names:
                if name.endswith('.blob'):
                    path = os.path.join(folder, name)
                    try:
                        status = os.stat(path)
                    except OSError:   # another process has removed it
                        continue
                    yield status.st_atime, status.st_size, path


def no_blobs() -> NoReturn:
    """Raise Unsupported, for a client without a blob directory."""
    raise Unsupported('Blobs are not supported: this client storage was opened without blob_dir')


def _touch(path: str) -> bool:
    """Note that a file is used now; tell whether it is there."""
    try:
        os.utime(path, (REAL.wall_clock(), os.stat(path).st_mtime))
    except FileNotFoundError:
        return False
    except PermissionError:   # another user's file: it is there all the same
        return True
    return True
