"""What a client knows that reads from a follower, and commits at the primary.

Enters: what the server sends that it reads from, in the order in which it arrived; the commits of
this client, as the primary has answered them. Leaves: what :mod:`ZEO.link.state` says. Fails: as
that does.

One stream rules: that of the server from which is read. A commit of this client becomes visible
here, in cache, database and last tid, when that stream has come to it, as the commits of others do.
The primary's answer comes before that or after it; a transaction that begins after a commit of its
own waits for it, see :meth:`ZEO.link.read_link.ReadLink.reach`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ZODB.utils import z64

from ZEO.cache.protocol import Cache
from ZEO.Exceptions import ProtocolError
from ZEO.link.state import ClientState
from ZEO.link.waiting import Waiting
from ZEO.net.system import REAL, System
from ZEO.wire import shapes
from ZEO.wire.answer_templates import Invalidations
from ZEO.wire.extensions import EXTENSIONS, FOLLOWS, PACKED, ROLE, STOPPING


class Own(NamedTuple):
    """A commit of this client that the stream has not brought yet.

    :param records: the oids, each with its new record, or None where that is not known.
    :param callback: of tpc_finish.
    """

    records: dict[bytes, bytes | None]
    callback: Callable[[bytes], Any]


class Passing(Waiting):
    """Waits for the stream to come to a transaction.

    :param limit: seconds that it may take until the connection ends.
    """

    _failed = False

    def __init__(self, state: FollowingState, tid: bytes, limit: float) -> None:
        super().__init__('')
        self.tid = tid
        self.limit = limit
        self._state = state

    @property
    def done(self) -> bool:
        """Whether it has, or the connection has ended."""
        return self._failed or self._state.has_passed(self.tid)

    @done.setter
    def done(self, done: bool) -> None:
        self._failed = done

    @property
    def awaited(self) -> str:
        """What the server has not done, if it takes too long."""
        return f'come to transaction {self.tid.hex()}'


class FollowingState(ClientState):
    """Takes all arrivals of the server from which is read."""

    def __init__(self, cache: Cache, system: System = REAL) -> None:
        super().__init__(cache, system)
        #: The last transaction that this client has heard of elsewhere: from the primary. A server
        #: that does not have it is not read from.
        self.needed = z64
        #: The same, for one that could not be waited for: no transaction begins without it.
        self.owed = z64
        #: Comes to a transaction, or raises ClientDisconnected.
        self.reach: Callable[[bytes], None] = lambda tid: None
        #: Is called when the server says that its part has changed.
        self.role_changed: Callable[[], None] = lambda: None
        self._start()

    def _start(self) -> None:
        self._own: dict[bytes, Own] = {}  # by tid
        # what commits of this client have changed that the stream has not come to, by tid
        self._ahead_of_stream: dict[bytes, list[bytes]] = {}
        self._passing: set[Passing] = set()

    def after_fork(self) -> None:
        """In a forked child: have a lock and commits of its own."""
        super().after_fork()
        self._start()

    def has_passed(self, tid: bytes) -> bool:
        """Return whether the stream has come to a transaction."""
        return self.last_tid is not None and self.last_tid >= tid

    def known(self) -> bytes:
        """Return the last transaction that this client has seen, or has heard of."""
        return max(self.cache.getLastTid() or z64, self.last_tid or z64, self.needed)

    def need(self, tid: bytes) -> None:
        """Read from no server that does not have a transaction."""
        self.needed = max(self.needed, tid)

    def owe(self, tid: bytes) -> None:
        """Let no transaction begin without one."""
        self.owed = max(self.owed, tid)

    def settled_tid(self) -> bytes | None:
        """Return the last transaction; see :class:`ZEO.link.state.ClientState`.

        :raises ClientDisconnected: when there is no server that has what this client was told.
        """
        if self.owed > z64:
            if not self.has_passed(self.owed):
                self.reach(self.owed)
            self.owed = z64
        return super().settled_tid()

    def waiting_for(self, tid: bytes, limit: float) -> Passing:
        """Return what waits for a transaction; it must be given to :meth:`waits_no_more`."""
        passing = Passing(self, tid, limit)
        self._passing.add(passing)
        return passing

    def waits_no_more(self, passing: Passing) -> None:
        """Its thread does not wait any more."""
        self._passing.discard(passing)

    # Commits of this client.

    def own(self, tid: bytes, records: dict[bytes, bytes | None], callback: Any) -> None:
        """The primary has committed a transaction of this client; called by the thread that reads
        the primary's connection.
        """
        self.need(tid)
        self._own[tid] = Own(records, callback)
        if self.has_passed(tid):
            self.settle(tid)
        else:
            self._ahead_of_stream[tid] = list(records)

    def settle(self, tid: bytes) -> None:
        """Have the callback of a commit called, if the stream has not brought it as one of this
        client's own: it had come before the primary's answer, or among others on a new connection.

        All that it changes is invalidated then, as changes of others are.
        """
        own = self._own.pop(tid, None)
        if own is not None:
            with self._committing: own.callback(tid)  # noqa: E701  # fmt: skip

    def _invalidate(self, transactions: Invalidations) -> None:
        if not (self._own or self._ahead_of_stream):
            super()._invalidate(transactions)
            return
        for tid, oids in transactions:
            self._ahead_of_stream.pop(tid, None)
            self._forget_lost(tid)
            own = self._own.pop(tid, None)
            if own is None:
                super()._invalidate(Invalidations([(tid, oids)]))
            else:
                with self._committing: self._commit_own(own, tid, oids)  # noqa: E701  # fmt: skip

    def catch_up(self, tid: bytes, oids: list[bytes]) -> None:
        """These oids have changed while there was no connection; see
        :class:`ZEO.link.state.ClientState`.

        They do not tell whether this client's own commits are among what has changed them.
        """
        self._forget_lost(tid)
        super().catch_up(tid, oids)

    def _forget_lost(self, tid: bytes) -> None:
        """The stream comes to a transaction, and has not brought commits of this client that were
        before it: they are lost with the old primary. Who has made them reads the objects again.
        """
        lost = [one for one in tuple(self._ahead_of_stream) if one <= tid]
        for one in lost:
            self.database.invalidate(tid, self._ahead_of_stream.get(one, []))

    def _commit_own(self, own: Own, tid: bytes, oids: list[bytes]) -> None:
        is_latest = not self.has_passed(tid)
        self.ahead.forget([*oids, *own.records])
        for oid in {*oids, *own.records}:
            self._end(oid, tid)
        for oid, data in own.records.items():
            if data is not None and is_latest:
                self.cache.store(oid, tid, None, data)
        own.callback(tid)
        rest = [oid for oid in oids if oid not in own.records]
        if rest:
            self.database.invalidate(tid, rest)
        self._advance(tid)

    # What the server says otherwise.

    def _set_last(self, tid: bytes) -> None:
        super()._set_last(tid)
        for one in [one for one in tuple(self._ahead_of_stream) if one <= tid]:
            self._ahead_of_stream.pop(one, None)
        for passing in self._passing.copy():
            if tid >= passing.tid:
                passing.wake()

    def _on_info(self, news: dict[str, Any]) -> None:
        super()._on_info(news)
        if ROLE in news or FOLLOWS in news:
            self.role_changed()

    def resized(self, news: dict[str, Any]) -> None:
        """The primary has said how large its storage is: as large as the follower's, or soon."""
        sizes: dict[str, Any] = {key: news[key] for key in ('length', 'size') if key in news}
        self.info = {**self.info, **sizes}


class PrimaryState:
    """Takes the arrivals of the primary, which answers commits.

    :param reading: what this client knows.
    :param connects: is called when there is to be another connection.
    """

    def __init__(self, reading: FollowingState, connects: Callable[[], None]) -> None:
        self.reading = reading
        self.info: dict[str, Any] = {}  # what get_info said, kept up to date
        self.connects = connects
        #: Is called when the primary is about to stop, with the seconds until then.
        self.on_stopping: Callable[[float], None] = lambda seconds: None
        #: Whether it is not known of a transaction whether it was committed.
        self.unsure = False

    @property
    def abilities(self) -> frozenset[str]:
        """What the primary can do beyond the protocol."""
        return frozenset(self.info.get(EXTENSIONS, ()))

    @property
    def database(self) -> Any:
        """What is to be informed of changes."""
        return self.reading.database

    def committed(
        self,
        tid: bytes,
        changes: Iterable[tuple[bytes, bytes | None]],
        callback: Callable[[bytes], Any],
    ) -> None:
        """The primary has committed a transaction of this client."""
        self.reading.own(tid, dict(changes), callback)

    def forget_objects(self) -> None:
        """Have the connections of the database read all objects again."""
        self.reading.forget_objects()

    def unsure_of(self, oids: list[bytes]) -> None:
        """It is not known whether a commit of this client has changed these."""
        self.reading.unsure_of(oids)

    def on_message(self, name: str, args: Any) -> None:
        """Take a one-way message; what has changed there is learnt from the other stream.

        :raises ProtocolError: when it makes no sense.
        """
        if name == 'info':
            news = shapes.news(args)
            if news.pop(PACKED, False):
                self.reading.packed()
            if STOPPING in news:
                self.on_stopping(news.pop(STOPPING))
            self.info = {**self.info, **news}
            self.reading.resized(news)
        elif name != 'invalidateTransaction':
            raise ProtocolError(f'the primary sent an unknown message {name[:60]!r}')
