"""The lasting relation of a client to its server, over one connection after another.

Enters: calls from any thread. Leaves: their results; a connection that is made again whenever it
was lost. Fails: ClientDisconnected when there is no connection within `timeout` seconds, or it is
lost under a call; at the first connection also what a server refuses us for.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.connection import Connection
from ZEO.link.connector import Attempt, Connected, Refused, Unreachable
from ZEO.link.options import ClientOptions
from ZEO.link.state import ClientState
from ZEO.link.waiting import Waiting
from ZEO.locks import under
from ZEO.net.addresses import Address, show
from ZEO.net.system import REAL, System

log = logging.getLogger('ZEO.ClientStorage')

#: Seconds between two looks for a writable server while there is only a read-only one.
LOOK_FOR_WRITABLE = 5.0

#: Failed rounds are logged at first and then once in so many seconds.
LOG_EVERY = 60.0

#: Seconds after which a call that waits for a connection looks by itself.
LOOK_AGAIN = 1.0


class Link:
    """Keeps a connection.

    :param connected: is called with every new connection before anybody may use it, in the
        connecting thread.
    """

    def __init__(
        self,
        options: ClientOptions,
        state: ClientState,
        connected: Callable[[Connected], None],
        system: System = REAL,
    ) -> None:
        self.addresses = options.addresses
        self.timeout = options.wait_timeout  # seconds that a call waits for a connection
        self._wanted = options.registration
        self._pauses = options.pauses
        self._state = state
        self._connected = connected
        self._system = system
        self._start_afresh()

    def _start_afresh(self) -> None:
        """Be without a connection and without threads: new, or in a forked child, where other
        threads' locks stay held.
        """
        self.connection: Connection | None = None  # the one to use
        # the last one, until its reader is out of it
        self._losing: Connection | None = None
        self._changed = self._system.reentrant_lock()  # guards what follows
        self._waiting: set[Waiting] = set()  # calls that wait for a connection
        # the thread that makes one, unless it has ended
        self._connector: Any = None
        self._closed = False
        self._fallback = False  # the connection is a read-only makeshift
        self._ever_connected = False
        # when a warning said that there is no connection
        self._away_since: float | None = None
        self._problem = (
            f'{", ".join(map(show, self.addresses))}: no server has sent its greeting yet: is it a '
            'ZEO server, '
            'and do both sides use TLS or none?'
        )
        self._refusal: BaseException | None = None  # no use in waiting for a first connection
        self._unwatched: Connection | None = None  # one that no watcher could be started for
        # when and why connections were lost, until that is logged
        self._losses: deque[tuple[float, str]] = deque()
        self._pausing = Waiting('')  # the connector's, to be cut short
        self._pausing.sleep(self._system, 0)

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
        connection = self.connection
        if connection is not None and connection.lost is None:
            return connection
        timeout = self.timeout if timeout is None else timeout
        deadline = self._system.now() + timeout
        waiting = Waiting('')
        try:
            self._waiting.add(waiting)
            while (connection := self._usable()) is None:
                self.start()  # each time: the thread that was at it may have been torn away
                left = deadline - self._system.now()
                if left <= 0:
                    raise ClientDisconnected(f'no connection within {timeout:g} s: {self._problem}')
                waiting.sleep(self._system, min(left, LOOK_AGAIN))
            return connection
        finally:
            self._waiting.discard(waiting)

    def _usable(self) -> Connection | None:
        """Return the connection, if there is one; raises what makes waiting for one useless."""
        connection = self.connection
        if connection is not None and connection.lost is not None:
            connection.lose('')  # who lost it may not have come to saying so
            connection = self.connection
        if connection is None:
            if self._closed:
                raise ClientDisconnected('the client storage was closed')
            if self._refusal is not None and not self._ever_connected:
                raise self._refusal
        return connection

    def _announce(self) -> None:
        """Have those who wait for a connection look again."""
        for waiting in self._waiting.copy():
            waiting.wake()

    # The life of connections.

    def start(self) -> None:
        """Begin to connect, in a thread of its own; harmless where there is a connection, or a
        thread at it.

        :raises ClientDisconnected: when no thread can be started; the next call tries again.
        """
        try:
            under(self._changed, self._start)
        except RuntimeError as error:
            raise ClientDisconnected(
                f'no connection, and no thread can be started to make one: {error}'
            ) from error

    def _start(self) -> None:
        if not self._closed and self.connection is None and not self._is_connecting():
            self._connector = self._system.spawn('ZEO connector', self._run)

    def _is_connecting(self) -> bool:
        return self._connector is not None and self._connector.is_alive()

    def close(self) -> None:
        """End the connection, for good."""
        connection = under(self._changed, self._close)
        self._announce()
        self._pausing.wake()
        if connection is not None:
            try:
                connection.flush()
            except ClientDisconnected:  # just as well
                pass
            connection.lose('the client storage was closed')

    def _close(self) -> Connection | None:
        self._closed = True
        connection, self.connection = self.connection, None
        return connection

    def new_addresses(self, addresses: list[Address]) -> None:
        """Use other addresses from now on; a connection that stands is kept only if its address is
        among them.
        """
        self.addresses = addresses
        connection = self.connection
        if connection is not None and connection.where not in map(show, addresses):
            connection.lose('another address was given')
        self._pausing.wake()

    def on_message(self, name: str, args: Any) -> None:
        """A connection has received a one-way message."""
        self._state.on_message(name, args)

    def on_lost(self, connection: Connection, reason: str) -> None:
        """A connection has ended."""
        under(self._changed, self._drop, connection, reason)
        self.try_to_start()

    def try_to_start(self) -> None:
        """The same; should it not be possible just now, the next call tries again."""
        try:
            self.start()
        except ClientDisconnected as error:
            log.warning('%s: %s', self._wanted.who, error)

    def _drop(self, connection: Connection, reason: str) -> None:
        if connection is not self.connection:
            return
        # first, lest another connection is made without waiting for this one's readers
        self._losing = connection
        self._problem = reason
        self.connection = None
        self._losses.append((self._system.now(), reason))

    def _run(self) -> None:
        """The connector's thread: until there is a connection that will do, or the client is
        closed.
        """
        if under(self._changed, self._take_over):
            try:
                self._connect()
            finally:
                if under(self._changed, self._is_needed_again):
                    # lost just now, when this thread still seemed to be at it
                    self.try_to_start()
                unwatched, self._unwatched = self._unwatched, None
                if unwatched is not None:
                    # no thread could be started for that: this one has nothing else to do
                    unwatched.watch()

    def _take_over(self) -> bool:
        """Become the connector, unless another thread is."""
        me = self._system.current_thread()
        if self._connector is not me and self._is_connecting():
            return False
        self._connector = me
        return True

    def _is_needed_again(self) -> bool:
        self._connector = None
        return self.connection is None and not self._closed

    def _connect(self) -> None:
        pause, last_pause = self._pauses
        logged_at = -LOG_EVERY
        while not self._closed and (self.connection is None or self._fallback):
            if self.connection is not None:
                self._watch()
                self._pause(LOOK_FOR_WRITABLE)
            try:
                problem = self._round()
            # The thread's boundary: without this thread the client would stay without a connection.
            except BaseException as error:
                log.exception('%s: connecting failed', self._wanted.who)
                problem = self._problem = f'connecting failed: {error!r}'
            if problem is None:
                continue
            if self._system.now() - logged_at > LOG_EVERY and self.connection is None:
                logged_at = self._system.now()
                log.warning('%s: not connected: %s', self._wanted.who, problem)
                if self._away_since is None:
                    self._away_since = logged_at
            self._pause(pause)
            pause = min(2 * pause, last_pause)

    def _round(self) -> str | None:
        """Try all addresses once; returns what went wrong."""
        self._log_losses()
        attempt = Attempt(
            self._wanted, self._state, self, self._system, lambda: not self._closed, self._retire
        )
        try:
            found = attempt.run(self.addresses, writable_only=self.connection is not None)
        except Unreachable as error:
            self._problem = str(error)
            return self._problem
        except Refused as error:
            self._problem = str(error)
            self._refusal = error.error
            self._announce()
            return self._problem
        try:
            self._publish(found)
        except BaseException as error:
            found.connection.lose(f'{found.connection.where}: connecting was interrupted', error)
            raise
        return None

    def _retire(self) -> None:
        """Before the cache is checked nobody may apply anything of an earlier connection any
        more.
        """
        current = self.connection
        if current is not None:
            current.lose('a writable server was found')
        if self._losing is not None:
            self._losing.finish()
            self._losing = None

    def _publish(self, found: Connected) -> None:
        self._connected(found)
        again = ' again' if self._ever_connected else ''
        if under(self._changed, self._use, found):
            self._log_connected(found, again)
        else:
            found.connection.lose('the client storage was closed')
        self._announce()
        self._unwatched = found.connection
        self._watch()

    def _use(self, found: Connected) -> bool:
        self._fallback = found.read_only
        self._ever_connected = True
        self._refusal = None
        if not self._closed and found.connection.lost is None:
            self.connection = found.connection
        return not self._closed

    def _watch(self) -> None:
        """Start a watcher of a new connection; should there be no thread to be had for now, it
        works without.
        """
        connection = self._unwatched
        if connection is not None:
            try:
                self._system.spawn('ZEO watcher', connection.watch)
            except RuntimeError as error:
                log.warning(
                    '%s: no thread can be started to watch the connection: %s',
                    connection.who,
                    error,
                )
            else:
                self._unwatched = None

    def _log_losses(self) -> None:
        """In the connector's thread, not in the one that has found the loss.

        That one may be struck again in the middle of logging, which would keep a handler's lock for
        good: all threads that log, of the whole process, would hang.
        """
        while self._losses:
            self._away_since, reason = self._losses.popleft()
            log.warning('%s: disconnected: %s', self._wanted.who, reason)

    def _log_connected(self, found: Connected, again: str) -> None:
        """As loud as what was logged when there was no connection, so that it is known to be
        over.
        """
        self._log_losses()
        where = found.connection.where + (' (read-only)' if found.read_only else '')
        since, self._away_since = self._away_since, None
        if since is None:
            log.info('%s: connected to %s', self._wanted.who, where)
        else:
            seconds = self._system.now() - since
            log.warning(
                '%s: connected%s to %s after %.1f s', self._wanted.who, again, where, seconds
            )

    def _pause(self, seconds: float) -> None:
        self._pausing.sleep(self._system, seconds)

    def after_fork(self) -> None:
        """In a forked child: leave the connection to the parent; the first call makes one of our
        own.
        """
        connection, closed, refusal = self.connection, self._closed, self._refusal
        self._start_afresh()
        self._closed, self._refusal = closed, refusal
        if connection is not None:
            connection.abandon()
