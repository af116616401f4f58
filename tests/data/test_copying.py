"""zeo copy: everything arrives, goes on from anywhere, and refuses what is something else."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.interfaces import StorageStopIteration

import ZEO
from support.databases import build, content, content_of, fill
from support.dying import deaths, die_at
from support.processes import Process
from ZEO.commands import zeo
from ZEO.commands.zeo_copy import parser
from ZEO.data.sources import StorageSource
from ZEO.link.connection import Connection
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.wire import extensions


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory with a database in it."""
    monkeypatch.chdir(tmp_path)
    build('a.fs', 'a.blobs')
    return tmp_path


FILES = ['copy', 'a.fs', 'b.fs', '--blobs', 'a.blobs', '--to-blobs', 'b.blobs']


def same(path='b.fs', blobs='b.blobs'):
    """Whether a database is that of the fixture."""
    return content_of('a.fs', 'a.blobs') == content_of(path, blobs)


def test_a_file_is_copied_with_its_blobs_to_the_byte(here, capsys):
    assert zeo.main([*FILES, '--verify']) == 0
    assert same()
    assert (here / 'a.fs').read_bytes() == (here / 'b.fs').read_bytes()
    copied, verified = capsys.readouterr().out.splitlines()
    assert copied.startswith('b.fs: 9 transactions') and '5 blobs' in copied
    assert verified == 'b.fs: verified: 9 transactions are the same, 5 blobs'


def test_many_transactions_have_one_sync_and_no_more_than_a_start_can_tell_from_damage(
    here, monkeypatch
):
    sync, syncs = GroupedFileStorage.sync, []
    monkeypatch.setattr(
        GroupedFileStorage, 'sync', lambda self: syncs.append(len(self._written)) or sync(self)
    )
    monkeypatch.setattr('ZEO.data.destinations.MOST_TRANSACTIONS', 4)
    assert zeo.main(FILES) == 0
    assert syncs == [4, 4, 1] and same()


def test_a_disk_that_fails_ends_the_copy_with_what_it_has_and_the_next_one_goes_on(
    here, monkeypatch, capsys
):
    monkeypatch.setattr('ZEO.data.destinations.MOST_TRANSACTIONS', 4)
    fsync, number = os.fsync, itertools.count()
    with monkeypatch.context() as patched:
        patched.setattr(GroupedFileStorage, '_sync_blobs', lambda self, blobs: None)
        sync = GroupedFileStorage.sync

        def second_fails(self):
            if next(number) == 1:
                patched.setattr(os, 'fsync', failing)
            return sync(self)

        def failing(fd):
            patched.setattr(os, 'fsync', fsync)
            raise OSError(errno.EIO, 'the disk is broken')

        patched.setattr(GroupedFileStorage, 'sync', second_fails)
        assert zeo.main(FILES) == 3
    fourth = content_of('a.fs', 'a.blobs')[3][0]
    assert f'done up to transaction {fourth.hex()}' in capsys.readouterr().err
    assert content_of('b.fs', 'b.blobs')[-1][0] == fourth
    assert zeo.main([*FILES, '--verify']) == 0 and same()


def test_an_empty_source_is_called_so(here, capsys):
    FileStorage('nothing.fs').close()
    assert zeo.main(['copy', 'nothing.fs', 'new.fs']) == 0
    assert capsys.readouterr().out == 'new.fs: nothing to copy: the source is empty\n'
    assert zeo.main(['backup', 'nothing.fs', 'backups']) == 0
    assert 'nothing is new, up to now: the database is empty' in capsys.readouterr().out


def test_the_copy_goes_on_with_what_is_new(here, capsys):
    assert zeo.main(FILES) == zeo.main(FILES) == 0
    assert 'has everything' in capsys.readouterr().out
    build('a.fs', 'a.blobs', 2)
    assert zeo.main(FILES) == 0
    assert capsys.readouterr().out.startswith('b.fs: 5 transactions') and same()


@pytest.fixture
def server(here):
    """A server of the database, and of an empty one; the addresses of both."""
    stops = []
    addresses = []
    for name in 'a', 'c':
        conf = f'<filestorage>\npath {here}/{name}.fs\nblob-dir {here}/{name}.blobs\n</filestorage>'
        address, stop = ZEO.server(storage_conf=conf, threaded=True)
        addresses.append(f'127.0.0.1:{address[1]}')
        stops.append(stop)
    yield addresses
    for stop in stops:
        stop()


def test_a_server_is_copied_to_a_server_and_its_file_while_it_runs(server, here):
    assert zeo.main(['copy', server[0], f'zeo://{server[1]}/1', '--verify']) == 0
    assert same('c.fs', 'c.blobs')
    assert zeo.main(FILES) == 0  # the file of the running server
    assert same()


@pytest.mark.parametrize('kind', ['<clientstorage>', '<filestorage>'])
def test_a_section_of_a_configuration_is_copied(server, here, kind):
    host, port = server[0].split(':')
    (here / 'some.conf').write_text(
        f'%import ZEO\n<clientstorage one>\nserver {host}:{port}\n'
        f'blob-dir {here}/cache\n</clientstorage>\n'
        if kind == '<clientstorage>'
        else f'<filestorage one>\npath {here}/a.fs\nblob-dir {here}/a.blobs\n</filestorage>\n'
    )
    assert zeo.main(['copy', 'some.conf#one', 'b.fs', '--to-blobs', 'b.blobs', '--verify']) == 0
    assert same()


def test_a_destination_with_something_else_is_refused_with_the_transaction(here, capsys):
    build('b.fs', 'b.blobs', 1)
    build('a.fs', 'a.blobs', 1)
    before = (here / 'b.fs').read_bytes()
    assert zeo.main(FILES) == 1
    said = capsys.readouterr().err
    first = content_of('a.fs', 'a.blobs')[0][0].hex()
    assert said.count('\n') == 1 and f'they differ in transaction {first}' in said
    assert (here / 'b.fs').read_bytes() == before


def test_a_history_that_goes_apart_later_is_refused_where_it_does(here, capsys):
    shutil.copy('a.fs', 'b.fs')
    shutil.copytree('a.blobs', 'b.blobs')
    storage = FileStorage('b.fs', blob_dir='b.blobs')
    fill(storage, 1, False)
    other = content(storage)[9][0].hex()
    storage.close()
    build('a.fs', 'a.blobs', 3)
    assert zeo.main(FILES) == 1
    assert f'transaction {other}' in capsys.readouterr().err


def test_a_destination_that_is_ahead_is_refused(here, capsys):
    shutil.copy('a.fs', 'b.fs')
    build('b.fs', None, 1)
    assert zeo.main(FILES) == 1
    assert 'which is later than the end of a.fs' in capsys.readouterr().err


def test_a_copy_goes_on_from_a_source_that_was_packed(here, capsys):
    assert zeo.main(FILES) == 0
    storage = FileStorage('a.fs', blob_dir='a.blobs')
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        connection.root()['last'] = 1
    before = db.lastTransaction()
    assert zeo.main(FILES) == 0
    db.pack()
    with db.transaction() as connection:
        connection.root()['more'] = 1
    db.close()
    assert zeo.main([*FILES, '--verify']) == 0
    assert 'no longer in a.fs' in capsys.readouterr().out
    assert content_of('b.fs', 'b.blobs')[-2][0] == before


def test_verify_finds_a_record_and_a_blob_that_differ(here, capsys):
    assert zeo.main(FILES) == 0
    for directory, _, names in os.walk('b.blobs'):
        for name in names:
            if name.endswith('.blob'):
                path = os.path.join(directory, name)
    os.chmod(path, 0o600)
    whole = Path(path).read_bytes()
    Path(path).write_bytes(b'B' + whole[1:])
    assert zeo.main([*FILES, '--verify']) == 1
    assert 'the file of blob' in capsys.readouterr().err
    Path(path).write_bytes(whole)  # what differs first is said, and which file this is varies
    data = bytearray((here / 'b.fs').read_bytes())
    data[data.index(b'xxxxx')] ^= 1
    (here / 'b.fs').write_bytes(data)
    assert zeo.main([*FILES, '--verify']) == 1
    assert 'the record of object' in capsys.readouterr().err


def test_blobs_are_not_lost_silently(here, capsys):
    assert zeo.main(['copy', 'a.fs', 'b.fs']) == 2
    assert '--to-blobs DIRECTORY, or --no-blobs' in capsys.readouterr().err
    assert zeo.main(['copy', 'a.fs', 'c.fs', '--to-blobs', 'c.blobs']) == 2
    assert 'directory of its blobs with --blobs' in capsys.readouterr().err
    assert zeo.main(['copy', 'a.fs', 'd.fs', '--no-blobs', '--verify']) == 0


@pytest.mark.parametrize(
    ('args', 'text'),
    [
        (['nothing.fs', 'b.fs'], 'nothing.fs cannot be opened: No such file'),
        (['a.fs', 'no/b.fs'], 'there is no directory'),
        (['junk', 'b.fs'], 'is not the file of a FileStorage'),
        (['127.0.0.1:1', 'b.fs', '--timeout', '0.2'], 'cannot be opened'),
        (['a.fs', 'nothing.conf#1'], 'cannot be read'),
        (['a.fs', 'new.conf'], 'give new.conf#STORAGE'),
        (['some.conf', 'b.fs'], 'give some.conf#STORAGE'),
        (['localhost:8100:x', 'b.fs'], 'localhost:8100:x'),
        (['a.fs', '127.0.0.1:1', '--to-blobs', 'x'], 'a blob directory belongs to a file'),
        (['', 'b.fs'], 'an empty text'),
    ],
)
def test_what_cannot_be_opened_ends_with_one_line(here, capsys, args, text):
    (here / 'junk').write_text('something else')
    assert zeo.main(['copy', *args]) == 2
    said = capsys.readouterr().err
    assert text in said and said.count('\n') == 1


def test_a_damaged_source_is_not_taken_for_its_end(here, capsys):
    data = bytearray((here / 'a.fs').read_bytes())
    data[4 + 8] ^= 0x7F  # the length of the first transaction
    (here / 'a.fs').write_bytes(data)
    assert zeo.main(FILES) == 1
    assert 'at byte 4 is damaged' in capsys.readouterr().err


STEPS = [
    (FileStorage, name)
    for name in ('tpc_begin', 'restore', 'restoreBlob', 'tpc_vote', '_finish_finish', 'tpc_finish')
]


@pytest.mark.parametrize('every', [13, pytest.param(1, marks=pytest.mark.slow)])
def test_a_copy_that_is_killed_anywhere_goes_on(here, every):
    """Each copy is killed at a later step than the one before it, which it goes on from."""
    steps = list(deaths(STEPS, [*FILES, '-q'], every, 3))
    assert len(steps) >= 2
    assert zeo.main([*FILES, '-q', '--verify']) == 0
    assert same()
    assert os.listdir('b.blobs/tmp') == []


@pytest.mark.slow
def test_a_copy_from_the_start_that_is_killed_anywhere_goes_on(here):
    number = 0
    while die_at(STEPS, number, [*FILES, '-q']):
        assert zeo.main([*FILES, '-q', '--verify']) == 0
        assert same()
        os.unlink('b.fs')
        shutil.rmtree('b.blobs')
        number += 1
    assert number > 100


def test_a_copy_whose_server_goes_away_says_how_far_it_came(here, capsys, monkeypatch):
    address, stop = ZEO.server(path='a.fs', blob_dir='a.blobs', threaded=True)
    monkeypatch.setattr('ZEO.data.sources.StorageSource.transactions', one_by_one(stop))
    args = ['copy', f'127.0.0.1:{address[1]}', 'b.fs', '--to-blobs', 'b.blobs', '--timeout', '1']
    assert zeo.main(args) == 3
    said = capsys.readouterr().err
    assert 'the same command goes on from there' in said and said.count('\n') == 1
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert zeo.main([*FILES, '--verify']) == 0


def one_by_one(stop):
    """Iterate as a source does; the server ends after the third transaction."""

    def transactions(self, start, stop_at):
        for number, found in enumerate(self.storage.iterator(start, stop_at)):
            yield found
            if number == 3:
                stop()
                self.storage.ping()

    return transactions


def test_ctrl_c_leaves_whole_transactions(here):
    build('a.fs', 'a.blobs', 60)
    process = Process([sys.executable, '-m', 'ZEO', *FILES])
    process.wait_until(lambda: os.path.exists('b.fs') and os.path.getsize('b.fs') > 1000)
    status, _, said = process.end(signal.SIGINT)
    assert status in (0, 130)
    if status:
        assert said.count('\n') == 1 and 'the same command goes on' in said
    assert zeo.main([*FILES, '--verify']) == 0 and same()


def test_the_help_says_what_a_database_is(capsys):
    assert 'HOST:PORT/STORAGE' in ' '.join(parser().format_help().split())


def test_an_iterator_that_ends_as_relstorage_does_is_read_to_its_end():
    class Ending:
        def __iter__(self):
            return self

        def __next__(self):
            raise StorageStopIteration

    storage = SimpleNamespace(iterator=lambda start, stop: Ending())
    assert list(StorageSource('', storage).transactions(None, None)) == []


def called(monkeypatch):
    """Return the names of the calls that clients wait for, from now on."""
    names, call = [], Connection.call
    vote, finish = Connection.vote, Connection.finish

    def noted(self, name, *args):
        names.append(name)
        return call(self, name, *args)

    def of(name, method):
        return lambda *args: names.append(name) or method(*args)

    monkeypatch.setattr(Connection, 'call', noted)
    monkeypatch.setattr(Connection, 'vote', of('vote', vote))
    monkeypatch.setattr(Connection, 'finish', of('tpc_finish', finish))
    return names


def test_a_copy_to_a_server_waits_for_no_transaction_and_keeps_no_blob(server, here, monkeypatch):
    names, close, kept = called(monkeypatch), StorageSource.close, []

    def looking(self):
        kept.extend(path for path in Path(self._private).rglob('*.blob'))
        close(self)

    monkeypatch.setattr(StorageSource, 'close', looking)
    assert zeo.main(['copy', 'a.fs', f'{server[1]}/1', '--blobs', 'a.blobs', '-q']) == 0
    assert same('c.fs', 'c.blobs')
    assert not {'vote', 'tpc_finish'} & set(names)
    assert not kept


def test_a_copy_to_a_server_that_cannot_be_sent_many_at_once_waits_for_each(
    server, here, monkeypatch
):
    able = tuple(one for one in extensions.ALL if one != extensions.COMMIT_AFTER)
    monkeypatch.setattr(extensions, 'ALL', able)
    names = called(monkeypatch)
    assert zeo.main(['copy', 'a.fs', f'{server[1]}/1', '--blobs', 'a.blobs', '-q']) == 0
    assert same('c.fs', 'c.blobs') and names.count('vote') == 9


@pytest.mark.parametrize('number', [2, 9, 20])
def test_a_server_that_fails_ends_the_copy_with_what_it_has_and_the_next_one_goes_on(
    server, here, monkeypatch, capsys, number
):
    restore, count = FileStorage.restore, itertools.count()

    def failing(self, *args):
        if next(count) == number:
            raise OSError(errno.ENOSPC, 'the disk is full')
        return restore(self, *args)

    args = ['copy', 'a.fs', f'{server[1]}/1', '--blobs', 'a.blobs']
    with monkeypatch.context() as patched:
        patched.setattr(FileStorage, 'restore', failing)
        assert zeo.main(args) == 3
    said = capsys.readouterr().err
    there = content_of('c.fs', 'c.blobs')
    assert 'the disk is full' in said and said.count('\n') == 1
    assert f'done up to transaction {there[-1][0].hex()}' in said
    assert there == content_of('a.fs', 'a.blobs')[: len(there)]
    assert zeo.main([*args, '--verify']) == 0 and same('c.fs', 'c.blobs')


@pytest.mark.parametrize('words', [['copy', '{}/1', 'b.fs'], ['copy', 'a.fs', '{}/1']])
def test_it_says_that_it_waits_for_a_server(here, monkeypatch, capsys, words):
    """Half a minute without a line looks as if it hung."""
    monkeypatch.setattr('ZEO.data.patience.PATIENCE', 0.05)
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))  # and nothing listens
        where = f'127.0.0.1:{bound.getsockname()[1]}'
        words = [word.format(where) for word in words]
        assert zeo.main([*words, '--timeout', '0.2']) == 2
        first, second = capsys.readouterr().err.splitlines()
        assert zeo.main([*words, '--timeout', '0.2', '-q']) == 2
    # and what is known by then: it may not have been refused yet
    assert first.startswith(
        f'zeo copy: storage 1 of {where}: no connection yet, waiting for up to 0.2 s: {where}: '
    )
    assert 'no connection within 0.2 s' in second
    (only,) = capsys.readouterr().err.splitlines()
    assert 'no connection within 0.2 s' in only
