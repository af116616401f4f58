"""Simulated sockets: streams that never block, but while they connect.

Enters: what the product does with ``socket.socket``. Leaves: what the network lets through. Fails:
as the real ones do, with the same kinds of OSError.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import Any

from support.simulation.network import FIN, GIVE_UP, RST, Connection, Network

#: What a socket is ready for; the numbers are those of epoll and poll.
READ, WRITE, ERROR, HANGUP, ENDED, CLOSED = 1, 4, 8, 16, 0x2000, 32

#: Seconds between two looks whether a link that is cut was healed.
_RETRY = 0.5


class Socket:
    """As ``socket.socket``, for streams; never blocks but in :meth:`connect`."""

    family = 2  # AF_INET

    def __init__(self, network: Network, process: Any) -> None:
        self.network = network
        self.process = process
        self.where: Any = None  # of a listener, and of its connections
        self.label = ''
        self.connection: Connection | None = None
        self.peer: Socket | None = None
        self.out: Any = None
        self.closed = False
        self.watchers: dict[Any, None] = {}  # polls, to be woken by a change
        self._scheduler = network.scheduler
        self._inbox = bytearray()
        self._backlog: deque[Socket] | None = None  # of a listener
        self._ended = False  # the other side sends nothing more
        self._shut = False  # this side sends nothing more
        self._lost_power = False
        self._error = 0
        self._timeout: float | None = None
        self._fd = process.new_file(self)

    # Of every file.

    def fileno(self) -> int:
        return -1 if self.closed else self._fd

    def setblocking(self, flag: bool) -> None:
        self._timeout = None if flag else 0.0

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def setsockopt(self, *option: Any) -> None:
        pass

    def dup(self) -> Socket:
        raise OSError(errno.EMFILE, 'Too many open files')

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.process.files.pop(self._fd, None)
        self.watchers.clear()
        if self._backlog is not None:
            self.network.unlisten(self)
            while self._backlog:
                self._backlog.popleft().close()
        elif self.connection is not None:
            if not self._error:
                if self._inbox:
                    self.out.push(RST)
                elif not self._shut:
                    self.out.push(FIN)
            self.connection.ended()

    def lose_power(self) -> None:
        """Be gone without a word; the other side finds out when it sends, or by its probes."""
        self.watchers.clear()
        if self._backlog is not None:
            self.network.unlisten(self)
        elif self.peer is not None and self.peer.process is not self.process:
            self._lost_power = True
            self._scheduler.later(GIVE_UP, self._probed)
        else:
            self.closed = True

    def _probed(self) -> None:
        if not self.closed and self.peer is not None:
            self.closed = True
            dark = self.network.is_dark(self.process.name)
            self.peer.fail(errno.ETIMEDOUT if dark else errno.ECONNRESET)
            self.connection.ended()  # type: ignore[union-attr]

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Connecting.

    def bind(self, where: Any) -> None:
        host, port = where[:2]
        self.where = (host, port or self.network.port())

    def listen(self, backlog: int = 0) -> None:
        self.network.listen(self.where, self)
        self._backlog = deque()

    def getsockname(self) -> Any:
        return self.where

    def accept(self) -> tuple[Socket, Any]:
        self._scheduler.door('accept')
        if not self._backlog:
            raise BlockingIOError
        accepted = self._backlog.popleft()
        return accepted, accepted.where

    def connect(self, where: Any) -> None:
        """Return when connected, after a round trip at least."""
        scheduler, network = self._scheduler, self.network
        scheduler.door('connect')
        until = None if self._timeout is None else scheduler.now + self._timeout
        scheduler.wait('a connection', network.delay() + network.delay())
        while True:
            listener, owner = network.listener(where), network.owner_of(where)
            if not (network.is_cut(self.process.name, owner) or network.is_dark(owner)):
                break
            if until is not None and scheduler.now >= until:
                raise TimeoutError('timed out')
            scheduler.wait('a connection over a link that is cut', _RETRY)
        if listener is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, 'Connection refused')
        accepted = Socket(network, listener.process)
        accepted.where = (where[0], network.port())
        self.label = f'{self.process.name}->{listener.process.name}'
        accepted.label = f'{listener.process.name}->{self.process.name}'
        Connection(network, (self, accepted))
        assert listener._backlog is not None
        listener._backlog.append(accepted)
        listener.changed()

    def shutdown(self, how: int) -> None:
        self._check_open()
        if self._error or self.connection is None:
            raise OSError(errno.ENOTCONN, 'Transport endpoint is not connected')
        if not self._shut:
            self._shut = self._ended = True
            self.out.push(FIN)
            self.changed()

    # Sending and receiving.

    def send(self, data: Any, flags: int = 0) -> int:
        self._scheduler.door('send')
        self._check_open()
        self._raise_error()
        if self._shut:
            raise BrokenPipeError(errno.EPIPE, 'Broken pipe')
        out = self.out
        count = min(len(data), out.room - out.size)
        if count <= 0:
            if len(data):
                raise BlockingIOError
            return 0
        count = self._piece(count)
        self._push(bytes(data[:count]))
        return count

    def _push(self, data: bytes) -> None:
        out = self.out
        through = out.passed(data)
        if through is None:
            out.size += len(data)
            out.push(data)
            return
        out.breaks_after = None
        if through:
            out.size += len(through)
            out.push(through)
        out.push(RST)
        self._error = errno.ECONNRESET
        self.changed()

    def sendmsg(self, pieces: Any) -> int:
        return self.send(b''.join(pieces))

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self._scheduler.door('recv')
        self._check_open()
        inbox = self._inbox
        if not inbox:
            self._raise_error()
            if self._ended:
                return 0
            raise BlockingIOError
        count = self._piece(min(nbytes or len(buffer), len(inbox)))
        buffer[:count] = inbox[:count]
        self._read(count)
        return count

    def recv(self, size: int, flags: int = 0) -> bytes:
        self._scheduler.door('recv')
        self._check_open()
        if not self._inbox:
            self._raise_error()
            if self._ended:
                return b''
            raise BlockingIOError
        data = bytes(self._inbox[:size])
        self._read(len(data))
        return data

    def _read(self, count: int) -> None:
        del self._inbox[:count]
        assert self.peer is not None
        out = self.peer.out
        was_full = out.size >= out.room
        out.size -= count
        if was_full:
            self.peer.changed()

    def _piece(self, count: int) -> int:
        """Return how much is taken of what could be."""
        network = self.network
        if count > 1 and network.pieces and network.random.random() < network.pieces:
            return 1 + int(network.random.random() * count)
        return count

    def _check_open(self) -> None:
        if self.closed:
            raise OSError(errno.EBADF, 'Bad file descriptor')

    def _raise_error(self) -> None:
        if self._error:
            code, self._error = self._error, 0
            self._ended = self._shut = True
            raise ConnectionResetError(code, 'Connection reset by peer')

    # From the network.

    def arrived(self, data: Any) -> None:
        """Take what has arrived."""
        if self._lost_power and not self.closed:
            if data is not RST and not self.network.is_dark(self.process.name):
                self.out.push(RST)  # the machine is back, and does not know the connection
        elif data is RST:
            self.fail(errno.ECONNRESET)
        elif self.closed:
            if data is not FIN and self.peer is not None and not self.peer.closed:
                self.out.push(RST)
        elif data is FIN:
            self._ended = True
            self.changed()
        else:
            self._inbox += data
            self.changed()

    def fail(self, code: int) -> None:
        """The connection ends with an error."""
        if not self.closed:
            self._error = code
            if self._inbox and self.network.random.random() < 0.5:
                self._inbox.clear()  # some systems drop what was not read
            if self.out is not None:
                self.out.clear()
            self.changed()

    def events(self) -> int:
        """Return what it is ready for."""
        if self.closed:
            return CLOSED
        if self._backlog is not None:
            return READ if self._backlog else 0
        if self.connection is None:
            return HANGUP | WRITE
        found = 0
        if self._error:
            found = READ | WRITE | ERROR | HANGUP | ENDED
        elif self._ended:
            found = READ | ENDED | (HANGUP if self._shut else 0)
        elif self._inbox:
            found = READ
        if self._shut or self.out.size < self.out.room:
            found |= WRITE
        return found

    def changed(self) -> None:
        """Wake those that wait for it."""
        for watcher in list(self.watchers):
            watcher.wake()
