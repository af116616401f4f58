"""A client's blocking stream, plain or TLS, that several threads share: one reads at a time, one writes at a time.

Enters: bytes to send, a buffer to read into.  Leaves: the bytes that came.  Fails: OSError when the connection is broken, or
when the other side takes nothing for a long time; TlsError in a user's words.

The kernel bounds each wait (SO_RCVTIMEO, SO_SNDTIMEO): that spares the extra system call of a socket with a Python timeout.
"""
from __future__ import annotations

import errno
import select
import socket
import struct

from ZEO.net import addresses
from ZEO.net.addresses import Address
from ZEO.net.busy_poll import BusyPoll
from ZEO.net.system import REAL, System
from ZEO.net.tls import TlsCodec
from ZEO.net.tls_socket import TlsSocket

#: Seconds after which a blocked read comes back, so that its reader can look at its deadlines.
TICK = 1.0

#: Seconds for which a blocked write may make no progress.
STALLED = 60.0

#: Bytes from which on pieces are handed to the kernel as they are, and how many pieces it takes at once (it may be 1024).
_GATHER, _MOST_PIECES = 32 * 1024, 256

_DONT_WAIT = getattr(socket, 'MSG_DONTWAIT', 0)


class Stream:
    """A connected socket, spoken through `tls` where that is given."""

    def __init__(self, raw: socket.socket, tls: TlsCodec | None = None, system: System = REAL) -> None:
        raw.settimeout(None)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(TICK))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(STALLED))
        self._raw = raw
        self._socket: socket.socket | TlsSocket = TlsSocket(raw, tls) if tls is not None else raw
        self._busy_poll = BusyPoll(system)   # most answers come at once
        self._readable = select.poll()
        self._readable.register(raw, select.POLLIN)
        self._is_tls = tls is not None

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            count = self._socket.send(data)
            if count < len(data):
                rest = memoryview(data)[count:]
                while rest:
                    rest = rest[self._socket.send(rest):]
        except BlockingIOError:
            raise OSError(errno.ETIMEDOUT, f'the server took nothing for {STALLED:.0f} s') from None

    def send_all(self, pieces: list[bytes]) -> None:
        """Send all of some pieces; large ones are not copied."""
        size = sum(map(len, pieces))
        if self._is_tls or size < _GATHER or len(pieces) > _MOST_PIECES:
            self.send(b''.join(pieces))
            return
        try:
            count = self._raw.sendmsg(pieces)
        except BlockingIOError:
            count = 0
        if count < size:   # the connection has stalled for a while
            self.send(b''.join(pieces)[count:])

    def receive(self, buffer: memoryview) -> int | None:
        """Wait for bytes; returns how many came, 0 at the end of the stream, None after a tick without any."""
        if not (self._is_tls and self._socket.has_input):   # type: ignore[union-attr]
            self._busy_poll.poll(self._look)
        try:
            return self._socket.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return None

    def _look(self) -> list[tuple[int, int]]:
        return self._readable.poll(0)

    def receive_available(self, buffer: memoryview) -> int | None:
        """The same without waiting."""
        try:
            return self._socket.recv_into(buffer, 0, _DONT_WAIT)
        except (BlockingIOError, InterruptedError):
            return None

    def wait_readable(self, seconds: float) -> bool:
        """Wait at most so long until there is something to read; takes nothing from the stream."""
        if self._is_tls and self._socket.has_input:   # type: ignore[union-attr]
            return True
        poll = select.poll()
        poll.register(self._raw, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def shut(self) -> None:
        """End the connection, which wakes a thread that reads; :meth:`close` frees the file."""
        try:
            self._raw.shutdown(socket.SHUT_RDWR)
        except OSError:   # it was ended already
            pass

    def close(self) -> None:
        """Free the file; the connection itself lives on in a process that has inherited it."""
        self._raw.close()


def connect(address: Address, timeout: float, ssl: object = None, server_hostname: str | None = None) -> Stream:
    """Return a stream to the server at `address`.

    :param timeout: seconds for connecting.
    :param ssl: an ``ssl.SSLContext`` to speak TLS.
    :param server_hostname: the name that the server's certificate is to have, unless that is the address's host.
    :raises OSError: when nobody listens there.
    """
    raw = addresses.connect(address, timeout)
    if ssl is None:
        return Stream(raw)
    host = address[0] if isinstance(address, tuple) else None
    try:
        tls = TlsCodec(ssl, server_side=False, server_hostname=server_hostname or host or 'localhost')   # type: ignore[arg-type]
    except BaseException:
        raw.close()
        raise
    return Stream(raw, tls)


def _timeval(seconds: float) -> bytes:
    return struct.pack('ll', int(seconds), int(seconds % 1 * 1_000_000))
