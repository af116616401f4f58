"""Records that the server has sent without being asked, until the application wants them.

Enters: readAhead messages, in the order of everything that arrives, by the thread that reads; what
has changed; the oids that threads want. Leaves: records for the cache, when they are wanted; to the
server, the oids of those that were. Fails: ProtocolError for a server that announces without end;
a record that did not come is asked for.

A record waits here, not in the cache, so that what is never used costs the cache nothing, and a hit
in the cache nothing for counting what was used. All that a server can do by sending more than is
wanted is to push out what it has sent before.

A record goes from here into the cache under a lock, and leaves this table behind that. What changes
it is applied in the other order: first here, under the same lock, then in the cache. So a record
that has ended cannot come into the cache behind the invalidation, wherever a thread is interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ZEO.cache.protocol import Cache
from ZEO.Exceptions import ClientDisconnected, ClientStorageError, ProtocolError
from ZEO.link.waiting import SharedWaiting
from ZEO.locks import under
from ZEO.net.system import REAL, System

if TYPE_CHECKING:
    from ZEO.link.connection import Connection

#: Bytes and records that wait at most; a server has 1 MB and 512 records under way.
_MOST_BYTES, _MOST_RECORDS = 4 * 1024 * 1024, 4096

#: Oids that a server may have announced at a time; it announces some dozens.
_MOST_EXPECTED = 4096

#: Used records that are reported at once, when half of what has come was used; and the most that a
#: server takes in one message.
_REPORT, _MOST_REPORTED = 8, 1000

#: Used records that are reported in any case.
_ENOUGH = 16


class ReadAhead:
    """What one client storage has been sent ahead; any thread may call any method.

    :param cache: takes the records that are used.
    """

    def __init__(self, cache: Cache, system: System = REAL) -> None:
        self._cache = cache
        self._system = system
        self.came = self.taken = 0  # records, since the start
        self.start_afresh()

    def start_afresh(self) -> None:
        """Know of nothing: new, or in a forked child, where the locks of other threads stay
        held.
        """
        self._lock = self._system.lock()
        self._empty()

    def status(self) -> dict[str, int]:
        """Return how many records came, were used, were wasted, and wait."""
        waiting = len(self.staged) + len(self._passed_on)
        # the others may be a moment older: they are read without the lock
        wasted = max(0, self.came - self.taken - waiting)
        return {'came': self.came, 'used': self.taken, 'wasted': wasted, 'waiting': waiting}

    def _empty(self) -> None:
        #: Records that have come, and what was announced and has not come.
        self.staged: dict[bytes, tuple[bytes, bytes]] = {}  # oid -> data, tid
        self.expected: set[bytes] = set()
        #: Oids of records that were used, which the server was not told yet.
        self.used: list[bytes] = []
        self._bytes = 0  # of the staged records
        #: What is in the cache for others, who have not used it yet; the oldest first.
        self._passed_on: dict[bytes, None] = {}
        self._waiting: dict[bytes, SharedWaiting] = {}  # by the oid that threads wait for

    # What arrives.

    def arrived(self, records: list[Any], following: list[bytes]) -> None:
        """Take records, each as oid, data and tid; no data where one does not come.

        :param following: the oids of those that will come.
        :raises ProtocolError: when too many are announced.
        """
        if records:
            under(self._lock, self._stage, records)
            for oid, _, _ in records:
                self._has_come(oid)
        if following:
            self.expected.update(following)
            if len(self.expected) > _MOST_EXPECTED:
                raise ProtocolError(
                    f'the server announced more than {_MOST_EXPECTED} records that do not come'
                )

    def _stage(self, records: list[Any]) -> None:
        staged = self.staged
        if not staged:  # where a thread was interrupted, it may be wrong
            self._bytes = 0
        for oid, data, tid in records:
            if data:
                self._remove(oid)
                staged[oid] = data, tid
                self._bytes += len(data)
                self.came += 1
        while self._bytes > _MOST_BYTES or len(staged) > _MOST_RECORDS:
            self._remove(next(iter(staged)))

    def _has_come(self, oid: bytes) -> None:
        # in this order: a thread that is about to wait looks into `expected` last
        self.expected.discard(oid)
        waiting = self._waiting.pop(oid, None)
        if waiting is not None:
            waiting.done = True

    def forget(self, oids: Iterable[bytes]) -> None:
        """These are about to change in the cache."""
        if self.staged:
            under(self._lock, self._forget, oids)

    def _forget(self, oids: Iterable[bytes]) -> None:
        for oid in oids:
            self._remove(oid)

    def clear(self) -> None:
        """There is another connection."""
        under(self._lock, self._empty)

    def _remove(self, oid: bytes) -> None:
        found = self.staged.pop(oid, None)
        if found is not None:
            self._bytes -= len(found[0])

    # What the application wants.

    def bring(self, oid: bytes, connection: Connection | None) -> None:
        """Have a record in the cache, if it has come or is under way.

        :param connection: on which it comes.
        """
        if oid not in self.staged:
            self._wait_for(oid, connection)
        under(self._lock, self._use, oid)
        self._report_enough(connection)

    def bring_unused(self, oid: bytes, connection: Connection | None) -> None:
        """Have a record in the cache for others, who say later that they have used it."""
        if oid not in self.staged:
            self._wait_for(oid, connection)
        under(self._lock, self._pass_on, oid)

    def used_by_others(self, oids: Iterable[bytes], connection: Connection | None) -> None:
        """Others have used these, or they are others' records altogether."""
        under(self._lock, self._note_used, oids)
        self._report_enough(connection)

    def _report_enough(self, connection: Connection | None) -> None:
        used = len(self.used)
        if used >= _REPORT and (used >= _ENOUGH or used >= len(self.staged) + len(self._passed_on)):
            self.report(connection, now=True)

    def _use(self, oid: bytes) -> None:
        if self._move(oid):
            self.used.append(oid)
            self.taken += 1

    def _pass_on(self, oid: bytes) -> None:
        if self._move(oid):
            self._passed_on[oid] = None
            if len(self._passed_on) > _MOST_RECORDS:
                del self._passed_on[next(iter(self._passed_on))]

    def _note_used(self, oids: Iterable[bytes]) -> None:
        for oid in oids:
            if oid in self._passed_on:
                del self._passed_on[oid]
                self.used.append(oid)
                self.taken += 1

    def _move(self, oid: bytes) -> bool:
        """Move a record into the cache; return whether another thread has not done so before."""
        found = self.staged.get(oid)
        if found is None:
            return False
        data, tid = found
        self._cache.store(oid, tid, None, data)
        self._remove(oid)
        return True

    def _wait_for(self, oid: bytes, connection: Connection | None) -> None:
        """Wait for what was announced."""
        if connection is None:
            return
        if self.used:
            self.report(connection)
        waiting = self._waiting.setdefault(oid, SharedWaiting('readAhead'))
        if oid not in self.expected:  # it has come in between
            self._waiting.pop(oid, None)
            waiting.done = True
        try:
            connection.flush()
            connection.finish_waiting(waiting)
        except ClientStorageError:  # asking for it will show it
            pass

    def report(self, connection: Connection | None, now: bool = False) -> None:
        """Tell the server what was used, so that it sends more of that, and less of the rest.

        :param now: whether to send it; else it goes with the call that follows.
        """
        used, self.used = self.used, []
        if connection is None:
            return
        try:
            connection.send('used_ahead', (used[-_MOST_REPORTED:],))
            if now:
                connection.flush()
        except ClientDisconnected:  # the server has forgotten all of it
            pass
