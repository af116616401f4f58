"""A client that reads from followers has a conflict with a commit that no client may see yet."""

import threading

import pytest
import transaction
import ZODB
from ZODB.POSException import ConflictError

from support.processes import wait_until
from support.replicas import LONG, Site, wait_for
from ZEO.Exceptions import ClientDisconnected

pytestmark = pytest.mark.smoke


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def primary(site):
    """A primary whose commits wait for a follower that is not there, and are refused then."""
    database = ZODB.DB(site.file('primary'))
    with database.transaction() as connection:
        connection.root()['n'] = 1
    database.close()
    return site.primary(wait_for_replicas=1, replica_timeout=1, replica_timeout_action='refuse')


def met_hidden_commit(site, primary):
    """Return a client's database that has just had a conflict with a commit which is hidden."""
    db = site.db(primary.addr, prefer='replica', prefer_wait=0.2)
    writer, waits = site.db(primary.addr), threading.Event()

    def commit():
        with pytest.raises(ClientDisconnected, match='it is not known whether'):
            with writer.transaction() as connection:
                connection.root()['n'] = 2
        waits.set()

    thread = threading.Thread(target=commit)
    thread.start()
    wait_until(lambda: db.storage.server_status()['replicas']['waiting'])
    with pytest.raises(ConflictError), db.transaction() as connection:
        connection.root()['n'] = 3
    assert waits.wait(LONG)
    thread.join()
    return db


def read(db):
    manager = transaction.TransactionManager()
    with manager, db.transaction() as connection:
        return connection.root()['n']


def test_it_goes_on_reading_what_clients_may_see(site, primary):
    """It took the primary for one that was restored from a backup, and read nothing any more."""
    db = met_hidden_commit(site, primary)
    assert read(db) == 1
    replica = site.replica(primary.addr)
    wait_for(replica, primary.storages['1'].lastTransaction())
    wait_until(lambda: read(db) == 2)


def test_a_follower_without_that_commit_takes_over(site, primary):
    """That of a primary which is lost with the commit that it has not shown."""
    before = primary.storages['1'].lastTransaction()
    file = site.path('primary.fs')
    with open(file, 'rb') as opened:
        copied = opened.read()
    db = met_hidden_commit(site, primary)
    address = primary.addr
    primary.end()
    with open(site.path('other.fs'), 'wb') as opened:
        opened.write(copied)
    site.serve(site.file('other'), address)
    assert read(db) == 1
    with db.transaction() as connection:
        connection.root()['n'] = 4
    assert read(db) == 4 and db.storage.lastTransaction() > before
