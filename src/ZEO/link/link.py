"""The lasting relation of a client to its server, over one connection after another.

Enters: calls from any thread.  Leaves: their results; a connection that is made again whenever it was lost.  Fails:
ClientDisconnected when there is no connection within `timeout` seconds, or it is lost under a call; at the first connection
also what a server refuses us for.
"""
from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.connection import Connection
from ZEO.link.connector import Attempt, Connected, Refused, Registration, Unreachable
from ZEO.link.state import ClientState
from ZEO.net.addresses import Address, show
from ZEO.net.system import REAL, System

log = logging.getLogger('ZEO.ClientStorage')

#: Seconds between two rounds of connecting: from the first, doubled, to the second.
FIRST_PAUSE, LAST_PAUSE = 0.05, 1.0

#: Seconds between two looks for a writable server while there is only a read-only one.
LOOK_FOR_WRITABLE = 5.0

#: Failed rounds are logged at first and then once in so many seconds.
LOG_EVERY = 60.0


class Link:
    """Keeps a connection.

    :param timeout: seconds that a call waits for a connection.
    :param connected: is called with every new connection before anybody may use it, in the connecting thread.
    :param pauses: the first and the last pause between two rounds of connecting, in seconds.
    """

    def __init__(self, addresses: list[Address], wanted: Registration, state: ClientState, timeout: float,
                 connected: Callable[[Connected], None],
                 pauses: tuple[float, float] = (FIRST_PAUSE, LAST_PAUSE), system: System = REAL) -> None:
        self.addresses = addresses
        self.timeout = timeout
        self._wanted = wanted
        self._state = state
        self._connected = connected
        self._pauses = pauses
        self._system = system
        self._start_afresh()

    def _start_afresh(self) -> None:
        """Be without a connection and without threads: new, or in a forked child, where other threads' locks stay held."""
        self.connection: Connection | None = None        # the one to use
        self._losing: Connection | None = None           # the last one, until its reader is out of it
        self._changed = self._system.condition()         # guards what follows, tells of its changes
        self._connecting = False                         # a thread is at it
        self._closed = False
        self._fallback = False                           # the connection is a read-only makeshift
        self._ever_connected = False
        self._problem = (f'{", ".join(map(show, self.addresses))}: no server has sent its greeting yet: is it a ZEO server, '
                         'and do both sides use TLS or none?')
        self._refusal: BaseException | None = None       # no use in waiting for a first connection
        self._wake = self._system.event()                # cuts a pause short

    # Calls.

    def call(self, name: str, *args: Any, applied: Callable[[Any], Any] | None = None) -> Any:
        """Call the server; see :meth:`Connection.call`."""
        return (self.connection or self.wait()).call(name, args, applied)

    def load_before(self, oid: bytes, tid: bytes, applied: Callable[[Any], Any]) -> Any:
        """Call loadBefore; see :meth:`Connection.load_before`."""
        return (self.connection or self.wait()).load_before(oid, tid, applied)

    def wait(self, timeout: float | None = None) -> Connection:
        """Return the connection, waiting for one if need be.

        :param timeout: seconds, unless the link's own is meant.
        :raises ClientDisconnected: when there is none in time, or the client was closed.
        """
        timeout = self.timeout if timeout is None else timeout
        deadline = self._system.now() + timeout
        self.start()
        with self._changed:
            while self.connection is None:
                if self._closed:
                    raise ClientDisconnected('the client storage was closed')
                if self._refusal is not None and not self._ever_connected:
                    raise self._refusal
                left = deadline - self._system.now()
                if left <= 0:
                    raise ClientDisconnected(f'no connection within {timeout:g} s: {self._problem}')
                self._changed.wait(left)
            return self.connection

    # The life of connections.

    def start(self) -> None:
        """Begin to connect, in a thread of its own; harmless where there is a connection, or a thread at it."""
        with self._changed:
            if self._connecting or self._closed or self.connection is not None:
                return
            self._connecting = True
        self._system.spawn('ZEO connector', self._run)

    def close(self) -> None:
        """End the connection, for good."""
        with self._changed:
            self._closed = True
            connection, self.connection = self.connection, None
            self._changed.notify_all()
        self._wake.set()
        if connection is not None:
            try:
                connection.flush()
            except ClientDisconnected:   # just as well
                pass
            connection.lose('the client storage was closed')

    def new_addresses(self, addresses: list[Address]) -> None:
        """Use other addresses from now on; a connection that stands is kept only if its address is among them."""
        self.addresses = addresses
        connection = self.connection
        if connection is not None and connection.where not in map(show, addresses):
            connection.lose('another address was given')
        self._wake.set()

    def on_message(self, name: str, args: Any) -> None:
        """A connection has received a one-way message."""
        self._state.on_message(name, args)

    def on_lost(self, connection: Connection, reason: str) -> None:
        """A connection has ended."""
        with self._changed:
            if connection is not self.connection:
                return
            self.connection = None
            self._losing = connection
            self._problem = reason
            closed = self._closed
        log.log(logging.DEBUG if closed else logging.WARNING, 'disconnected: %s', reason)
        if not closed:
            self.start()

    def _run(self) -> None:
        """The connector's thread: until there is a connection that will do, or the client is closed."""
        pause, last_pause = self._pauses
        logged_at = -LOG_EVERY
        try:
            while not self._closed and (self.connection is None or self._fallback):
                if self.connection is not None:
                    self._pause(LOOK_FOR_WRITABLE)
                problem = self._round()
                if problem is None:
                    continue
                if self._system.now() - logged_at > LOG_EVERY and self.connection is None:
                    logged_at = self._system.now()
                    log.warning('not connected: %s', problem)
                self._pause(pause)
                pause = min(2 * pause, last_pause)
        finally:
            with self._changed:
                self._connecting = False
                again = self.connection is None and not self._closed
        if again:   # it was lost just now, when this thread still seemed to be at it
            self.start()

    def _round(self) -> str | None:
        """Try all addresses once; returns what went wrong."""
        attempt = Attempt(self._wanted, self._state, self, self._system, lambda: not self._closed, self._retire)
        try:
            found = attempt.run(self.addresses, writable_only=self.connection is not None)
        except Unreachable as error:
            self._problem = str(error)
            return self._problem
        except Refused as error:
            with self._changed:
                self._problem = str(error)
                self._refusal = error.error
                self._changed.notify_all()
            return self._problem
        self._publish(found)
        return None

    def _retire(self) -> None:
        """Before the cache is checked nobody may apply anything of an earlier connection any more."""
        current = self.connection
        if current is not None:
            current.lose('a writable server was found')
        if self._losing is not None:
            self._losing.finish()
            self._losing = None

    def _publish(self, found: Connected) -> None:
        self._connected(found)
        with self._changed:
            self._fallback = found.read_only
            self._ever_connected = True
            self._refusal = None
            closed = self._closed
            if not closed and found.connection.lost is None:
                self.connection = found.connection
            self._changed.notify_all()
        if closed:
            found.connection.lose('the client storage was closed')
        log.info('connected to %s%s', found.connection.where, ' (read-only)' if found.read_only else '')
        self._system.spawn('ZEO watcher', found.connection.watch)

    def _pause(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def after_fork(self) -> None:
        """In a forked child: leave the connection to the parent; the first call makes one of our own."""
        connection, closed, refusal = self.connection, self._closed, self._refusal
        self._start_afresh()
        self._closed, self._refusal = closed, refusal
        if connection is not None:
            connection.abandon()
