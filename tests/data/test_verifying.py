"""zeo verify: what is whole is said to be, and damage is named, wherever it is."""

from __future__ import annotations

import os
import random
import shutil
import struct

import pytest
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

import ZEO
from support.databases import build
from ZEO.commands import zeo

FILE = ['verify', 'a.fs', '--blobs', 'a.blobs']


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a database in it."""
    monkeypatch.chdir(tmp_path)
    build('a.fs', 'a.blobs')
    return tmp_path


def verify(capsys, *args):
    """Verify; return the exit status, what was printed, and the errors."""
    status = zeo.main([*args])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_whole_database_has_no_faults(here, capsys):
    status, out, err = verify(capsys, *FILE, '--history')
    assert (status, err) == (0, '')
    assert out.startswith('a.fs: 9 transactions, 27 records, ') and '5 blobs of' in out
    assert 'no faults' in out and 'objects of' in out  # garbage: replaced blobs


def test_without_the_blob_directory_that_is_said(here, capsys):
    status, out, _ = verify(capsys, 'verify', 'a.fs')
    assert status == 0 and 'blobs were not looked at' in out


def test_a_server_is_verified_while_it_runs(here, capsys):
    conf = f'<filestorage>\npath {here}/a.fs\nblob-dir {here}/a.blobs\n</filestorage>'
    address, stop = ZEO.server(storage_conf=conf, threaded=True)
    try:
        of_server = verify(capsys, 'verify', f'127.0.0.1:{address[1]}', '--history')
        of_file = verify(capsys, *FILE)
    finally:
        stop()
    assert of_server[0] == of_file[0] == 0

    def figures(out):
        return out.partition(': ')[2].rpartition(' in ')[0]

    assert figures(of_server[1]) == figures(of_file[1])


def test_a_packed_file_has_no_faults(here, capsys):
    db = ZODB.DB(FileStorage('a.fs', blob_dir='a.blobs'))
    db.pack()
    with db.transaction() as connection:
        connection.root()['more'] = PersistentMapping()
    db.close()
    status, out, err = verify(capsys, *FILE)
    assert (status, err) == (0, '') and 'cannot be reached' not in out


def test_an_empty_database_has_no_faults(here, capsys):
    FileStorage('empty.fs').close()
    status, out, err = verify(capsys, 'verify', 'empty.fs')
    assert (status, err) == (0, '') and out.startswith('empty.fs: 0 transactions')


def test_a_reference_that_leads_nowhere_is_named_with_its_path(here, capsys):
    storage = FileStorage('a.fs', blob_dir='a.blobs')
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        child = connection.root()['deep'] = PersistentMapping()
        child['lost'] = PersistentMapping()
    with db.transaction() as connection:
        lost = connection.root()['deep']['lost']
        oid, serial = lost._p_oid, lost._p_serial
        parent = connection.root()['deep']._p_oid
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.deleteObject(oid, serial, meta)
    storage.tpc_vote(meta)
    storage.tpc_finish(meta)
    db.close()
    status, _, err = verify(capsys, *FILE)
    mapping = 'persistent.mapping.PersistentMapping'
    assert status == 1
    assert (
        f'object {oid.hex()} is not there; it is referred to by {z64.hex()} {mapping} > '
        f'{parent.hex()} {mapping}\n'
    ) in err


def test_a_record_that_is_not_a_pickle_is_named(here, capsys):
    storage = FileStorage('a.fs')
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.store(p64(0xABC), z64, b'not a pickle', '', meta)
    storage.tpc_vote(meta)
    tid = storage.tpc_finish(meta)
    storage.close()
    status, _, err = verify(capsys, *FILE)
    assert status == 1 and err.startswith(
        f'zeo verify: the record of object {p64(0xABC).hex()} in transaction {tid.hex()} cannot'
    )


def test_missing_and_stray_blob_files_are_named(here, capsys):
    paths = sorted(
        os.path.join(directory, name)
        for directory, _, names in os.walk('a.blobs')
        for name in names
        if name.endswith('.blob')
    )
    shutil.copy(paths[1], os.path.join(os.path.dirname(paths[1]), '0x0000000000000001.blob'))
    status, _, err = verify(capsys, *FILE)
    assert status == 1 and '0x0000000000000001.blob belongs to no blob in the database' in err
    os.unlink(paths[0])
    status, _, err = verify(capsys, *FILE)
    assert status == 1 and err.count('has no file') == 1


def flip(path, at, bit=1):
    with open(path, 'r+b') as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ bit]))


def test_an_index_that_differs_from_the_file_is_noticed(here, capsys):
    storage = FileStorage('a.fs')
    storage._index[p64(1)] = 4
    storage._save_index()
    storage.close()
    storage._save_index()
    status, _, err = verify(capsys, *FILE)
    assert status == 1 and 'a.fs.index: object 0000000000000001 is at byte' in err
    with open('a.fs.index', 'wb') as file:
        file.write(b'junk')
    status, _, err = verify(capsys, *FILE)
    assert status == 1 and 'a.fs.index cannot be read' in err
    with open('a.fs.index', 'wb') as file:
        file.write(b'cos\nmkdir\n(S"struck"\ntR.')
    status, _, err = verify(capsys, *FILE)
    assert status == 1 and 'a.fs.index cannot be read' in err and not os.path.exists('struck')
    os.unlink('a.fs.index')
    assert verify(capsys, *FILE)[0] == 0


def test_an_old_index_is_no_fault(here, capsys):
    shutil.copy('a.fs.index', 'old')
    build('a.fs', 'a.blobs', 2)
    shutil.copy('old', 'a.fs.index')
    assert verify(capsys, *FILE)[0] == 0


def test_a_commit_that_was_cut_short_is_a_note(here, capsys):
    size = os.path.getsize('a.fs')
    with open('a.fs', 'ab') as file:
        file.write(p64(2**62) + struct.pack('>Q', 5000) + b'c' + bytes(200))
    status, out, _ = verify(capsys, *FILE)
    assert status == 0 and f'217 bytes at the end, from byte {size} on' in out


def structural(data):
    """Yield the positions of bytes that no change of which may go unnoticed."""
    at = 4
    while at < len(data):
        length = struct.unpack_from('>Q', data, at + 8)[0]
        texts = struct.unpack_from('>HHH', data, at + 17)
        yield from (at, at + 7, at + 10, at + 15, at + 18, at + 20, at + 22)
        record, end = at + 23 + sum(texts), at + length
        while record < end:
            size = struct.unpack_from('>Q', data, record + 34)[0]
            yield from (record + 8, record + 15, record + 23, record + 31, record + 33)
            yield record + 41
            record += 42 + (size or 8)
        yield from (end, end + 7)
        at = end + 8


@pytest.mark.parametrize('share', [40, pytest.param(None, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_the_structure_is_found(here, capsys, share, seed):
    with open('a.fs', 'rb') as file:
        places = list(structural(file.read()))
    if share is not None:
        places = random.Random(seed).sample(places, share)
    os.unlink('a.fs.index')
    for place in places:
        flip('a.fs', place)
        status, _, err = verify(capsys, 'verify', 'a.fs', '-q')
        assert status == 1, (place, err)
        flip('a.fs', place)
    assert verify(capsys, *FILE)[0] == 0


@pytest.mark.slow
def test_no_flipped_byte_makes_it_fail_in_another_way(here, capsys, seed):
    chooser = random.Random(seed)
    size = os.path.getsize('a.fs')
    for _ in range(500):
        place, bit = chooser.randrange(size), 1 << chooser.randrange(8)
        flip('a.fs', place, bit)
        status, _, err = verify(capsys, *FILE, '-q', '--history')
        assert status in (0, 1, 2) and (status == 0) == (err == ''), (place, bit, err)
        flip('a.fs', place, bit)


def test_what_commits_while_it_runs_is_no_fault(here, capsys, monkeypatch):
    from ZEO.data.references import Graph

    conf = f'<filestorage>\npath {here}/a.fs\nblob-dir {here}/a.blobs\n</filestorage>'
    address, stop = ZEO.server(storage_conf=conf, threaded=True)
    client = ZEO.client(address, blob_dir='cache')
    real = Graph.__init__

    def between(self, *args):
        db = ZODB.DB(client)
        with db.transaction() as connection:
            connection.root()['new'] = Blob(b'new')
        client.pack(wait=True)
        real(self, *args)

    monkeypatch.setattr(Graph, '__init__', between)
    try:
        for target in ['verify', f'127.0.0.1:{address[1]}'], FILE:
            status, _, err = verify(capsys, *target)
            assert (status, err) == (0, '')
    finally:
        client.close()
        stop()


def test_nothing_is_unpickled(here, capsys):
    storage = FileStorage('a.fs')
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.store(p64(0xABC), z64, b"cos\nsystem\n(S'touch ran'\ntR.cbuiltins\nint\n.", '', meta)
    storage.tpc_vote(meta)
    storage.tpc_finish(meta)
    storage.close()
    verify(capsys, *FILE, '--history')
    assert not os.path.exists('ran')


def test_what_is_in_the_place_of_a_blob_is_named_and_makes_no_command_wait(here, capsys):
    paths = sorted((here / 'a.blobs').rglob('*.blob'))[:2]
    for path in paths:
        path.unlink()
    os.mkfifo(paths[0])
    os.mkdir(paths[1])
    status, _, err = verify(capsys, *FILE)
    assert status == 1 and 'not a regular file but a FIFO' in err
    for command in ['backup', 'a.fs', 'bk'], ['copy', 'a.fs', 'b.fs', '--to-blobs', 'b.blobs']:
        status, _, err = verify(capsys, *command, '--blobs', 'a.blobs')
        assert status != 0 and 'not a regular file but a' in err
