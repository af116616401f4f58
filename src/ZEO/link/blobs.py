"""A client's blob files: the server's own directory, shared, or a cache of files that were fetched.

Enters: files to be stored, oids and serials of committed blobs. Leaves: paths of files and open
files; one-way messages with chunks. Fails: ConfigurationError for a directory that can't be used,
Unsupported without one; POSKeyError for a blob that is not there, ProtocolError for one that did
not come whole, OSError of the disk.

A file comes into the cache under a temporary name and is renamed when it is whole; several
processes may share the directory.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import zc.lockfile
from ZODB.blob import BlobFile, rename_or_copy_blob
from ZODB.POSException import POSKeyError, Unsupported

from ZEO.cache.leftovers import prefix, remove_leftovers
from ZEO.files import remove_if_there
from ZEO.link import directories
from ZEO.link.buffer import CommitBuffer
from ZEO.link.downloads import Downloads
from ZEO.link.options import BlobOptions
from ZEO.net.system import REAL, System
from ZEO.wire.extensions import CHUNK_SIZE

log = logging.getLogger('ZEO.ClientStorage')

#: Bytes of a message around a chunk, at most.
ENVELOPE = 200

#: Seconds for which a file that was asked for is not removed: its path was given out, it may be
#: about to be opened.
IN_USE = 60.0

#: The temporary files: those to be stored, those on their way, and those that a server receives
#: which hosts this client.
_KINDS = ('store', 'fetch', 'zeo')


class BlobStore:
    """The blob files of one client storage.

    :param options: where they are; a cache's directory is made if need be, the server's never is.
    :param fetch: has the server send a blob; returns when :meth:`arrived` was told the last of it.
    :raises ConfigurationError: when the directory can't be used.
    """

    def __init__(
        self,
        options: BlobOptions,
        fetch: Callable[[bytes, bytes], None],
        system: System = REAL,
    ) -> None:
        self._shared = shared = options.shared
        self._size = None if shared else options.size
        self._check_after = 0 if options.size is None else options.size * options.check // 100
        self._fetch = fetch
        self._system = system
        # whether the server says how long a blob is
        self.announced = False
        self.fshelper = (directories.shared if shared else directories.cache)(options.directory)
        self.temporary_directory = self.fshelper.temp_dir
        # bytes since the last look at the bound: look at the start
        self._come_in = self._check_after
        self.start_afresh()
        if not shared:
            self._remove_leftovers()
        self._clean_if_due(0)

    def start_afresh(self) -> None:
        """Have no thread at anything: new, or in a forked child, where other threads' locks stay
        held.
        """
        self._downloads = Downloads()
        # a lock for each blob that a thread is fetching
        self._fetching: dict[tuple[bytes, bytes], Any] = {}
        self._guard = self._system.lock()  # of _fetching
        # the server takes the chunks of one blob at a time
        self._uploading = self._system.lock()
        self._cleaning = self._system.lock()

    def connected(self, announced: bool) -> None:
        """There is another connection.

        :param announced: whether its server says how long a blob is.
        """
        self.announced = announced
        self._downloads.forget()

    def arrived(self, name: str, args: Any) -> None:
        """Part of a blob has come; called by whichever thread reads the connection."""
        self._downloads.arrived(name, args)

    def give_up(self, oid: bytes, serial: bytes) -> None:
        """The caller of `fetch` no longer waits for a blob that still comes."""
        self._downloads.give_up((oid, serial))

    def prepare(self) -> str:
        """Return the directory of temporary files, which is made where it has gone."""
        if not os.path.isdir(self.temporary_directory):
            os.makedirs(self.temporary_directory, exist_ok=True)
        return self.temporary_directory

    def _remove_leftovers(self) -> None:
        files, size = remove_leftovers(self.temporary_directory, _KINDS, self._system.wall_clock())
        if files:
            log.warning(
                '%s: %d temporary files of %d bytes were removed, which processes had left that '
                'were killed',
                self.temporary_directory,
                files,
                size,
            )

    # Storing.

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
        connection, txn_id = buffer.connection, buffer.txn_id
        mine = self._take(oid, path)
        buffer.blobs.append((oid, mine))
        if self._shared:
            connection.send(
                call + 'Shared', (oid, serial, data, *previous, os.path.basename(mine), txn_id)
            )
            return
        with self._uploading, open(mine, 'rb') as file:
            connection.send('storeBlobStart', ())
            while chunk := file.read(max(1, min(CHUNK_SIZE, connection.largest - ENVELOPE))):
                connection.send('storeBlobChunk', (chunk,))
            connection.send(call + 'End', (oid, serial, data, *previous, txn_id))

    def committed(self, blobs: list[tuple[bytes, str]], tid: bytes) -> None:
        """Our own blobs are in the database: keep their files as if they had been fetched.

        The transaction stands: a file that can't be kept is fetched when somebody wants it.
        """
        for oid, path in blobs:
            if self._shared:  # the server has taken it
                continue
            try:
                size = os.path.getsize(path)
                self._put(path, oid, tid)
                self._clean_if_due(size)
            except Exception as error:
                log.warning(
                    'blob %s is committed, but its file could not be put into the blob cache: %s',
                    oid.hex(),
                    error,
                )
                remove_if_there(path)
        blobs.clear()

    def aborted(self, blobs: list[tuple[bytes, str]]) -> None:
        """Our own blobs did not get into the database, or it is not known whether they did."""
        for _, path in blobs:
            remove_if_there(path)
        blobs.clear()

    def _take(self, oid: bytes, path: str) -> str:
        """Move a file to where it is ours alone: in a shared directory, to where the server looks
        for it.
        """
        folder = self.fshelper.getPathForOID(oid, create=True) if self._shared else self.prepare()
        descriptor, mine = tempfile.mkstemp('.tmp', prefix('store'), folder)
        os.close(descriptor)
        os.unlink(mine)
        try:
            rename_or_copy_blob(path, mine, chmod=False)
        except BaseException:
            remove_if_there(mine)
            raise
        return mine

    # Loading.

    def load(self, oid: bytes, serial: bytes) -> str:
        """Return the path of a committed blob's file; it stays there for at least :data:`IN_USE`
        seconds.
        """
        path = self.fshelper.getBlobFilename(oid, serial)
        if self._shared:  # nothing is to be changed there, not even when a file was used last
            if not os.path.exists(path):
                raise POSKeyError(f'No blob file at {path}', oid, serial)
            return path
        if _touch(path):
            return path
        with self._guard:
            lock = self._fetching.setdefault((oid, serial), self._system.lock())
        try:
            with lock:
                if not _touch(path):  # another thread may have fetched it meanwhile
                    self._fetch_to(path, oid, serial)
        finally:
            with self._guard:
                self._fetching.pop((oid, serial), None)
        return path

    def open(self, oid: bytes, serial: bytes, blob: Any = None) -> Any:
        """Return a committed blob's file, open for reading."""
        for attempt in (1, 2):  # another process's clean-up may remove it just before it is open
            path = self.load(oid, serial)
            try:
                return open(path, 'rb') if blob is None else BlobFile(path, 'r', blob)
            except FileNotFoundError:
                if attempt == 2:
                    raise
        raise AssertionError

    def _fetch_to(self, path: str, oid: bytes, serial: bytes) -> None:
        key = oid, serial
        download = self._downloads.begin(key, self.prepare(), self.announced)
        try:
            self._fetch(oid, serial)
            arrived, size = download.finish()
            self._put(arrived, oid, serial)
        except BaseException:
            download.file.discard()
            raise
        finally:
            self._downloads.end(key)
        self._clean_if_due(size)

    def _put(self, source: str, oid: bytes, serial: bytes) -> None:
        target = self.fshelper.getBlobFilename(oid, serial)
        directories.make_way(os.path.dirname(target))
        os.chmod(source, 0o444)  # nobody is to write into a committed blob
        os.replace(source, target)

    # The bound.

    def _clean_if_due(self, size: int) -> None:
        if self._size is None:
            return
        self._come_in += size
        if self._come_in >= self._check_after and self._cleaning.acquire(blocking=False):
            try:
                self._system.spawn('ZEO blob cache clean-up', self._clean)
                self._come_in = 0
            except Exception as error:  # there can't be one more thread just now
                self._cleaning.release()
                log.warning('the blob cache is cleaned up later: %s', error)

    def _clean(self) -> None:
        """Remove the files that were unused longest until the bound is kept; one process at a time
        does so.
        """
        try:
            lock = zc.lockfile.LockFile(os.path.join(self.fshelper.base_dir, 'clean-up.lock'))
            try:
                self._remove_oldest()
            finally:
                lock.close()
        except zc.lockfile.LockError:
            pass
        except OSError as error:  # the directory may be gone by now
            log.warning('the blob cache could not be cleaned up: %s', error)
        finally:
            self._cleaning.release()

    def _remove_oldest(self) -> None:
        assert self._size is not None
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        too_new = self._system.wall_clock() - IN_USE
        for used, size, path in files:
            if total <= self._size or used > too_new:
                break
            if remove_if_there(path):
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
                    except OSError:  # another process has removed it
                        continue
                    yield status.st_atime, status.st_size, path


def no_blobs() -> NoReturn:
    """Raise Unsupported, for a client without a blob directory."""
    raise Unsupported(
        'Blobs are not supported: this client storage was opened without blob_dir. Give '
        'blob_dir=DIRECTORY, in '
        'which it keeps the files of blobs; or, with shared_blob_dir=True, the directory of the '
        'server'
    )


def _touch(path: str) -> bool:
    """Note that a file is used now; tell whether it is there."""
    try:
        os.utime(path, (REAL.wall_clock(), os.stat(path).st_mtime))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # another user's file, or a disk that can't be written to: it is there all the same
        return os.path.isfile(path)
    return True
