"""Blobs that are on their way from the server.

Enters: which blob a thread is about to ask for; the parts that come, by whichever thread reads the
connection. Leaves: a whole file, of the length that the server has announced. Fails: ProtocolError
for parts that were not asked for, or in another order, or more than was announced, for which the
connection ends; for a blob that is not whole, when it is wanted; OSError of the disk.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ZEO.Exceptions import ProtocolError
from ZEO.incoming import IncomingFile
from ZEO.leftovers import prefix
from ZEO.wire import shapes

#: Interrupted calls that are remembered: the parts of their blobs may still come.
GIVEN_UP = 1000

_Key = tuple[bytes, bytes]


class Download:
    """One blob that was asked for.

    :param announced: whether the server is to say how long it is.
    """

    def __init__(self, directory: str, announced: bool) -> None:
        self.file = IncomingFile(directory, prefix('fetch'))
        self._announced = announced
        self._started = self._ended = False
        self._length: int | None = None  # as the server has announced it
        self._received = 0

    def take(self, name: str, length: int | None, chunk: bytes) -> None:
        """A part has come.

        :raises ProtocolError: when it can't be the next one.
        """
        if self._started == (name == 'receiveBlobStart') or self._ended:
            raise ProtocolError(f'the server sent {name} in the wrong order')
        if name == 'receiveBlobStart':
            if self._announced and length is None:
                raise ProtocolError('the server sent a blob without its length')
            self._started, self._length = True, length
        elif name == 'receiveBlobChunk':
            self._received += len(chunk)
            if self._length is not None and self._received > self._length:
                raise ProtocolError(
                    f'the server sent more of a blob than the {self._length} bytes that it '
                    'announced'
                )
            self.file.write(chunk)
        else:
            self._ended = True

    def finish(self) -> str:
        """The server has answered: return the file's path.

        :raises ProtocolError: when something is missing.
        """
        self.file.close()
        if self.file.error is not None:
            raise self.file.error
        if not self._ended:
            raise ProtocolError(
                f'the server stopped in the middle of a blob, after {self._received} bytes'
            )
        if self._length not in (None, self._received):
            raise ProtocolError(
                f'the server sent {self._received} of the {self._length} bytes of a blob: is its '
                'file damaged?'
            )
        return self.file.path


class Downloads:
    """The blobs that were asked for, by oid and serial."""

    def __init__(self) -> None:
        self._open: dict[_Key, Download] = {}
        self._given_up: OrderedDict[_Key, int] = OrderedDict()  # how often

    def begin(self, key: _Key, directory: str, announced: bool) -> Download:
        """A thread is about to ask for a blob."""
        download = self._open[key] = Download(directory, announced)
        return download

    def end(self, key: _Key) -> None:
        """The thread has the blob, or will not get it."""
        self._open.pop(key, None)

    def give_up(self, key: _Key) -> None:
        """A thread no longer waits for a blob whose parts still come."""
        self._given_up[key] = self._given_up.get(key, 0) + 1
        if len(self._given_up) > GIVEN_UP:
            self._given_up.popitem(last=False)

    def forget(self) -> None:
        """There is another connection: nothing comes any more that was asked for before."""
        self._given_up.clear()

    def arrived(self, name: str, args: Any) -> None:
        """A part has come.

        :raises ProtocolError: when it was not asked for.
        """
        key, length, chunk = shapes.blob_part(name, args)
        if key in self._given_up:
            if name == 'receiveBlobStop':
                self._swallowed(key)
            return
        download = self._open.get(key)
        if download is None:
            raise ProtocolError('the server sent a part of a blob that this client did not ask for')
        download.take(name, length, chunk)

    def _swallowed(self, key: _Key) -> None:
        """The last part has come of a blob that no thread waits for."""
        left = self._given_up.pop(key) - 1
        if left:
            self._given_up[key] = left
