"""A pack of a GroupedFileStorage has copied what is not synced when that sync fails."""

import errno
import os

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import StorageError
from ZODB.utils import p64, z64

from ZEO.net.system import System
from ZEO.serving import crash_safety
from ZEO.serving.crash_safety import make_safe
from ZEO.serving.grouped import GroupedFileStorage

OID, OTHER = p64(1), p64(2)


def commit(storage, oid, serial=z64, is_synced=True):
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.store(oid, serial, b'data', '', meta)
    storage.tpc_vote(meta)
    if not is_synced:
        storage.postpone_sync(meta)
    return storage.tpc_finish(meta)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'Data.fs')


@pytest.fixture
def storage(path):
    """One with an old revision, and a transaction that is written only."""
    storage = GroupedFileStorage(path)
    make_safe(storage, System())
    commit(storage, OID, commit(storage, OID))
    commit(storage, OTHER, is_synced=False)
    yield storage
    storage.close()


def pack(storage):
    storage.pack(2.0**31, lambda data, oids=None: [], gc=False)


def fail_a_sync(storage, monkeypatch):
    """What the thread that syncs does when the disk fails."""
    fsync, left = os.fsync, [OSError(errno.EIO, 'the disk')]

    def fail_once(fd):
        if left:
            raise left.pop()
        fsync(fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, 'fsync', fail_once)
        with pytest.raises(StorageError, match='nothing of this transaction was committed'):
            storage.sync()


def test_what_a_failed_sync_has_taken_back_does_not_return_with_the_packed_file(
    storage, path, monkeypatch
):
    """The sync fails when the pack has copied the transaction, before its file is in place."""
    sync = crash_safety.sync

    def synced(name):
        sync(name)
        if name == path + '.pack' and storage.failure is None:
            fail_a_sync(storage, monkeypatch)

    monkeypatch.setattr(crash_safety, 'sync', synced)
    with pytest.raises(StorageError, match='takes no transactions'):
        pack(storage)
    storage.close()
    again = FileStorage(path)
    assert OID in again._index and OTHER not in again._index
    again.close()


def test_no_sync_begins_while_the_packed_file_takes_its_place(storage, monkeypatch):
    """Its failure would be noted in the one file, with the other one in place."""
    empty, seen = storage._files.empty, []

    def noted():
        seen.append(storage._syncing.locked())
        empty()

    monkeypatch.setattr(storage._files, 'empty', noted)
    pack(storage)
    assert seen[0]
    assert not storage._syncing.locked()
    assert storage.sync() == storage.lastTransaction()
    assert OTHER in storage._index


def test_a_pack_that_fails_then_leaves_the_storage_to_others(storage, monkeypatch):
    rename = os.rename

    def fail(old, new):
        if old.endswith(('Data.fs', '.pack')):
            raise OSError(errno.EACCES, 'not now')
        rename(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, 'rename', fail)
        with pytest.raises(OSError, match='not now'):
            pack(storage)
    assert storage.sync() == storage.lastTransaction()
    assert commit(storage, p64(3))


def test_a_storage_that_failed_before_can_still_be_packed(storage, monkeypatch):
    fail_a_sync(storage, monkeypatch)
    pack(storage)
    assert OID in storage._index and OTHER not in storage._index
