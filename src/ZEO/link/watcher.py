"""The thread that reads a connection while no call waits, and keeps it alive.

Enters: a connection that is greeted. Leaves: what the server sends, applied; keep-alives; messages
that a call has left behind, sent. Fails: never; a watcher that fails ends its connection.
"""

from __future__ import annotations

from typing import Any, Protocol

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.outbox import Outbox
from ZEO.link.reader import Reader
from ZEO.link.signs_of_life import SignsOfLife
from ZEO.net.locks import take_back
from ZEO.net.stream import Stream
from ZEO.net.system import System

#: Seconds between two keep-alives, which keep firewalls from forgetting an idle connection.
KEEP_ALIVE = 60.0

#: Seconds for which the watcher leaves reading to the callers after a call; each round costs it a
#: wake-up.
CALM = 0.005

#: The same while a call waits for its answer, and so its caller reads.
BUSY = 0.05


class Watched(Protocol):
    """What a watcher needs of :class:`ZEO.link.connection.Connection`."""

    lost: ClientDisconnected | None

    def end(self, reason: str, cause: BaseException | None) -> None:
        """End the connection."""


class Watcher:
    """That of one connection.

    :param waiting: all calls without an answer.
    """

    def __init__(
        self,
        connection: Watched,
        stream: Stream,
        outbox: Outbox,
        reader: Reader,
        waiting: dict[int, Any],
        signs: SignsOfLife,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._outbox = outbox
        self._reader = reader
        self._waiting = waiting
        self._signs = signs

    def run(self, system: System) -> None:
        """Read whenever no caller does, until the connection is lost."""
        kept_alive = system.now()
        connection, outbox = self._connection, self._outbox
        while connection.lost is None:
            sends = outbox.sends
            system.sleep(BUSY if self._waiting else CALM)
            if sends == outbox.sends and self._waiting:
                # what has applied an answer may have begun a call, and may not send it
                self._flush_quietly()
            if (
                sends == outbox.sends
                and not self._reader.is_waiting
                and self._stream.wait_readable(KEEP_ALIVE / 4)
            ):
                self._reader.drain()
            if self._waiting:
                self._find_lost_locks()
            if system.now() - kept_alive > KEEP_ALIVE:
                kept_alive = system.now()
                self._signs.keep_alive()

    def _flush_quietly(self) -> None:
        try:
            self._outbox.flush()
        except ClientDisconnected:  # callers find out by themselves
            pass

    def _find_lost_locks(self) -> None:
        """A thread that has not given its lock back was interrupted in the middle of something."""
        for role in (self._outbox, self._reader):
            if role.suspicion.is_lost():
                self._connection.end('a thread was interrupted in the middle of a call', None)
                take_back(role.lock)
