"""Send the blobs that one client has asked for, a few at a time.

Enters: paths of committed blobs. Leaves: the messages that send them, as iterators for the channel.
Fails: TooMuch when very many wait already; a file that cannot be opened or read fails that one
call.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from ZODB.POSException import POSKeyError

from ZEO.serving import blobs
from ZEO.serving.account import TooMuch
from ZEO.serving.calls.family import Client
from ZEO.serving.descriptors import SHORTAGE
from ZEO.serving.own_errors import for_client
from ZEO.wire.frames import frame
from ZEO.wire.quoting import explained

#: Files that are open for one client at a time: enough that a large one does not delay small ones.
AT_A_TIME = 4


class Wanted(NamedTuple):
    """One blob."""

    path: str
    oid: bytes
    serial: bytes
    announced: bool  # whether the client is to be sent the file's length first


class Downloads:
    """The blobs that are being sent to `peer`, and those that wait.

    :param most: how many may wait.
    """

    def __init__(self, peer: Client, most: int) -> None:
        self._peer = peer
        self._most = most
        self._waiting: deque[tuple[Any, Wanted]] = deque()  # with the id of the call
        self._running = 0

    def check(self) -> None:
        """Raise where no more may wait."""
        if len(self._waiting) >= self._most:
            raise TooMuch(
                f'this client has asked for {self._most} blobs that it has not received yet '
                '(max-downloads): ask again later'
            )

    def start(self, wanted: Wanted, message_id: Any) -> Iterator[bytes]:
        """Return the messages that send this blob, and others that wait after it; no messages
        while it waits itself.
        """
        self._waiting.append((message_id, wanted))
        if self._running >= AT_A_TIME:
            return iter(())
        self._running += 1
        return self._send()

    def close(self) -> None:
        """The client is gone."""
        self._waiting.clear()

    def _send(self) -> Iterator[bytes]:
        try:
            while self._waiting:
                yield from self._messages(*self._waiting.popleft())
        finally:
            self._running -= 1

    def _messages(self, message_id: Any, wanted: Wanted) -> Iterator[bytes]:
        path, oid, serial, announced = wanted
        try:
            yield from blobs.download(path, self._peer.codec, message_id, oid, serial, announced)
        except OSError as error:
            self._peer.report(
                logging.ERROR,
                'blobs that cannot be read',
                'a blob cannot be read: %s',
                explained(error),
            )
            yield frame(self._peer.codec.failure(message_id, _fault(error, wanted)))


def _fault(error: OSError, wanted: Wanted) -> BaseException:
    """Return the error for the client, which says nothing about the server's directories."""
    if isinstance(error, FileNotFoundError):  # it was packed away meanwhile
        return POSKeyError('No blob file', wanted.oid, wanted.serial)
    if error.errno in SHORTAGE:
        return for_client(error)
    return OSError(error.errno, f'the server cannot read the file of this blob: {error.strerror}')
