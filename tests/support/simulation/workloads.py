"""What the threads of simulated clients do: programs over ZODB connections, by the steps of a plan.

Enters: a client, and steps as a plan has them. Leaves: attempts in a recorder. Fails: never by what
the storage raises, which the attempt says.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

import transaction
from persistent.TimeStamp import TimeStamp
from ZODB.POSException import POSKeyError
from ZODB.utils import p64, u64

from support.simulation import objects
from support.simulation.chains import Chain
from support.simulation.clients import FAILURES, LONGEST, Client, GivenUp, Resource
from support.simulation.history import COMMITTED, READ, REFUSED, Attempt
from ZEO.Exceptions import ClientDisconnected


class Worker:
    """One thread of a client, with a connection of its own."""

    def __init__(self, client: Client, steps: list[list[Any]]) -> None:
        self._client = client
        self._steps = steps
        self._manager = transaction.TransactionManager(explicit=True)
        self._connection: Any = None
        self._attempt: Attempt
        self._mine: list[Attempt] = []  # those of its attempts that may be undone
        self._beside: Worker | None = None  # with another connection of this thread

    def run(self) -> None:
        """Do all steps."""
        for name, *arguments in self._steps:
            getattr(self, f'do_{name}')(*arguments)

    def look(self, keys: Any) -> None:
        """Read objects in the connections that there are."""
        if self._connection is not None:
            self.do_read(*keys)
        if self._beside is not None:
            self._beside.look(keys)

    # Steps that are not transactions.

    def do_sleep(self, seconds: float) -> None:
        self._client.sleep(seconds)

    def do_reopen(self) -> None:
        """Give the connection back to its pool."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def do_forget(self) -> None:
        """Have the objects loaded again, from the client cache or the server."""
        if self._connection is not None:
            self._connection.cacheMinimize()

    def do_ping(self) -> None:
        self._call('ping', self._client.storage.ping)

    def do_pack(self) -> None:
        seconds = self._client.wall_clock()
        self._client.packed = max(self._client.packed, _tid(seconds).hex())
        self._call('pack', lambda: self._client.db.pack(seconds))

    def _call(self, kind: str, call: Callable[[], Any]) -> None:
        attempt = self._client.recorder.begin(kind, LONGEST)
        try:
            call()
        except FAILURES as error:
            self._client.failed(attempt, error)
        else:
            self._client.recorder.ended(attempt, READ)

    # Transactions.

    def do_read(self, *keys: str) -> None:
        self._transaction('transaction', lambda: self._read(keys))

    def do_beside(self, *keys: str) -> None:
        """Read in another connection, which changes nothing."""
        if self._beside is None:
            self._beside = Worker(self._client, [])
        self._beside.do_read(*keys)

    def do_prefetch(self, *keys: str) -> None:
        def read() -> None:
            self._connection.cacheMinimize()
            self._connection.prefetch([self._object(key) for key in keys])
            self._read(keys)

        self._transaction('transaction', read)

    def do_append(self, keys: list[str], size: int = 0, vote: Any = None) -> None:
        """Append to lists.

        :param size: bytes by which the records are larger.
        :param vote: see :meth:`_join`.
        """

        def append() -> None:
            self._read(keys)
            for key in keys:
                element = f'{self._attempt.id}:{key}'
                node = self._object(key)
                node.value = [*node.value, element]
                node.padding = 'x' * size
                self._note('append', key, element)
            self._join(vote)

        self._transaction('transaction', append)

    def do_savepoint(self, one: str, other: str, back: bool) -> None:
        """Append to a list, and after a savepoint to another one.

        :param back: whether that is taken back.
        """

        def append() -> None:
            self._read([one])
            self._append(one)
            savepoint = self._manager.get().savepoint()
            self._read([other])
            if back:
                self._object(other).value = ['taken back']
                savepoint.rollback()
                self._read([other])
            else:
                self._append(other)

        self._transaction('transaction', append)

    def _append(self, key: str) -> None:
        node, element = self._object(key), f'{self._attempt.id}:{key}'
        node.value = [*node.value, element]
        self._note('append', key, element)

    def do_move(self, one: str, other: str, amount: int, vote: Any = None) -> None:
        """Move something from one account to another."""

        def move() -> None:
            self._read(objects.ACCOUNTS)
            for key, change in ((one, -amount), (other, amount)):
                node = self._object(key)
                node.value += change
                self._note('w', key, node.value)
            self._join(vote)

        self._transaction('transaction', move)

    def do_check(self, keys: list[str], key: str, vote: Any = None) -> None:
        """Append to one list, provided that others do not change."""

        def append() -> None:
            self._read(keys)
            for other in keys:
                self._connection.readCurrent(self._object(other))
                self._note('rc', other)
            self._read([key])
            node, element = self._object(key), f'{self._attempt.id}:{key}'
            node.value = [*node.value, element]
            self._note('append', key, element)
            self._join(vote)

        self._transaction('transaction', append)

    def do_set(self, *keys: str) -> None:
        """Write registers, in a way that may be undone."""

        def write() -> None:
            self._read(keys)
            for key in keys:
                self._object(key).value = self._attempt.id
                self._note('w', key, self._attempt.id)

        self._transaction('transaction', write)
        self._mine.append(self._attempt)

    def do_blob(self, size: int, *keys: str) -> None:
        """Write blobs.

        :param size: bytes, more or less.
        """

        def write() -> None:
            self._read(keys)
            for key in keys:
                with self._object(key).open('w') as file:
                    file.write(objects.content(key, self._attempt.id, size))
                self._note('w', key, self._attempt.id)

        self._transaction('transaction', write)

    def do_undo(self) -> None:
        """Undo the last transaction that has set registers."""
        mine = [attempt for attempt in self._mine if attempt.outcome == COMMITTED]
        if mine:
            one = mine[-1]
            self._mine.remove(one)

            def undo() -> None:
                self._note('undo', one.id)
                name = base64.encodebytes(bytes.fromhex(one.tid or '')).rstrip()
                self._client.db.undo(name, self._manager.get())

            self._transaction('transaction', undo)

    def do_add(self, key: str, amount: int, vote: Any = None) -> None:
        """Move a counter."""

        def add() -> None:
            self._read([key])
            self._object(key).change(amount)
            self._note('add', key, amount)
            self._join(vote)

        self._transaction('transaction', add)

    def do_chain(self, pause: float, *keys: str) -> None:
        """Commit one change after the other, and do not wait in between."""
        Chain(self._client, pause).run(list(keys))

    def do_make(self, box: str, count: int) -> None:
        """Make objects, and put them into a box."""

        def make() -> None:
            self._read([box])
            node = self._object(box)
            for number in range(count):
                child = objects.Node(f'{self._attempt.id}:{number}', self._attempt.id)
                self._connection.add(child)
                self._note('new', child.key, child._p_oid.hex())
                self._note('w', child.key, child.value)
                node.children = [*node.children, child]
                node.value = [*node.value, child.key]
            self._note('w', box, node.value)

        self._transaction('transaction', make)

    def do_old(self, back: int, *keys: str) -> None:
        """Read at a snapshot that this client has had before.

        :param back: how many snapshots ago.
        """
        client = self._client.recorder.client
        snapshots = sorted(
            {
                one.snapshot
                for one in self._client.recorder.attempts
                if one.snapshot is not None and one.client == client
            }
        )
        if not snapshots:
            return
        tid = bytes.fromhex(snapshots[max(0, len(snapshots) - 1 - back)])
        recorder = self._client.recorder
        attempt = self._attempt = recorder.begin('historical', LONGEST)
        manager, connection = transaction.TransactionManager(), None
        try:
            connection = self._client.db.open(manager, at=tid)
            recorder.started(attempt, tid)
            self._read(keys, connection)
        except POSKeyError as error:
            if not self._client.packs:
                self._client.failed(attempt, error)
            else:
                recorder.ended(attempt, REFUSED, error=error)
        except FAILURES as error:
            self._client.failed(attempt, error)
        else:
            recorder.ended(attempt, READ)
        finally:
            if connection is not None:
                connection.close()

    def do_last(self) -> None:
        """Change every list: no other client may hold a lock."""

        def append() -> None:
            self._read(objects.KEYS)
            for key in objects.LISTS:
                node, element = self._object(key), f'{self._attempt.id}:{key}'
                node.value = [*node.value, element]
                self._note('append', key, element)

        self._transaction('last', append)

    # Within a transaction.

    def _transaction(self, kind: str, work: Callable[[], None]) -> None:
        """Do something in a transaction, and commit it if it changes something."""
        client, manager = self._client, self._manager
        recorder = client.recorder
        attempt = self._attempt = recorder.begin(kind, LONGEST)
        client.watched[attempt.id] = attempt
        try:
            if self._connection is None:
                self._connection = client.db.open(manager)
            manager.begin().note(attempt.id)
            recorder.started(attempt, p64(u64(self._connection._storage._start) - 1))
            work()
            if attempt.changes:
                manager.commit()
                recorder.ended(attempt, COMMITTED, bytes.fromhex(attempt.tid or ''))
            else:
                manager.abort()
                recorder.ended(attempt, READ)
        except FAILURES as error:
            client.failed(attempt, error)
            self._abort()

    def _abort(self) -> None:
        try:
            self._manager.abort()
        except FAILURES as error:  # of a client that has lost its connection, or is struck
            if isinstance(error, transaction.interfaces.NoTransaction):
                return
            if not isinstance(error, self._client.expected):
                raise
            if not isinstance(error, ClientDisconnected):
                self._abort()

    def _join(self, vote: Any) -> None:
        """Have another resource vote behind the storage.

        :param vote: None: there is none; 'no': it votes against; else the seconds that it takes.
        """
        if vote is not None:
            self._manager.get().join(Resource(lambda: self._vote(vote)))

    def _vote(self, vote: Any) -> None:
        if vote == 'no':
            raise GivenUp
        self._client.sleep(vote)

    def _object(self, key: str, connection: Any = None) -> Any:
        return (connection or self._connection).get(objects.OIDS[key])

    def _note(self, *step: Any) -> None:
        self._attempt.steps.append(list(step))

    def _read(self, keys: Any, connection: Any = None) -> None:
        for key in keys:
            one = self._object(key, connection)
            value = self._value(key, one)
            self._note('r', key, value)
            if key in objects.BOXES:
                for name, child in zip(one.value, one.children, strict=True):
                    self._note('r', name, child.value)

    @staticmethod
    def _value(key: str, one: Any) -> Any:
        if key in objects.COUNTERS:
            return one()
        if key not in objects.BLOBS:
            return one.value
        with one.open('r') as file:
            return objects.value_in(key, file.read())


def _tid(seconds: float) -> bytes:
    """Return the tid of a time, as a pack makes it."""
    return TimeStamp(*time.gmtime(seconds)[:5], seconds % 60).raw()
