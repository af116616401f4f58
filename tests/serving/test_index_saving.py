"""The index of a FileStorage is saved while it is served, so that a kill costs no long start."""

import os
import shutil
import threading

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.serialize import referencesf
from ZODB.utils import z64

from support.clock import Clock
from support.scripted import oid
from ZEO.net.system import REAL
from ZEO.serving import index_saving
from ZEO.serving.crash_safety import make_safe
from ZEO.serving.grouped import GroupedFileStorage

#: Objects of several buckets of an index, which has one for each 65,536 numbers.
NUMBERS = [1, 2, 3, 70_000, 70_001, 140_000]


def commit(storage, numbers):
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    for one in map(oid, numbers):
        serial = storage.getTid(one) if one in storage._index else z64
        storage.store(one, serial, b'x' * 20, '', transaction)
    storage.tpc_vote(transaction)
    return storage.tpc_finish(transaction)


@pytest.fixture(params=[FileStorage, GroupedFileStorage])
def storage(request, tmp_path):
    storage = request.param(str(tmp_path / 'Data.fs'))
    make_safe(storage, REAL)
    os.remove(tmp_path / 'Data.fs.index')
    for number in NUMBERS:
        commit(storage, [number])
    yield storage
    storage.close()


@pytest.fixture
def killed(tmp_path):
    """A function that opens what a kill leaves; it also returns what FileStorage has logged."""
    opened = []

    def open_copy():
        for end in '', '.index':
            shutil.copy(tmp_path / f'Data.fs{end}', tmp_path / f'Copy.fs{end}')
        opened.append(FileStorage(str(tmp_path / 'Copy.fs')))
        return opened[-1]

    yield open_copy
    for one in opened:
        one.close()


def meanwhile(monkeypatch, do):
    """Have something done before and after each bucket of an index that is saved."""
    buckets = index_saving._Snapshot.buckets

    def disturbed(self):
        do()
        for bucket in buckets(self):
            do()
            yield bucket

    monkeypatch.setattr(index_saving._Snapshot, 'buckets', disturbed)


def test_a_start_after_a_kill_reads_only_what_came_later(storage, killed):
    assert index_saving.save(storage)
    commit(storage, [2, 9])
    found = killed()
    assert found._used_index
    assert dict(found._index.items()) == dict(storage._index.items())
    assert found.lastTransaction() == storage.lastTransaction()


def test_what_is_committed_meanwhile_does_not_get_into_it(storage, killed, monkeypatch, caplog):
    saved = dict(storage._index.items()), storage._pos
    numbers = iter(range(1000, 2000))
    meanwhile(monkeypatch, lambda: commit(storage, [next(numbers), 140_000, 3, 5_000_000, 70_001]))
    assert index_saving.save(storage)
    found = index_saving_load(storage)
    assert (dict(found['index'].items()), found['pos']) == saved
    opened = killed()
    assert opened._used_index
    assert dict(opened._index.items()) == dict(storage._index.items())
    assert not [one for one in caplog.records if one.name.startswith('ZODB')]


def index_saving_load(storage):
    return type(storage._index).load(storage._file_name + '.index')


def test_a_pack_meanwhile_has_the_last_word(storage, killed, monkeypatch):
    done = []

    def pack():
        if not done:
            done.append(storage.pack(4e9, referencesf, gc=False))
            commit(storage, [3])

    meanwhile(monkeypatch, pack)
    commit(storage, [3])
    assert not index_saving.save(storage)
    found = killed()
    assert dict(found._index.items()) == dict(storage._index.items())
    assert not os.path.exists(storage._file_name + '.index.saving_tmp')


@pytest.mark.parametrize('storage', [GroupedFileStorage], indirect=True)
def test_a_disk_that_has_failed_meanwhile_leaves_the_former_index(storage, monkeypatch):
    meanwhile(monkeypatch, lambda: setattr(storage, 'failure', OSError('the disk has failed')))
    assert not index_saving.save(storage)
    assert not os.path.exists(storage._file_name + '.index')
    assert not os.path.exists(storage._file_name + '.index.saving_tmp')
    storage.failure = None


def test_a_full_disk_leaves_the_former_index(storage, killed, monkeypatch):
    assert index_saving.save(storage)
    commit(storage, [1])

    def full():
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patched:
        meanwhile(patched, full)
        with pytest.raises(OSError, match='No space'):
            index_saving.save(storage)
    assert not os.path.exists(storage._file_name + '.index.saving_tmp')
    found = killed()
    assert found._used_index
    assert dict(found._index.items()) == dict(storage._index.items())


def test_what_is_not_on_the_disk_is_synced_before_an_index_names_it(tmp_path, monkeypatch):
    storage = GroupedFileStorage(str(tmp_path / 'Data.fs'))
    make_safe(storage, REAL)
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    storage.store(oid(1), z64, b'data', '', transaction)
    storage.tpc_vote(transaction)
    storage.postpone_sync(transaction)
    storage.tpc_finish(transaction)
    done, fsync, replace = [], os.fsync, os.replace

    def synced(fd):
        done.append(os.stat(fd).st_ino)
        fsync(fd)

    monkeypatch.setattr(os, 'fsync', synced)
    monkeypatch.setattr(os, 'replace', lambda *names: done.append('named') or replace(*names))
    assert index_saving.save(storage)
    file = os.stat(tmp_path / 'Data.fs').st_ino
    assert file in done[: done.index('named')]
    assert storage._written  # it is told of an error when it syncs by itself
    storage.close()


def test_a_server_looks_once_a_minute_and_saves_when_much_was_written(
    serving, raw, tmp_path, monkeypatch
):
    path = tmp_path / 'Data.fs'
    storage = FileStorage(str(path))
    clock, saved = Clock(), threading.Event()
    save = index_saving.save

    def noted(files):
        done = save(files)
        saved.set()
        return done

    monkeypatch.setattr(index_saving, 'save', noted)
    monkeypatch.setattr(index_saving, 'LEAST', 2_000)
    server = serving(storage, system=clock)
    client = raw(server)

    def let_a_minute_pass():
        clock.time += index_saving.LOOK_EVERY + 1
        server.post(lambda: None)
        client.call('ping')
        client.call('ping')

    client.commit(1, (oid(1), z64, b'data'))
    let_a_minute_pass()
    assert not saved.is_set()  # there is too little
    client.commit(2, (oid(2), z64, b'd' * 3_000))
    let_a_minute_pass()
    assert saved.wait(30)
    assert storage._index.load(str(path) + '.index')['pos'] == storage._pos
    saved.clear()
    client.call('ping')
    let_a_minute_pass()
    assert not saved.is_set()  # nothing is new
