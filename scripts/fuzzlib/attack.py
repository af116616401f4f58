"""Sends bad input over many connections, one after the other, in a few threads.

Enters: a target, sessions, a seed, a time. Leaves: counts, and what the last connections have sent.
Fails: never because of the server; whether that is well others look.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter, deque
from typing import Any

from ZEO.wire import messages

from . import proofs
from .mutations import Frames, mutated, stranger
from .targets import Target
from .wire import framed
from .wrong import Known, Messages, payloads

#: Seconds that an attacker listens for answers before it goes.
PATIENCE = 1.0

#: How many streams are kept of those that were sent last.
KEPT = 100


class Attack:
    """Threads that attack one target until a moment.

    :param sessions: frames of real sessions; the first frame is the hello, the second ``register``.
    :param known: oids and tids of the database.
    """

    def __init__(
        self,
        target: Target,
        sessions: list[Frames],
        known: tuple[list[bytes], list[bytes]],
        seed: str,
    ) -> None:
        self._target, self._sessions, self._seed = target, sessions, seed
        self._known = Known(*known, payloads(str(target.canary)))
        self.counts: Counter[str] = Counter()
        self.last: deque[bytes] = deque(maxlen=KEPT)
        self._codec = messages.codec(target.encoding.encode())

    def run(self, until: float, threads: int) -> None:
        """Attack until the monotonic clock says `until`, or the server is gone."""
        running = [
            threading.Thread(target=self._attacker, args=(number, until))
            for number in range(threads)
        ]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    def _attacker(self, number: int, until: float) -> None:
        turn = 0
        while time.monotonic() < until and self._target.is_alive:
            rng = random.Random(f'{self._seed}/{self._target.name}/{number}/{turn}')
            turn += 1
            stream = self._stream(rng)
            self.last.append(stream)
            try:
                answers = deliver(self._target.path, stream, leave=rng.random() < 0.2)
            except OSError:
                self.counts['connections refused'] += 1
                time.sleep(0.05)
            else:
                self.counts['connections'] += 1
                self.counts['bytes of answers'] += answers

    def _stream(self, rng: random.Random) -> bytes:
        odds = rng.random()
        if odds < 0.05:
            self.counts['strangers'] += 1
            return stranger(rng)
        if odds < 0.1:
            self.counts['wrong proofs'] += 1
            return self._proof(rng)
        if odds < 0.55:
            self.counts['mutated sessions'] += 1
            return mutated(rng, self._sessions)
        return self._wrong(rng)

    def _proof(self, rng: random.Random) -> bytes:
        pieces = [framed(self._target.encoding.encode())]
        for number, (name, args) in enumerate(proofs.calls(rng)):
            encoded = self._encoded((number, False, name, args))
            pieces.append(framed(encoded or b''))
        return b''.join(pieces)

    def _wrong(self, rng: random.Random) -> bytes:
        source, count = (
            Messages(rng, self._known, self._target.encoding),
            rng.choice((1, 5, 30, 100)),
        )
        pieces = [
            framed(self._target.encoding.encode()),
            framed(self._codec.call(1, 'register', ('1', rng.random() < 0.15))),
        ]
        for _ in range(count):
            for message in source.take():
                encoded = self._encoded(message)
                if encoded is not None:
                    pieces.append(framed(encoded))
                    self.counts['wrong messages'] += 1
        return b''.join(pieces)

    def _encoded(self, message: Any) -> bytes | None:
        message_id, flags, name, args = message
        try:
            if self._target.encoding == 'Z5':
                from ZEO.wire.pickles import dumps

                return dumps((message_id, flags, name, args))
            import msgpack

            return msgpack.packb((message_id, flags, name, args))
        except (OverflowError, TypeError, ValueError, RecursionError):
            return None  # what this encoding cannot say


def deliver(path: str, stream: bytes, leave: bool = False) -> int:
    """Send a stream on a connection of its own and take answers for a while; return how many bytes
    came.

    :param leave: go at once, with the answers unread.
    :raises OSError: when there is nobody to connect to.
    """
    received = 0
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        try:
            _send_all(connection, stream)
            if leave:
                return 0
            connection.shutdown(socket.SHUT_WR)  # a server that has answered everything closes
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline and (data := connection.recv(1 << 16)):
                received += len(data)
        except OSError:
            pass  # the server has closed the connection, or says nothing
    return received


def _send_all(connection: socket.socket, stream: bytes) -> None:
    """Send, reading what comes meanwhile, as a server stops reading from those who do not read."""
    view = memoryview(stream)
    deadline = time.monotonic() + 3 * PATIENCE
    while view and time.monotonic() < deadline:
        sent = connection.send(view[: 1 << 16])
        view = view[sent:]
        connection.setblocking(False)
        try:
            while connection.recv(1 << 16):
                pass
        except BlockingIOError:
            pass
        connection.settimeout(PATIENCE)
