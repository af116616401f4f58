"""What is sent through one non-blocking stream of the server's, and what of it waits.

Enters: answers, messages that the client did not ask for, iterators of chunks. Leaves: as much of
them as the other side reads, in order; what it does not read stays here. Fails: nothing is raised;
the stream is closed for what its socket, or an iterator, raises, and when too much waits that was
not asked for.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ZEO.net.loop import ENDS, READ, Loop
from ZEO.net.output import Streams, joined
from ZEO.net.tls_socket import TlsSocket

#: Bytes; chunks of a stream are produced while less waits to be sent. This is the memory that a
#: blob takes.
STREAM_AHEAD = 512 * 1024

#: Sends in a row, after which the other connections are served.
_SENDS = 16

#: Bytes of one piece that the client did not ask for, such as the invalidation of a huge commit,
#: after which the other connections are served: it goes to all clients at once, and copying it into
#: the buffers of 200 sockets takes 10 ms with this, and ten times that with what they hold.
_PART = 128 * 1024


def push_to_all(
    channels: Iterable[Sending],
    but: Sending | None,
    data: bytes,
    failed: Callable[[Sending, Exception], None],
) -> None:
    """Do :meth:`Sending.push_now` for each of the `channels` except `but`: one call for all of
    them, since a thousand calls take as much time as a third of their sends.

    :param failed: called for a channel that cannot be sent `data`, which goes to the others; the
        caller is to close it.
    """
    size = len(data)
    is_small = size <= _PART
    for channel in channels:
        if channel is but:
            continue
        try:
            # A number says that nothing waits: to look at a list more of each of a thousand
            # channels takes longer, since they do not fit into the processor's cache.
            if is_small and not channel._pending and channel._tls is None:
                try:
                    count = channel._socket.send(data)
                except OSError:
                    count = 0
                channel.bytes_sent += count
                if count == size:
                    continue
                if count:
                    channel.push(memoryview(data)[count:])  # of the one that all clients are sent
                    continue
            channel.push_now(data)
        except Exception as error:
            failed(channel, error)


class Sending(ABC):
    """The sending half of a :class:`~ZEO.net.channel.Channel`."""

    __slots__ = (
        '_loop',
        '_socket',
        '_output_limit',
        '_tls',
        '_out',
        '_pending',
        '_unsolicited',
        '_streams',
        '_events',
        '_flush_due',
        '_last_words',
        '_kept',
        'is_closed',
        'bytes_sent',
    )

    def __init__(self, loop: Loop, stream: socket.socket | TlsSocket, output_limit: int) -> None:
        self._loop = loop
        self._socket = stream
        self._output_limit = output_limit
        self._tls = stream if isinstance(stream, TlsSocket) else None
        self._out: list[Any] = []  # data that waits to be sent, bytes or views on them
        self._pending = 0  # bytes of it
        self._unsolicited = 0  # bytes of it that push() may have sent
        self._streams = Streams()  # pulled while little waits to be sent
        self._events = READ  # what the loop waits for
        self._flush_due = False  # whether a flush follows in this wake-up
        self._last_words = ''  # why to close as soon as everything is sent, unless empty
        # messages whose turn has not come; nothing is read until it has
        self._kept: Iterable[Any] | None = None
        self.is_closed = False
        self.bytes_sent = 0  # without what TLS adds

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent."""
        return self._pending

    @abstractmethod
    def close(self, reason: str) -> None:
        """End the stream."""

    @abstractmethod
    def _failed(self, error: BaseException) -> None:
        """End it after an error."""

    @abstractmethod
    def _wait_for_the_right_events(self) -> None:
        """Have the loop wait for what can be done next."""

    def send(self, data: bytes | memoryview) -> None:
        """Send `data` after everything sent before, when the messages that arrived are handled."""
        if self.is_closed:
            return
        self._out.append(data)
        self._pending += len(data)
        if not self._flush_due:
            self._loop.soon(self._flush)
            self._flush_due = True  # not before it is, or there may be no memory for it

    def answer(self, data: bytes) -> None:
        """Send `data`, which answers all that has come: at once where nothing waits, which spares
        it the way through the queue.
        """
        if self._out or self._streams:
            self.send(data)
            return
        try:
            count = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as error:  # also where it is closed
            self.close(f'the connection broke: {error.strerror or error}')
            return
        self.bytes_sent += count
        if count < len(data):
            self.send(data[count:])
        elif self._tls is not None and self._tls.has_output:
            self._wait_for_the_right_events()

    def push(self, data: bytes | memoryview) -> None:
        """Send `data` that the client did not ask for; close the stream if too much of it waits."""
        self._unsolicited += len(data)
        if self._unsolicited > self._output_limit:
            self.close(
                'closed by this server: client does not read its messages, and more than '
                f'{self._output_limit} bytes wait for it'
            )
        else:
            self.send(data)

    def push_now(self, data: bytes) -> None:
        """The same for what goes to many: at once where nothing waits, which spares it the way
        through the queue.

        The invalidations of a commit are in the other clients' sockets before the committer has its
        answer, so that a client which learns of the commit from the committer can look for it.
        """
        if self._out or self._streams:
            stalled = bool(self._streams or (self._out and not self._flush_due))
            self.push(data)
            if not stalled:
                self._flush()
            return
        try:
            count = self._socket.send(data if len(data) <= _PART else memoryview(data)[:_PART])
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as error:  # also where it is closed
            self.close(f'the connection broke: {error.strerror or error}')
            return
        self.bytes_sent += count
        if count < len(data):
            self.push(memoryview(data)[count:])  # of the one that all clients are sent
        elif self._tls is not None and self._tls.has_output:
            self._wait_for_the_right_events()

    def push_in_turn(self, pieces: Iterable[bytes]) -> None:
        """The same for what is large: nothing is sent before the loop finds that the socket takes
        it, so that the others have their turn between two clients.
        """
        for piece in pieces:
            self._unsolicited += len(piece)
            if self._unsolicited > self._output_limit:
                self.push(b'')  # which closes it
            if self.is_closed:
                return
            self._out.append(piece)
            self._pending += len(piece)
        if not self._flush_due:
            self._wait_for_the_right_events()

    def gather(self) -> None:
        """Send what follows in one piece, at :meth:`flush` or the end of this wake-up."""
        self.send(b'')

    def flush(self) -> None:
        """Send now what waits for the end of this wake-up, as far as the other side reads."""
        if self._flush_due:
            self._flush()

    def stream(self, chunks: Iterator[bytes]) -> None:
        """Send the chunks of an iterator as the client reads them; several iterators take turns."""
        self._streams.append(chunks)
        self.send(b'')

    def send_last(self, data: bytes, reason: str = 'done') -> None:
        """Send `data`, and close the stream when it was sent."""
        self.send(data)
        self._last_words = reason

    def _flush(self) -> None:
        self._flush_due = False
        if self.is_closed:
            return
        try:
            if self._streams:
                self._produce()
            if self._out and self._write_once() and (self._out or self._streams):
                self._write_on()
            if self._tls is not None:
                self._tls.flush()
        except ENDS:
            raise
        except BaseException as error:  # of the socket, or of an iterator of chunks
            self._failed(error)
            return
        if not self._out and (self._tls is None or not self._tls.has_output):
            self._unsolicited = 0
            if self._last_words:
                self.close(self._last_words)
                return
            if self._events == READ and self._kept is None:
                return
        self._wait_for_the_right_events()

    def _write_on(self) -> None:
        """Send what there is beyond the first piece, which is rare; the others have their turn
        after a while.
        """
        for _ in range(_SENDS - 1):
            if self._streams:
                self._produce()
            if not self._out or not self._write_once():
                return

    def _produce(self) -> None:
        """Pull from the streams, in turn, while the client keeps up."""
        while self._pending < STREAM_AHEAD and (chunk := self._streams.pull()) is not None:
            self._out.append(chunk)
            self._pending += len(chunk)

    def _write_once(self) -> bool:
        """Send as much as one call takes; return whether that was all it was given."""
        out = self._out
        offered = out[0] if len(out) == 1 else joined(out)
        size = len(offered)
        if not size:
            del out[0]
            return True
        try:
            if size > _PART and self._unsolicited:
                count = self._socket.send(memoryview(offered)[:_PART])
            else:
                count = self._socket.send(offered)
        except (BlockingIOError, InterruptedError):
            return False
        self._pending -= count
        self.bytes_sent += count
        if self._unsolicited > self._pending:
            self._unsolicited = self._pending
        if count == size:
            del out[0]
            return True
        out[0] = offered[count:] if isinstance(offered, memoryview) else memoryview(offered)[count:]
        return False
