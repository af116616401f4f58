"""Bound the memory that large messages take while they arrive.

Enters: the size to which the memory of a client's message is about to grow. Leaves: clients that
are read from, and clients that wait until others have arrived. Fails: never; a message that stalls
while others wait for memory ends its connection.

Each message may take a share of the memory that is left, so that some is left for the next client.
Beyond that one message at a time may grow, whatever its size, the smallest first: each arrives in
the end, and the memory held is bounded by the budget and one message.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from ZEO.net.loop import Loop, Timer
from ZEO.serving.account import Budget

#: Seconds in which the message that others wait for has to bring :data:`LEAST` bytes: 35 KB/s.
PATIENCE = 30.0
LEAST = 2**20

#: A message may take this fraction (one eighth) of the memory that is left: twenty that stall leave
#: a fourteenth of it.
SHARE = 8


class Sender(Protocol):
    """A client with a message on its way."""

    def arrived(self) -> int:
        """Return how many bytes of the message have come."""

    def hold_input(self, hold: bool) -> None:
        """Read no more from this client, or go on."""

    def close(self, reason: str) -> None:
        """End the connection, which calls :meth:`Intake.left`."""


class Intake:
    """The unfinished large messages of a server's clients; all in the loop's thread."""

    def __init__(self, loop: Loop, budget: Budget) -> None:
        self.budget = budget
        self._loop = loop
        self._held: dict[Sender, int] = {}  # bytes of the budget that its message has
        # those that are not read from, and the size that they want
        self._waiting: dict[Sender, int] = {}
        # the one that may grow past its share
        self._first: Sender | None = None
        self._timer: Timer | None = None  # of the next look at that one, while others wait
        self._seen = 0  # bytes of it that had arrived at the last look

    def wants(self, client: Sender, size: int) -> None:
        """The memory of a client's message is about to grow.

        :param size: bytes that it is about to take; 0 when the message is complete.
        """
        if not size:
            self.left(client)
        elif not self._grant(client, size):
            self._waiting[client] = size
            client.hold_input(True)
            self._look_later()

    def left(self, client: Sender) -> None:
        """A client's message is complete, or the client is gone; harmless where there was none."""
        self.budget.used -= self._held.pop(client, 0)
        self._waiting.pop(client, None)
        if self._first is client:
            self._first = None
        if self._waiting:
            self._go_on()

    def _grant(self, client: Sender, size: int) -> bool:
        """Return whether a client may go on, and if so take the memory."""
        held = self._held.get(client, 0)
        if size <= (self.budget.limit - self.budget.used + held) // SHARE:
            self._held[client] = size
            self.budget.used += size - held
            return True
        if self._first is None:
            self._first = client
        return self._first is client

    def _go_on(self) -> None:
        """Memory was given back: go on with those that it is enough for, or at least with one."""
        for client, size in sorted(self._waiting.items(), key=lambda entry: entry[1]):
            if not self._grant(client, size):
                break
            del self._waiting[client]
            client.hold_input(False)
        self._look_later()

    def _look_later(self) -> None:
        if self._timer is None and self._waiting and self._first is not None:
            self._seen = self._first.arrived()
            self._timer = self._loop.later(PATIENCE, partial(self._look, self._first))

    def _look(self, first: Sender) -> None:
        self._timer = None
        if self._first is first and self._waiting and first.arrived() - self._seen < LEAST:
            first.close(
                f'closed by this server: its message has stalled ({first.arrived()} bytes have '
                f'arrived, less than {LEAST} in {PATIENCE:.0f} s) and others wait for memory'
            )
        self._look_later()
