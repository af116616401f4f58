"""A database on a machine of its own, as RelStorage uses one: servers reach it over connections.

Enters: a world, the records that it begins with. Leaves: a storage for each server, whose instances
are snapshots; its transactions. Fails: OSError, in those that use a connection which is lost.

It commits one transaction at a time, from the vote to the end, and keeps all revisions. What a
process has not committed goes when that dies.
"""

from __future__ import annotations

import errno
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from persistent.TimeStamp import TimeStamp
from ZODB.interfaces import IMVCCStorage
from ZODB.POSException import ConflictError, POSKeyError, ReadConflictError, StorageError
from ZODB.utils import p64, u64, z64
from zope.interface import implementer

from support.simulation.system import EPOCH

#: Seconds that a vote waits for another transaction, and between two looks whether that is gone.
LONGEST_VOTE, LOOK = 20.0, 1.0

#: The first object id that it gives out, after those of the objects that it begins with.
FIRST_OID = 1000


class Database:
    """What it holds, and who uses it.

    :param begin: each object with its first record.
    :param tid: of the first transaction, whose description is `description`.
    :param latency: seconds of one call, at most.
    :param prefetches: whether an instance can fetch many objects with one call.
    """

    def __init__(
        self,
        world: Any,
        begin: Iterable[tuple[bytes, bytes]],
        tid: bytes,
        description: bytes,
        latency: float,
        prefetches: bool = True,
    ) -> None:
        self.world = world
        self.last = tid
        self.latency = latency
        self.prefetches = prefetches
        self.is_away = False
        self.age = 0  # how often all connections were lost
        self._last_oid = FIRST_OID
        self._revisions: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
        self._transactions: list[Any] = []
        self._voted: Instance | None = None  # whose transaction is next
        self._waiting: list[Any] = []
        self._commit(tid, description, dict(begin))

    # Calls of instances.

    def call(self, instance: Instance, waits: bool = True) -> None:
        """A call reaches the database, after some time.

        :raises OSError: when it does not.
        """
        scheduler = self.world.scheduler
        scheduler.door('database')
        if instance.age is None and not self.is_away:
            instance.age = self.age
        if waits:
            scheduler.wait('the database', self.latency * self.world.random.random())
        self.check(instance)

    def check(self, instance: Instance) -> None:
        """Check that the connection of an instance is there.

        :raises OSError: when it is not.
        """
        if self.is_away or instance.age != self.age:
            raise OSError(errno.ECONNRESET, 'the connection to the database is lost')

    def find(self, oid: bytes, tid: bytes, snapshot: bytes) -> tuple[bytes, bytes, Any] | None:
        """Return the revision before `tid` that a snapshot has, as loadBefore does."""
        tids, datas = self._revisions.get(oid, ([], []))
        if not tids or tids[0] > snapshot:
            raise POSKeyError(oid)
        place = min(bisect_left(tids, tid), bisect_right(tids, snapshot))
        if not place:
            return None
        end = tids[place] if place < len(tids) and tids[place] <= snapshot else None
        return datas[place - 1], tids[place - 1], end

    def current(self, oid: bytes) -> bytes:
        """Return the tid of an object's last revision."""
        return self._revisions.get(oid, ([z64],))[0][-1]

    def changed(self, after: bytes, until: bytes) -> list[bytes]:
        """Return the objects that transactions have changed."""
        return sorted(
            {
                record.oid
                for transaction in self._transactions
                if after < transaction.tid <= until
                for record in transaction.records
            }
        )

    def new_oid(self) -> bytes:
        """Return an object id."""
        self._last_oid += 1
        return p64(self._last_oid)

    def begin_vote(self, instance: Instance) -> None:
        """Wait until no other transaction is between its vote and its end.

        :raises StorageError: when that takes too long.
        """
        scheduler = self.world.scheduler
        until = scheduler.now + LONGEST_VOTE
        while self._voted is not None and self._voted is not instance:
            if scheduler.now > until:
                raise ConflictError('another transaction holds the lock of the database')
            self._waiting.append(scheduler.me())
            scheduler.wait('the lock of the database', LOOK)
            self.check(instance)
        self._voted = instance

    def end_vote(self, instance: Instance) -> None:
        """A transaction is over, if it has voted."""
        if self._voted is instance:
            self._voted = None
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                self.world.scheduler.wake(waiter)

    def finish(self, instance: Instance, description: bytes, records: dict[bytes, bytes]) -> bytes:
        """Make a transaction permanent; return its tid."""
        if self._voted is not instance:
            raise StorageError('the transaction was not voted on')
        seconds = EPOCH + self.world.now
        now = TimeStamp(*time.gmtime(seconds)[:5], seconds % 60)
        tid = now.laterThan(TimeStamp(self.last)).raw()
        self._commit(tid, description, records)
        self.end_vote(instance)
        return tid

    def _commit(self, tid: bytes, description: bytes, records: dict[bytes, bytes]) -> None:
        for oid, data in records.items():
            tids, datas = self._revisions.setdefault(oid, ([], []))
            tids.append(tid)
            datas.append(data)
        self.last = tid
        rows = [SimpleNamespace(oid=oid, tid=tid, data=data) for oid, data in records.items()]
        self._transactions.append(_Transaction(tid, description, rows))

    # What happens to it.

    def lose(self) -> None:
        """All connections are lost."""
        self.age += 1
        if self._voted is not None:
            self.end_vote(self._voted)

    def go(self) -> None:
        """It cannot be reached until :meth:`come_back`."""
        self.lose()
        self.is_away = True

    def come_back(self) -> None:
        """It can be reached again."""
        self.is_away = False

    def ended(self, process: Any) -> None:
        """A process is dead: its transactions are given up."""
        if self._voted is not None and self._voted.process is process:
            self.end_vote(self._voted)

    def iterator(self) -> Iterator[Any]:
        """Return the transactions, as those of a storage."""
        return iter(self._transactions)


class _Transaction:
    """One that is permanent."""

    def __init__(self, tid: bytes, description: bytes, records: list[Any]) -> None:
        self.tid, self.description, self.records = tid, description, records

    def __iter__(self) -> Iterator[Any]:
        return iter(self.records)


@implementer(IMVCCStorage)
class Instance:
    """One connection, with a snapshot. It begins when it is polled, and ends with
    :meth:`afterCompletion`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.process = database.world.current_process()
        self.age: int | None = None  # of the database, when it was connected
        self._snapshot: bytes | None = None
        self._polled: bytes | None = None  # up to which transaction it knows the changes
        self._fetched: set[bytes] = set()  # objects that a load need not wait for
        if database.prefetches:
            self.prefetch = self._prefetch
        self._transaction: Any = None
        self._stored: dict[bytes, tuple[bytes, bytes]] = {}  # oid -> serial, data
        self._current: list[tuple[bytes, bytes]] = []  # oid, serial

    def new_instance(self) -> Instance:
        return Instance(self._database)

    def release(self) -> None:
        self._snapshot = None
        self._database.end_vote(self)

    close = release

    def isReadOnly(self) -> bool:
        return False

    def getName(self) -> str:
        return 'a simulated database'

    sortKey = getName

    def getSize(self) -> int:
        return 10_000

    def __len__(self) -> int:
        return 10

    # Snapshots.

    def poll_invalidations(self) -> list[bytes] | None:
        self._database.call(self)
        before, self._polled = self._polled, self._database.last
        self._snapshot = self._polled
        self._fetched = set()
        if before is None:
            return None
        return self._database.changed(before, self._polled)

    def afterCompletion(self) -> None:
        self._database.call(self, waits=False)
        self._snapshot = None

    def lastTransaction(self) -> bytes:
        return self._polled or z64

    def _prefetch(self, oids: Iterable[bytes]) -> None:
        self._database.call(self)
        self._fetched.update(oids)

    def load(self, oid: bytes, version: str = '') -> tuple[bytes, bytes]:
        snapshot = self._reading(oid)
        found = self._database.find(oid, p64(u64(snapshot) + 1), snapshot)
        if found is None:
            raise POSKeyError(oid)
        return found[:2]

    def loadBefore(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, Any] | None:
        return self._database.find(oid, tid, self._reading(oid))

    def loadSerial(self, oid: bytes, serial: bytes) -> bytes:
        found = self._database.find(oid, p64(u64(serial) + 1), self._reading(oid))
        if found is None or found[1] != serial:
            raise POSKeyError(oid)
        return found[0]

    def _reading(self, oid: bytes) -> bytes:
        self._database.call(self, oid not in self._fetched)
        if self._snapshot is None:
            raise RuntimeError('an instance is read that was not polled')
        return self._snapshot

    def new_oid(self) -> bytes:
        return self._database.new_oid()

    # Commits.

    def tpc_transaction(self) -> Any:
        return self._transaction

    def tpc_begin(self, transaction: Any, tid: bytes | None = None, status: str = ' ') -> None:
        self._database.call(self, waits=False)
        self._transaction = transaction
        self._stored, self._current = {}, []

    def store(
        self, oid: bytes, serial: bytes | None, data: bytes, version: str, transaction: Any
    ) -> None:
        self._stored[oid] = serial or z64, data

    def checkCurrentSerialInTransaction(self, oid: bytes, serial: bytes, transaction: Any) -> None:
        self._current.append((oid, serial))

    def tpc_vote(self, transaction: Any) -> None:
        database = self._database
        database.call(self)
        database.begin_vote(self)
        for oid, (serial, data) in self._stored.items():
            current = database.current(oid)
            if current != serial:
                raise ConflictError(oid=oid, serials=(current, serial), data=data)
        for oid, serial in self._current:
            current = database.current(oid)
            if current != serial:
                raise ReadConflictError(oid=oid, serials=(current, serial))

    def tpc_finish(self, transaction: Any, f: Callable[[bytes], Any] = lambda tid: None) -> bytes:
        database = self._database
        database.call(self)
        stored, self._transaction = self._stored, None
        records = {oid: data for oid, (_, data) in stored.items()}
        tid = database.finish(self, transaction.description, records)
        self._snapshot = None
        database.call(self)  # it may be lost before it has answered
        f(tid)
        return tid

    def tpc_abort(self, transaction: Any) -> None:
        self._transaction = self._snapshot = None
        self._database.end_vote(self)
        self._database.call(self, waits=False)
