"""A proxy that forwards bytes a fixed time later, as a network between two towns does.

Enters: connections to the address on which it listens. Leaves: what comes, at the other side after
the delay, whatever the amount: it delays, and does not limit throughput. Fails: a connection that
breaks on one side is closed on the other.

One thread does everything, since what is measured needs the other cores. It runs as a process of
its own, ``python -m benchlib.delay HOST:PORT SECONDS``: it writes the port on which it listens to
its standard output, and when its input ends, how many bytes it has forwarded to the server and
back.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import deque
from typing import Any

_CHUNK = 256 * 1024


class Way:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.on_the_way: deque[tuple[float, bytes]] = deque()  # when it arrives, and what; b'': end
        self.count = 0  # bytes

    def take(self, delay: float) -> bool:
        """Read what there is; return whether there will be more."""
        try:
            data = self.source.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            data = b''
        self.count += len(data)
        self.on_the_way.append((time.monotonic() + delay, data))
        return bool(data)

    def deliver(self, now: float) -> float | None:
        """Write what has arrived; return when more arrives."""
        while self.on_the_way and self.on_the_way[0][0] <= now:
            _, data = self.on_the_way.popleft()
            try:
                if data:
                    self.target.setblocking(True)
                    self.target.sendall(data)
                    self.target.setblocking(False)
                else:
                    self.target.shutdown(socket.SHUT_WR)
            except OSError:  # it is gone
                pass
        return self.on_the_way[0][0] if self.on_the_way else None


class Proxy:
    """Delays the connections to one server.

    :param target: the server's address.
    :param delay: of one way, in seconds.
    """

    def __init__(self, target: tuple[str, int], delay: float) -> None:
        self._target = target
        self._delay = delay
        self.listener = socket.create_server(('127.0.0.1', 0))
        self._ways: dict[Any, Way] = {}  # by the socket that is read
        self._all: list[Way] = []

    def run(self, until: Any) -> tuple[int, int]:
        """Forward until `until` can be read; return the bytes to the server, and back."""
        while True:
            now = time.monotonic()
            times = [way.deliver(now) for way in self._all]
            due = [when for when in times if when is not None]
            timeout = max(0.0, min(due) - time.monotonic()) if due else None
            ready, _, _ = select.select([self.listener, until, *self._ways], [], [], timeout)
            for one in ready:
                if one is until:
                    return sum(w.count for w in self._all[::2]), sum(
                        w.count for w in self._all[1::2]
                    )
                if one is self.listener:
                    self._accept()
                elif not self._ways[one].take(self._delay):
                    del self._ways[one]

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        server = socket.create_connection(self._target)
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setblocking(False)
        there, back = Way(client, server), Way(server, client)
        self._ways.update({client: there, server: back})
        self._all += [there, back]


def main() -> None:
    host, _, port = sys.argv[1].rpartition(':')
    proxy = Proxy((host, int(port)), float(sys.argv[2]))
    print(proxy.listener.getsockname()[1], flush=True)
    print(*proxy.run(sys.stdin), flush=True)


if __name__ == '__main__':
    main()
