"""A data file that is removed or replaced under a running server is told in its log."""

import logging
import os
import re
import shutil

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

from support.processes import wait_until
from support.scripted import oid
from ZEO.serving import index_saving
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.serving.lost_files import LostFiles

LOST = 'was removed or replaced, and this server goes on'


@pytest.fixture(params=[FileStorage, GroupedFileStorage])
def storage(request, tmp_path):
    storage = request.param(str(tmp_path / 'Data.fs'))
    yield storage
    storage.close()


def remove(path):
    os.remove(path)


def replace(path):
    shutil.copy(path, path.with_suffix('.new'))
    os.replace(path.with_suffix('.new'), path)


def move_the_directory(path):
    path.parent.rename(path.parent.with_name(path.parent.name + '-elsewhere'))


@pytest.mark.parametrize('harm', [remove, replace, move_the_directory], ids=lambda do: do.__name__)
def test_it_is_told_once(storage, tmp_path, caplog, harm):
    files = LostFiles()
    files.look(storage)
    assert LOST not in caplog.text
    harm(tmp_path / 'Data.fs')
    files.look(storage)
    files.look(storage)
    (record,) = [record for record in caplog.records if LOST in record.getMessage()]
    assert record.levelno == logging.CRITICAL and '/proc/' in record.getMessage()


def test_it_may_come_back(storage, tmp_path, caplog):
    files, path = LostFiles(), tmp_path / 'Data.fs'
    path.rename(tmp_path / 'Moved.fs')
    files.look(storage)
    (tmp_path / 'Moved.fs').rename(path)
    files.look(storage)
    assert 'is the file again that this server has open' in caplog.text
    os.remove(path)
    files.look(storage)
    assert caplog.text.count(LOST) == 2


def test_a_link_to_the_file_and_a_closed_storage_are_no_loss(storage, tmp_path, caplog):
    path = tmp_path / 'Data.fs'
    path.rename(tmp_path / 'Real.fs')
    path.symlink_to('Real.fs')
    LostFiles().look(storage)
    storage.close()
    LostFiles().look(storage)
    assert LOST not in caplog.text


@pytest.mark.skipif(not os.path.exists('/proc/self/fd'), reason='only Linux has open files there')
def test_a_running_server_says_where_all_of_it_can_be_copied(
    serving, raw, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(index_saving, 'LOOK_EVERY', 0.01)
    path, copy = tmp_path / 'Data.fs', tmp_path / 'Copy.fs'
    client = raw(serving(FileStorage(str(path))))
    client.commit(1, (oid(1), z64, b'before'))
    os.remove(path)
    wait_until(lambda: LOST in caplog.text)
    last = client.commit(2, (oid(2), z64, b'after'))
    shutil.copyfile(re.search(r'from (/proc/\d+/fd/\d+)', caplog.text)[1], copy)
    saved = FileStorage(str(copy), read_only=True)
    assert saved.load(oid(1))[0] == b'before'
    assert saved.load(oid(2)) == (b'after', last)
    saved.close()
