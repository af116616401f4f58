"""The link to the server from which a client reads, of several that have the same storage.

Enters: calls from any thread that change nothing. Leaves: their results. Fails: as
:mod:`ZEO.link.link` does; a call whose connection is lost is made once more, on another.

While another server would be better, it is looked for: a follower, where this client prefers them;
one that has its primary at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZODB.utils import z64

from ZEO.Exceptions import ClientDisconnected
from ZEO.link import verify
from ZEO.link.connector import Registered
from ZEO.link.following_state import FollowingState
from ZEO.link.introducing import Connected, introduce
from ZEO.link.link import Link
from ZEO.link.options import ClientOptions
from ZEO.link.outbox import NotSent
from ZEO.link.primary_link import PrimaryLink
from ZEO.link.reading_round import (
    BEST,
    GOOD,
    POOR,
    ReadingRound,
    behind,
    is_follower,
    settled,
)
from ZEO.locks import under
from ZEO.net.system import System
from ZEO.wire.extensions import FOLLOWS, REPLICA

#: Seconds for which a follower is not preferred that was behind a commit of this client for too
#: long.
AVOID = 30.0

#: Servers that may fail to come to a transaction before its commit goes on without.
ATTEMPTS = 3


class ReadLink(Link):
    """Keeps a connection to read from.

    :param state: what this client knows.
    :param primary: the link to the server that takes writes.
    """

    def __init__(
        self,
        options: ClientOptions,
        state: FollowingState,
        connected: Callable[[Connected], None],
        primary: PrimaryLink,
        system: System,
    ) -> None:
        self._prefers_followers = options.prefer == REPLICA
        self._patience = options.prefer_wait  # seconds that a server may be behind a commit
        self._state = state
        self._primary = primary
        self._avoided: dict[str, float] = {}  # address -> until when
        self._rank = BEST  # of the connected server
        self.drops_when_older = options.registration.drop_cache_if_older
        super().__init__(options, state, connected, system)
        state.reach = self.reach
        state.role_changed = self._judge_again

    # Calls.

    def call(self, name: str, *args: Any, applied: Callable[[Any], Any] | None = None) -> Any:
        """Call the server, or another one, where the first is lost."""
        connection = self.connection or self.wait()
        try:
            return connection.call(name, args, applied)
        except ClientDisconnected as error:
            if connection.lost is None and not isinstance(error, NotSent):
                raise
        return self.wait().call(name, args, applied)

    def load_before(self, oid: bytes, tid: bytes, state: Any) -> Any:
        """Call loadBefore, the same way."""
        connection = self.connection or self.wait()
        try:
            return connection.load_before(oid, tid, state)
        except ClientDisconnected as error:
            if connection.lost is None and not isinstance(error, NotSent):
                raise
        return self.wait().load_before(oid, tid, state)

    # Transactions of which this client was told elsewhere.

    def synchronize(self) -> None:
        """Come to all that was committed before, where the primary is at hand."""
        connection = self._primary.at_hand(self._patience)
        if connection is None:
            super().synchronize()
        else:
            self.reach(connection.call('lastTransaction', ()), self._patience)

    def catch_up(self) -> None:
        """Come to all that the primary shows, as :meth:`pass_by` does.

        :raises ClientDisconnected: when the primary is lost.
        """
        connection = self._primary.at_hand(self._patience)
        if connection is not None:
            self.pass_by(connection.call('lastTransaction', ()))

    def pass_by(self, tid: bytes) -> None:
        """Come to a transaction that is permanent; if that takes too long, have the next
        transaction that begins wait for it.
        """
        try:
            self.reach(tid, self._patience)
        except BaseException as error:
            self._state.owe(tid)
            if not isinstance(error, ClientDisconnected):
                raise

    def reach(self, tid: bytes, seconds: float | None = None) -> None:
        """Return once the stream has come to a transaction. A server that does not come to it in
        time is left for another one.

        :param seconds: to wait for another server, instead of the link's own.
        :raises ClientDisconnected: when none has it in time.
        """
        state = self._state
        state.need(tid)
        for _ in range(ATTEMPTS):
            if state.has_passed(tid):
                return
            self._wait_for(tid, seconds)
        if not state.has_passed(tid):
            raise ClientDisconnected(f'no server has come to transaction {tid.hex()} in time')

    def _wait_for(self, tid: bytes, seconds: float | None) -> None:
        """Return when the connected server has come to a transaction, or is lost."""
        connection, began = self.wait(seconds), self._system.now()
        passing = self._state.waiting_for(tid, self._patience)
        try:
            connection.wait_for(passing)
        except ClientDisconnected:
            if self._system.now() - began >= self._patience:
                self._avoided[connection.where] = self._system.now() + AVOID
        finally:
            self._state.waits_no_more(passing)

    # Which server.

    def rank(self, where: str, info: dict[str, Any]) -> int:
        """Return how good a server is; see :mod:`ZEO.link.reading_round`."""
        if not is_follower(info):
            return GOOD if self._prefers_followers else BEST
        if self._avoided.get(where, 0.0) > self._system.now() or not info.get(FOLLOWS):
            return POOR
        return BEST

    def known(self) -> bytes:
        """Return the last transaction that this client has seen."""
        return self._state.known()

    def _new_round(self) -> ReadingRound:
        return ReadingRound(self._wanted, self, self._system, self)

    def connected_to(self) -> tuple[str, int] | None:
        """Return the address and the rank of the connected server."""
        connection = self.connection
        return None if connection is None else (connection.where, self._rank)

    def _bring_up_to_date(self, registered: Registered) -> Connected:
        connection, state = registered.connection, self._state
        state.hold()
        connection.events.pass_on()
        info = introduce(registered, self._wanted, state.introduced)
        known = state.known()
        tid = settled(connection, registered.tid, known, self._system)
        if tid < known and is_follower(info):
            raise behind(connection.where, tid, known)
        if tid < state.needed:  # a primary that has gone back in time
            verify.accept_older(connection, known, tid, self.drops_when_older)
            state.reset_to(tid)
            state.needed, state.owed, dropped = tid, z64, True
        else:
            wanted = self._wanted
            dropped = verify.check(
                state, connection, tid, wanted.drop_cache_if_older, wanted.drop_cache_rather_verify
            )
        state.release()
        self._rank = self.rank(connection.where, state.info)
        return Connected(connection, self._rank > BEST, state.info, dropped)

    def _judge_again(self) -> None:
        """The connected server has said that its part has changed."""
        under(self._changed, self._set_rank)
        self.connector.try_to_start()

    def _set_rank(self) -> None:
        connection = self.connection
        if connection is not None:
            self._rank = self.rank(connection.where, self._state.info)
            self.state = self.state.judged(self._rank == BEST)

    def after_fork(self) -> None:
        """In a forked child: leave the connection to the parent."""
        super().after_fork()
        self._avoided = {}
