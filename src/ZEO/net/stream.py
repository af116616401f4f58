"""A client's stream, plain or TLS, shared by threads: one reads at a time, one writes at a time.

Enters: bytes to send, a buffer to read into. Leaves: the bytes that arrived. Fails: OSError when
the connection is broken, or when the other side takes no data for a long time; TlsError in a user's
words.

The socket itself never blocks. Waiting for it is a separate step (:meth:`Stream.wait`), in which
nothing is read yet, so that an exception may strike a thread that waits without harm, and other
threads may look for data meanwhile.
"""

from __future__ import annotations

import errno
import select
import socket
from functools import partial
from typing import Any

from ZEO.net import connecting, green
from ZEO.net.addresses import Address
from ZEO.net.busy_poll import BusyPoll
from ZEO.net.system import REAL, System
from ZEO.net.tls import TlsCodec
from ZEO.net.tls_socket import TlsSocket

#: Seconds after which a wait for bytes returns, so that its reader can check its deadlines.
TICK = 1.0

#: Seconds for which a write may make no progress.
STALLED = 60.0

#: Bytes from which on pieces are given to the kernel without joining them, and how many pieces at
#: once; the kernel takes 1024.
_GATHER, _MOST_PIECES = 32 * 1024, 256


class Stream:
    """A connected socket, encrypted by `tls` if that is given."""

    def __init__(
        self, raw: socket.socket, tls: TlsCodec | None = None, system: System = REAL
    ) -> None:
        raw.setblocking(False)
        self._raw = raw
        self._tls = TlsSocket(raw, tls) if tls is not None else None
        self._socket: socket.socket | TlsSocket = raw if self._tls is None else self._tls
        #: Sends what the socket takes: returns how many bytes; raises BlockingIOError when it takes
        #: none. The rest is :meth:`send_rest`'s.
        self.send_some = raw.send if self._tls is None else self._send_encrypted
        #: Reads what has arrived, as a socket's method does: ``recv_into(buffer)`` returns how many
        #: bytes, 0 at the end of the stream; raises BlockingIOError when nothing has arrived.
        self.recv_into = self._socket.recv_into
        self._busy_poll = BusyPoll(system)  # most answers arrive soon
        self._readable = _poll_of(raw, select.POLLIN)
        self._look = partial(self._readable.poll, 0)

    def tls_binding(self) -> bytes | None:
        """Return what only the two ends of this TLS connection can know; None without TLS.

        :raises TlsError: when there is nothing of that kind.
        """
        return None if self._tls is None else self._tls.binding()

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            count = self.send_some(data)
        except BlockingIOError:
            count = 0
        if count < len(data):
            self.send_rest(memoryview(data)[count:])

    def _send_encrypted(self, data: bytes) -> int:
        """Send all of `data`, ciphertext included."""
        try:
            count = self._socket.send(data)
        except BlockingIOError:
            count = 0
        self.send_rest(memoryview(data)[count:])
        return len(data)

    def send_all(self, pieces: list[bytes]) -> None:
        """Send all pieces; large ones are not copied."""
        size = sum(map(len, pieces))
        if self._tls is not None or size < _GATHER or len(pieces) > _MOST_PIECES:
            self.send(b''.join(pieces))
            return
        try:
            count = self._raw.sendmsg(pieces)
        except BlockingIOError:
            count = 0
        if count < size:
            self.send_rest(memoryview(b''.join(pieces))[count:])

    def send_rest(self, rest: memoryview) -> None:
        """Send what the socket did not take, ciphertext included."""
        while rest or (self._tls is not None and self._tls.has_output):
            if not _ready(self._raw, select.POLLOUT, STALLED):
                raise OSError(errno.ETIMEDOUT, f'the server took no data for {STALLED:.0f} s')
            try:
                if rest:
                    rest = rest[self._socket.send(rest) :]
                elif self._tls is not None:
                    self._tls.flush()
            except BlockingIOError:  # the socket took a part, or nothing
                pass

    def is_at_hand(self) -> bool:
        """Look for a moment, without blocking, whether there is something to read."""
        if self._tls is not None and (self._tls.has_input or self._tls.has_output):
            return self._tls.has_input
        try:
            return self._busy_poll.poll(self._look) != []
        except RuntimeError:
            return self._look_beside_another_thread(0)

    def wait(self, seconds: float) -> bool:
        """Wait until there is something to read; return whether there is. Send waiting ciphertext.

        :param seconds: how long to wait at most.
        """
        tls = self._tls
        if tls is not None and tls.has_output:
            if any(
                event & select.POLLOUT
                for _, event in _ready(self._raw, select.POLLIN | select.POLLOUT, seconds)
            ):
                tls.flush()
        elif tls is None or not tls.has_input:
            try:
                return self._readable.poll(seconds * 1000) != []
            except RuntimeError:
                return self._look_beside_another_thread(seconds)
        return self.wait_readable(0)

    def _look_beside_another_thread(self, seconds: float) -> bool:
        """Poll while the poll object, which serves one thread at a time, is used by another reader,
        which was taken for lost and has come back.
        """
        return _ready(self._raw, select.POLLIN, seconds) != []

    def wait_readable(self, seconds: float) -> bool:
        """Wait at most that long until there is something to read; any thread may."""
        if self._tls is not None and self._tls.has_input:
            return True
        return bool(_ready(self._raw, select.POLLIN, seconds))

    def shut(self) -> None:
        """End the connection, which wakes a waiting thread; :meth:`close` frees the descriptor."""
        try:
            self._raw.shutdown(socket.SHUT_RDWR)
        except OSError:  # it was ended already
            pass

    def close(self) -> None:
        """Free the descriptor; the connection lives on in a process that has inherited it."""
        self._raw.close()


def _poll_of(raw: socket.socket, events: int) -> Any:
    poll = green.waiting('select', 'poll')()
    poll.register(raw, events)
    return poll


def _ready(raw: socket.socket, events: int, seconds: float) -> list[tuple[int, int]]:
    """Wait for events of a socket. A socket that another thread has closed is ready: reading or
    writing will fail.
    """
    try:
        poll = _poll_of(raw, events)
    except ValueError:
        return [(-1, select.POLLNVAL)]
    return poll.poll(seconds * 1000)


def connect(
    address: Address,
    timeout: float,
    ssl: object = None,
    server_hostname: str | None = None,
    system: System = REAL,
) -> Stream:
    """Return a stream to the server at `address`.

    :param timeout: seconds for connecting.
    :param ssl: an ``ssl.SSLContext`` to speak TLS.
    :param server_hostname: the name that the server's certificate must have, unless that is the
        address's host.
    :raises OSError: when nothing listens there.
    """
    raw = connecting.connect(address, timeout)
    try:
        if ssl is None:
            return Stream(raw, None, system)
        host = address[0] if isinstance(address, tuple) else None
        name = server_hostname or host or 'localhost'
        tls = TlsCodec(ssl, server_side=False, server_hostname=name)  # type: ignore[arg-type]
        return Stream(raw, tls, system)
    except BaseException:
        raw.close()
        raise
