"""A client on a bare socket, in either encoding: as much of the protocol as bad input needs.

Enters: the path of a server's Unix socket. Leaves: frames sent, results of calls. Fails: OSError
when the connection ends or nothing comes within the timeout, Refused for an answer that is a fault.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from ZEO.wire import messages
from ZEO.wire.message import FAULT, REPLY

ENCODINGS = ('Z5', 'M5')


class Refused(Exception):
    """The server answered with a fault."""


def framed(data: bytes) -> bytes:
    """Return `data` with its length before it."""
    return struct.pack('>I', len(data)) + data


def split_frames(data: bytes) -> list[bytes]:
    """Return the contents of the whole frames at the start of `data`."""
    found, at = [], 0
    while len(data) - at >= 4:
        end = at + 4 + int.from_bytes(data[at : at + 4], 'big')
        if end > len(data):
            break
        found.append(data[at + 4 : end])
        at = end
    return found


class Wire:
    """One connection that has said hello."""

    def __init__(self, path: str, encoding: str, timeout: float = 60.0) -> None:
        self.codec = messages.codec(encoding.encode())
        self._next = 0
        self._buffer = bytearray()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(path)
            self.frame()
            self.socket.sendall(framed(encoding.encode()))
        except BaseException:
            self.socket.close()
            raise

    def frame(self) -> bytes:
        """Return the next frame that arrives."""
        while True:
            if len(self._buffer) >= 4:
                end = 4 + int.from_bytes(self._buffer[:4], 'big')
                if len(self._buffer) >= end:
                    found = bytes(self._buffer[4:end])
                    del self._buffer[:end]
                    return found
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionResetError('the server closed the connection')
            self._buffer += data

    def send(self, name: str, *args: Any) -> None:
        """Call one way."""
        self.socket.sendall(framed(self.codec.send(name, args)))

    def call(self, name: str, *args: Any) -> Any:
        """Call and return the result; what comes before it is dropped."""
        self._next += 1
        self.socket.sendall(framed(self.codec.call(self._next, name, args)))
        while True:
            message_id, flags, kind, result = self.codec.decode(self.frame())
            if kind == REPLY and message_id == self._next:
                if flags & FAULT:
                    raise Refused(repr(result)[:300])
                return result

    def close(self) -> None:
        """Leave without a word."""
        self.socket.close()
