"""zeo copy, verify, backup and restore with a RelStorage that no server hosts."""

import os
import shutil

import pytest
from ZODB.FileStorage import FileStorage

from support.databases import build, content_of
from support.dying import deaths, die_at
from ZEO.commands import zeo
from ZEO.data.destinations import Destination


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a FileStorage in it."""
    monkeypatch.chdir(tmp_path)
    build('a.fs', 'a.blobs', 3)
    return tmp_path


@pytest.fixture
def section(sql, here):
    """The section of a RelStorage, as commands name it."""
    more = f'blob-dir {here}/sql.blobs\n shared-blob-dir false'
    text = sql.section(more).replace('<relstorage>', '<relstorage main>')
    (here / 'sql.conf').write_text(f'<zeo>\n address 127.0.0.1:0\n</zeo>\n{text}')
    return 'sql.conf#main'


def test_a_database_goes_into_sql_and_back_and_goes_on(sql, section):
    for _ in range(2):
        assert zeo.main(['copy', 'a.fs', section, '--blobs', 'a.blobs', '--verify']) == 0
        assert zeo.main(['copy', section, 'b.fs', '--to-blobs', 'b.blobs', '--verify']) == 0
        assert zeo.main(['backup', section, 'bk', '--verify']) == 0
        build('a.fs', 'a.blobs', 2)  # also objects of the last transaction change
    assert zeo.main(['verify', section]) == 0
    assert zeo.main(['restore', 'bk', section, '--verify']) == 0
    assert zeo.main(['restore', 'bk', 'c.fs', '--to-blobs', 'c.blobs', '--verify']) == 0
    if sql.keeps_history:
        copied = in_order('c.fs', 'c.blobs')
        assert copied == in_order('a.fs', 'a.blobs')[: len(copied)]


def in_order(path, blobs):
    """Return what is in a database; a table has the records of a transaction in no order."""
    return [(*texts, sorted(records)) for *texts, records in content_of(path, blobs)]


def test_what_a_copy_without_history_lacks_is_found(sql, section, here, capsys):
    if sql.keeps_history:
        pytest.skip('it compares everything')
    assert zeo.main(['copy', 'a.fs', section, '--blobs', 'a.blobs', '--verify']) == 0
    sql.execute('delete from object_state where zoid = (select max(zoid) from object_state)')
    shutil.rmtree(here / 'sql.blobs')
    assert zeo.main(['copy', 'a.fs', section, '--blobs', 'a.blobs', '--verify']) == 1
    assert 'does not have' in capsys.readouterr().err


@pytest.fixture
def steps():
    """What a copy does in a RelStorage and in a file."""
    relstorage = pytest.importorskip('relstorage.storage').RelStorage
    names = ('tpc_begin', 'tpc_vote', 'tpc_finish')
    return [
        *((relstorage, name) for name in names),
        *((Destination, name) for name in ('_restore', '_restore_blob')),
        *((FileStorage, name) for name in (*names, '_finish_finish')),
        *((os, name) for name in ('rename', 'link', 'unlink', 'fsync')),
    ]


@pytest.mark.parametrize('every', [13, pytest.param(1, marks=pytest.mark.slow)])
def test_a_copy_into_sql_that_is_killed_anywhere_goes_on(sql, section, steps, every):
    args = ['copy', 'a.fs', section, '--blobs', 'a.blobs', '-q']
    assert len(list(deaths(steps, args, every, 3))) >= 2
    assert zeo.main([*args, '--verify']) == 0
    assert zeo.main(['verify', section, '-q']) == 0


@pytest.mark.parametrize('every', [29, pytest.param(3, marks=pytest.mark.slow)])
def test_a_copy_out_of_sql_that_is_killed_anywhere_goes_on(sql, section, steps, every):
    assert zeo.main(['copy', 'a.fs', section, '--blobs', 'a.blobs', '-q']) == 0
    args = ['copy', section, 'b.fs', '--to-blobs', 'b.blobs', '-q']
    number = 3
    while die_at(steps, number, args):
        assert zeo.main([*args, '--verify']) == 0, number
        for path in ('b.fs', 'b.fs.index', 'b.fs.lock', 'b.fs.tmp'):
            if os.path.exists(path):
                os.unlink(path)
        shutil.rmtree('b.blobs')
        number += every
    assert number > 30
