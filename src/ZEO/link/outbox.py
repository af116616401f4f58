"""What is to be sent: one thread at a time sends, and small one-way messages wait for company.

Enters: frames. Leaves: bytes on the stream, in the order in which they came in. Fails:
ClientDisconnected when the connection has ended; however a thread leaves the middle of a send, the
connection ends, since part of a frame may have been sent, or what other threads had left here may
be lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ZEO.Exceptions import ClientDisconnected, MessageTooLarge
from ZEO.locks import under
from ZEO.net.locks import Suspicion
from ZEO.net.stream import Stream
from ZEO.net.system import System
from ZEO.net.tls_errors import TlsError
from ZEO.wire.frames import LARGE

#: One-way messages wait for company up to this many bytes, then they are sent.
SEND_AHEAD = 64 * 1024


class NotSent(ClientDisconnected):
    """A call was not sent, since the server stops: the next one can answer it."""


class Outbox:
    """The way out of one connection.

    :param check: raises ClientDisconnected when the connection has ended.
    :param broken: ends the connection: ``broken(reason, cause)``.
    """

    def __init__(
        self,
        stream: Stream,
        check: Callable[[], None],
        broken: Callable[[str, BaseException], Any],
        system: System,
    ) -> None:
        self.lock = system.lock()  # held by the thread that sends
        self._system = system
        self._stream = stream
        self._send_some = stream.send_some
        self._check = check
        self._broken = broken
        self.has_ended = False  # the connection has
        self.suspicion = Suspicion(self.lock, lambda: (self.sends, self._sender), system)
        self._this_thread = system.thread_numbers()
        self.sends = 0  # how many there were
        self._sender: int | None = None  # the thread that is at one
        self._unsent: deque[bytes] = deque()  # what waits for company
        self._size = 0  # of that, in bytes, roughly

    def send(self, data: bytes) -> None:
        """Send a frame, behind everything that waits."""
        # In place of `under`, which would be one more call for each message.
        with self.lock: self.send_alone(data)  # noqa: E701  # fmt: skip

    def flush(self) -> None:
        """Send what waits."""
        if self._unsent:
            under(self.lock, self.send_alone, b'')

    def flush_within(self, seconds: float) -> None:
        """The same before the connection is ended, for at most that long: the server may take no
        data now, and a thread that waits for that holds the lock.
        """
        if self._unsent:
            try:
                self._system.spawn('ZEO closing', self._flush_quietly).join(seconds)
            except RuntimeError:  # no thread can be started: it is lost, as it might be anyway
                pass

    def _flush_quietly(self) -> None:
        try:
            self.flush()
        except ClientDisconnected:  # it has ended already
            pass

    def end(self) -> None:
        """Send what waits, and take nothing from then on: `check` raises."""
        under(self.lock, self._send_and_end)

    def _send_and_end(self) -> None:
        if self._unsent:
            self.send_alone(b'')
        self.has_ended = True

    def put(self, pieces: Sequence[bytes], size: int) -> None:
        """Leave a frame in pieces, to be sent with the next at the latest, or when there is enough
        for a send.

        :param size: of all pieces, in bytes.
        """
        if self.has_ended:
            self._check()
        self._unsent.extend(pieces)
        self._size += size
        if self._size > SEND_AHEAD:
            self.flush()

    def leave(self, pieces: Sequence[bytes]) -> None:
        """The same, and never send by itself, nor take the lock: the garbage collector may call it
        at any moment.
        """
        if self.has_ended:
            self._check()
        self._unsent.extend(pieces)
        self._size += sum(map(len, pieces))

    def send_alone(self, data: bytes) -> None:
        """The same, with the lock held."""
        self._sender = self._this_thread()
        self.sends += 1
        if self.has_ended:
            self._check()
        try:
            if self._unsent:
                is_large = self._size + len(data) > LARGE
                pieces = self._with_all_that_waits(data)
                if is_large:
                    self._stream.send_all(pieces)
                    return
                data = b''.join(pieces)
            try:  # what Stream.send does, without one more call
                count = self._send_some(data)
            except BlockingIOError:
                count = 0
            if count < len(data):
                self._stream.send_rest(memoryview(data)[count:])
        except (OSError, TlsError) as error:
            self._broken(str(getattr(error, 'strerror', None) or error), error)
        except BaseException as error:
            self._broken('sending was interrupted', error)
            raise
        else:
            return
        finally:
            self._sender = None
        self._check()

    def _with_all_that_waits(self, data: bytes) -> list[bytes]:
        unsent, pieces = self._unsent, []
        self._size = 0
        while unsent:  # others may add to it meanwhile
            pieces.append(unsent.popleft())
        pieces.append(data)
        return pieces


def too_large(name: str, size: int, most: int, where: str) -> MessageTooLarge:
    """Return the error for a message that is not sent, since the server would close the connection
    for it.
    """
    return MessageTooLarge(
        f'{name} makes a message of {size:,} bytes, and the server {where} takes {most:,} bytes at '
        'most: store smaller objects '
        '(a large file as a Blob, which is sent in pieces), or set a larger max-message-size in '
        'the <zeo> section of the server'
    )
