"""zeo copy, verify, backup and restore with a RelStorage that no server hosts."""

import shutil

import pytest

from support.databases import build, content_of
from ZEO.commands import zeo


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
