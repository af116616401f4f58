"""A wire between programs and a PostgreSQL that a test can cut in the middle of a statement.

Enters: the directory of a server's socket.  Leaves: another directory, with a socket whose
connections go there.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable

NAME = '.s.PGSQL.5432'

#: The message that ends every answer of PostgreSQL, but for its last byte.
READY = b'Z\x00\x00\x00\x05'


class Wire:
    """Relays what comes, but for one statement."""

    def __init__(self, directory: str) -> None:
        """Listen, and relay to the socket in `directory`."""
        self._target = os.path.join(directory, NAME)
        self._short = tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp')
        self.directory = self._short.name
        self._text: bytes | None = None
        self._before: Callable[[], object] | None = None
        self._answer_is_lost = False
        #: Set when the statement was met.
        self.met = threading.Event()
        self._ends: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.path.join(self.directory, NAME))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_statement(self, text: bytes) -> None:
        """Cut the connection over which a statement with that text comes, before it is sent."""
        self._text, self._before, self._answer_is_lost = text, None, True

    def lose_answer(self, text: bytes) -> None:
        """Send it, wait for the answer, and cut the connection instead of passing that on."""
        self._text, self._before, self._answer_is_lost = text, lambda: None, True

    def call_before(self, text: bytes, function: Callable[[], object]) -> None:
        """Call a function before such a statement is sent, once."""
        self._text, self._before, self._answer_is_lost = text, function, False

    def reset(self) -> None:
        """Cut all connections."""
        ends, self._ends = self._ends, []
        for end in ends:
            _shut(end)

    def close(self) -> None:
        """Leave nothing behind."""
        _shut(self._listener)
        self._listener.close()
        self.reset()
        self._short.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
            except OSError:
                return
            self._ends += [near, far]
            loses = threading.Event()
            back = (far, near, lambda data, loses=loses: not (loses.is_set() and READY in data))
            there = (near, far, lambda data, loses=loses: self._passes(data, loses))
            for relayed in (back, there):
                threading.Thread(target=_relay, args=relayed, daemon=True).start()

    def _passes(self, data: bytes, loses: threading.Event) -> bool:
        """Return whether a message of a program is passed on."""
        if self._text is None or self._text not in data:
            return True
        self._text = None
        if self._before is None:
            self.met.set()
            return False
        self._before()
        if self._answer_is_lost:
            loses.set()
        self.met.set()
        return True


def _relay(source: socket.socket, target: socket.socket, passes: Callable[[bytes], bool]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 20):
            if not passes(data):
                break
            target.sendall(data)
    _shut(source)
    _shut(target)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
