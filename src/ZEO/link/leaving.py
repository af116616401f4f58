"""Leaving a server that is about to stop, without an error in the application.

Enters: the server's message, by whichever thread reads. Leaves: a connection that has ended, once
its transactions and its calls have; what comes meanwhile goes to the next server. Fails: never;
what takes longer than the server waits ends with ClientDisconnected.

The order matters: first nothing is begun any more on this connection, then it is seen that no
transaction is under way; calls are kept from being sent, then it is seen that none waits. So
a call that comes in between is seen, or sees it itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.connection import Connection
from ZEO.net.system import System

#: Seconds between two looks whether the transactions and calls have ended.
LOOK_AGAIN = 0.005

#: Seconds that a server may ask for at most.
LONGEST = 600.0


class Owner(Protocol):
    """What is needed of :class:`ZEO.link.link.Link`."""

    connection: Connection | None

    def wait(self) -> Connection:
        """Return the connection, after waiting for one if there is none."""

    def on_lost(self, connection: Connection, reason: str) -> None:
        """A connection is not to be used any more: look for another."""


class Stopped(Protocol):
    """What takes the server's messages, such as :class:`ZEO.link.state.ClientState`."""

    on_stopping: Callable[[float], None]


class Leaving:
    """That of one link."""

    def __init__(self, link: Owner, state: Stopped, system: System) -> None:
        state.on_stopping = self._server_stops
        # whether a transaction is under way on a connection; set by what has them
        self.is_committing: Callable[[Connection], bool] = lambda connection: False
        self._link = link
        self._system = system
        self._until = 0.0  # when the server ends the connection that is being left
        # what the server of a connection has said that no call may use yet
        self._noted: float | None = None

    def _server_stops(self, seconds: float) -> None:
        connection = self._link.connection
        if connection is None:
            self._noted = seconds
        else:
            self._begin(connection, seconds)

    def published(self, connection: Connection) -> None:
        """Calls may use a connection now."""
        seconds, self._noted = self._noted, None
        if seconds is not None:
            self._begin(connection, seconds)

    def _begin(self, connection: Connection, seconds: float) -> None:
        if connection.is_stopping:
            return
        self._until = self._system.now() + min(max(seconds, 0.0), LONGEST)
        connection.is_stopping = True
        try:
            self._system.spawn('ZEO leaving a server', self._leave, connection)
        except RuntimeError:  # no thread can be started: the server ends the connection in time
            pass

    def _leave(self, connection: Connection) -> None:
        """In a thread of its own."""
        try:
            self._wait_while(connection, lambda: self.is_committing(connection))
            self._link.on_lost(connection, _reason(connection))
            try:
                connection.call_no_more()
            except ClientDisconnected:  # it has ended meanwhile, with something that was not sent
                return
            self._wait_while(connection, connection.has_calls)
        finally:
            connection.lose(_reason(connection))

    def to_begin(self) -> Connection:
        """Return a connection for what takes several calls, after waiting for one whose server is
        not about to stop.

        :raises ClientDisconnected: when there is none in time.
        """
        connection = self._link.wait()
        if connection.is_stopping:
            self.wait(connection)
            connection = self._link.wait()
        return connection

    def wait(self, connection: Connection | None) -> None:
        """Wait while a connection is being left, if it is; it has ended then."""
        if connection is not None and connection.is_stopping:
            self._wait_while(connection, lambda: True)
            connection.lose(
                _reason(connection)
            )  # if the thread that leaves it has not come to that

    def _wait_while(self, connection: Connection, condition: Callable[[], bool]) -> None:
        while connection.lost is None and self._system.now() < self._until and condition():
            self._system.sleep(LOOK_AGAIN)


def _reason(connection: Connection) -> str:
    return f'{connection.where}: the server stops'
