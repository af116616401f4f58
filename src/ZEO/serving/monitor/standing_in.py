"""An answer of the monitor while the loop stands still.

Enters: a connection that was just accepted, in another thread than the loop's. Leaves: one answer,
whatever was asked; then the connection's end. Fails: never.
"""

from __future__ import annotations

from typing import Any

from ZEO.net.system import System
from ZEO.serving.monitor.responses import encoded, text

#: Seconds that a client may take for its request, and for reading the answer: others wait.
PATIENCE = 1.0

#: Bytes of a request that are read.
MOST = 16 * 1024


def answer_once(stream: Any, problem: str, system: System) -> None:
    """Answer that the server cannot serve now."""
    with stream:
        try:
            request = _request(stream, system)
            with_body = not request.startswith(b'HEAD ')
            answer = encoded(text(503, problem), system.wall_clock(), with_body, stays=False)
            stream.settimeout(PATIENCE)
            stream.sendall(answer)
        except OSError:  # it is gone, or too slow
            pass


def _request(stream: Any, system: System) -> bytes:
    """Return what has come, up to the end of a request's head.

    :raises OSError: when that does not come in time.
    """
    until, request = system.now() + PATIENCE, b''
    while b'\r\n\r\n' not in request and len(request) < MOST:
        stream.settimeout(max(0.001, until - system.now()))
        data = stream.recv(MOST)
        if not data:
            break
        request += data
    return request
