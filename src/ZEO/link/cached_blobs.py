"""Blob files of a client that does not see the server's directory: sent and fetched in chunks.

Enters: files to be stored, oids and serials of committed blobs. Leaves: paths of files in the blob
cache; one-way messages with chunks. Fails: POSKeyError for a blob that is not there, ProtocolError
for one that did not come whole, OSError of the disk.

A file comes into the cache under a temporary name and is renamed when it is whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ZEO.files import remove_if_there
from ZEO.link.blob_cache import BlobCache, touch
from ZEO.link.blob_store import BlobStore, SharedBlobs
from ZEO.link.buffer import CommitBuffer
from ZEO.link.options import BlobOptions
from ZEO.net.system import REAL, System
from ZEO.wire.extensions import CHUNK_SIZE

log = logging.getLogger('ZEO.ClientStorage')

#: Bytes of a message around a chunk, at most.
ENVELOPE = 200

Fetch = Callable[[bytes, bytes], None]


class CachedBlobs(BlobStore):
    """The blob files of a client, in a cache.

    :param fetch: has the server send a blob; returns when :meth:`arrived` was given the last part.
    :raises ConfigurationError: when the cache's directory can't be used; it is made if need be.
    """

    def __init__(self, options: BlobOptions, fetch: Fetch, system: System = REAL) -> None:
        self._fetch = fetch
        self._system = system
        self._cache = BlobCache(options, system)
        super().__init__(self._cache.fshelper)
        self._make_locks()

    def start_afresh(self) -> None:
        """Have no thread at anything: in a forked child, where the locks of other threads stay
        held.
        """
        super().start_afresh()
        self._make_locks()

    def _make_locks(self) -> None:
        # a lock for each blob that a thread is fetching; who has it removes it
        self._fetching: dict[tuple[bytes, bytes], Any] = {}
        self._uploading = self._system.lock()  # a server takes the chunks of one blob at a time

    # Storing.

    def _folder(self, oid: bytes) -> str:
        return self.prepare()

    def _send(self, buffer: CommitBuffer, call: str, path: str, record: tuple[Any, ...]) -> None:
        connection = buffer.connection
        with self._uploading, open(path, 'rb') as file:
            connection.send('storeBlobStart', ())
            while chunk := file.read(max(1, min(CHUNK_SIZE, connection.largest - ENVELOPE))):
                connection.send_chunk(chunk)
            connection.send(f'{call}End', (*record, buffer.txn_id))

    def send_copy(
        self, buffer: CommitBuffer, call: str, path: str, record: tuple[Any, ...]
    ) -> None:
        """Send a blob and its record; the file stays, and none comes into the cache.

        :param record: what comes before the file in the call.
        """
        self._send(buffer, call, path, record)

    def committed(self, blobs: list[tuple[bytes, str]], tid: bytes) -> None:
        """The files of a transaction are in the database: keep them as if they had been fetched.

        The transaction stands: a file that can't be kept is fetched when it is wanted.
        """
        for oid, path in blobs:
            try:
                self._cache.put(path, oid, tid)
            except Exception as error:  # see above
                log.warning(
                    'blob %s is committed, but its file could not be put into the blob cache: %s',
                    oid.hex(),
                    error,
                )
                remove_if_there(path)
        blobs.clear()

    # Loading.

    def load(self, oid: bytes, serial: bytes) -> str:
        """Return the path of a committed blob's file, which stays there for at least
        :data:`~ZEO.link.blob_cache.IN_USE` seconds.

        :raises POSKeyError: when the server has none.
        :raises ClientDisconnected: when it has to be fetched, and there is no connection.
        """
        path = self.fshelper.getBlobFilename(oid, serial)
        fetching, key = self._fetching, (oid, serial)
        while not touch(path):
            lock = fetching.setdefault(key, self._system.lock())
            with lock:
                # else another thread has fetched it by now, or has failed, and a third may be at it
                if fetching.get(key) is lock:
                    try:
                        if not touch(path):
                            self._fetch_whole(oid, serial)
                        break
                    finally:
                        fetching.pop(key, None)
        return path

    def _fetch_whole(self, oid: bytes, serial: bytes) -> None:
        key = oid, serial
        download = self._downloads.begin(key, self.prepare(), self.announces_lengths)
        try:
            self._fetch(oid, serial)
            self._cache.put(download.finish(), oid, serial)
        except BaseException:
            download.file.discard()
            raise
        finally:
            self._downloads.end(key)


def open_blobs(options: BlobOptions, fetch: Fetch, system: System = REAL) -> BlobStore:
    """Return the blob files that the options name.

    :param fetch: has the server send a blob; see :class:`CachedBlobs`.
    :raises ConfigurationError: when the directory can't be used.
    """
    return SharedBlobs(options) if options.shared else CachedBlobs(options, fetch, system)
