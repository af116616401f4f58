"""A wire between a client and a server that a test can cut.

Enters: the path of a server's socket.  Leaves: the path of another one, whose connections go there.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading


class Proxy:
    """Relays what comes, both ways, until it is cut; mended, it takes new connections."""

    def __init__(self, target: str) -> None:
        """Listen, and relay to the socket at `target`."""
        self._target = target
        self._short = tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp')
        self.address = f'{self._short.name}/p'
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()  # of the ends
        self._ends: list[socket.socket] = []
        self.mend()

    def mend(self) -> None:
        """Take connections."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.address)
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """End all connections and take no more."""
        listener, self._listener = self._listener, None
        if listener is not None:
            os.unlink(self.address)
            listener.shutdown(socket.SHUT_RDWR)  # which wakes the thread that accepts
        with self._lock:
            ends, self._ends = self._ends, []
        for end in ends:
            _shut(end)

    def close(self) -> None:
        """Leave nothing behind."""
        self.cut()
        self._short.cleanup()

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    near, _ = listener.accept()
                except OSError:
                    return
                far = socket.socket(socket.AF_UNIX)
                try:
                    far.connect(self._target)
                except OSError:
                    near.close()
                    far.close()
                    continue
                with self._lock:
                    self._ends += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=_relay, args=ends, daemon=True).start()


def _relay(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    _shut(source)
    _shut(target)


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended already
        pass
