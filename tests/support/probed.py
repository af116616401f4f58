"""A stand-in for a server that is asked for its status, which answers what a test wants.

Enters: the answers, one for each connection.  Leaves: the address.  Fails: never; a connection
too many is refused.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from typing import Any

#: Figures as a server reports them.
FIGURES: dict[str, Any] = {
    'connections': 3,
    'loads': 100,
    'stores': 20,
    'commits': 7,
    'aborts': 1,
    'active_txns': 0,
    'lock_time': None,
    'conflicts': 2,
    'conflicts_resolved': 1,
    'start': 'Mon Nov 23 12:31:48 2026',
    'waiting': 0,
    'timeout-thread-is-alive': True,
    'last-transaction': '03d0000000000000',
}


class Stand:
    """Listens, and answers each connection with the next answer.

    :param answers: what is sent after the greeting: a status as a dict, or raw bytes, or None to
        close at once.
    :param greeting: the first frame's contents; None sends nothing at all.
    """

    def __init__(self, *answers: Any, greeting: bytes | None = b'Z5') -> None:
        self._answers = answers
        self._greeting = greeting
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.address = self._listener.getsockname()
        self.text = '{}:{}'.format(*self.address)
        self.asked: list[bytes] = []  # what was received after the greeting
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *error: Any) -> None:
        self._listener.close()
        self._thread.join(10)

    def _run(self) -> None:
        for answer in self._answers:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            with stream:
                self._answer(stream, answer)
        self._listener.close()

    def _answer(self, stream: socket.socket, answer: Any) -> None:
        if answer is None:
            return
        stream.settimeout(10)
        if self._greeting is None:
            stream.recv(1)  # until the other side has gone
            return
        stream.sendall(_frame(self._greeting))
        self.asked.append(stream.recv(100))
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        stream.sendall(_frame(data))


def _frame(data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + data
