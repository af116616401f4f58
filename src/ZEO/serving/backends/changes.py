"""What others have changed in the database of an MVCC storage, in the order of their transactions.

Enters: the last transaction that is known. Leaves: those after it, each with its objects. Fails:
:class:`Lost` where it can't be said what has changed; with what the database raises.

RelStorage's tables have a row for each object and its transaction, and transactions become visible
in the order of their tids. A storage without history has a row for the last change of each object
only: some older transactions then seem to have changed less than they did, so the first of those
that are found at a time names the objects of all. Of any other storage it is known what has changed
between two looks, in one.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

from ZODB.utils import p64, u64, z64

from ZEO.serving.backends.instances import Instances, Keeper, poll, rest

Step = tuple[bytes, list[bytes]]

#: Rows that are read at a time; when there are more, clients had better start anew.
MOST_ROWS = 100_000


class Lost(Exception):
    """It is not known what has changed."""


class Changes(Protocol):
    """How the changes of a kind of storage are read; each method in the follower's thread, but
    for `recent`, which is called before it starts.
    """

    @property
    def is_exact(self) -> bool:
        """Whether each transaction comes by itself, with all that it has changed and nothing else;
        else an object that comes with one may have changed before.
        """

    def recent(self, most: int) -> tuple[bytes, list[Step]]:
        """Return the last transaction, and some last ones, the oldest first, with `most` objects at
        most; all after the first of them.
        """

    def after(self, tid: bytes) -> list[Step]:
        """Return the transactions after `tid`.

        :raises Lost: when that can't be said.
        """

    def last(self) -> bytes:
        """Return the last transaction, after :class:`Lost`."""

    def close(self) -> None:
        """Give back the connection, if there is one."""


def changes_of(instances: Instances) -> Changes:
    """Return how the changes of a storage are read."""
    if instances.adapter is None:
        return InstanceChanges(instances)
    return RowChanges(instances.adapter)


class RowChanges:
    """The rows of RelStorage's tables.

    :param adapter: of the database.
    """

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self._connections = adapter.connmanager
        # one statement needs no transaction around it, of two more statements
        self._alone = 'psycopg2' in getattr(adapter.driver, '__name__', '')
        self._open: tuple[Any, Any] | None = None  # connection, cursor
        # a row that was reported; it stays unless the object changes again or is removed
        self._witness: tuple[int, int] | None = None

    @property
    def is_exact(self) -> bool:
        return bool(self._adapter.keep_history)

    def recent(self, most: int) -> tuple[bytes, list[Step]]:
        try:
            connection, cursor = self._connection()
            last = self._adapter.poller.get_current_tid(cursor) or 0
            cursor.execute(
                f'select tid, zoid from object_state order by tid desc limit {int(most)}'
            )
            rows = cursor.fetchall()[::-1]
            if rows:
                self._witness = int(rows[-1][1]), int(rows[-1][0])
        finally:
            self.close()
        steps = _steps(rows)
        if len(rows) == most:  # there may be more of the first one
            del steps[:1]
        return p64(last), steps

    def after(self, tid: bytes) -> list[Step]:
        if self._open is not None:
            try:
                return self._after(tid)
            except self._adapter.driver.disconnected_exceptions:
                pass  # the connection is an old one, as after a restart of the database
        return self._after(tid)

    def _after(self, tid: bytes) -> list[Step]:
        is_new = self._open is None
        try:
            connection, cursor = self._connection()
            if is_new and self._alone:
                connection.autocommit = True
            if is_new:  # maybe to another database, which has taken the place of one that failed
                self._look_for_witness(cursor)
            cursor.execute(
                'select tid, zoid from object_state '
                f'where tid > {u64(tid)} order by tid limit {MOST_ROWS + 1}'
            )
            rows = cursor.fetchall()
        except BaseException:
            self.close()
            raise
        if not self._connections.rollback_quietly(connection, cursor):
            self._open = None
        if len(rows) > MOST_ROWS:
            raise Lost(f'more than {MOST_ROWS} objects have changed')
        if rows:
            self._witness = int(rows[-1][1]), int(rows[-1][0])
        steps = _steps(rows)
        return steps if self._adapter.keep_history else _without_history(steps)

    def _connection(self) -> tuple[Any, Any]:
        if self._open is None:
            self._open = self._connections.open_for_load()
        return self._open

    def _look_for_witness(self, cursor: Any) -> None:
        witness, self._witness = self._witness, None
        if witness is None:
            return
        oid, tid = witness
        cursor.execute(f'select max(tid) from object_state where zoid = {oid}')
        found = cursor.fetchone()[0]
        if found is not None and int(found) < tid:
            raise Lost('the database has lost transactions that clients have seen')

    def last(self) -> bytes:
        try:
            return p64(self._adapter.poller.get_current_tid(self._connection()[1]) or 0)
        finally:
            self.close()  # and with it the snapshot

    def close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            self._connections.rollback_and_close(*opened)


def _steps(rows: list[Any]) -> list[Step]:
    return [
        (p64(int(tid)), list(dict.fromkeys(p64(int(row[1])) for row in group)))
        for tid, group in groupby(rows, key=itemgetter(0))
    ]


def _without_history(steps: list[Step]) -> list[Step]:
    """Return steps of which the first names all objects.

    An object of a later step may have changed in an earlier one as well, which does not show any
    more. Clients that are between the two must not take their old record for current.
    """
    if len(steps) < 2:
        return steps
    everything = dict.fromkeys(oid for _, oids in steps for oid in oids)
    return [(steps[0][0], list(everything)), *steps[1:]]


class InstanceChanges:
    """What an instance of any MVCC storage says when it is polled."""

    is_exact = False

    def __init__(self, instances: Instances) -> None:
        self._keeper = Keeper(instances)

    def recent(self, most: int) -> tuple[bytes, list[Step]]:
        last = poll(self._keeper.get())
        self._keeper.rest()
        return last, []

    def after(self, tid: bytes) -> list[Step]:
        try:
            return self._polled(tid)
        except Lost:
            raise
        except BaseException:
            self.close()
            raise

    def _polled(self, tid: bytes) -> list[Step]:
        instance = self._keeper.instance
        if instance is None:  # a new one does not say what it would have missed
            poll(self._keeper.get())
            raise Lost('the connection to the database was lost')
        oids = instance.poll_invalidations()
        last = instance.lastTransaction() or z64
        rest(instance)
        if last < tid:
            raise Lost('the database has lost transactions that clients have seen')
        if oids is None and tid != z64:
            if last == tid:
                return []
            raise Lost('the storage cannot say what has changed')
        if oids is None:  # there was nothing that clients could have kept
            return [(last, [])] if last != tid else []
        return [(last, list(oids))] if oids else []

    def last(self) -> bytes:
        return self._keeper.get().lastTransaction() or z64

    def close(self) -> None:
        self._keeper.release()
