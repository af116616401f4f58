"""The followers of one storage: servers that copy what is committed here, and say what they have.

Enters: clients that say that they follow, and the transactions that they have on disk. Leaves: what
a number of followers have; the entry of each in the status. Fails: ProtocolError for a client that
acknowledges what there is not, or does not follow. All in the loop's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from persistent.TimeStamp import TimeStamp
from ZODB.utils import z64

from ZEO.Exceptions import ProtocolError
from ZEO.net.loop import Loop
from ZEO.serving.moments import iso
from ZEO.wire.quoting import quoted


class Client(Protocol):
    """A client that follows: a :class:`~ZEO.serving.peer.Peer`."""

    address: str  # where it has connected from

    def report(self, level: int, kind: str, text: str, *args: Any) -> None:
        """Write a line about it into the log, unless there are many of that kind."""


class Follower:
    """One follower.

    :param label: what it calls itself.
    :param counts: whether what it acknowledges counts; it does not for one that may only read.
    :param since: when it began to follow, in seconds since the epoch.
    """

    def __init__(self, client: Client, label: str, counts: bool, since: float) -> None:
        self.address = client.address
        self.label = label
        self.counts = counts
        self.tid = z64  # the last transaction that it has on disk
        self._since = since

    def comes_to(self, last: bytes, seconds: float) -> bool:
        """Return whether it does not have everything, and is near enough to have it soon.

        :param last: the last transaction that there is.
        :param seconds: that the primary waits.
        """
        return z64 < self.tid < last and _seconds(self.tid, last) < seconds

    def entry(self, last: bytes, behind: Callable[[bytes], int | None]) -> dict[str, Any]:
        """Return its entry in the status.

        :param last: the last transaction of the primary.
        :param behind: returns the number of transactions after one; None where that is not known.
        """
        return {
            'label': self.label,
            'address': self.address,
            'since': iso(self._since),
            'counts': self.counts,
            'replicated': self.tid.hex() if self.tid > z64 else None,
            'lag-transactions': behind(self.tid) if self.tid > z64 else None,
            'lag-seconds': _seconds(self.tid, last) if self.tid > z64 else None,
        }


def _seconds(earlier: bytes, later: bytes) -> float:
    """Return how many seconds are between two transactions, 0 or more."""
    between = TimeStamp(later).timeTime() - TimeStamp(earlier).timeTime()
    return max(0.0, round(between, 3))


class Followers(dict[Any, Follower]):
    """Followers by their connections, in the order in which they came.

    :param name: of the storage, for the log.
    """

    def __init__(self, name: str, loop: Loop) -> None:
        super().__init__()
        self._name = name
        self._loop = loop
        #: Called when what followers have has changed.
        self.watchers: list[Callable[[], None]] = []

    def join(self, client: Client, label: str, counts: bool) -> None:
        """A client says that it follows; once more, if it does already."""
        wall_clock = self._loop.system.wall_clock
        self[client] = follower = Follower(client, label, counts, wall_clock())
        client.report(
            logging.INFO,
            'followers',
            'follows storage %s as %s',
            self._name,
            quoted(follower.label),
        )

    def acknowledge(self, client: Client, tid: bytes, last: bytes) -> None:
        """A follower has a transaction on disk, and all before it.

        :param last: the last one that there is.
        :raises ProtocolError: for a later one, and for a client that does not follow.
        """
        follower = self.get(client)
        if follower is None:
            raise ProtocolError('client called replicated before follow')
        if tid > last:
            raise ProtocolError(
                f'client acknowledged transaction {tid.hex()}, and the last one is {last.hex()}'
            )
        if tid > follower.tid:
            follower.tid = tid
            self._changed()

    def left(self, client: Client) -> None:
        """A connection has ended; harmless where it was not that of a follower."""
        follower = self.pop(client, None)
        if follower is not None:
            # one that has nothing may come again and again, since it refuses this primary
            client.report(
                logging.WARNING if follower.tid > z64 else logging.INFO,
                'followers that are gone',
                'does not follow storage %s any more, it has transactions up to %s',
                self._name,
                follower.tid.hex(),
            )
            self._changed()

    def _changed(self) -> None:
        for watcher in self.watchers:
            self._loop.attempt(watcher)

    def have(self, number: int) -> bytes:
        """Return the last transaction that this number of followers have on disk."""
        tids = sorted((one.tid for one in self.values() if one.counts), reverse=True)
        return tids[number - 1] if 0 < number <= len(tids) else z64

    def report(self, last: bytes, behind: Callable[[bytes], int | None]) -> list[dict[str, Any]]:
        """Return their entries in the status, see :meth:`Follower.entry`."""
        return [follower.entry(last, behind) for follower in self.values()]
