"""A replica has what its primary has; its clients learn of it as of commits there."""

import io
import os
import re
import sys

import pytest
import transaction
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.POSException import ReadOnlyError

from support.replicas import LONG, wait_for, wait_for_state


def committed(db, **values):
    """Commit values of the root; return the tid."""
    with db.transaction() as connection:
        connection.root().update(values)
    return db.storage.lastTransaction()


def test_the_first_copy_shows_how_far_it_is_on_a_terminal(site, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    primary = site.primary()
    db = site.db(primary.addr)
    for number in range(3):
        committed(db, key=number)
    monkeypatch.setattr('ZEO.progress.ON_TERMINAL', 0.0)
    monkeypatch.setattr(sys, 'stderr', Terminal())
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    shown = sys.stderr.getvalue()
    assert re.search(r'\rcopy of .*: \d+ transactions, \d+ records', shown)
    assert shown.endswith('\r')


def test_a_new_replica_gets_everything_and_then_each_transaction(site):
    primary = site.primary()
    db = site.db(primary.addr)
    for number in range(20):
        committed(db, **{f'k{number}': PersistentMapping(x='y' * number * 100)})
    committed(db, blob=Blob(b'first'))
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    assert site.same_files()
    db.undo(db.undoLog(0, 1)[0]['id'])
    transaction.commit()
    db.undo(db.undoLog(0, 1)[0]['id'])
    transaction.commit()
    wait_for(replica, committed(db, blob2=Blob(b'second'), last=1))
    assert site.same_files()
    assert replica.replica_status()['lag-transactions'] == 0


def test_it_goes_on_after_a_restart(site):
    primary = site.primary()
    db = site.db(primary.addr)
    committed(db, a=1)
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    replica.close()
    committed(db, b=2)
    replica = site.replica(primary.addr)
    wait_for(replica, committed(db, c=3))
    assert site.same_files()
    assert replica.replica_status()['copied-transactions'] <= 2


def test_a_client_of_a_follower_sees_what_is_committed_at_the_primary(site):
    primary = site.primary()
    db = site.db(primary.addr)
    committed(db, a=1, blob=Blob(b'content'))
    follower = site.serve(site.replica(primary.addr))
    replica = follower.hosted['1'].storage
    assert replica.wait_until_following(LONG)
    reader = site.db(follower.addr, read_only=True)
    with reader.transaction() as connection:
        assert connection.root()['a'] == 1
        assert connection.root()['blob'].open().read() == b'content'
    wait_for(replica, committed(db, a=2))
    for _ in range(1000):
        reader.storage.ping()
        if reader.storage.lastTransaction() >= db.storage.lastTransaction():
            break
    with reader.transaction() as connection:
        assert connection.root()['a'] == 2


def test_writes_are_refused_with_the_address_of_the_primary(site):
    primary = site.primary()
    committed(site.db(primary.addr), a=1)
    replica = site.replica(primary.addr)
    follower = site.serve(replica)
    where = f'127.0.0.1:{primary.addr[1]}'
    with pytest.raises(ReadOnlyError, match=where):
        replica.tpc_begin(transaction.get())
    with pytest.raises(ReadOnlyError, match=where):
        replica.new_oid()
    with pytest.raises(ReadOnlyError, match=where):
        site.db(follower.addr)


def test_a_promoted_replica_takes_writes_also_after_a_restart(site):
    primary = site.primary()
    db = site.db(primary.addr)
    committed(db, a=1)
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    tid = replica.promote()
    assert tid == db.storage.lastTransaction() == replica.promote()
    assert not replica.isReadOnly()
    committed(site.db(replica), a=2)
    replica.close()
    again = site.replica(primary.addr)
    assert not again.isReadOnly()
    status = wait_for_state(again, 'promoted')
    assert status['promoted'] == tid.hex()
    committed(site.db(again), a=3)


def test_a_promoted_replica_has_a_blob_on_the_disk_before_its_transaction(site, monkeypatch):
    replica = site.replica(site.primary().addr)
    assert replica.wait_until_following(LONG)
    replica.promote()
    db = site.db(replica)
    committed(db, a=1)
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, 'fsync', lambda fd: (synced.append(os.fstat(fd).st_ino), fsync(fd)))
    monkeypatch.setattr(sys.modules['ZODB.FileStorage.FileStorage'], 'fsync', os.fsync)
    committed(db, blob=Blob(b'a file'))
    with db.transaction() as connection:
        path = connection.root()['blob'].committed()
    parts = path, os.path.dirname(path), replica._file_name
    assert synced == [os.stat(part).st_ino for part in parts]


def test_a_blob_that_cannot_be_synced_is_not_committed_and_the_next_one_is(site, monkeypatch):
    replica = site.replica(site.primary().addr)
    assert replica.wait_until_following(LONG)
    replica.promote()
    db = site.db(replica)
    committed(db, a=1)
    with monkeypatch.context() as fails:
        fails.setattr('ZEO.replica.storage.sync_files', {}.__getitem__)
        with pytest.raises(TypeError):
            committed(db, blob=Blob(b'lost'))
    with db.transaction() as connection:
        assert dict(connection.root()) == {'a': 1}
    committed(db, blob=Blob(b'kept'))
    with db.transaction() as connection:
        assert connection.root()['blob'].open().read() == b'kept'


def read_from_a_replica(site):
    """Return a database at a primary, a replica of it, and a connection that reads from that."""
    primary = site.primary()
    db = site.db(primary.addr)
    committed(db, a=1)
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    connection = site.db(replica).open(transaction.TransactionManager())
    assert connection.root()['a'] == 1
    return db, replica, connection


def test_a_database_that_fails_to_take_a_change_reads_everything_again(site, monkeypatch):
    db, replica, connection = read_from_a_replica(site)
    with monkeypatch.context() as fails:
        fails.setattr(replica._database, 'invalidate', [].index)  # which finds nothing
        wait_for(replica, committed(db, a=2))
    connection.transaction_manager.begin()
    assert connection.root()['a'] == 2


def test_a_database_over_a_replica_sees_changes(site):
    db, replica, connection = read_from_a_replica(site)
    wait_for(replica, committed(db, a=2))
    assert connection.root()['a'] == 1
    connection.transaction_manager.begin()
    assert connection.root()['a'] == 2


def test_a_chain_of_followers(site):
    primary = site.primary()
    db = site.db(primary.addr)
    committed(db, a=Blob(b'x'))
    middle = site.serve(site.replica(primary.addr, 'middle'))
    last = site.replica(middle.addr, 'last')
    wait_for(last, committed(db, b=2))
    assert site.same_files('primary', 'last')
