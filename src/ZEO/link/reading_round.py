"""Finding a server to read from: followers and primaries, the better ones first.

Enters: addresses; how good each server is. Leaves: connections that are registered for reading, the
best first. Fails: as :mod:`ZEO.link.connector` does.

A server is never chosen that does not have what this client has seen: a follower that is behind may
be later; a primary that is older has gone back in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.connection import Connection
from ZEO.link.connector import LONGEST, ConnectRound, Registered, discard
from ZEO.link.options import Registration
from ZEO.link.verify import older
from ZEO.net.addresses import Address, show
from ZEO.net.system import System
from ZEO.wire.extensions import REPLICA, ROLE, WHOLE

#: How good a server is. The best is used at once; any other until a better one is found.
BEST, GOOD, POOR = 0, 1, 2

#: Seconds to wait for better servers' greetings, once there is one that will do.
LINGER = 0.5

#: Seconds for a primary, or a follower that was at hand, to have what this client has seen: it may
#: be on its way there.
CATCHES_UP = 1.0

#: Seconds between two questions whether it has.
_ASK_AGAIN = 0.01

#: Seconds without a message from a server, while a call waits for it, after which it is asked for a
#: sign of life, and after which it is given up: there are other servers to read from.
ASK_AFTER, GIVE_UP_AFTER = 3.0, 10.0


class Judge(Protocol):
    """Knows how good servers are."""

    drops_when_older: bool  # whether to go back in time with a primary that has

    def rank(self, where: str, info: dict[str, Any]) -> int:
        """Return how good a server is, 0 for the best."""

    def known(self) -> bytes:
        """Return the last transaction that this client has seen."""

    def connected_to(self) -> tuple[str, int] | None:
        """Return the address and the rank of the connected server."""


def is_follower(info: dict[str, Any]) -> bool:
    """Return whether a server is a follower, by its answer to get_info."""
    return info.get(ROLE) == REPLICA


def settled(connection: Connection, tid: Any, known: bytes, system: System) -> bytes:
    """Return the last transaction of a server, which is given a moment to come to what this client
    has seen.

    :param tid: what it has answered to register.
    """
    until = system.now() + CATCHES_UP
    if not isinstance(tid, bytes):  # older servers
        tid = connection.call('lastTransaction', ())
    while tid < known and system.now() < until:
        system.sleep(_ASK_AGAIN)
        tid = connection.call('lastTransaction', ())
    return tid


def behind(where: str, tid: bytes, known: bytes) -> ClientDisconnected:
    """Return the error of a follower that does not have what this client has seen."""
    return ClientDisconnected(
        f'{where}: the follower is behind: its last transaction is {tid.hex()}, but this client '
        f'has seen {known.hex()}'
    )


class ReadingRound(ConnectRound):
    """One round over all addresses, or all but that of the connected server, of which there is
    news.
    """

    def __init__(self, wanted: Registration, events: Any, system: System, judge: Judge) -> None:
        super().__init__(wanted, events, system)
        self._judge = judge
        self._kept: list[tuple[int, Registered]] = []  # which will do, with their ranks
        self._kept_since = 0.0

    def registered(self, addresses: list[Address], better_only: bool) -> Iterator[Registered]:
        """Yield one server after the other, see :meth:`ConnectRound.registered`."""
        where, limit = (better_only and self._judge.connected_to()) or ('', POOR + 1)
        self._connect([address for address in addresses if show(address) != where])
        for connection in self._greeted():
            if self._has_proved(connection):
                for registered in self._register(connection, True):
                    yield from self._looked_at(registered)
        self._kept.sort(key=lambda kept: kept[0])
        while self._kept and self._kept[0][0] < limit and not self.is_cancelled:
            yield self._kept.pop(0)[1]

    def end(self) -> None:
        """Let go of all connections that were not handed out."""
        while self._kept:
            discard(self._kept.pop()[1].connection)
        super().end()

    def _connection_to(self, address: Address) -> Connection:
        connection = super()._connection_to(address)
        deadlines = connection.deadlines
        deadlines.ask_after = min(deadlines.ask_after, ASK_AFTER)
        deadlines.give_up_after = min(deadlines.give_up_after, GIVE_UP_AFTER)
        return connection

    def _longest(self) -> float:
        if not self._kept:
            return LONGEST
        return max(0.0, self._kept_since + LINGER - self._system.now())

    def _looked_at(self, registered: Registered) -> Iterator[Registered]:
        """Yield the best; keep others that will do for later."""
        connection = registered.connection
        try:
            rank = self._rank(registered)
        except Exception as error:
            self.reject(connection, error)
            return
        except BaseException:
            discard(connection)
            raise
        registered.is_fallback = rank > BEST
        if rank == BEST:
            yield registered
            return
        if not self._kept:
            self._kept_since = self._system.now()
        self._kept.append((rank, registered))

    def _rank(self, registered: Registered) -> int:
        """Return how good a server is.

        :raises ClientStorageError: when it does not have what this client has seen.
        """
        connection, judge = registered.connection, self._judge
        info = connection.call('get_info', ())
        if not is_follower(info):
            registered.tid = settled(connection, registered.tid, judge.known(), self._system)
            if registered.tid < judge.known() and not judge.drops_when_older:
                raise older(connection, judge.known(), registered.tid)
        elif registered.tid < judge.known():
            raise behind(connection.where, registered.tid, judge.known())
        elif not info.get(WHOLE):
            raise ClientDisconnected(
                f'{connection.where}: the follower has not copied everything from its primary yet'
            )
        return judge.rank(connection.where, info)
