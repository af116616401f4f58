"""What has become of a transaction whose connection was lost while it was made permanent.

Enters: an instance of a storage that has voted; later, that its connection is lost. Leaves: the
transaction's tid, or that the database has given it up. Fails: :class:`Unknown` where the database
does not say it; with what the database raises.

PostgreSQL gives each transaction a number, says of each number what has become of it, and keeps
with each row the number of the transaction that has written it. Of other databases it is not known:
their clients learn later what was committed, as from a server that was lost.

A server that crashes, or another one that takes its place, may give a number again that was not
safe on its disk. Such a transaction is a later one: its tid, which is a time, says so. Whether one
has, is known by what begins anew then: the process, or its statistics.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

from persistent.timestamp import TimeStamp
from ZODB.utils import p64, u64

from ZEO.net.system import System
from ZEO.serving.backends import connections

#: Seconds between two questions, while the database is at work on the transaction.
PAUSE = 0.05

#: PostgreSQL's code for a number that it has not given yet.
_NOT_YET = '22023'

_MARK = 'select txid_current(), extract(epoch from clock_timestamp())'

_GENERATION = """\
select pg_postmaster_start_time()::text || ' ' ||
coalesce((select stats_reset::text from pg_stat_bgwriter), '')"""

_STATUS = 'select txid_status({number})'

#: A session that has lost its client may wait for a lock still: it is ended, unless its process
#: has another transaction already.
_END = """\
select pg_terminate_backend(pid) from pg_stat_activity
where pid = {process} and backend_xid::text = '{short}'"""

#: The transactions of rows that the transaction has written.
_ROWS = """\
select distinct tid from object_state
where zoid = any(%s) and tid > {before} and xmin::text = '{short}'"""

#: Without history the rows may be overwritten by now.
_OVERWRITTEN = 'select min(tid) from object_state where zoid = any(%s) and tid > {before}'


class Unknown(Exception):
    """It cannot be said yet, or not at all, what has become of a transaction."""


class Mark(NamedTuple):
    """What PostgreSQL knows a transaction by."""

    number: int
    generation: str  # of the server, in which a number is given once
    process: int  # that works on it
    before: int  # a transaction of ZODB that was permanent before
    clock: float  # the database's
    taken: float  # this process's, at that time

    @property
    def short(self) -> int:
        """The number as rows have it."""
        return self.number & 0xFFFFFFFF


class Outcomes:
    """The marks of transactions, and what has become of them; from any thread.

    :param adapter: RelStorage's, of the database; None for another storage.
    """

    def __init__(self, adapter: Any, system: System) -> None:
        self._adapter = adapter
        self._now = system.now
        self._sleep = system.sleep
        driver = getattr(getattr(adapter, 'driver', None), '__name__', '')
        # of the servers of connections that are open, which end with it
        self._generations: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._knows = 'psycopg2' in driver

    def mark(self, instance: Any, before: bytes) -> Mark | None:
        """Return the mark of the transaction that `instance` has voted for; None where there is
        nothing to know it by.

        :param before: a tid that the database had before.
        """
        store = connections.storing(instance) if self._knows else None
        if store is None:
            return None
        generation = self._generations.get(store.connection)
        if generation is None:
            generation = self._generations[store.connection] = _generation(store.cursor)
        taken = self._now()
        store.cursor.execute(_MARK)
        number, clock = store.cursor.fetchone()
        process = store.connection.get_backend_pid()
        return Mark(int(number), generation, process, u64(before), float(clock), taken)

    def find(self, mark: Mark, changed: Iterable[bytes], lost: float, until: float) -> bytes | None:
        """Return the tid of a transaction; None if it was given up, or has changed nothing.

        :param changed: the objects that it changes.
        :param lost: when its connection was.
        :param until: when to give up.
        :raises Unknown: when the database does not say it.
        """
        connection, cursor = self._adapter.connmanager.open()
        try:
            connection.autocommit = True  # each question sees the newest
            while (status := self._status(cursor, mark)) == 'in progress':
                if self._now() > until:
                    raise Unknown('the database is still at work on it')
                cursor.execute(_END.format(process=mark.process, short=mark.short))
                self._sleep(PAUSE)
            if status is None:
                raise Unknown('the database does not know it any more')
            oids = [u64(oid) for oid in changed]
            if status != 'committed' or not oids:
                return None
            latest = mark.clock + lost - mark.taken
            return self._tid(cursor, mark, oids, latest)
        finally:
            self._adapter.connmanager.rollback_and_close(connection, cursor)

    def _status(self, cursor: Any, mark: Mark) -> str | None:
        try:
            cursor.execute(_STATUS.format(number=mark.number))
        except Exception as error:
            if getattr(error, 'pgcode', None) != _NOT_YET:
                raise
            return 'aborted'  # by a crash; or another server is there, which never had it
        return cursor.fetchone()[0]

    def _tid(self, cursor: Any, mark: Mark, oids: list[int], latest: float) -> bytes:
        """Return the tid of a transaction that is permanent.

        :param latest: when its connection was lost, by the database's clock.
        """
        cursor.execute(_ROWS.format(before=mark.before, short=mark.short), (oids,))
        tids = [p64(int(row[0])) for row in cursor.fetchall()]
        is_certain = _generation(cursor) == mark.generation
        if len(tids) > 1 or not (is_certain or (tids and TimeStamp(tids[0]).timeTime() <= latest)):
            raise Unknown('its number may be that of another one by now')
        return tids[0] if tids else self._before_the_next(cursor, mark, oids)

    def _before_the_next(self, cursor: Any, mark: Mark, oids: list[int]) -> bytes:
        """Return a tid for a transaction of which nothing is left: nothing has changed its objects
        between its own tid and this one.
        """
        following = None
        if not self._adapter.keep_history:
            cursor.execute(_OVERWRITTEN.format(before=mark.before), (oids,))
            following = cursor.fetchone()[0]
        if following is None:
            raise Unknown('the database has no rows of it')
        return p64(int(following) - 1)


def _generation(cursor: Any) -> str:
    cursor.execute(_GENERATION)
    return cursor.fetchone()[0]
