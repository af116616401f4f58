"""A client that walks through objects over a network, as it would be if nothing else took time.

Enters: records, and the oids that the client wants, one after the other. Leaves: what came of
read-ahead: round trips, bytes, time. Fails: never.

The server's guessing and the client's part are the real ones, with the real messages between them;
network and clock are computed. So the same walk gives the same figures on every machine, and a
change of the guessing can be judged by them, which real walks hide behind their noise.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ZEO.link.read_ahead import ReadAhead
from ZEO.serving.read_ahead.ahead import Ahead
from ZEO.serving.read_ahead.shared import SharedAhead
from ZEO.serving.read_ahead.source import LocalSource
from ZEO.wire.messages import MsgpackCodec

#: Seconds that a message takes one way; that the server needs for each message and each record; and
#: the client for each object that it does not have to ask for.
ONE_WAY, FOR_MESSAGE, FOR_RECORD, FOR_OBJECT = 0.0005, 20e-6, 5e-6, 20e-6

#: Bytes of an answer or a call beside its record, and what precedes each message.
_AROUND, _PREFIX = 60, 4

_TID = b'\0' * 7 + b'\1'


@dataclass(frozen=True)
class Figures:
    """What came of one walk.

    trips: loads that reached the server; bytes: those that came from it; seconds: what the client's
    walk took; cpu: seconds of processor time that the server's guessing really took; stopped: how
    often it was given up.
    """

    objects: int
    trips: int
    came: int
    used: int
    bytes: int
    bytes_without: int
    seconds: float
    seconds_without: float
    cpu: float
    stopped: int

    def __str__(self) -> str:
        return (
            f'{self.trips:6,} of {self.objects:6,} loads ({self.trips / self.objects:6.1%}), '
            f'time {self.seconds / self.seconds_without:5.1%}, '
            f'bytes {self.bytes / self.bytes_without:5.2f}, '
            f'came {self.came:6,}, used {self.used:6,}, stopped {self.stopped}, '
            f'server {self.cpu * 1000:4.0f} ms'
        )


class Model:
    """A storage whose clients walk, one after the other.

    :param records: by oid.
    :param think: seconds that the client is busy between two objects.
    """

    def __init__(self, records: dict[bytes, bytes], think: float = 0.0003) -> None:
        self._records = records
        self._think = think
        self._shared = SharedAhead('always', True)

    def walk(self, loads: list[bytes]) -> Figures:
        """Have a new client want these, each once."""
        server = _Server(self._records, self._shared)
        client = _Client(server, self._think)
        for oid in loads:
            client.want(oid)
        server.ahead.close()
        size = sum(len(self._records[oid]) + _AROUND for oid in loads)
        each = 2 * ONE_WAY + FOR_MESSAGE + FOR_OBJECT + self._think
        return Figures(
            len(loads),
            client.trips,
            client.ahead.came,
            client.ahead.taken,
            client.bytes,
            size,
            client.now,
            each * len(loads),
            server.cpu,
            self._shared.figures.stopped,
        )


class _Invalidations:
    """There are none."""

    newest = b''


class _Clock:
    """The server is never so late that it lets others go first."""

    @staticmethod
    def now() -> float:
        return 0.0


class _Server:
    """Channel and loop of the server's part, and what is on its way from and to the client."""

    is_closed = False
    unsent = 0
    system = _Clock

    def __init__(self, records: dict[bytes, bytes], shared: SharedAhead) -> None:
        self._records = records
        self._soon: deque[Callable[[], None]] = deque()
        self._next: deque[Callable[[], None]] = deque()
        self.now = self.cpu = 0.0
        self.coming: deque[tuple[float, str, Any]] = deque()
        self.sent: deque[tuple[float, Any]] = deque()
        source = LocalSource(self._load)
        parts: Any = (source, _Invalidations, self, MsgpackCodec(), self)
        self.ahead = Ahead(shared, *parts)

    def _load(self, oid: bytes, before: bytes) -> Any:
        data = self._records.get(oid)
        return None if data is None else (data, _TID, None)

    # What the server's part calls.

    def send(self, message: bytes) -> None:
        self.now += FOR_MESSAGE
        self.sent.append((self.now + ONE_WAY, message))

    def soon(self, call: Callable[[], None]) -> None:
        self._soon.append(call)

    def next_turn(self, call: Callable[[], None]) -> None:
        self._next.append(call)

    # What happens.

    def work_until(self, moment: float) -> None:
        """Take what has arrived by then, and do what is left to do, in the loop's order."""
        begin = time.process_time()
        while True:
            if self.coming and self.coming[0][0] <= max(self.now, moment):
                if not self._next:
                    self.now = max(self.now, self.coming[0][0])
                while self.coming and self.coming[0][0] <= self.now:
                    self._take(*self.coming.popleft()[1:])
            elif not self._next or self.now > moment:
                break
            self._turn()
        self.cpu += time.process_time() - begin

    def _take(self, name: str, argument: Any) -> None:
        self.now += FOR_MESSAGE
        if name == 'used_ahead':
            self.ahead.used(*argument)
            return
        found = self._load(argument, _TID)
        self.sent.append((self.now + ONE_WAY, found[0]))
        self.ahead.loaded(argument, found)

    def _turn(self) -> None:
        later, self._next = self._next, deque()
        self._soon.extend(later)
        while self._soon:
            self._soon.popleft()()


class _Client:
    """A client storage, as far as read-ahead is concerned; it is its own cache and connection."""

    def __init__(self, server: _Server, think: float) -> None:
        self._server = server
        self._think = think
        self._codec = MsgpackCodec()
        self.now = 0.0
        self.trips = self.bytes = 0
        self.ahead = ReadAhead(self)  # type: ignore[arg-type]
        self._has: set[bytes] = set()
        self._answers = 0

    def want(self, oid: bytes) -> None:
        """The application wants an object."""
        self.now += self._think
        self._server.work_until(self.now)
        self._receive()
        connection: Any = self
        ahead = self.ahead
        if oid in ahead.staged or oid in ahead.expected:
            ahead.bring(oid, connection)
        self.now += FOR_OBJECT
        if oid in self._has:
            return
        if ahead.used:
            ahead.report(connection)
        self.trips += 1
        self._tell('load', oid)
        self._wait(lambda: self._answers == self.trips)

    def _tell(self, name: str, argument: Any) -> None:
        self._server.coming.append((self.now + ONE_WAY, name, argument))

    def _receive(self) -> None:
        sent = self._server.sent
        while sent and sent[0][0] <= self.now:
            message = sent.popleft()[1]
            if isinstance(message, bytes) and message[_PREFIX:].find(b'readAhead', 0, 20) > 0:
                self.bytes += len(message)
                self.ahead.arrived(*self._codec.decode(message[_PREFIX:])[3])
            else:
                self.bytes += len(message) + _AROUND
                self._answers += 1

    def _wait(self, is_over: Callable[[], bool]) -> None:
        server = self._server
        while not is_over():
            if server.sent:
                self.now = max(self.now, server.sent[0][0])
            elif server.coming:
                self.now = max(self.now, server.coming[0][0])
            else:
                self.now += FOR_MESSAGE
            server.work_until(self.now)
            self._receive()

    # What the client's part calls.

    def store(self, oid: bytes, tid: bytes, end: None, data: bytes) -> None:
        self._has.add(oid)

    def send(self, name: str, args: Any) -> None:
        self._tell(name, args)

    def flush(self) -> None:
        """Everything is sent at once."""

    def finish_waiting(self, waiting: Any) -> None:
        self._wait(lambda: waiting.done)
