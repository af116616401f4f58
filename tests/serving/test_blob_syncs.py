"""Files of blobs come to the disk together, each with its name, before the transaction does."""

import errno
import os
import stat
import threading

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

from ZEO.net.system import System
from ZEO.serving.blob_syncs import THREADS, sync_files
from ZEO.serving.grouped import GroupedFileStorage

PATIENCE = 30


@pytest.fixture
def synced(monkeypatch):
    """The (device, inode) of every file that was synced, in order."""
    seen, fsync = [], os.fsync

    def noted(fd):
        found = os.fstat(fd)
        fsync(fd)
        seen.append((found.st_dev, found.st_ino))

    monkeypatch.setattr(os, 'fsync', noted)
    return seen


def identity(path):
    found = os.stat(path)
    return found.st_dev, found.st_ino


def files(tmp_path, count):
    """Files, two in each directory."""
    paths = []
    for number in range(count):
        directory = tmp_path / str(number // 2)
        directory.mkdir(exist_ok=True)
        (directory / f'{number}.blob').write_bytes(b'blob')
        paths.append(str(directory / f'{number}.blob'))
    return paths


class Threadless(System):
    def spawn(self, *args):
        raise RuntimeError("can't start new thread")


@pytest.mark.parametrize('system', [None, System(), Threadless()])
@pytest.mark.parametrize('count', [0, 1, 30])
def test_each_file_and_each_directory_is_synced_once(tmp_path, synced, system, count):
    paths = files(tmp_path, count)
    sync_files(paths + paths[:1], system)
    wanted = {*paths, *map(os.path.dirname, paths)}
    assert sorted(synced) == sorted(map(identity, wanted))


def test_many_are_synced_at_the_same_time(tmp_path, monkeypatch):
    together = threading.Barrier(THREADS + 1)
    monkeypatch.setattr(os, 'fsync', lambda fd: together.wait(PATIENCE))
    sync_files(files(tmp_path, (THREADS + 1) * 2), System())


@pytest.mark.parametrize('system', [System(), Threadless()])
def test_an_error_of_the_disk_is_raised_when_all_have_been_tried(tmp_path, monkeypatch, system):
    paths, tried = files(tmp_path, 20), []

    def fail(fd):
        tried.append(os.fstat(fd).st_ino)
        if len(tried) == 3:
            raise OSError('the disk has failed')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='the disk has failed'):
        sync_files(paths, system)
    assert set(tried) >= {os.stat(path).st_ino for path in paths}


@pytest.mark.parametrize('is_postponed', [False, True])
@pytest.mark.parametrize('count', [1, 12])
def test_the_blobs_of_a_transaction_are_on_the_disk_before_it(
    tmp_path, synced, is_postponed, count
):
    storage = GroupedFileStorage(str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'blobs'))
    storage.system = System()
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    for oid in map(p64, range(1, count + 1)):
        path = os.path.join(storage.temporaryDirectory(), oid.hex())
        with open(path, 'wb') as file:
            file.write(b'blob')
        storage.storeBlob(oid, z64, b'record', path, '', transaction)
    storage.tpc_vote(transaction)
    if is_postponed:
        storage.postpone_sync(transaction)
    synced.clear()
    tid = storage.tpc_finish(transaction)
    if is_postponed:
        assert not synced
        storage.sync()
    blobs = [storage.loadBlob(p64(oid), tid) for oid in range(1, count + 1)]
    assert {identity(path) for path in blobs} <= set(synced[:-1])
    assert {identity(os.path.dirname(path)) for path in blobs} <= set(synced[:-1])
    assert synced[-1] == identity(tmp_path / 'Data.fs')
    assert storage.has_large_blobs() is False
    storage.close()


@pytest.mark.parametrize('number', [errno.EIO, errno.ENOSPC, errno.EINVAL, errno.EBADF])
def test_a_name_that_the_disk_does_not_take_is_an_error_where_directories_are_synced(
    tmp_path, monkeypatch, number
):
    """Else a transaction would be acknowledged whose blob has no name after a power failure."""
    paths, fsync = files(tmp_path, 1), os.fsync

    def fail(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(fd)

    monkeypatch.setattr(os, 'fsync', fail)
    if number in (errno.EIO, errno.ENOSPC):
        with pytest.raises(OSError, match=os.strerror(number)):
            sync_files(paths, None)
    else:
        sync_files(paths, None)


@pytest.mark.parametrize('number', [errno.EMFILE, errno.ENFILE])
def test_all_is_synced_where_there_are_no_more_descriptors(tmp_path, monkeypatch, number):
    paths, synced = files(tmp_path, 2), []

    def no_descriptor(*args):
        raise OSError(number, 'too many open files')

    monkeypatch.setattr(os, 'open', no_descriptor)
    monkeypatch.setattr(os, 'sync', lambda: synced.append(True))
    sync_files(paths, None)
    assert len(synced) == 3  # for each file, and their directory


def test_a_file_that_the_disk_does_not_give_is_an_error_and_one_that_is_gone_is_none(
    tmp_path, monkeypatch
):
    paths = files(tmp_path, 2)
    os.remove(paths[0])
    sync_files(paths, None)

    def damaged(*args):
        raise OSError(errno.EIO, 'input/output error')

    monkeypatch.setattr(os, 'open', damaged)
    with pytest.raises(OSError, match='input/output'):
        sync_files(paths, None)
