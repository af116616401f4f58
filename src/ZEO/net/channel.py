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

from ZEO.net.channel_ends import Owner, Session, is_fault, reason_of
from ZEO.net.loop import ENDS, FAILED, HANGUP, READ, WRITE, Loop
from ZEO.net.output import Unread
from ZEO.net.proofs import Proof, proof_of
from ZEO.net.sending import Sending
from ZEO.net.tls_socket import TlsSocket
from ZEO.wire.session import Probed


class Channel(Sending):
    """One accepted connection."""

    # One piece of memory instead of two: where a thousand are sent to in turn, each is far away.
    __slots__ = (
        '_session',
        '_owner',
        '_unread',
        '_counted',
        '_held',
        '_turn_due',
        '_is_closing',
        '_is_reported',
        'bytes_received',
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
        super().__init__(loop, stream, output_limit)
        self._session = session
        self._owner = owner
        self._unread = unread or Unread()
        self._counted = 0  # bytes of _pending that are counted there
        self._held: set[str] = set()  # why nothing is read now
        self._turn_due = False  # whether the loop will call _take_turn
        self._is_closing = False  # whether `close` runs
        self._is_reported = False  # whether the owner has given back everything
        self.bytes_received = 0  # without what TLS adds
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
            tls = self._tls
            if tls is not None and (tls.has_input or tls.has_output):
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
        if events == FAILED:
            self.close('closed by this server: serving it failed')
            return False
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
        try:
            self._turn_due = False
            if self.is_closed or self.is_full:  # if full, the client has to read first
                return
            self._flush_due = True
            self._loop.serving = self._socket.fileno()
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
                self._loop.next_turn(self._take_turn)
                self._turn_due = True  # as in send
        if events != self._events:
            self._events = events
            self._loop.change(self._socket, events, self._on_ready)

    def _count_unread(self, size: int) -> None:
        self._unread.total += size - self._counted
        self._counted = size

    # The end.

    def close(self, reason: str) -> None:
        """End the stream and report it to the owner; harmless when it has ended. Where there was no
        memory for all of that, the next call does it again.
        """
        if self._is_reported or self._is_closing:
            return
        self._is_closing = self.is_closed = True
        try:
            self._end(reason)
        except MemoryError:
            self._loop.lost_task = True
            raise
        finally:
            self._is_closing = False

    def _end(self, reason: str) -> None:
        try:
            self._loop.remove(self._socket)
        finally:  # or the client would wait for what never comes
            self._socket.close()
        self._count_unread(0)
        self._out.clear()
        self._kept = None
        self._streams.close(self._loop.attempt)
        self._owner.closed(reason)
        self._is_reported = not self._loop.lost_task

    def _failed(self, error: BaseException) -> None:
        """End this stream, and nothing else, after an error."""
        if is_fault(error):
            self._loop.reports.failed('serving a connection failed', 'server', error)
        self.close(reason_of(error))
