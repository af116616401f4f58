"""A socket that speaks TLS with the methods of a plain one, for blocking and non-blocking use.

Enters: plaintext to send, a buffer to read into. Leaves: ciphertext on the socket, plaintext in the
buffer. Fails: :class:`~ZEO.net.tls_errors.TlsError` in a user's words, OSError from the socket,
BlockingIOError where a plain socket raises it.

One thread may send while another receives; only one at a time uses the TLS object itself.
"""

from __future__ import annotations

import socket
import threading

from ZEO.net.tls import TlsCodec

#: Bytes of ciphertext read at once: a TLS record holds 16 KiB, and several save system calls.
_READ = 64 * 1024

#: Bytes of plaintext that are encrypted at a time, which bounds the memory that a large message
#: takes.
_WRITE = 256 * 1024

_DONT_WAIT = getattr(socket, 'MSG_DONTWAIT', 0)


class TlsSocket:
    """`stream`, with what is sent and received encrypted by `codec`."""

    def __init__(self, stream: socket.socket, codec: TlsCodec) -> None:
        self._socket = stream
        self._codec = codec
        self._codec_lock = threading.Lock()  # the TLS object
        self._output_lock = threading.Lock()  # the order of ciphertext on the socket
        self._plain = memoryview(b'')  # decrypted, not yet read
        self._unsent = b''  # encrypted, not yet sent
        self.flush()  # a client speaks first

    @property
    def has_input(self) -> bool:
        """Whether there is plaintext that a selector does not see."""
        return bool(self._plain)

    @property
    def has_output(self) -> bool:
        """Whether there is ciphertext that waits for the socket."""
        return bool(self._unsent) or self._codec.has_output

    @property
    def subject(self) -> str:
        """The subject of the other side's certificate; empty if it sent none."""
        return self._codec.subject()

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the other side's certificate, if it was verified."""
        return self._codec.names()

    def binding(self) -> bytes:
        """Return what only the two ends of this connection can know.

        :raises TlsError: when there is nothing of that kind.
        """
        with self._codec_lock: return self._codec.binding()  # noqa: E701  # fmt: skip

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """Do as a socket does."""
        return self._socket.getsockopt(level, option, size)

    @property
    def family(self) -> int:
        """The family of the socket's address."""
        return self._socket.family

    def recv_into(self, buffer: memoryview, nbytes: int = 0, flags: int = 0) -> int:
        """Read plaintext into `buffer`; return how many bytes, 0 at the end of the stream."""
        while not self._plain:
            if self._unsent:
                # what a reader could not send before, and no other thread may send
                self.flush(wait=False)
            data = self._socket.recv(_READ, flags)
            if not data:
                with self._codec_lock: self._codec.receive(b'')  # noqa: E701  # fmt: skip
                return 0
            codec = self._codec
            try:
                with self._codec_lock: plain = codec.receive(data)  # noqa: E701  # fmt: skip
            finally:
                if codec.has_output:  # a handshake answers, an error says why
                    self.flush(wait=False)
            count = len(plain)
            if count and count <= (nbytes or len(buffer)):  # as mostly
                buffer[:count] = plain
                return count
            self._plain = memoryview(plain)
            if codec.closed and not plain:
                return 0
        count = min(nbytes or len(buffer), len(self._plain))
        buffer[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def send(self, data: bytes | memoryview) -> int:
        """Send plaintext; return how many bytes were taken.

        :raises BlockingIOError: on a non-blocking socket that takes no more.
        """
        if self._unsent:
            self.flush()
            if self._unsent:
                raise BlockingIOError
        piece = data if len(data) <= _WRITE else data[:_WRITE]
        with self._output_lock: self._write_out(piece, 0)  # noqa: E701  # fmt: skip
        return len(piece)

    def flush(self, wait: bool = True) -> None:
        """Write as much ciphertext as the socket takes.

        :param wait: whether to wait for the socket, and for another thread that is writing, which
            sends everything there is by then. A thread that reads must not wait: if those of both
            sides did, each would wait for the other to read.
        """
        # In this order: what another thread has taken is its own until it lets go of the lock.
        if not (self._codec.has_output or self._output_lock.locked() or self._unsent):
            return
        if wait or not self._output_lock.locked():
            with self._output_lock: self._write_out(b'', 0 if wait else _DONT_WAIT)  # noqa: E701  # fmt: skip

    def _write_out(self, data: bytes | memoryview, flags: int) -> None:
        """Send what waits, and `data` after it."""
        with self._codec_lock: self._unsent += self._codec.encrypt(data)  # noqa: E701  # fmt: skip
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent, flags) :]
        except BlockingIOError:
            pass

    def setblocking(self, flag: bool) -> None:
        """Do as a socket does."""
        self._socket.setblocking(flag)

    def fileno(self) -> int:
        """Do as a socket does."""
        return self._socket.fileno()

    def shutdown(self, how: int) -> None:
        """Do as a socket does."""
        self._socket.shutdown(how)

    def close(self) -> None:
        """Do as a socket does."""
        self._socket.close()
