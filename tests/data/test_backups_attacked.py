"""Backups in trouble: a full disk, a database that is packed meanwhile, hostile files."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import stat

import pytest
import ZODB
from ZODB.FileStorage import FileStorage

from support.databases import build, content_of
from support.dying import fail_at
from ZEO.commands import zeo
from ZEO.data import backupblobs, backups, digests, parts
from ZEO.data.manifest import NAME, Manifest, _checksum, load
from ZEO.data.outcome import Different
from ZEO.data.parts import MAGIC, PartReader
from ZEO.data.sources import FileSource

BACKUP = ['backup', 'a.fs', 'bk', '--blobs', 'a.blobs']
RESTORE = ['restore', 'bk', 'c.fs', '--to-blobs', 'c.blobs']


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a database in it."""
    monkeypatch.chdir(tmp_path)
    build('a.fs', 'a.blobs', 3)
    return tmp_path


def original():
    return content_of('a.fs', 'a.blobs')


def blob_files(directory):
    return sorted(
        os.path.join(place, name)
        for place, _, names in os.walk(directory)
        for name in names
        if name.endswith('.blob')
    )


# A bad day.

STEPS = [
    (parts.PartWriter, '_write'),
    (os, 'fsync'),
    (os, 'rename'),
    (os, 'mkdir'),
    (os, 'link'),
    (backupblobs, 'copy_digest'),
    (digests, 'create'),
    (Manifest, 'save'),
]


@pytest.mark.parametrize('every', [29, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize('error', [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_anywhere_leaves_what_was_there(here, seed, error, every):
    first = original()
    assert zeo.main([*BACKUP, '-q']) == 0
    build('a.fs', 'a.blobs', 1)
    shutil.copytree('bk', 'saved')
    number = random.Random(seed).randrange(every)
    while (status := fail_at(STEPS, number, [*BACKUP, '-q', '--full'], error)) is not None:
        assert status in (0, 3), number  # without links it is not needed
        assert not [name for name in os.listdir('bk') if name.endswith('.zeo.tmp')]
        assert zeo.main(['verify', 'bk', '-q']) == 0, number
        assert zeo.main([*RESTORE, '-q']) == 0
        assert content_of('c.fs', 'c.blobs') in (first, original())
        shutil.rmtree('c.blobs')
        os.unlink('c.fs')
        shutil.rmtree('bk')
        shutil.copytree('saved', 'bk')
        number += every


@pytest.mark.parametrize('before', [0, 2])
def test_a_pack_while_it_runs_leaves_no_record_without_its_blob(here, monkeypatch, capsys, before):
    """The file that it reads is the old one, and the blobs are removed, some of which it has."""
    build('a.fs', 'a.blobs', 3)
    real, asked = FileSource.blob, []

    def blob(source, oid, tid):
        asked.append(oid)
        if len(asked) == before + 1:
            db = ZODB.DB(FileStorage('a.fs', blob_dir='a.blobs'))
            db.pack()
            db.close()
        return real(source, oid, tid)

    monkeypatch.setattr(FileSource, 'blob', blob)
    assert zeo.main([*BACKUP, '--verify']) == 0
    assert 'a.fs was packed meanwhile' in capsys.readouterr().out
    assert len(load('bk').sets) == 1
    assert zeo.main([*RESTORE, '--verify']) == 0
    assert content_of('c.fs', 'c.blobs') == original()


def test_a_lost_blob_does_not_take_the_others_with_it(here, capsys):
    lost = blob_files('a.blobs')[0]
    os.unlink(lost)
    assert zeo.main(BACKUP) == zeo.main(RESTORE) == 1
    assert capsys.readouterr().err.count('has no file') == 2
    copy = ['copy', 'a.fs', 'b.fs', '--blobs', 'a.blobs', '--to-blobs', 'b.blobs']
    assert zeo.main(copy) == 2
    assert '--skip-lost-blobs to copy everything else' in capsys.readouterr().err
    assert zeo.main([*copy, '--skip-lost-blobs', '--verify']) == 1
    for made in 'c.blobs', 'b.blobs':
        assert len(blob_files(made)) == len(blob_files('a.blobs')) == 2


def test_a_backup_without_blobs_is_not_mixed_with_one_that_has_them(here, capsys):
    assert zeo.main([*BACKUP, '--no-blobs']) == 0
    assert zeo.main(RESTORE) == 2
    assert 'was made without blobs: give --no-blobs' in capsys.readouterr().err
    assert zeo.main(BACKUP) == 0
    assert 'full backup (the last one has no blobs)' in capsys.readouterr().out
    os.unlink('c.fs.restoring')
    assert zeo.main(RESTORE) == 0
    assert content_of('c.fs', 'c.blobs') == original()


def test_nothing_is_added_to_a_backup_that_has_lost_a_part(here, capsys):
    assert zeo.main(BACKUP) == 0
    build('a.fs', 'a.blobs', 1)
    part = load('bk').sets[0]
    os.unlink(f'bk/{part.name}/{part.parts[0].file}')
    assert zeo.main(BACKUP) == 0
    assert 'is missing or damaged' in capsys.readouterr().out
    assert zeo.main(RESTORE) == 0
    assert content_of('c.fs', 'c.blobs') == original()
    shutil.rmtree(f'bk/{load("bk").sets[1].name}')
    assert zeo.main(BACKUP) == 0


def test_an_empty_database_is_backed_up_and_restored(here):
    FileStorage('empty.fs').close()
    assert zeo.main(['backup', 'empty.fs', 'bk', '--verify']) == 0
    assert zeo.main(['restore', 'bk', 'c.fs', '--verify']) == 0
    assert content_of('c.fs') == []


def test_a_file_system_without_links_will_do(here, monkeypatch):
    def link(*args):
        raise PermissionError(errno.EPERM, 'no links')

    monkeypatch.setattr(os, 'link', link)
    for _ in range(2):
        assert zeo.main([*BACKUP, '--full', '--verify']) == 0
    assert zeo.main(RESTORE) == 0


def test_a_backup_that_cannot_be_written_to_is_restored(here, monkeypatch):
    assert zeo.main(BACKUP) == 0

    class Refused:
        def __init__(self, path):
            raise OSError(errno.EROFS, 'Read-only file system')

    monkeypatch.setattr('ZEO.data.manifest.LockFile', Refused)
    assert zeo.main(RESTORE) == zeo.main(['verify', 'bk']) == 0
    assert zeo.main(BACKUP) == 2


def test_only_its_owner_may_read_a_backup(here):
    assert zeo.main(BACKUP) == 0
    assert zeo.main([*BACKUP, '--full']) == 0
    assert stat.S_IMODE(os.stat('bk').st_mode) == 0o700
    for place, _, names in os.walk('bk'):
        for name in names:
            if not name.endswith('.lock'):
                assert stat.S_IMODE(os.stat(os.path.join(place, name)).st_mode) == 0o600, name


def test_a_database_in_a_directory_with_spaces_is_restored_from_repozo(here):
    os.makedirs('my backups/rz')
    command = ['-B', '-r', 'my backups/rz', '-f', 'a.fs', '-Q']
    from ZODB.scripts import repozo

    repozo.main(command)
    assert zeo.main(['restore', 'my backups/rz', 'c.fs', '--no-blobs']) == 0


# An enemy.


def with_manifest(change):
    """Change the file that says what is in the backup, and make its checksum right."""
    with open(f'bk/{NAME}') as file:
        content = json.load(file)
    content.pop('sha256')
    change(content['sets'][0])
    content['sha256'] = _checksum(content)
    with open(f'bk/{NAME}', 'w') as file:
        json.dump(content, file)


def test_a_manifest_leads_nowhere_else_and_holds_nothing_strange(here, capsys):
    assert zeo.main(BACKUP) == 0
    os.mkdir('other')
    (here / 'other' / 'precious').write_text('')
    shutil.copy(f'bk/{NAME}', 'right')
    for name, value in [
        ('name', '../other'),
        ('name', str(here / 'other')),
        ('name', '.'),
        ('packed', 'x'),
        ('whole', 'yes'),
        ('source', ['x']),
        ('parts', {'file': 3}),
        ('last', {'tid': '..', 'status': ' ', 'digest': ''}),
        ('surprise', 1),
    ]:
        with_manifest(lambda one, name=name, value=value: one.__setitem__(name, value))
        for args in BACKUP, RESTORE, ['verify', 'bk'], [*BACKUP, '--full', '--keep', '1']:
            assert zeo.main(args) == 1, (name, args)
            assert 'is damaged' in capsys.readouterr().err
        shutil.copy('right', f'bk/{NAME}')
    for name, value in [
        ('file', '../../other/precious'),
        ('file', '/etc/passwd'),
        ('first', 'f' * 16),
        ('size', -1),
        ('size', 1e400),
        ('records', '3'),
        ('sha256', ''),
    ]:
        with_manifest(lambda one, name=name, value=value: one['parts'][0].__setitem__(name, value))
        assert zeo.main(BACKUP) == zeo.main(RESTORE) == zeo.main(['verify', 'bk']) == 1, name
        shutil.copy('right', f'bk/{NAME}')
    (here / 'bk' / NAME).write_text('[' * 100_000)
    assert zeo.main(BACKUP) == 1
    assert os.listdir('other') == ['precious']


def test_what_links_lead_to_is_left_alone(here, capsys):
    assert zeo.main(BACKUP) == 0
    os.mkdir('other')
    (here / 'other' / 'part-precious').write_text('precious')
    name = load('bk').sets[0].name
    os.symlink(here / 'other', 'bk/20200101T000000')
    assert zeo.main(BACKUP) == 2
    os.unlink('bk/20200101T000000')
    os.rename(f'bk/{name}', 'moved')
    os.symlink(here / 'other', f'bk/{name}')
    assert zeo.main(BACKUP) == 2
    assert 'is a symbolic link' in capsys.readouterr().err
    os.unlink(f'bk/{name}')
    os.rename('moved', f'bk/{name}')
    os.unlink('bk/zeo-backup.lock')
    os.symlink(here / 'other' / 'part-precious', 'bk/zeo-backup.lock')
    assert zeo.main(BACKUP) == 2
    os.unlink('bk/zeo-backup.lock')
    os.symlink(here / 'other' / 'part-precious', f'bk/{NAME}.tmp')
    assert zeo.main(BACKUP) == 0
    assert (here / 'other' / 'part-precious').read_text() == 'precious'


def test_a_fifo_in_a_backup_does_not_make_it_wait(here):
    assert zeo.main(BACKUP) == 0
    one = load('bk').sets[0]
    path = f'bk/{one.name}/{one.parts[0].file}'
    os.unlink(path)
    os.mkfifo(path)
    assert zeo.main(RESTORE) == zeo.main(['verify', 'bk']) == 1


@pytest.mark.parametrize(
    'content',
    [
        b'T' + bytes(8) + b'\xff' + bytes(12) + b'EZ',
        b'T' + bytes(8) + b'c' + bytes(12) + b'EZ',
        b'T' + bytes(8) + b' ' + b'\xff' * 12,
        b'T' + bytes(8) + b' ' + bytes(12) + b'R' + bytes(24) + b'\x7f' * 8,
        b'T' + bytes(8) + b' ' + bytes(12) + b'R' + bytes(24) + b'\xff' * 7 + b'\xfe',
        b'T' + bytes(8) + b' ' + bytes(12) + b'R' + bytes(24) + b'\xff' * 8 + b'B' + bytes(3),
        b'',
    ],
)
def test_a_hostile_part_is_an_error_and_takes_no_memory(tmp_path, content):
    (tmp_path / 'part').write_bytes(MAGIC + content)
    reader = PartReader(str(tmp_path / 'part'))
    with pytest.raises(Different, match='is damaged'):
        for transaction in reader:
            list(transaction)
    reader.close()


def test_a_clock_that_goes_back_changes_nothing(here, monkeypatch):
    clock = iter(range(2_000_000_000, 0, -100_000_000))
    monkeypatch.setattr(type(backups.REAL), 'wall_clock', lambda self: next(clock))
    for _ in range(3):
        assert zeo.main([*BACKUP, '--full', '--keep', '2']) == 0
        build('a.fs', 'a.blobs', 1)
    monkeypatch.undo()
    os.chdir(here)
    assert zeo.main(BACKUP) == 0
    assert len(load('bk').sets) == 2
    assert zeo.main(RESTORE) == 0
    assert content_of('c.fs', 'c.blobs') == original()
