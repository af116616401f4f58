"""ZODB's own cache of objects, which knows nothing of tids but what the storage tells the
database.
"""

import pytest
import transaction
import ZODB
from ZODB.MappingStorage import MappingStorage

from support.inside import cache_of, state_of
from ZEO.Exceptions import ClientDisconnected

pytestmark = pytest.mark.smoke


class Outage:
    """A served storage, one connection to it through a client, and the server's absence."""

    def __init__(self, serving, address, clients, **options):
        self.storage = MappingStorage()
        self.storage.close = lambda: None
        self._serve = lambda: serving(self.storage, address, invalidation_queue_size=3)
        self._server = self._serve()
        self.client = clients(address, **options)
        self.connection = ZODB.DB(self.client).open()
        self.root = self.connection.root()
        for name in 'xy':
            self.root[name] = self.connection.root().__class__()
            self.root[name]['value'] = 0
        self.connection.transaction_manager.commit()

    def change(self, value):
        """Change both objects, one transaction each, behind the client's back."""
        with ZODB.DB(self.storage).transaction() as other:
            other.root()['x']['value'] = value
        with ZODB.DB(self.storage).transaction() as other:
            other.root()['y']['value'] = value

    def miss(self, changes):
        """Take the server away for so many changes; return when the client is connected again."""
        self._server.close()
        for value in range(1, changes + 1):
            self.change(value)
        self._server = self._serve()
        while True:
            try:
                return self.client.ping()
            except ClientDisconnected:
                pass

    def seen(self):
        """Return the values in the connection's snapshot."""
        return [self.root[name]['value'] for name in 'xy']


@pytest.fixture
def outage(serving, sockets, clients):
    """A function that sets an outage up."""
    return lambda **options: Outage(serving, sockets(), clients, **options)


@pytest.mark.parametrize(
    'changes', [1, 2], ids=['told what changed', 'told that anything may have changed']
)
def test_objects_that_the_client_cache_has_dropped_are_invalidated_after_an_outage(outage, changes):
    """The client cache keeps nothing at all, and the object cache everything."""
    there = outage(cache_size=0)
    assert there.seen() == [0, 0]
    assert len(cache_of(there.client)) == 0
    there.miss(changes)
    there.connection.sync()
    assert there.seen() == [changes, changes]


@pytest.mark.parametrize(
    'changes', [1, 2], ids=['told what changed', 'told that anything may have changed']
)
def test_a_reconnect_between_snapshot_and_drain_is_not_swallowed(outage, monkeypatch, changes):
    """A connection has asked for the last transaction, and drains what it was told only after the
    whole cache check.
    """
    there = outage()
    assert there.seen() == [0, 0]
    _meanwhile(monkeypatch, there.client, lambda: there.miss(changes))
    there.connection.sync()
    assert there.seen() in ([0, 0], [changes, changes])
    there.connection.sync()
    assert there.seen() == [changes, changes]


def test_a_snapshot_taken_in_the_middle_of_the_cache_check_is_not_the_last_old_one(
    outage, monkeypatch
):
    """A connection opens just after the database was told to forget everything, and before the last
    transaction moves.
    """
    there = outage()
    database, opened = state_of(there.client).database, []
    forget = database.invalidateCache

    def forget_and_open():
        monkeypatch.setattr(database, 'invalidateCache', forget)
        forget()
        opened.append(
            there.connection.db().open(transaction_manager=transaction.TransactionManager())
        )

    monkeypatch.setattr(database, 'invalidateCache', forget_and_open)
    there.miss(2)
    root = opened[0].root()
    assert [root[name]['value'] for name in 'xy'] in ([0, 0], [2, 2])
    opened[0].sync()
    assert [root[name]['value'] for name in 'xy'] == [2, 2]


def test_a_snapshot_of_the_new_state_has_no_objects_of_the_old_one(outage, monkeypatch):
    """An open connection polls when the database has heard of the new tid, and not yet all that
    goes with it.
    """
    there = outage()
    assert there.seen() == [0, 0]
    database = state_of(there.client).database
    invalidate = database.invalidate

    def invalidate_and_poll(tid, oids):
        monkeypatch.setattr(database, 'invalidate', invalidate)
        invalidate(tid, oids)
        there.connection.newTransaction(None, False)

    monkeypatch.setattr(database, 'invalidate', invalidate_and_poll)
    there.miss(2)
    is_new = there.connection._storage._start > there.client.lastTransaction()
    assert there.seen() == ([2, 2] if is_new else [0, 0])
    there.connection.sync()
    assert there.seen() == [2, 2]


def test_an_invalidation_between_snapshot_and_drain_is_not_swallowed(serving, clients, monkeypatch):
    """The same with a commit of another client, told to a connected one."""
    server = serving(MappingStorage())
    here, there = ZODB.DB(clients(server.addr)), ZODB.DB(clients(server.addr))
    with there.transaction() as other:
        other.root()['x'] = 0
    here.storage.ping()
    reading = here.open()
    assert reading.root()['x'] == 0

    def commit():
        with there.transaction() as other:
            other.root()['x'] = 1
        here.storage.ping()  # behind the invalidation

    reading.transaction_manager.begin()
    _meanwhile(monkeypatch, here.storage, commit)
    reading.sync()
    assert reading.root()['x'] in (0, 1)
    reading.sync()
    assert reading.root()['x'] == 1


def test_a_connection_that_opens_right_after_a_commit_elsewhere_sees_one_state(serving, clients):
    """Two objects that always change together are never seen apart, however opening and
    invalidations mix.
    """
    server = serving(MappingStorage())
    here, there = ZODB.DB(clients(server.addr)), ZODB.DB(clients(server.addr))
    with there.transaction() as other:
        for name in 'xy':
            other.root()[name] = other.root().__class__()
            other.root()[name]['value'] = 0
    for value in range(1, 100):
        with there.transaction() as other:
            for name in 'xy':
                other.root()[name]['value'] = value
        with here.transaction() as reading:
            x = reading.root().get('x')
            if x is not None:
                assert x['value'] == reading.root()['y']['value']


def _meanwhile(monkeypatch, client, do):
    """Have something happen after the client has told its last transaction, once, and before the
    caller gets it.
    """
    tell = client.lastTransaction

    def told():
        monkeypatch.setattr(client, 'lastTransaction', tell)
        last = tell()
        do()
        return last

    monkeypatch.setattr(client, 'lastTransaction', told)
