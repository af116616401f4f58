"""Only a primary with the same history is followed; what it lacks is never thrown away unasked."""

import shutil
import time

import pytest
import transaction
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage

from support.replicas import LONG, wait_for, wait_for_state


def committed(db, **values):
    """Commit values of the root; return the tid."""
    with db.transaction() as connection:
        connection.root().update(values)
    return db.storage.lastTransaction()


def refused(replica):
    """Return why a replica refuses its primary."""
    return wait_for_state(replica, 'refused')['error']


@pytest.fixture
def copied(site):
    """A primary's file, and that of a replica that has everything; both closed."""
    db = site.db(site.file('primary'))
    for number in range(30):
        committed(db, **{f'k{number % 3}': PersistentMapping(n=number)})
    db.close()
    shutil.copy(site.path('primary.fs'), site.path('replica.fs'))
    shutil.copytree(site.path('primary.blobs'), site.path('replica.blobs'))
    return site


def change(site, name, **values):
    """Commit in a closed file; return the tid."""
    db = site.db(site.file(name))
    tid = committed(db, **values)
    db.close()
    return tid


def test_a_copy_of_the_file_is_a_beginning(copied):
    change(copied, 'primary', new=1)
    primary = copied.primary()
    replica = copied.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    assert replica.replica_status()['copied-transactions'] == 1
    assert copied.same_files()


def test_another_database_is_refused(copied):
    other = copied.primary('other')
    committed(copied.db(other.addr), a=1)
    replica = copied.replica(other.addr)
    assert 'none of the transactions' in refused(replica)


def test_an_empty_database_is_refused(copied):
    other = copied.primary('other')
    replica = copied.replica(other.addr)
    assert 'none of the transactions' in refused(replica)


def test_a_transaction_that_differs_is_named(copied):
    storage = copied.file('primary')
    last = storage.lastTransaction()
    storage.close()
    with open(copied.path('primary.fs'), 'r+b') as file:
        data = file.read()
        at = data.rindex(b'K\x1d')  # the number 29
        file.seek(at + 1)
        file.write(b'\x1e')
    replica = copied.replica(copied.primary().addr)
    text = refused(replica)
    assert last.hex() in text and 'another history' in text


def test_a_restored_primary_is_refused_and_what_it_lacks_is_saved(copied):
    first = change(copied, 'replica', lost=1)
    second = change(copied, 'replica', blob=Blob(b'lost'))
    primary = copied.primary()
    committed(copied.db(primary.addr), later=1)  # it went on in another way
    replica = copied.replica(primary.addr)
    text = refused(replica)
    assert 'lacks 2 ' in text and first.hex() in text and second.hex() in text
    assert len(replica.replica_status()['lost-transactions']) == 2
    path = copied.path(f'replica.fs.lost-{first.hex()}.fs')
    assert path in text
    with_blobs = FileStorage(path, blob_dir=path.removesuffix('.fs') + '.blobs', read_only=True)
    assert [one.tid for one in with_blobs.iterator()] == [first, second]
    assert replica.lastTransaction() == second
    with_blobs.close()


def test_what_is_lost_is_discarded_where_the_operator_says_so(copied):
    lost = change(copied, 'replica', lost=Blob(b'lost'))
    primary = copied.primary()
    db = copied.db(primary.addr)
    committed(db, later=1)
    replica = copied.replica(primary.addr, discard_lost=True)
    assert replica.wait_until_following(LONG)
    wait_for(replica, committed(db, later=2))
    assert copied.same_files()
    saved = FileStorage(copied.path(f'replica.fs.lost-{lost.hex()}.fs'), read_only=True)
    assert saved.lastTransaction() == lost
    saved.close()
    assert 'lost' not in copied.db(replica).open().root()


def pack(site, name):
    """Pack a closed file."""
    db = site.db(site.file(name))
    db.pack(time.time() + 1)
    db.close()


@pytest.mark.parametrize('packed', [('primary',), ('replica',), ('primary', 'replica')])
def test_packs_on_either_side_are_no_other_history(copied, packed):
    for name in packed:
        pack(copied, name)
    primary = copied.primary()
    db = copied.db(primary.addr)
    replica = copied.replica(primary.addr)
    wait_for(replica, committed(db, new=1))
    assert wait_for_state(replica, 'following', 'refused')['error'] is None


def test_a_new_copy_of_a_packed_primary_is_the_same_to_the_byte(copied):
    pack(copied, 'primary')
    change(copied, 'primary', new=1)
    primary = copied.primary()
    replica = copied.replica(primary.addr, 'other')
    assert replica.wait_until_following(LONG)
    assert copied.same_files('primary', 'other')


def test_a_pack_while_it_follows_keeps_objects(site):
    primary = site.primary()
    db = site.db(primary.addr)
    committed(db, a=PersistentMapping(n=1))
    replica = site.replica(primary.addr)
    wait_for(replica, committed(db, a=None))
    gone = db.undoLog(0, 1)[0]['id']
    reader = site.db(replica)
    reader.pack(time.time())
    db.undo(gone)  # brings the object back, and sends only what refers to it
    transaction.commit()
    wait_for(replica, db.storage.lastTransaction())
    with reader.transaction() as connection:
        assert connection.root()['a']['n'] == 1
