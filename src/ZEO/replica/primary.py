"""The server that a replica follows, as a client of it.

Enters: the options for reaching it; the transaction after which to begin. Leaves: transactions with
their records, in parts of bounded size; blob files; the last transaction that the server has told.
Fails: ClientDisconnected when the connection is lost; what the server raises.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from ZODB.POSException import Unsupported
from ZODB.utils import z64

from ZEO.ClientStorage import ClientStorage
from ZEO.link.connection import Connection
from ZEO.link.iterators import StorageIterator, Transaction
from ZEO.link.waiting import News
from ZEO.net.system import System
from ZEO.replica.errors import NotFollowed
from ZEO.wire.extensions import (
    BATCHES,
    CHAIN,
    FOLLOWERS,
    FOLLOWS,
    REPLICA,
    ROLE,
    WHOLE,
)

#: Records of a transaction in one part, where the server does not send them in batches.
_PART = 1000

#: Transactions that are counted, for the number of those that are still to come.
_MOST_HEARD = 10_000

#: How many ids of followers are looked at.
LONGEST_CHAIN = 100

#: What describes a transaction (tid, status, user, description, extension as bytes), some of its
#: records, and whether those are the last.
Part = tuple[tuple[bytes, str, bytes, bytes, bytes], list[Any], bool]


class Heard:
    """What a client storage takes for its database: it only learns that there is something new.

    Reports come in the thread that reads the connection.
    """

    def __init__(self) -> None:
        self._is_new = False  # something that has not been waited for
        self._news: News | None = None
        self.newest = z64
        # the last transactions; the list is only as long as is needed to say how many
        self._tids: deque[bytes] = deque(maxlen=_MOST_HEARD)

    def invalidate(self, tid: bytes, oids: Iterable[bytes], version: str = '') -> None:
        """The server has a new transaction."""
        self.newest = max(self.newest, tid)
        self._tids.append(tid)
        self.wake()

    def after(self, tid: bytes) -> int | None:
        """Return how many transactions after this one were reported; None where they are too many
        to know.
        """
        tids = self._tids.copy()
        if len(tids) == _MOST_HEARD and tids[0] > tid:
            return None
        return sum(one > tid for one in tids)

    def invalidateCache(self) -> None:
        """The server may have anything."""
        self.wake()

    def wake(self) -> None:
        """Have the thread look that waits, or is going to."""
        self._is_new = True
        news = self._news
        if news is not None:
            news.done = True
            news.wake()

    def forget_news(self) -> None:
        """What comes from now on is new."""
        self._is_new = False

    def expect(self, news: News) -> News:
        """Return `news`, which is done with the next report, or because of one before."""
        self._news = news
        if self._is_new:
            news.done = True
        return news

    def transform_record_data(self, data: bytes) -> bytes:
        """Return a record as it is."""
        return data

    untransform_record_data = transform_record_data


class Primary:
    """A server, with one connection to it.

    :param addr: its addresses.
    :param options: for a :class:`~ZEO.ClientStorage.ClientStorage`.
    """

    _connection: Connection

    def __init__(self, addr: Any, options: dict[str, Any], system: System) -> None:
        self._system = system
        self.heard = Heard()
        self._client = _Client(
            addr, cache_size=1 << 20, read_only=True, wait=False, system=system, **options
        )
        self._client.registerDB(self.heard)

    def connect(self, seconds: float) -> None:
        """Connect to the first server that can be reached.

        :param seconds: that it may take.
        :raises ClientDisconnected: when no server answers in time; others as ClientStorage does.
        """
        self._connection = self._client.connection(seconds)

    def wait_for_news(self, seconds: float) -> None:
        """Return when the server has a new transaction, also if that was told since the last time;
        or after `seconds`.

        :raises ClientDisconnected: when the connection is lost.
        """
        self._connection.wait_for_news(self.heard.expect(News(seconds, self._system)))

    @property
    def where(self) -> str:
        """The address that is connected to."""
        return self._connection.where

    def call(self, name: str, *args: Any) -> Any:
        """Return what the server answers to a call."""
        return self._connection.call(name, args)

    def last(self) -> bytes:
        """Return the last transaction at the server, as it says now."""
        return self.call('lastTransaction')

    def newest(self) -> bytes:
        """Return the last transaction that it has announced."""
        return max(self.heard.newest, self._client.last_told() or z64)

    def is_whole(self) -> bool:
        """Return whether it is not itself a replica that never had everything."""
        return self._client.says_whole()

    def role(self) -> str | None:
        """Return which part it has; None where it never was a follower."""
        return self._client.said().get(ROLE)

    def is_replica(self) -> bool:
        """Return whether it follows, or is to follow, another server."""
        return self.role() == REPLICA

    def is_primary(self) -> bool:
        """Return whether it is connected, and no follower."""
        return self._client.is_connected() and not self.is_replica()

    def follows(self) -> bool:
        """Return whether it is a follower that has its primary at hand."""
        return self._client.said().get(FOLLOWS) is True

    def chain(self) -> tuple[str, ...]:
        """Return the ids of the followers from it on the way to its primary, it first."""
        said = self._client.said().get(CHAIN)
        if not isinstance(said, (list, tuple)):  # of another server
            return ()
        return tuple(one for one in said[:LONGEST_CHAIN] if isinstance(one, str))

    def size(self) -> int:
        """Return the bytes that its storage has, as it said last."""
        return self._client.getSize()

    def follow(self, label: str) -> None:
        """Say that this client follows, where the server keeps account of that.

        :raises NotFollowed: when its storage cannot be followed.
        """
        if FOLLOWERS in self._client.abilities():
            try:
                self.call('follow', label)
            except Unsupported as error:
                raise NotFollowed(f'{self.where}: {error}') from error

    def replicated(self, tid: bytes) -> None:
        """Say that all transactions up to this one are on the disk."""
        if FOLLOWERS in self._client.abilities():
            self._connection.send('replicated', (tid,))
            self._connection.flush()

    def parts(self, start: bytes | None) -> Iterator[Part | None]:
        """Yield the transactions from `start` on, in parts of about 1 MB or one record; None where
        the next part has not come yet.
        """
        if BATCHES in self._client.abilities():
            batches = _batches(self._connection, start)
        else:
            batches = _one_by_one(self._connection, start)
        for part in batches:
            yield part and (_with_bytes(part[0]), part[1], part[2])

    def headers(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, str]]:
        """Yield tid and status of the transactions from `start` to `stop`, without records."""
        number = self.call('iterator_start', start, stop)
        while (found := self.call('iterator_next', number)) is not None:
            yield found[0], found[1]

    def transactions(self, start: bytes, stop: bytes) -> Iterator[Any]:
        """Iterate over the transactions from `start` to `stop`."""
        return StorageIterator(self._connection, start, stop, BATCHES in self._client.abilities())

    def blob(self, oid: bytes, tid: bytes) -> str:
        """Return the path of a file with a committed blob, which the caller may move away.

        :raises POSKeyError: when the server does not have it.
        """
        return self._client.loadBlob(oid, tid)

    def close(self) -> None:
        """End the connection."""
        self._client.close()


class _Client(ClientStorage):
    """A client storage that hands out its connection."""

    def connection(self, seconds: float) -> Connection:
        return self._server.wait(seconds)

    def abilities(self) -> frozenset[str]:
        return self._state.abilities

    def says_whole(self) -> bool:
        return bool(self._state.info.get(WHOLE, True))

    def said(self) -> dict[str, Any]:
        return self._state.info

    def last_told(self) -> bytes | None:
        return self._state.last_tid


def _batches(connection: Connection, start: bytes | None) -> Iterator[Any]:
    """Yield what the batches of one iteration hold; one is on its way while another is used."""
    number = connection.call('iterator_start', (start, None))
    coming = _ask(connection, number)
    while True:
        if not coming.done:
            yield None
        batch, ended = coming.wait()
        if not ended:
            coming = _ask(connection, number)
        yield from batch
        if ended:
            return


def _ask(connection: Connection, number: int) -> Any:
    asked = connection.begin('iterator_batch', (number,), lambda batch: batch)
    connection.flush()
    return asked


def _one_by_one(connection: Connection, start: bytes | None) -> Iterator[Any]:
    for transaction in StorageIterator(connection, start, None, batches=False):
        described = (
            transaction.tid,
            transaction.status,
            transaction.user,
            transaction.description,
            transaction.extension_bytes,
        )
        records = iter(transaction._records)
        while True:
            part = list(islice(records, _PART))
            yield described, part, len(part) < _PART
            if len(part) < _PART:
                break


def _with_bytes(described: Any) -> tuple[bytes, str, bytes, bytes, bytes]:
    tid, status, user, description, extension = described
    if type(status) is bytes:
        status = status.decode('latin-1')
    if type(user) is bytes and type(description) is bytes and type(extension) is bytes:
        return tid, status, user, description, extension
    record = Transaction((tid, status, user, description, extension), ())
    return tid, status, record.user, record.description, record.extension_bytes
