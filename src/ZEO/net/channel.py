"""One non-blocking stream of the server's, plain or TLS, and its buffers.

Enters: bytes to send, and what the socket brings. Leaves: the messages that the session makes of
it, given to the owner in batches, and one ``closed(reason)`` at the end. Fails: nothing is raised;
that reason says what has ended the stream.

Messages that take long give way: the owner leaves the rest of them, and is given it when the other
connections had their turn.

What the other side does not read stays here; past `output_limit` bytes the channel stops reading
from it, so that it can ask for no more, and so it does when too much waits in all channels
together. Bytes it never asked for (invalidations) are bounded by the same number, past which the
stream is closed.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from ZEO.net.channel_ends import Owner, Session, is_fault, reason_of
from ZEO.net.loop import ENDS, HANGUP, READ, WRITE, Loop
from ZEO.net.output import Streams, Unread, joined
from ZEO.net.proofs import Proof, proof_of
from ZEO.net.tls_socket import TlsSocket
from ZEO.wire.session import Probed

#: Bytes; chunks of a stream are produced while less waits to be sent. This is the memory that a
#: blob takes.
STREAM_AHEAD = 512 * 1024

#: Sends in a row, after which the other connections are served.
_SENDS = 16

#: Bytes of one piece that the client did not ask for, such as the invalidation of a huge commit,
#: after which the other connections are served: it goes to all clients at once, and copying it into
#: the buffers of 200 sockets takes 10 ms with this, and ten times that with what they hold.
_PART = 128 * 1024


class Channel:
    """One accepted connection."""

    # One piece of memory instead of two: where a thousand are sent to in turn, each is far away.
    __slots__ = (
        '_loop',
        '_socket',
        '_session',
        '_owner',
        '_output_limit',
        '_unread',
        '_counted',
        '_tls',
        '_out',
        '_pending',
        '_unsolicited',
        '_streams',
        '_events',
        '_flush_due',
        '_last_words',
        '_held',
        '_kept',
        '_turn_due',
        'is_closed',
        'bytes_received',
        'bytes_sent',
        '__weakref__',
    )

    def __init__(
        self,
        loop: Loop,
        stream: socket.socket | TlsSocket,
        session: Session,
        owner: Owner,
        output_limit: int,
        unread: Unread | None = None,
    ) -> None:
        self._loop = loop
        self._socket = stream
        self._session = session
        self._owner = owner
        self._output_limit = output_limit
        self._unread = unread or Unread()
        self._counted = 0  # bytes of _pending that are counted there
        self._tls = stream if isinstance(stream, TlsSocket) else None
        self._out: deque[Any] = deque()  # data that waits to be sent, bytes or views on them
        self._pending = 0  # bytes of it
        self._unsolicited = 0  # bytes of it that push() may have sent
        self._streams = Streams()  # pulled while little waits to be sent
        self._events = READ  # what the loop waits for
        self._flush_due = False  # whether a flush follows in this wake-up
        self._last_words = ''  # why to close as soon as everything is sent, unless empty
        self._held: set[str] = set()  # why nothing is read now
        # messages whose turn has not come; nothing is read until it has
        self._kept: Iterable[Any] | None = None
        self._turn_due = False  # whether the loop will call _take_turn
        self.is_closed = False
        self.bytes_received = self.bytes_sent = 0  # without what TLS adds
        loop.add(stream, READ, self._on_ready)

    @property
    def tls_subject(self) -> str | None:
        """The subject of the client's certificate; empty if it sent none, None without TLS."""
        return None if self._tls is None else self._tls.subject

    @property
    def proof(self) -> Proof:
        """What the connection proves of the client."""
        return proof_of(self._socket)

    def tls_binding(self) -> bytes | None:
        """Return what only the two ends of this TLS connection can know; None without TLS.

        :raises TlsError: when there is nothing of that kind.
        """
        return None if self._tls is None else self._tls.binding()

    @property
    def is_full(self) -> bool:
        """Whether no more messages of this client should be handled: it does not read its answers,
        or asks for too much.
        """
        # looked at after each of many messages
        pending, unread = self._pending, self._unread
        if not pending:
            return bool(self._held)
        return (
            pending > self._output_limit
            or unread.total - self._counted + pending > unread.limit
            or bool(self._held)
        )

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent."""
        return self._pending

    # Sending.

    def send(self, data: bytes | memoryview) -> None:
        """Send `data` after everything sent before, when the messages that arrived are handled."""
        if self.is_closed:
            return
        self._out.append(data)
        self._pending += len(data)
        if not self._flush_due:
            self._flush_due = True
            self._loop.soon(self._flush)

    def answer(self, data: bytes) -> None:
        """Send `data`, which answers all that has come: at once where nothing waits, which spares
        it the way through the queue.
        """
        if self._out or self._streams or self._tls is not None:
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
        if self._out or self._streams or self._tls is not None:
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
            out.popleft()
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
            out.popleft()
            return True
        out[0] = offered[count:] if isinstance(offered, memoryview) else memoryview(offered)[count:]
        return False

    # Reading.

    def hold(self, why: str) -> None:
        """Read nothing more until :meth:`release` was called for every reason.

        :param why: the reason.
        """
        self._held.add(why)
        if not self.is_closed:
            self._wait_for_the_right_events()

    def release(self, why: str) -> None:
        """Drop a reason for not reading; harmless if it was none."""
        if why in self._held:
            self._held.discard(why)
            if not self.is_closed:
                self._wait_for_the_right_events()

    def _on_ready(self, events: int) -> None:
        if self.is_closed:
            return
        try:
            if events != READ and not self._has_input(events):
                return
            if self._kept is not None or self._held or self._last_words:
                return
            # at the end of this call: answers do not wait for the other ready connections
            self._flush_due = True
            self._read_once()
            if self._tls is not None:
                self._read_on()
            elif not self._out and self._kept is None and not self._streams:
                self._flush_due = False  # what has come was answered, as mostly
                return
            self._flush()
        except Probed:
            self._probed()
        except ENDS:
            raise
        except BaseException as error:
            self._failed(error)

    def _has_input(self, events: int) -> bool:
        """Do what there is to do for other events than input; return whether there is that, too."""
        if events & WRITE:
            self._flush()
        if events & HANGUP and self._held:
            self.close('the other side has closed')
        return bool(events & READ) and not self.is_closed

    def _probed(self) -> None:
        try:
            self._owner.probed()
            self._flush()
        except Exception as error:
            self._failed(error)

    def _may_read(self) -> bool:
        return not self.is_closed and self._kept is None and not self._last_words and not self._held

    def _read_on(self) -> None:
        """Read data that the poller does not see."""
        assert self._tls is not None
        while self._tls.has_input and self._may_read():
            self._read_once()
        if self._tls.has_output:
            self.send(b'')

    def _read_once(self) -> None:
        try:
            count = self._socket.recv_into(self._session.buffer())
        except (BlockingIOError, InterruptedError):
            return
        if not count:
            self.close('the other side has closed')
            return
        self.bytes_received += count
        messages = self._session.received(count)
        if messages and self._owner.handle(messages) is False:
            self._kept = messages

    def _take_turn(self) -> None:
        """Continue with the messages that were kept, and with data that was read already."""
        self._turn_due = False
        if self.is_closed or self.is_full:  # if full, the client has to read first
            return
        try:
            self._flush_due = True
            if self._kept is not None and self._owner.handle(self._kept) is not False:
                self._kept = None
            if self._tls is not None:
                self._read_on()
            self._flush()
        except ENDS:
            raise
        except BaseException as error:
            self._failed(error)

    def _wait_for_the_right_events(self) -> None:
        tls = self._tls
        events = WRITE if self._out or (tls is not None and tls.has_output) else 0
        self._count_unread(self._pending)
        if self._held:
            events |= HANGUP
        elif not self.is_full:
            if self._kept is None:
                events |= READ
            if not self._turn_due and (
                self._kept is not None or (tls is not None and tls.has_input)
            ):
                self._turn_due = True
                self._loop.next_turn(self._take_turn)
        if events != self._events:
            self._events = events
            self._loop.change(self._socket, events, self._on_ready)

    def _count_unread(self, size: int) -> None:
        self._unread.total += size - self._counted
        self._counted = size

    # The end.

    def close(self, reason: str) -> None:
        """End the stream and report it to the owner; harmless when it has ended."""
        if self.is_closed:
            return
        self.is_closed = True
        self._loop.remove(self._socket)
        self._socket.close()
        self._count_unread(0)
        self._out.clear()
        self._kept = None
        self._streams.close(self._loop.attempt)
        self._owner.closed(reason)

    def _failed(self, error: BaseException) -> None:
        """End this stream, and nothing else, after an error."""
        if is_fault(error):
            self._loop.reports.failed('serving a connection failed', 'server', error)
        self.close(reason_of(error))
