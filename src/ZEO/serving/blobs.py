"""Blobs on the server: files that arrive in chunks, files that are sent in chunks, files in a shared directory.

Enters: chunks from a client, or the name of a committed blob.  Leaves: a temporary file that the storage can take, or an
iterator of messages.  Fails: OSError where a disk is full or a file is gone; ProtocolError for chunks without a start.
"""
from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from ZODB.interfaces import IBlobStorage
from ZODB.POSException import Unsupported

from ZEO.Exceptions import ProtocolError
from ZEO.wire.frames import frame
from ZEO.wire.messages import Codec

#: A chunk's bytes; older peers expect no more than 59,000.
CHUNK = 59_000


def require(storage: Any) -> None:
    """Raise Unsupported where a storage has no blobs."""
    if not IBlobStorage.providedBy(storage):
        raise Unsupported(f'the storage {storage.getName()} has no blob directory')


class Upload:
    """One blob on its way in; an error of the disk is kept for the vote."""

    def __init__(self, directory: str) -> None:
        self.error: OSError | None = None
        self.path = ''
        self._file: IO[bytes] | None = None
        try:
            descriptor, self.path = tempfile.mkstemp('.blob', 'zeo-', directory)
            self._file = os.fdopen(descriptor, 'wb', buffering=0)
        except OSError as error:
            self.error = error

    def add(self, chunk: bytes) -> None:
        """Append a chunk."""
        if self.error is None and self._file is not None:
            try:
                self._file.write(chunk)
            except OSError as error:
                self.error = error

    def complete(self) -> str:
        """Return the path of the whole file."""
        if self._file is not None:
            self._file.close()
        return self.path

    def discard(self) -> None:
        """Remove the file."""
        self.complete()
        remove_files([self.path])


def shared_path(storage: Any, name: str) -> str:
    """Return the path of a file that a client has put into the storage's own temporary directory.

    :raises ProtocolError: for a name that is more than a file's in that directory, or that of no regular file there.
    """
    path = os.path.join(storage.temporaryDirectory(), name)
    if os.path.basename(name) != name or name in ('', '.', '..') or os.path.islink(path) or not os.path.isfile(path):
        raise ProtocolError(f'{name!r} is no file of the shared blob directory')
    return path


def remove_files(paths: list[str]) -> None:
    """Remove what is still there of some temporary files."""
    for path in paths:
        try:
            os.unlink(path)
        except OSError:   # the storage has taken it
            pass
    paths.clear()


def download(path: str, codec: Codec, message_id: Any, oid: bytes, serial: bytes) -> Iterator[bytes]:
    """Yield the messages that send a committed blob's file, and last the answer to the call."""
    with open(path, 'rb') as file:
        yield frame(codec.send('receiveBlobStart', (oid, serial)))
        while chunk := file.read(CHUNK):
            yield frame(codec.send('receiveBlobChunk', (oid, serial, chunk)))
        yield frame(codec.send('receiveBlobStop', (oid, serial)))
    yield frame(codec.reply(message_id, None))
