"""An exception strikes a thread at every line while it uses a database: what the connections of
that database read afterwards.

No connection has an object in memory that is older than the snapshot that it claims to read, also
before the answer to what was struck has come; nothing that was committed is lost; no lock is left.
"""

import sys
import time

import pytest
import transaction
import ZODB
from BTrees.Length import Length
from persistent.mapping import PersistentMapping
from transaction.interfaces import NoTransaction
from ZODB.blob import Blob
from ZODB.POSException import ConflictError, StorageError
from ZODB.utils import maxtid

from support.inside import cache_of, commits_of
from support.interrupted import PATIENCE, patiently
from support.processes import wait_until
from support.snapshots import check_snapshot
from support.striking import EVERY, Striker, Struck, strike

at_some = pytest.mark.parametrize(
    'step', [89, pytest.param(EVERY, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
on_both = pytest.mark.parametrize('disk', [False, True], ids=['memory', 'disk'])


class Refusal(Exception):
    """What a resource says in its vote."""


class Refusing:
    """A resource that votes against a transaction."""

    def __init__(self, manager):
        self.transaction_manager = manager

    def sortKey(self):
        return '~~~~'

    def _agree(self, transaction):
        pass

    abort = commit = tpc_begin = tpc_finish = tpc_abort = _agree

    def tpc_vote(self, transaction):
        raise Refusal


class Databases:
    """A database over a client that is struck, with a connection that commits and one that reads;
    another one, of another client.
    """

    def __init__(self, setting, **options):
        self.setting, self.storage = setting, setting.storage
        self.client = setting.open(**options)
        self.other = ZODB.DB(setting.other)
        with self.other.transaction() as connection:
            root = connection.root()
            root['counters'] = [PersistentMapping(n=0) for _ in range(3)]
            root['length'] = Length(0)
            root['register'] = PersistentMapping(n=0)
        self.client.ping()
        self.database = ZODB.DB(self.client)
        self.mine, self.reader = self._open(), self._open()
        self.committed = 0

    def _open(self):
        manager = transaction.TransactionManager(explicit=True)
        connection = self.database.open(manager)
        manager.begin()
        read(connection)
        return connection

    def close(self):
        for connection in self.mine, self.reader:
            begin(connection).abort()
            connection.close()
        self.database.close()
        self.other.close()

    def commit_elsewhere(self):
        """Change all that is changed here, in another client."""
        with self.other.transaction() as connection:
            change(connection)
            connection.root()['register']['n'] += 1

    def verify(self):
        """Look at once, and when all answers have come."""
        for buffer in commits_of(self.client).all():  # whose abort was struck before it began
            patiently(lambda buffer=buffer: self.client.tpc_abort(buffer.transaction))
        for connection in self.mine, self.reader:
            try:
                self._look(connection)
            except StorageError:  # there is no connection at this moment
                pass
        patiently(self.client.ping)
        until = time.monotonic() + PATIENCE
        for connection in self.mine, self.reader, self.mine:
            while True:
                try:
                    self._look(connection)
                    break
                except StorageError:
                    assert time.monotonic() < until
                    time.sleep(0.002)
            assert self.client.lastTransaction() == self.storage.lastTransaction()
        self._commits()

    def _look(self, connection):
        begin(connection)
        read(connection)
        check_snapshot(connection, self.storage)

    def _commits(self):
        """No lock is left, and what is written is there."""
        register = self.mine.root()['register']
        register['n'] = self.committed = self.committed + 1
        began = time.monotonic()
        self.mine.transaction_manager.commit()
        assert time.monotonic() < began + PATIENCE
        found = self.storage.loadBefore(register._p_oid, maxtid)
        assert self.mine._reader.getState(found[0]) == {'data': {'n': self.committed}}
        self.mine.transaction_manager.begin()


def read(connection):
    """Have everything in memory."""
    root = connection.root()
    for counter in root['counters']:
        counter['n']
    root['length']()
    root['register']['n']


def change(connection):
    for counter in connection.root()['counters']:
        counter['n'] += 1
    connection.root()['length'].change(1)


def begin(connection):
    """End the transaction that is under way, if any, and begin another one."""
    manager = connection.transaction_manager
    try:
        manager.abort()
    except NoTransaction:
        pass
    manager.begin()
    return manager


def begun(databases):
    return begin(databases.mine), databases.mine


def commits(databases):
    manager, connection = begun(databases)
    change(connection)
    manager.commit()


def commits_savepoints(databases):
    manager, connection = begun(databases)
    change(connection)
    manager.savepoint()
    connection.root()['counters'][0]['n'] += 1
    connection.root()['new'] = PersistentMapping(n=1)
    manager.commit()


def resolves(databases):
    """The server resolves the conflict."""
    manager, connection = begun(databases)
    connection.root()['length'].change(1)
    manager.savepoint()
    with StruckNot(), databases.other.transaction() as other:
        other.root()['length'].change(1)
    manager.commit()


def conflicts(databases):
    manager, connection = begun(databases)
    change(connection)
    with StruckNot():
        databases.commit_elsewhere()
    with pytest.raises(ConflictError):
        manager.commit()


def refuses(databases):
    """Another resource votes against it: then it is aborted in the storage."""
    manager, connection = begun(databases)
    change(connection)
    manager.get().join(Refusing(manager))
    with pytest.raises(Refusal):
        manager.commit()


def undoes(databases):
    manager, connection = begun(databases)
    databases.database.undo(databases.undo_id, manager.get())
    manager.commit()


def reads_current(databases):
    manager, connection = begun(databases)
    connection.readCurrent(connection.root()['register'])
    change(connection)
    manager.commit()


def begins(databases):
    """What others have committed is read."""
    for _ in range(2):
        manager, connection = begun(databases)
        connection.prefetch(connection.root()['counters'])
        read(connection)


def opens(databases):
    """Connections of all kinds."""
    manager = transaction.TransactionManager()
    connection = databases.database.open(manager)
    try:
        read(connection)
    finally:
        begin(connection).abort()
        connection.close()
    before = databases.client.lastTransaction()
    historical = databases.database.open(manager, before=before)
    try:
        read(historical)
    finally:
        begin(historical).abort()
        historical.close()


def packs(databases):
    databases.database.pack()
    manager, connection = begun(databases)
    read(connection)


def puts_blobs(databases):
    manager, connection = begun(databases)
    change(connection)
    connection.root()['blob'] = Blob(b'something')
    manager.commit()


class StruckNot:
    """What is done within is not struck."""

    def __enter__(self):
        self._trace = sys.gettrace()
        sys.settrace(None)

    def __exit__(self, *exception):
        sys.settrace(self._trace)


SCENARIOS = [
    commits,
    commits_savepoints,
    resolves,
    conflicts,
    refuses,
    undoes,
    reads_current,
    begins,
    opens,
    packs,
    puts_blobs,
]


class SoftLimit(Exception):
    """An exception that another thread or a signal handler raises, which applications catch."""


@at_some
@on_both
@pytest.mark.parametrize(
    'error',
    [
        Struck,
        OSError,
        *(pytest.param(one, marks=pytest.mark.slow) for one in (SoftLimit, MemoryError)),
    ],
)
@pytest.mark.parametrize('scenario', SCENARIOS)
def test_connections_are_right_after_a_strike(make_setting, tmp_path, disk, scenario, error, step):
    options = {'blob_dir': str(tmp_path / 'blobs')} if scenario is puts_blobs else {}
    databases = Databases(make_setting(disk), **options)

    def act():
        try:
            scenario(databases)
        except error:
            raise Struck from None

    def prepare():
        databases.commit_elsewhere()
        wait_until(lambda: not databases.storage._pack_is_in_progress)
        databases.undo_id = databases.other.undoInfo(0, 1)[0]['id']
        databases.client.ping()
        if scenario in (begins, opens):
            databases.database.cacheMinimize()
            cache_of(databases.client).clear()

    def verify():
        databases.verify()
        prepare()

    act.__name__ = scenario.__name__
    prepare()
    strike(step, act, verify, lambda point: Striker(point, error=error))
    databases.close()
