"""The lasting relation of a client to its server, over one connection after another.

Enters: calls from any thread. Leaves: their results; a connection that is made again whenever it
was lost. Fails: ClientDisconnected when there is no connection within `timeout` seconds, or it is
lost during a call; before the first connection also what every server refuses this client for.

A thread of its own looks for a server while there is none, and ends once there is a connection that
will do. An exception may strike it, or a calling thread, at any bytecode: whatever is left half
done is found by the next call, which does it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ZEO.Exceptions import ClientDisconnected, StaleServerError
from ZEO.link.calling import Calling
from ZEO.link.connection import Connection
from ZEO.link.connection_log import ConnectionLog
from ZEO.link.connector import ConnectRound, Refused, Registered, Unreachable, discard
from ZEO.link.connector_thread import ConnectorThread
from ZEO.link.introducing import Connected, bring_up_to_date
from ZEO.link.leaving import Leaving
from ZEO.link.link_state import LinkState
from ZEO.link.options import ClientOptions
from ZEO.link.reasons import ASK_BOTH_ENDS
from ZEO.link.verify import refuse_older
from ZEO.link.waiting import Waiting
from ZEO.locks import under
from ZEO.net.addresses import Address, show
from ZEO.net.system import REAL, System

log = logging.getLogger('ZEO.ClientStorage')

#: Seconds between two looks for a better server, such as a writable one while there is only a
#: read-only one.
LOOK_FOR_BETTER = 5.0

#: Seconds after which a call that waits for a connection looks by itself.
LOOK_AGAIN = 1.0

#: Seconds that a client that is closed waits for its server to take what was not sent yet.
LAST_WORDS = 2.0


class Link(Calling):
    """Keeps a connection.

    :param connected: is called with every new connection before any call may use it, in the
        connecting thread.
    """

    def __init__(
        self,
        options: ClientOptions,
        state: Any,  # takes what arrives: a ClientState, mostly
        connected: Callable[[Connected], None],
        system: System = REAL,
    ) -> None:
        self.addresses = options.addresses
        self.timeout = options.wait_timeout  # seconds that a call waits for a connection
        self._wanted = options.registration
        self._pauses = options.pauses
        self._client_state = state
        #: A connection has received a one-way message.
        self.on_message: Callable[[str, Any], None] = state.on_message
        self._connected = connected
        self._system = system
        self.leaving = Leaving(self, state, system)
        self._start_afresh()

    def _start_afresh(self) -> None:
        """Have no connection and no threads: new, or in a forked child, where the locks of other
        threads stay held.
        """
        self.connection: Connection | None = None  # the one to use
        self.state = LinkState.STARTING
        self._changed = self._system.reentrant_lock()  # held while these two change
        self._refusal: BaseException | None = None  # what calls raise in REFUSED and DENIED
        self._problem = (
            f'{", ".join(map(show, self.addresses))}: no server has sent its greeting yet. '
            f'{ASK_BOTH_ENDS}'
        )
        self._waiting: set[Waiting] = set()  # calls that wait for a connection
        self.connector = ConnectorThread(
            self._wanted.who,
            self._connect,
            lambda: self.state.is_looking,
            self._watch_unwatched,
            self._changed,
            self._system,
        )
        self._round: ConnectRound | None = None  # what that thread is at
        self._pausing = Waiting('')  # its pause, to be cut short
        self._pausing.sleep(self._system, 0)
        # the last connection, until no thread applies anything of it any more
        self._losing: Connection | None = None
        self._unwatched: Connection | None = None  # one that no watcher could be started for
        self._log = ConnectionLog(self._wanted.who, self._system)

    def wait(self, timeout: float | None = None) -> Connection:
        """Return the connection, after waiting for one if there is none.

        :param timeout: seconds, instead of the link's own.
        :raises ClientDisconnected: when there is none in time, or the client was closed.
        :raises AuthError: when every server denies this client access.
        :raises Exception: before the first connection, what every server refuses this client for.
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
                self.connector.start()  # each time: the thread may have been torn away
                left = deadline - self._system.now()
                if left <= 0:
                    raise ClientDisconnected(f'no connection within {timeout:g} s: {self._problem}')
                waiting.sleep(self._system, min(left, LOOK_AGAIN))
            return connection
        finally:
            self._waiting.discard(waiting)

    def _usable(self) -> Connection | None:
        """Return the connection, if there is one; raise what makes waiting for one useless."""
        connection = self.connection
        if connection is not None and connection.lost is not None:
            connection.lose('')  # the thread that lost it may have been torn away before it said so
            connection = self.connection
        if connection is None:
            if self.state is LinkState.CLOSED:
                raise ClientDisconnected('the client storage was closed')
            if self.state.fails_calls and self._refusal is not None:
                raise self._refusal
        return connection

    def _wake_waiting(self) -> None:
        """Have those who wait for a connection look again."""
        for waiting in self._waiting.copy():
            waiting.wake()

    # Looking for a server.

    def _connect(self) -> None:
        """Try all addresses again and again, with growing pauses."""
        pause, last_pause = self._pauses
        self._log.connects()
        while self.state.is_looking:
            if self.state is LinkState.SECOND_BEST:
                self._watch()
                self._pausing.sleep(self._system, LOOK_FOR_BETTER)
            if not self._try_all():
                self._pausing.sleep(self._system, pause)
                pause = min(2 * pause, last_pause)

    def _try_all(self) -> bool:
        """Try all addresses once; return whether there is a new connection."""
        try:
            self.leaving.wait(self._losing)
            self._log.write_losses()
            self._connect_to_one()
            return True
        except Unreachable as error:
            under(self._changed, self._failed, error, None)
        except Refused as error:
            under(self._changed, self._failed, error, error.error)
            self._wake_waiting()
        # The thread's boundary: without this thread the client would stay without a connection.
        except BaseException as error:
            log.exception('%s: connecting failed', self._wanted.who)
            self._problem = f'connecting failed: {error!r}'
        if self.state not in (LinkState.SECOND_BEST, LinkState.CLOSED):
            self._log.not_connected(self._problem)
        return False

    def _failed(self, problem: Exception, refusal: BaseException | None) -> None:
        self._problem = str(problem)
        self._refusal = refusal or self._refusal
        self.state = self.state.without_a_server(refusal)

    def _connect_to_one(self) -> None:
        """Use the first server that registers this client and that its cache can follow.

        :raises Unreachable: when there is none.
        :raises Refused: when every server refuses this client.
        """
        better_only = self.state is LinkState.SECOND_BEST
        connect_round = self._round = self._new_round()
        connect_round.is_cancelled = self.state is LinkState.CLOSED  # since this thread has looked
        try:
            for registered in connect_round.registered(self.addresses, better_only):
                connected = self._prepare(registered, connect_round)
                if connected is not None:
                    self._publish(connected)
                    return
        finally:
            self._round = None
            connect_round.end()
        raise connect_round.failure()

    def _new_round(self) -> ConnectRound:
        return ConnectRound(self._wanted, self, self._system)

    def _prepare(self, registered: Registered, connect_round: ConnectRound) -> Connected | None:
        """Leave the last connection, and check the cache; None when this server can't be used.

        The last one is not left for a server that this client would refuse.
        """
        try:
            if self.connection is not None and not self._wanted.drop_cache_if_older:
                refuse_older(registered.connection, self._client_state.last_tid, registered.tid)
            self._retire()
            return self._bring_up_to_date(registered)
        except StaleServerError as error:
            if self.connection is not None:
                self._log.stays(error)
            connect_round.reject(registered.connection, error)
            return None
        except Exception as error:  # the next server may do
            connect_round.reject(registered.connection, error)
            return None
        except BaseException:
            discard(registered.connection)
            raise

    def _bring_up_to_date(self, registered: Registered) -> Connected:
        return bring_up_to_date(registered, self._wanted, self._client_state)

    def _retire(self) -> None:
        """End the connection that a new one replaces; return once no thread applies any of it."""
        current = self.connection
        if current is not None:
            current.lose('a better server was found')
        if self._losing is not None:
            self._losing.lose('another server was found')
            self._losing.last_users.finish()
            self._losing = None

    # A connection, from its first call to its loss.

    def _publish(self, connected: Connected) -> None:
        """Have calls use a new connection."""
        connection, again = connected.connection, self.state.was_connected
        try:
            self._connected(connected)
            if under(self._changed, self._use, connected):
                where = connection.where + (' (read-only)' if connected.is_fallback else '')
                self._log.connected(where, again)
            else:
                connection.lose('the client storage was closed')
            self._wake_waiting()
            self._unwatched = connection
            self._watch()
            self.leaving.published(connection)
        except BaseException as error:
            connection.lose(f'{connection.where}: connecting was interrupted', error)
            raise

    def _use(self, connected: Connected) -> bool:
        """Return whether the client still wants a connection."""
        if self.state is LinkState.CLOSED:
            return False
        if connected.connection.lost is not None:
            self.state = self.state.then(LinkState.OFFLINE)
        else:
            self.connection = connected.connection
            self.state = self.state.then(
                LinkState.SECOND_BEST if connected.is_fallback else LinkState.READY
            )
        return True

    def _watch(self) -> None:
        """Start a watcher of a new connection, which works without one where that fails."""
        if (connection := self._unwatched) is not None:
            try:
                self._system.spawn('ZEO watcher', connection.watch)
            except RuntimeError as error:
                self._log.not_watched(error)
            else:
                self._unwatched = None

    def _watch_unwatched(self) -> None:
        """Watch the connection in the connecting thread, if no other could be started for that."""
        unwatched, self._unwatched = self._unwatched, None
        if unwatched is not None:
            unwatched.watch()

    def on_lost(self, connection: Connection, reason: str) -> None:
        """A connection has ended, or is not to be used any more: look for another."""
        under(self._changed, self._drop, connection, reason)
        self.connector.try_to_start()

    def _drop(self, connection: Connection, reason: str) -> None:
        if connection is not self.connection:
            return
        self._losing = connection  # first: the next connection waits for this one's readers
        self._problem = reason
        self.state = self.state.then(LinkState.OFFLINE)
        self.connection = None
        self._log.lost(reason)

    # Changes from outside.

    def new_addresses(self, addresses: list[Address]) -> None:
        """Use other addresses from now on; a connection is kept only if its address is among
        them.
        """
        self.addresses = addresses
        connection = self.connection
        if connection is not None and connection.where not in map(show, addresses):
            connection.lose('another address was given')
        self._pausing.wake()

    def close(self) -> None:
        """End the connection, and make no other; goes on where it was interrupted before."""
        connection = under(self._changed, self._close)
        self._wake_waiting()
        if (connect_round := self._round) is not None:
            connect_round.is_cancelled = True
        self._pausing.wake()
        if connection is not None:
            if connection.lost is None:
                connection.flush_within(LAST_WORDS)
            connection.lose('the client storage was closed')

    def _close(self) -> Connection | None:
        """Use no connection any more; return the last one, again if this was done before."""
        self.state = LinkState.CLOSED
        if self.connection is not None:
            self._losing = self.connection
            self.connection = None
        return self._losing

    def after_fork(self) -> None:
        """In a forked child: leave the connection to the parent; the first call makes another."""
        connection, state, refusal = self.connection, self.state, self._refusal
        self._start_afresh()
        if state in (LinkState.REFUSED, LinkState.CLOSED):
            self.state, self._refusal = state, refusal
        if connection is not None:
            connection.abandon()
