"""The link to the server that takes writes, of a client that reads from another one.

Enters: calls from any thread. Leaves: their results; a connection to a primary, which is looked for
when one is needed first, and again whenever it was lost. Fails: as :mod:`ZEO.link.link` does; a
server that only reads is no reason to give up, since a follower may be made a primary.
"""

from __future__ import annotations

from collections.abc import Callable

from ZODB.POSException import ReadOnlyError

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.connection import Connection
from ZEO.link.connector import ConnectRound, Registered
from ZEO.link.following_state import PrimaryState
from ZEO.link.introducing import Connected, introduce
from ZEO.link.link import Link
from ZEO.link.link_state import LinkState
from ZEO.link.options import ClientOptions
from ZEO.link.reading_round import is_follower, settled
from ZEO.link.verify import older
from ZEO.net.system import System


class PrimaryRound(ConnectRound):
    """One round over all addresses, for a server that takes writes."""

    def reject(self, connection: Connection, error: Exception) -> None:
        """Note why a server can't be used: a follower may become a primary."""
        if isinstance(error, ReadOnlyError):
            error = ClientDisconnected(
                f'{connection.where}: this server takes no writes: it is a follower, or read-only'
            )
        super().reject(connection, error)


class PrimaryLink(Link):
    """Keeps a connection to the primary.

    :param missing: is called with whether no primary was found, when that changes.
    """

    def __init__(
        self,
        options: ClientOptions,
        state: PrimaryState,
        missing: Callable[[bool], None],
        system: System,
    ) -> None:
        self._primary_state = state
        self._missing = missing
        self._falls_back = options.read_only_fallback
        self._is_missing = False  # since the last look
        super().__init__(options, state, self._found, system)

    def at_hand(self, seconds: float) -> Connection | None:
        """Return the connection; None without one, or if one that is needed first is not there in
        time.
        """
        if self.connection is None and self.state is LinkState.STARTING:
            try:
                return self.wait(seconds)
            except ClientDisconnected:
                return None
        if self.connection is None:
            self.connector.try_to_start()
        return self.connection

    def _new_round(self) -> PrimaryRound:
        return PrimaryRound(self._wanted, self, self._system)

    def _bring_up_to_date(self, registered: Registered) -> Connected:
        """There is nothing to check but that the primary has what this client has seen."""
        state, connection = self._primary_state, registered.connection
        reading = state.reading
        state.connects()
        connection.events.pass_on()
        info = introduce(registered, self._wanted)
        if is_follower(info):
            raise ClientDisconnected(f'{connection.where}: this server is a follower')
        tid = settled(connection, registered.tid, reading.known(), self._system)
        if tid < reading.known():
            raise older(connection, reading.known(), tid)
        state.info = info
        if state.unsure:
            state.unsure = False
            reading.need(tid)
            reading.owe(tid)
        return Connected(connection, False, info, False)

    def _usable(self) -> Connection | None:
        connection = super()._usable()
        if connection is None and self._is_missing:
            raise ReadOnlyError(
                f'no primary was found, so nothing can be written now: {self._problem}'
            )
        return connection

    def _found(self, connected: Connected) -> None:
        self._is_missing = False
        self._missing(False)

    def _failed(self, problem: Exception, refusal: BaseException | None) -> None:
        super()._failed(problem, refusal)
        if self._falls_back:
            self._is_missing = True
            self._missing(True)
            self._wake_waiting()
