"""A wire between a client and a server that a test can cut.

Enters: the address of a server, a path or (host, port).  Leaves: another one of its kind, whose
connections go there.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
from typing import Any

from support.processes import free_port


class Proxy:
    """Relays what comes, both ways, until it is cut; mended, it takes new connections."""

    def __init__(self, target: Any) -> None:
        """Listen, and relay to the socket at `target`."""
        self._target = target
        self._family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET
        self._short = tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp')
        self.address: Any = (
            f'{self._short.name}/p' if isinstance(target, str) else ('127.0.0.1', free_port())
        )
        self.delay = 0.0  # seconds before each piece is passed on
        self.piece = 65536  # bytes that are passed on at a time
        self._left: int | None = None  # bytes until a connection is cut
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()  # of the ends
        self._ends: list[socket.socket] = []
        self.mend()

    def mend(self) -> None:
        """Take connections."""
        listener = socket.socket(self._family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self.address)
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """End all connections and take no more."""
        listener, self._listener = self._listener, None
        if listener is not None:
            if isinstance(self.address, str):
                os.unlink(self.address)
            listener.shutdown(socket.SHUT_RDWR)  # which wakes the thread that accepts
            listener.close()
        self.reset()

    def reset(self) -> None:
        """End all connections, and take new ones."""
        with self._lock:
            ends, self._ends = self._ends, []
        for end in ends:
            _shut(end)

    def cut_after(self, count: int) -> None:
        """End the connection over which the last of that number of bytes goes, behind that byte."""
        self._left = count

    def close(self) -> None:
        """Leave nothing behind."""
        self.cut()
        self._short.cleanup()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(self._family)
            try:
                far.connect(self._target)
            except OSError:
                near.close()
                far.close()
                continue
            if self._family == socket.AF_INET:
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._ends = [end for end in self._ends if end.fileno() >= 0] + [near, far]
            threading.Thread(target=self._serve, args=(near, far), daemon=True).start()

    def _serve(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=self._relay, args=(far, near), daemon=True)
        back.start()
        self._relay(near, far)
        back.join()
        near.close()
        far.close()

    def _relay(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(self.piece):
                if self.delay:
                    time.sleep(self.delay)
                count = self._allowed(len(data))
                target.sendall(data[:count])
                if count < len(data):
                    break
        _shut(source)
        _shut(target)

    def _allowed(self, count: int) -> int:
        """Return how many of so many bytes may pass before a cut."""
        with self._lock:
            if self._left is None:
                return count
            allowed = min(count, self._left)
            self._left = None if allowed < count else self._left - allowed
            return allowed


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended already
        pass
