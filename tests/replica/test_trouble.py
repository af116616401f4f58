"""A replica that is stopped anywhere goes on from its last whole transaction."""

import errno
import os
import shutil
import subprocess
import sys
import time

import pytest
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.fsIndex import fsIndex
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, p64, u64, z64

from support.processes import wait_until
from support.replicas import LONG, wait_for, wait_for_state
from ZEO.replica import group, state_file, storage, unfinished


def committed(db, **values):
    """Commit values of the root; return the tid."""
    with db.transaction() as connection:
        connection.root().update(values)
    return db.storage.lastTransaction()


@pytest.fixture
def primary(site):
    """A server with some transactions."""
    server = site.primary()
    server.db = site.db(server.addr)
    for number in range(10):
        committed(server.db, **{f'k{number}': PersistentMapping(n='x' * 1000)})
    return server


def test_a_full_disk_is_reported_and_following_goes_on_when_there_is_space(
    site, primary, monkeypatch
):
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    write, is_full = os.pwrite, [True]

    def full(fd, data, at):
        if not is_full or at < 5000:
            return write(fd, data, at)
        write(fd, bytes(data[: len(data) // 2]), at)  # a part, as a disk does
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(group.os, 'pwrite', full)
    before = replica.lastTransaction()
    tid = committed(primary.db, more=PersistentMapping(n='y' * 5000), blob=Blob(b'some'))
    assert 'No space left' in wait_for_state(replica, 'disconnected')['error']
    assert replica.lastTransaction() == before
    is_full.clear()
    wait_for(replica, tid)
    assert site.same_files()


@pytest.mark.parametrize('what', ['the state', 'a blob', 'the directory of a blob'])
def test_following_goes_on_when_there_is_space_for(site, primary, monkeypatch, what):
    tid = committed(primary.db, blob=Blob(b'some' * 1000))
    module, name = {
        'the state': (state_file, 'write'),
        'a blob': (storage, 'rename_or_copy_blob'),
        'the directory of a blob': (storage, 'sync_directory'),
    }[what]
    write, refused = getattr(module, name), []

    def full(*args):
        # the state is written once when the replica is opened
        if len(refused) < (3 if what == 'the state' else 2):
            refused.append(args)
            if what != 'the state' or len(refused) > 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*args)

    monkeypatch.setattr(module, name, full)
    replica = site.replica(primary.addr)
    wait_until(lambda: 'No space left' in (replica.replica_status()['error'] or ''), LONG)
    wait_for(replica, tid)
    wait_until(lambda: replica.replica_status()['whole'], LONG)
    wait_for(replica, committed(primary.db, blob=Blob(b'other')))
    assert site.same_files()


def test_a_full_disk_at_the_end_costs_the_index_only(site, primary, monkeypatch):
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)

    def full(index, position, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(fsIndex, 'save', full)
        replica.close()
    replica = site.replica(primary.addr)
    wait_for(replica, committed(primary.db, b=2))
    assert site.same_files()


def test_a_full_disk_at_the_start_is_an_error_and_leaves_the_file_free(site, primary, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(state_file, 'write', full)
        with pytest.raises(OSError, match='No space left'):
            site.replica(primary.addr)
    wait_for(site.replica(primary.addr), primary.db.storage.lastTransaction())


@pytest.mark.parametrize('part', [0.001, 0.3, 0.8, 0.999])
def test_a_group_that_was_cut_short_is_removed_at_the_next_start(site, primary, part):
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    replica.close()
    path = site.path('replica.fs')
    end = os.path.getsize(path)
    committed(primary.db, a=PersistentMapping(n='z' * 3000))
    with open(site.path('primary.fs'), 'rb') as file:
        file.seek(end)
        rest = bytearray(file.read())
    rest[unfinished.STATUS : unfinished.STATUS + 1] = unfinished.UNFINISHED
    with open(path, 'ab') as file:
        file.write(rest[: max(1, int(len(rest) * part))])
    replica = site.replica(primary.addr)
    assert (
        replica.lastTransaction() < primary.db.storage.lastTransaction()
        or (replica.replica_status()['copied-transactions'])
    )
    wait_for(replica, committed(primary.db, b=2))
    assert site.same_files()
    assert not [name for name in os.listdir(site.directory) if '.tr' in name]


def test_a_promotion_that_cannot_be_written_down_does_not_happen(site, primary, monkeypatch):
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(state_file, 'write', full)
        with pytest.raises(OSError, match='No space left'):
            replica.promote()
    assert replica.isReadOnly()
    wait_for(replica, committed(primary.db, b=2))


def test_a_primary_with_blobs_is_refused_without_a_directory_for_them(site, primary):
    committed(primary.db, blob=Blob(b'x'))
    replica = site.replica(primary.addr, blob_dir=None)
    assert 'blob-dir' in wait_for_state(replica, 'refused')['error']


def test_a_storage_of_another_kind_can_be_the_primary(site):
    server = site.serve(MappingStorage())
    db = site.db(server.addr)
    committed(db, a=PersistentMapping(n=1))
    replica = site.replica(server.addr)
    wait_for(replica, committed(db, b=2))
    with site.db(replica).transaction() as connection:
        assert connection.root()['a']['n'] == 1
        assert connection.root()['b'] == 2


def test_a_transaction_of_many_objects_and_a_large_record(site, primary):
    replica = site.replica(primary.addr)
    many = PersistentMapping({number: PersistentMapping() for number in range(25_000)})
    wait_for(replica, committed(primary.db, many=many, large='x' * 20_000_000))
    assert site.same_files()


def test_repozo_backs_up_a_replica(site, primary):
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    os.mkdir(site.path('backup'))
    repozo = [sys.executable, '-m', 'ZODB.scripts.repozo', '-r', site.path('backup')]
    subprocess.run([*repozo, '-B', '-F', '-f', site.path('replica.fs')], check=True, timeout=LONG)
    second = int(time.time())  # which names the backup
    wait_for(replica, committed(primary.db, b=2))
    wait_until(lambda: int(time.time()) > second)
    subprocess.run([*repozo, '-B', '-f', site.path('replica.fs')], check=True, timeout=LONG)
    restored = site.path('restored.fs')
    subprocess.run([*repozo, '-R', '-o', restored], check=True, timeout=LONG)
    shutil.copytree(site.path('primary.blobs'), site.path('restored.blobs'))
    assert site.same_files('primary', 'restored')


def test_a_damaged_state_is_refused(site, primary):
    with open(site.path('replica.fs.replica'), 'w') as file:
        file.write('nonsense')
    with pytest.raises(Exception, match='does not hold the state'):
        site.replica(primary.addr)


def test_closing_ends_soon_while_there_is_no_primary(site):
    replica = site.replica(('127.0.0.1', 1))
    began = time.monotonic()
    replica.close()
    assert time.monotonic() - began < LONG


def test_clients_are_sent_nothing_that_a_replica_has_no_memory_to_show(site, primary, monkeypatch):
    replica = site.replica(primary.addr)
    assert replica.wait_until_following(LONG)
    client = site.db(site.serve(replica).addr, read_only=True).storage
    update, tries, is_full = fsIndex.update, [], [True]
    record = client.loadBefore(z64, maxtid)

    def without_memory(index, more):
        if index is replica._index and is_full:
            tries.append(None)
            raise MemoryError
        update(index, more)

    monkeypatch.setattr(fsIndex, 'update', without_memory)
    tid = committed(primary.db, more=1)
    wait_until(lambda: len(tries) > 1)
    client.ping()
    # it would read the old record as that of the new transaction
    assert client.loadBefore(z64, p64(u64(client.lastTransaction()) + 1)) == record
    assert client.lastTransaction() < tid
    is_full.clear()
    wait_until(lambda: client.lastTransaction() == tid)
    assert client.loadBefore(z64, maxtid)[1] == tid
