"""A FileStorage whose server was stopped during a pack, and what is on the disk when."""

import errno
import logging
import os
import shutil
import signal
import time

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.serialize import referencesf
from ZODB.utils import maxtid, p64, z64

from support.history import committed
from ZEO.config.loading import load_text
from ZEO.config.server import settings
from ZEO.config.storages import open_file
from ZEO.net.system import REAL
from ZEO.serving import crash_safety, index_saving
from ZEO.serving.crash_safety import make_safe, mend

A, B = p64(1), p64(2)


@pytest.fixture
def stopped(tmp_path):
    """The path of a FileStorage whose pack was stopped between two renames, and its last tid."""
    path = str(tmp_path / 'Data.fs')
    storage = FileStorage(path)
    last = committed(storage, [A], [A], [B])[-1]
    storage.close()
    shutil.copy(path, path + '.pack')
    os.rename(path, path + '.old')
    return path, last


def test_a_file_that_a_pack_was_replacing_is_brought_back(stopped, caplog):
    path, last = stopped
    with caplog.at_level(logging.WARNING):
        storage = open_file(path)
    assert storage.lastTransaction() == last
    storage.close()
    assert 'a pack of' in caplog.text
    assert not os.path.exists(path + '.old')


@pytest.mark.parametrize('around', ['{}', '<demostorage>\n{}\n</demostorage>'])
def test_so_is_that_of_a_configured_storage(stopped, around):
    path, last = stopped
    section = around.format(f'<filestorage>\npath {path}\n</filestorage>')
    factory = settings(load_text(f'<zeo>\naddress 0\n</zeo>\n{section}', 'a test')).storages['1']
    storage = factory.open()
    assert storage.lastTransaction() == last
    storage.close()


def test_a_file_that_is_missing_for_another_reason_stays_so(stopped):
    path, _ = stopped
    os.unlink(path + '.pack')  # it was packed earlier, and an operator has moved it away
    mend(path)
    assert not os.path.exists(path)


def killed_while(do):
    """Have a child do something in whose middle it is killed."""
    pid = os.fork()
    if not pid:
        try:
            do()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize('ending', ['.pack', '.index.saving_tmp', '.index.index_tmp'])
def test_what_a_kill_has_left_of_a_pack_or_an_index_is_removed(tmp_path, ending, monkeypatch):
    path = str(tmp_path / 'Data.fs')
    storage = FileStorage(path)
    committed(storage, [A], [A], [B])
    storage.close()

    def work():
        storage = FileStorage(path)
        make_safe(storage, REAL)
        if ending == '.index.saving_tmp':
            monkeypatch.setattr(index_saving, '_write', die)
            index_saving.save(storage)
        else:
            monkeypatch.setattr(crash_safety, 'sync', die)
            if ending == '.pack':
                storage.pack(2e9, lambda data: [], gc=False)
            storage.close()

    killed_while(work)
    assert os.path.exists(path + ending)
    with open(path, 'rb') as file:
        before = file.read()
    mend(path)
    assert not os.path.exists(path + ending)
    with open(path, 'rb') as file:
        assert file.read() == before


def test_a_file_that_another_process_is_packing_is_left_alone(stopped):
    path, _ = stopped
    os.rename(path + '.old', path)
    storage = FileStorage(path)
    os.rename(path, path + '.old')
    mend(path)
    assert not os.path.exists(path)
    storage.close()


@pytest.fixture
def synced(monkeypatch):
    """What was synced and renamed, in order."""
    events = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def noted(kind, real):
        def call(path, *args):
            name = os.readlink(f'/proc/self/fd/{path}') if isinstance(path, int) else path
            events.append((kind, os.path.basename(name)))
            return real(path, *args)

        return call

    monkeypatch.setattr(os, 'fsync', noted('sync', fsync))
    monkeypatch.setattr(os, 'rename', noted('rename', rename))
    monkeypatch.setattr(os, 'replace', noted('rename', replace))
    return events


@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='needs the names of descriptors')
def test_a_packed_file_and_an_index_are_on_the_disk_before_they_replace_the_old_ones(
    tmp_path, synced
):
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    make_safe(storage, REAL)
    last = committed(storage, [A], [A], [B])[-1]
    synced.clear()
    storage.pack(2e9, lambda data: [], gc=False)
    assert [event for event in synced if event != ('sync', 'Data.fs.pack')] == [
        ('rename', 'Data.fs'),
        ('rename', 'Data.fs.pack'),
        ('sync', 'Data.fs.index.index_tmp'),
        ('rename', 'Data.fs.index.index_tmp'),
    ]
    assert synced[0] == ('sync', 'Data.fs.pack')
    assert storage.lastTransaction() == last
    storage.close()
    assert synced[-2:] == [
        ('sync', 'Data.fs.index.index_tmp'),
        ('rename', 'Data.fs.index.index_tmp'),
    ]
    with_index = FileStorage(str(tmp_path / 'Data.fs'))
    assert with_index._used_index
    with_index.close()


def test_a_pack_that_cannot_be_synced_fails_and_the_storage_goes_on(tmp_path, monkeypatch):
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    make_safe(storage, REAL)
    committed(storage, [A], [A])

    def fails(path):
        raise OSError(5, 'Input/output error')

    with monkeypatch.context() as patched:
        patched.setattr('ZEO.serving.crash_safety.sync', fails)
        with pytest.raises(OSError, match='Input/output'):
            storage.pack(2e9, lambda data: [], gc=False)
    last = committed(storage, [B])[-1]
    storage.pack(2e9, lambda data: [], gc=False)
    assert storage.lastTransaction() == last
    storage.close()


def test_a_file_that_was_left_empty_can_be_iterated_at_once(tmp_path):
    (tmp_path / 'Data.fs').touch()
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    make_safe(storage, REAL)
    assert list(storage.iterator()) == []
    storage.close()


@pytest.mark.parametrize('fails_at', [1, 2])
def test_a_pack_that_cannot_rename_loses_nothing_and_the_storage_goes_on(
    tmp_path, monkeypatch, fails_at
):
    """The next pack removes the old file first, which was the only one that was left."""
    path = str(tmp_path / 'data.fs')
    storage = FileStorage(path)
    make_safe(storage, REAL)
    first, second = committed(storage, [z64], [z64], data=b'(K\x01t.N.')
    rename, calls = os.rename, []

    def failing(old, new):
        calls.append(new)
        if len(calls) == fails_at:
            raise OSError(errno.EIO, 'Input/output error')
        rename(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'rename', failing)
        with pytest.raises(OSError, match='Input/output'):
            storage.pack(time.time() + 1, referencesf)
    assert storage.loadBefore(z64, maxtid)[1] == second
    (third,) = committed(storage, [z64], data=b'(K\x02t.N.')
    storage.pack(time.time() + 1, referencesf)
    assert storage.loadBefore(z64, maxtid)[1] == third
    storage.close()
    storage = FileStorage(path)
    assert storage.lastTransaction() == third
    storage.close()


@pytest.mark.parametrize('left', [None, b'', bytes(5)])
def test_a_new_directory_of_blobs_gets_its_name_after_a_power_failure(tmp_path, left):
    blobs = tmp_path / 'blobs'
    FileStorage(str(tmp_path / 'data.fs'), blob_dir=str(blobs)).close()
    assert (blobs / '.layout').read_bytes() == b'bushy'
    (blobs / '.layout').unlink() if left is None else (blobs / '.layout').write_bytes(left)
    mend(str(tmp_path / 'data.fs'), str(blobs))
    assert (blobs / '.layout').read_bytes() == b'bushy'
