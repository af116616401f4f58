"""A server's loop, channels and peers, without sockets, threads or time of their own.

Enters: frames that a test's clients send, time that a test lets pass. Leaves: what each client is
sent, in order. Fails: never; what the server closes is closed.

Only the streams, the poller and the clock are made up: loop, channels, sessions and everything
above them are the server's own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import ZEO.net.loop
from support.clock import Clock
from ZEO.net.channel import Channel
from ZEO.net.loop import HANGUP, READ, WRITE, Loop
from ZEO.serving.account import Budget
from ZEO.serving.intake import Intake
from ZEO.serving.peer import Peer
from ZEO.serving.service import Service
from ZEO.wire.frames import frame
from ZEO.wire.messages import codec
from ZEO.wire.session import ServerSession

_FIRST = 1_000_000  # no real descriptor is that large


class HeldThreads(Clock):
    """Threads that run when a test says so, one at a time, from their beginning to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.held: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def spawn(self, name: str, target: Callable[..., None], *args: Any) -> Any:
        self.held.append((target, args))

    def run_one(self) -> None:
        """Run the thread that was started first."""
        target, args = self.held.popleft()
        thread = threading.Thread(target=target, args=args)
        thread.start()
        thread.join()

    def processor(self) -> None:
        """It is not known."""

    def run_on(self, processors: set[int] | None) -> None:
        """Change nothing."""

    def lower_priority(self, by: int) -> None:
        """Change nothing."""

    def begin_quick_switches(self) -> None:
        """Change nothing."""

    end_quick_switches = begin_quick_switches


class Stream:
    """A connected socket; a test is at its other end."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.arrived = bytearray()  # for the server
        self.left = bytearray()  # by the server
        self.window: int | None = None  # bytes that it takes before the client reads; None: all
        self.is_shut = False  # by the client
        self.is_closed = False  # by the server

    def fileno(self) -> int:
        return self._number

    def send(self, data: Any) -> int:
        count = len(data) if self.window is None else min(len(data), self.window)
        if not count:
            raise BlockingIOError
        if self.window is not None:
            self.window -= count
        self.left += data[:count]
        return count

    def recv_into(self, buffer: Any) -> int:
        if not self.arrived and not self.is_shut:
            raise BlockingIOError
        count = min(len(buffer), len(self.arrived))
        buffer[:count] = self.arrived[:count]
        del self.arrived[:count]
        return count

    def close(self) -> None:
        self.is_closed = True

    def ready(self) -> int:
        """Return the events that a poller would report."""
        events = READ if self.arrived or self.is_shut else 0
        if self.window is None or self.window:
            events |= WRITE
        return events | (HANGUP if self.is_shut else 0)


class Poller:
    """Asks the streams; of the loop's real files there is only the bell, which rings when a thread
    has posted something.
    """

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self._events: dict[int, int] = {}
        self.has_posts: Callable[[], bool] = lambda: False

    def register(self, fd: int, events: int) -> None:
        self._events[fd] = events

    modify = register

    def unregister(self, fd: int) -> None:
        del self._events[fd]

    def look(self) -> list[tuple[int, int]]:
        return [(fd, ready) for fd in self._events if (ready := self._ready(fd))]

    def _ready(self, fd: int) -> int:
        stream = self.streams.get(fd)
        ready = (READ if self.has_posts() else 0) if stream is None else stream.ready()
        return ready & self._events[fd]

    def poll(self, seconds: float | None) -> list[tuple[int, int]]:
        return self.look()

    def close(self) -> None:
        self._events.clear()


class Unwired:
    """The loop of a server, and its connections."""

    def __init__(self) -> None:
        self._poller = Poller()
        former, ZEO.net.loop.new_poller = ZEO.net.loop.new_poller, lambda: self._poller
        try:
            self.clock = HeldThreads()
            self.loop = Loop(self.clock)
        finally:
            ZEO.net.loop.new_poller = former
        self._poller.has_posts = lambda: self.loop.has_posts
        self.budget = Budget(2**20)
        self._intake = Intake(self.loop, self.budget)
        self._count = 0

    def connect(self, storages: Any, protocol: bytes, output_limit: int) -> Far:
        """Return the far end of a new connection.

        :param storages: what is served, by name.
        """
        self._count += 1
        stream = Stream(_FIRST + self._count)
        self._poller.streams[stream.fileno()] = stream
        session = ServerSession(protocol, 2**16, 2**20)
        peer = Peer(
            Service(storages, self.loop, self._intake, 60),
            session,
            f'client {self._count}',
            lambda peer: Channel(self.loop, stream, session, peer, output_limit),
            lambda peer: None,
        )
        return Far(stream, peer, protocol)

    def settle(self) -> None:
        """Run the loop until there is nothing to do."""
        for _ in range(1000):
            self.loop.run_once(0)
            if not (self._poller.look() or self.loop._turns or self.loop._soon or self._is_due()):
                return
        raise AssertionError('the loop does not come to rest')

    def _is_due(self) -> bool:
        return self.loop._timeout(None) == 0.0

    def timers(self) -> int:
        """Return how many timers run, besides those of lines for the log, and that which looks at
        the index as long as a storage is served.
        """
        return sum(
            timer.function is not None
            and not any(name in repr(timer.function) for name in ('Reports', 'IndexSaver'))
            for _, _, timer in self.loop._timers
        )


class Far:
    """A client's end of a connection."""

    def __init__(self, stream: Stream, peer: Peer, protocol: bytes) -> None:
        self.stream = stream
        self.peer = peer
        self.codec = codec(protocol)
        self._taken = 0  # bytes of what the server has sent
        self.give(frame(protocol))

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self.stream.is_closed

    def give(self, data: bytes) -> None:
        """Send bytes."""
        self.stream.arrived += data

    def tell(self, name: str, *args: Any) -> None:
        """Send a one-way message."""
        self.give(frame(self.codec.send(name, args)))

    def ask(self, number: int, name: str, *args: Any) -> None:
        """Send a call."""
        self.give(frame(self.codec.call(number, name, args)))

    def read(self) -> list[Any]:
        """Return the messages that have come, without the greeting."""
        left, found = self.stream.left, []
        while len(left) - self._taken >= 4:
            begin = self._taken + 4
            end = begin + int.from_bytes(left[self._taken : begin], 'big')
            if end > len(left):
                break
            if self._taken:
                found.append(self.codec.decode(bytes(left[begin:end])))
            self._taken = end
        return found
