"""Receive the blobs that a client sends in chunks.

Enters: chunks, on the account of the client. Leaves: the file with its size, for the transaction
that it belongs to. Fails: ProtocolError for chunks that do not belong to a blob; an OSError of the
disk, and TooMuch past what a client may have there, are kept for the vote of the transaction: the
client waits for no answer before that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ZEO.Exceptions import ProtocolError
from ZEO.incoming import IncomingFile
from ZEO.serving.account import Account, TooMuch
from ZEO.serving.leftovers import prefix


class Uploaded(NamedTuple):
    """A whole blob."""

    path: str
    size: int  # bytes that are on the account
    error: Exception | None  # why it is not whole after all


class Uploads:
    """The blobs that one client sends, one at a time."""

    def __init__(self, storage: Any, account: Account) -> None:
        self._storage = storage
        self._account = account
        self._file: IncomingFile | None = None
        self._size = 0
        self._error: TooMuch | None = None

    def start(self) -> None:
        """Begin a blob; one that was not ended is removed."""
        self.discard()
        self._file = IncomingFile(self._storage.temporaryDirectory(), prefix())

    def add(self, chunk: bytes | memoryview) -> None:
        """Add the next chunk of it."""
        if self._file is None:
            raise ProtocolError('client sent a chunk of a blob that it had not started')
        if not isinstance(chunk, (bytes, memoryview)):
            raise ProtocolError('client sent a chunk of a blob that is not bytes')
        if self._error is not None or self._file.error is not None:
            return
        try:
            self._account.upload(len(chunk))
        except TooMuch as error:
            self._error = error
            self._file.discard()
            self._give_back()
        else:
            self._size += len(chunk)
            self._file.write(chunk)

    def take(self) -> Uploaded:
        """Return the blob; its file and its size on the account are the caller's from now on."""
        file, self._file = self._file, None
        if file is None:
            raise ProtocolError('client ended a blob that it had not started')
        file.close()
        error = self._error or file.error
        uploaded = Uploaded(file.path, self._size, error)
        self._size, self._error = 0, None
        return uploaded

    def discard(self) -> None:
        """Remove a blob that was begun and not ended, if there is one."""
        file, self._file, self._error = self._file, None, None
        if file is not None:
            file.discard()
        self._give_back()

    def _give_back(self) -> None:
        self._account.upload(-self._size)
        self._size = 0
