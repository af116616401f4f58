"""zeo backup and zeo restore: whole at any moment, and what is damaged is named."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

import pytest
import ZODB
from persistent.TimeStamp import TimeStamp
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError

import ZEO
from support.databases import build, content_of
from support.dying import die_at
from support.processes import Process, free_ports, wait_until
from ZEO.commands import zeo
from ZEO.data import backupblobs, backups, digests, parts, restoring
from ZEO.data.backups import Backup
from ZEO.data.history import named
from ZEO.data.manifest import NAME, Manifest, load
from ZEO.data.sources import FileSource
from ZEO.data.verifying import Verification
from ZEO.progress import Progress

BACKUP = ['backup', 'a.fs', 'bk', '--blobs', 'a.blobs']
RESTORE = ['restore', 'bk', 'c.fs', '--to-blobs', 'c.blobs']


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a database in it."""
    monkeypatch.chdir(tmp_path)
    build('a.fs', 'a.blobs')
    return tmp_path


def restored(*args):
    """Return what is in the backup."""
    assert zeo.main([*RESTORE, '-q', *args]) == 0
    try:
        return content_of('c.fs', 'c.blobs')
    finally:
        shutil.rmtree('c.blobs')
        for ending in '', '.index', '.lock', '.tmp':
            if os.path.exists(f'c.fs{ending}'):
                os.unlink(f'c.fs{ending}')


def original():
    """Return what is in the database."""
    return content_of('a.fs', 'a.blobs')


def pack():
    """Pack the database."""
    db = ZODB.DB(FileStorage('a.fs', blob_dir='a.blobs'))
    db.pack()
    db.close()


def test_full_then_what_is_new_then_full_after_a_pack(here, capsys):
    assert zeo.main([*BACKUP, '--verify']) == 0
    assert restored() == original()
    build('a.fs', 'a.blobs', 2)
    assert zeo.main(BACKUP) == zeo.main(BACKUP) == 0
    assert restored() == original()
    pack()
    assert zeo.main([*BACKUP, '--verify']) == 0
    assert restored() == original()
    build('a.fs', 'a.blobs', 1)
    assert zeo.main(BACKUP) == 0
    assert restored() == original()
    kinds = [
        line.split(': ')[1][:27]
        for line in capsys.readouterr().out.splitlines()
        if 'full' in line or 'new' in line
    ]
    assert kinds == [
        'full backup (the first)',
        'what is new',
        'nothing is new, up to trans',
        'full backup (a.fs was packe',
        'what is new',
    ]


def test_a_pack_that_leaves_the_last_transaction_is_noticed(here, capsys):
    storage = FileStorage('a.fs', blob_dir='a.blobs')
    db = ZODB.DB(storage)
    before = db.lastTransaction()
    with db.transaction() as connection:
        connection.root()['last'] = 1
    db.close()
    assert zeo.main(BACKUP) == 0
    db = ZODB.DB(FileStorage('a.fs', blob_dir='a.blobs'))
    db.pack(TimeStamp(before).timeTime())
    db.close()
    assert zeo.main(BACKUP) == 0
    assert 'full backup (a.fs was packed)' in capsys.readouterr().out
    assert restored() == original()


def test_another_database_is_a_new_full_backup(here, capsys):
    assert zeo.main(BACKUP) == 0
    os.unlink('a.fs')
    shutil.rmtree('a.blobs')
    build('a.fs', 'a.blobs', 2)
    assert zeo.main(BACKUP) == 0
    assert 'or is another database' in capsys.readouterr().out
    assert restored() == original()


def test_blobs_of_two_full_backups_take_their_space_once(here):
    assert zeo.main(BACKUP) == zeo.main([*BACKUP, '--full']) == 0
    files = [os.stat(path) for path in all_files('bk') if '/blobs/' in path]
    assert len(files) == 10 and len({status.st_ino for status in files}) == 5


def all_files(directory):
    return sorted(
        os.path.join(place, name) for place, _, names in os.walk(directory) for name in names
    )


def test_keep_removes_older_full_backups_when_the_new_one_is_whole(here, capsys):
    for _ in range(3):
        assert zeo.main([*BACKUP, '--full', '--keep', '2']) == 0
    sets = [one.name for one in load('bk').sets]
    assert len(sets) == 2
    assert sorted(name for name in os.listdir('bk') if not name.startswith('zeo-')) == sets
    assert zeo.main(['verify', 'bk']) == 0
    assert restored() == original()


def test_a_moment_is_restored_by_tid_and_by_time(here):
    for _ in range(2):
        assert zeo.main(BACKUP) == 0
        build('a.fs', 'a.blobs', 1)
    history = original()
    assert zeo.main(BACKUP) == 0
    pack()
    assert zeo.main(BACKUP) == 0
    for wanted in history[2], history[9], history[-4]:
        tid = wanted[0]
        assert restored('--at', tid.hex()) == history[: history.index(wanted) + 1]
    assert restored('--at', '2099-01-01') == original()
    assert zeo.main([*RESTORE, '--at', '2001-01-01']) == 2


@pytest.mark.parametrize(
    'text', ['yesterday', '040d', '2026-13-01', 'x' * 16, '1800-01-01', '9999-12-31T23:59-05:00']
)
def test_what_is_not_a_moment_is_refused(text, here, capsys):
    zeo.main(BACKUP)
    assert zeo.main([*RESTORE, '--at', text]) == 2
    assert 'is not a moment' in capsys.readouterr().err


def test_nothing_is_overwritten(here, capsys):
    assert zeo.main(BACKUP) == 0
    assert zeo.main(['restore', 'bk', 'a.fs']) == 2
    assert 'a.fs exists: move it away' in capsys.readouterr().err
    assert zeo.main(['restore', 'bk', 'c.fs', '--to-blobs', 'a.blobs']) == 2
    assert 'a.blobs has blobs in it' in capsys.readouterr().err
    address, stop = ZEO.server(path='other.fs', threaded=True)
    client = ZEO.client(address)
    ZODB.DB(client).close()
    assert zeo.main(['restore', 'bk', f'127.0.0.1:{address[1]}', '--no-blobs']) == 1
    stop()
    assert 'give an empty destination' in capsys.readouterr().err


def test_a_server_is_backed_up_and_restored_to_another(here):
    conf = '<filestorage>\npath {0}.fs\nblob-dir {0}.blobs\n</filestorage>'
    address, stop = ZEO.server(storage_conf=conf.format('a'), threaded=True)
    other, stop_other = ZEO.server(storage_conf=conf.format('c'), threaded=True)
    try:
        assert zeo.main(['backup', f'127.0.0.1:{address[1]}', 'bk', '--verify']) == 0
        assert zeo.main(['restore', 'bk', f'127.0.0.1:{other[1]}', '--verify']) == 0
        assert [name for name in os.listdir('bk') if 'zeo-blobs' in name] == []
    finally:
        stop()
        stop_other()
    assert content_of('c.fs', 'c.blobs') == original()


def test_what_a_killed_command_has_left_is_removed_by_the_next(here, monkeypatch):
    os.mkdir('temporary')
    monkeypatch.setattr(tempfile, 'tempdir', str(here / 'temporary'))
    conf = '<filestorage>\npath a.fs\nblob-dir a.blobs\n</filestorage>'
    address, stop = ZEO.server(storage_conf=conf)
    try:
        command = ['backup', f'127.0.0.1:{address[1]}', 'bk', '-q']
        assert die_at([(backupblobs, 'put')], 1, command)
        assert len(os.listdir('temporary')) == 1
        assert zeo.main(command) == 0
        assert os.listdir('temporary') == []
    finally:
        stop()


@pytest.fixture
def two(here):
    """A server, its follower, and a section of a configuration that names both."""
    conf = '<filestorage>\npath a.fs\nblob-dir a.blobs\n</filestorage>'
    first, stop_first = ZEO.server(storage_conf=conf, threaded=True)
    server = f'server 127.0.0.1:{first[1]}'
    conf = f'%import ZEO\n<replica>\n{server}\npath r.fs\nblob-dir r.blobs\n</replica>'
    second, stop_second = ZEO.server(storage_conf=conf, threaded=True)
    servers = ''.join(f'server 127.0.0.1:{address[1]}\n' for address in (first, second))
    (here / 'two.conf').write_text(
        f'%import ZEO\n<clientstorage>\n{servers}read-only true\nblob-dir cache\nwait-timeout 20\n'
        '</clientstorage>\n'
    )
    whole = original()[-1][0]
    with ZEO.client(second, read_only=True) as client:
        wait_until(lambda: client.lastTransaction() == whole)
    yield second, stop_first
    stop_second()
    stop_first()


@pytest.mark.parametrize('at', [1, 9])
def test_a_backup_goes_on_at_the_next_server_when_one_goes(two, at, monkeypatch, capsys):
    follower, stop_first = two
    began, real, wanted = [], parts.PartWriter.begin, original()

    def begin(part, transaction):
        real(part, transaction)
        began.append(transaction)
        if len(began) == at:
            stop_first()

    monkeypatch.setattr(parts.PartWriter, 'begin', begin)
    command = ['backup', 'two.conf#1', 'bk']
    if zeo.main(command) != 0:  # it says that the same command goes on
        assert 'the same command goes on from there' in capsys.readouterr().err
        assert zeo.main(command) == 0
    assert len(began) >= at
    assert restored() == wanted
    assert zeo.main(['promote', f'127.0.0.1:{follower[1]}', '--force']) == 0
    with ZEO.DB(follower) as db, db.transaction() as connection:
        connection.root()['later'] = 1
    capsys.readouterr()
    assert zeo.main([*command, '--verify']) == 0
    assert 'what is new: 1 transactions' in capsys.readouterr().out


def test_a_directory_with_other_things_is_refused(here, capsys):
    assert zeo.main(['backup', 'a.fs', 'a.blobs', '--no-blobs']) == 2
    assert 'give a directory of its own' in capsys.readouterr().err
    os.unlink('a.blobs/zeo-backup.lock')
    assert zeo.main(['verify', 'a.blobs']) == zeo.main(['restore', 'a.blobs', 'c.fs']) == 2
    assert 'is not a backup' in capsys.readouterr().err
    assert not os.path.exists('a.blobs/zeo-backup.lock')


def test_only_sets_of_a_backup_are_removed_from_its_directory(here, capsys):
    os.makedirs('bk/lost+found')
    os.makedirs('bk/20261126T175247/blobs')  # which a killed backup has left
    assert zeo.main(BACKUP) == 0
    assert os.path.isdir('bk/lost+found') and not os.path.exists('bk/20261126T175247')
    os.mkdir('bk/empty')
    assert zeo.main(BACKUP) == 2
    assert 'bk has empty in it, which is not of a backup' in capsys.readouterr().err
    assert os.path.isdir('bk/empty')


def test_a_server_that_is_not_there_leaves_no_directory(here, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(here))
    before = os.listdir()
    assert zeo.main(['verify', '--timeout', '0.2', f'{here}/nothing.socket']) == 2
    nowhere = f'127.0.0.1:{free_ports(1)[0]}/1'
    assert zeo.main(['verify', '--timeout', '0.2', nowhere]) == 2
    assert os.listdir() == before


def test_two_backups_at_once_are_refused(here, capsys):
    process = Process(
        [
            sys.executable,
            '-c',
            "import sys; from ZEO.data.manifest import locked; import os; os.mkdir('bk')\n"
            "with locked('bk'): print('locked', flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
    )
    process.output.wait_for('locked')
    assert zeo.main(BACKUP) == 2
    assert 'bk is in use by another backup' in capsys.readouterr().err
    process.popen.stdin.close()
    process.end()
    assert zeo.main(BACKUP) == 0


def test_a_blob_without_a_file_is_named_and_the_rest_is_backed_up(here, capsys):
    os.unlink(next(path for path in all_files('a.blobs') if path.endswith('.blob')))
    assert zeo.main(BACKUP) == 1
    assert capsys.readouterr().err.count('has no file') == 1
    assert zeo.main([*RESTORE, '--no-blobs']) == 0


def test_blobs_are_not_left_out_silently(here, capsys):
    assert zeo.main(['backup', 'a.fs', 'bk']) == 2
    assert 'give their directory with --blobs, or --no-blobs' in capsys.readouterr().err
    assert zeo.main(['backup', 'a.fs', 'bk', '--no-blobs', '--verify']) == 0


# Damage.


def flip(path, at):
    mode = os.stat(path).st_mode
    os.chmod(path, 0o600)
    with open(path, 'r+b') as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.chmod(path, mode)


@pytest.mark.parametrize('share', [60, pytest.param(None, marks=pytest.mark.slow)])
def test_a_flipped_byte_anywhere_is_found_and_its_file_named(here, capsys, seed, share):
    build('small.fs', 'small.blobs', 1)
    for _ in range(2):
        assert zeo.main(['backup', 'small.fs', 'bk', '--blobs', 'small.blobs']) == 0
        build('small.fs', None, 0)
    files = [path for path in all_files('bk') if not path.endswith('.lock')]
    assert len(files) == 5
    chooser = random.Random(seed)
    capsys.readouterr()
    for path in files:
        size = os.path.getsize(path)
        count = range(size) if share is None else chooser.sample(range(size), min(size, share) // 5)
        for at in count:
            flip(path, at)
            assert zeo.main(['verify', 'bk', '-q']) == 1, (path, at)
            assert path in capsys.readouterr().err, (path, at)
            flip(path, at)
    assert zeo.main(['verify', 'bk', '-q']) == 0


def test_a_damaged_backup_is_not_restored(here, capsys):
    assert zeo.main(BACKUP) == 0
    for path in all_files('bk'):
        if path.endswith(('.lock', '.old')):
            continue
        flip(path, os.path.getsize(path) // 2)
        assert zeo.main(RESTORE) == 1
        said = capsys.readouterr().err
        assert said.count('\n') == 1 and path in said and 'is damaged' in said
        assert not os.path.exists('c.fs')
        flip(path, os.path.getsize(path) // 2)
    assert zeo.main([*RESTORE, '--verify']) == 0  # it goes on with what was restored before


def test_missing_files_are_named(here, capsys):
    assert zeo.main(BACKUP) == 0
    paths = [path for path in all_files('bk') if not os.path.basename(path).startswith('zeo-')]
    for path in paths:
        os.rename(path, 'away')
        assert zeo.main(['verify', 'bk']) == 1
        assert f'{path} is missing' in capsys.readouterr().err
        os.rename('away', path)


def test_a_damaged_manifest_is_mended_with_the_one_before(here, capsys):
    assert zeo.main(BACKUP) == zeo.main(BACKUP) == 0
    content = json.loads((here / 'bk' / NAME).read_text())
    content['sets'][0]['parts'] = []
    (here / 'bk' / NAME).write_text(json.dumps(content))
    assert zeo.main(BACKUP) == 1
    assert f'copy {NAME}.old' in capsys.readouterr().err
    shutil.copy(f'bk/{NAME}.old', f'bk/{NAME}')
    assert zeo.main(BACKUP) == 0
    assert restored() == original()


# Being stopped.

STEPS = [
    (parts.PartWriter, 'begin'),
    (parts.PartWriter, 'finish'),
    (parts.os, 'rename'),
    (Manifest, 'save'),
    (digests, 'copy_digest'),
    (backups, 'sync_directory'),
    (backups.shutil, 'rmtree'),
    (backups.os, 'mkdir'),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize('every', [23, pytest.param(1, marks=pytest.mark.slow)])
def test_a_backup_that_is_killed_anywhere_leaves_what_was_there(here, capsys, monkeypatch, every):
    """Full, incremental, full after a pack with an old one that goes; small parts."""
    monkeypatch.setattr(Backup.__init__, '__defaults__', (True, 2000, backups.REAL))
    args = [*BACKUP, '-q', '--keep', '1']
    before = []
    for change in lambda: None, lambda: build('a.fs', 'a.blobs', 2), pack:
        change()
        after = original()
        number = 0
        shutil.copytree('bk', 'saved') if os.path.exists('bk') else os.mkdir('saved')
        while die_at(STEPS, number, args):
            if before:
                found = restored()
                assert found in (before, after) or found == after[: len(found)], number
                assert zeo.main(['verify', 'bk', '-q']) == 0
            if number % (2 * every) == 0:  # from the start, or from where it was killed
                shutil.rmtree('bk', ignore_errors=True)
                shutil.copytree('saved', 'bk')
            number += every
        assert zeo.main([*args, '--verify']) == 0
        assert restored() == after
        assert not [name for name in all_files('bk') if name.endswith('.tmp')]
        shutil.rmtree('saved')
        before = after


def test_a_restore_that_is_killed_goes_on_and_no_file_is_there_before(here):
    assert zeo.main(BACKUP) == 0
    number = 1
    steps = [(FileStorage, 'tpc_vote'), (FileStorage, 'tpc_finish'), (os, 'rename')]
    while die_at(steps, number, [*RESTORE, '-q']):
        if os.path.exists('c.fs'):
            break  # it was killed behind the last step that counts
        number += 5
    assert number > 5 and content_of('c.fs', 'c.blobs') == original()


class Writers:
    """Clients that commit, with blobs, until they are stopped."""

    def __init__(self, address, count, directory):
        self._stop, self._changed = threading.Event(), threading.Condition()
        self.go = threading.Event()
        self.go.set()
        self.commits = 0
        self._threads = [
            threading.Thread(target=self._write, args=(address, number, directory))
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, address, number, directory):
        client = ZEO.client(address, blob_dir=f'{directory}/blobs{number}')
        db = ZODB.DB(client)
        while not self._stop.is_set():
            self.go.wait(60)
            try:
                with db.transaction() as connection:
                    root = connection.root()
                    root[f'{number}'] = root.get(f'{number}', 0) + 1
                    if root[f'{number}'] % 7 == 0:
                        root[f'blob {number}'] = Blob(b'%d' % root[f'{number}'] * 1000)
                with self._changed:
                    self.commits += 1
                    self._changed.notify_all()
                self._stop.wait(0.02)  # the history is read again and again
            except ConflictError:
                pass
        db.close()

    def wait_for(self, commits):
        with self._changed:
            assert self._changed.wait_for(lambda: self.commits >= commits, 30)

    def stop(self):
        self._stop.set()
        self.go.set()
        for thread in self._threads:
            thread.join(30)


@pytest.mark.timeout(200)
@pytest.mark.parametrize('rounds', [2, pytest.param(12, marks=pytest.mark.slow)])
def test_backups_while_six_clients_write_are_whole_also_after_kills(here, seed, rounds):
    """Each is a beginning of the history, and one that was killed in the middle goes on."""
    chooser = random.Random(seed)
    conf = f'<filestorage>\npath {here}/a.fs\nblob-dir {here}/a.blobs\n</filestorage>'
    address, stop = ZEO.server(storage_conf=conf, threaded=False)
    where = f'127.0.0.1:{address[1]}'
    writers = Writers(address, 6, here)
    found = []
    try:
        for number in range(rounds):
            target = ['a.fs', '--blobs', 'a.blobs'] if number % 2 else [where]
            process = Process([sys.executable, '-c', SLOW, 'backup', *target, 'bk', '-q'])
            process.errors.wait_for(f'begin {chooser.randrange(1, 10)}\n')
            process.popen.send_signal(signal.SIGKILL)
            process.end()
            assert zeo.main(['backup', where, 'bk', '--verify', '-q']) == 0
            writers.wait_for(writers.commits + 10)
            writers.go.clear()  # the history is read again and again, and should not become long
            found.append(restored())
            writers.go.set()
    finally:
        writers.stop()
        stop()
    history = original()
    for one in found:
        assert one == history[: len(one)], (len(one), named(one[-1][0]))
    assert len(found[0]) < len(found[-1]) <= len(history)


#: A backup that says which transaction it begins, and in parts of a few transactions.
SLOW = """
import sys, time
from ZEO.commands import zeo
from ZEO.data import backups, parts
backups.Backup.__init__.__defaults__ = (True, 3000, backups.REAL)
real, count = parts.PartWriter.begin, iter(range(10**6))
def begin(part, transaction):
    print('begin', next(count), file=sys.stderr, flush=True)
    time.sleep(0.01)
    real(part, transaction)
parts.PartWriter.begin = begin
sys.exit(zeo.main(sys.argv[1:]))
"""


# The backup as a source.


def test_a_backup_is_a_whole_database(here):
    assert zeo.main(BACKUP) == 0
    manifest = load('bk')
    source = restoring.BackupSource(manifest, manifest.sets[0], None)
    report = Verification(source, Progress('', quiet=True), True, True).run()
    of_file = Verification(
        FileSource('a.fs', 'a.blobs'), Progress('', quiet=True), True, True
    ).run()
    assert not report.findings and not of_file.findings
    assert (report.records, report.objects, report.blobs) == (
        of_file.records,
        of_file.objects,
        of_file.blobs,
    )


# repozo.


def repozo(*args):
    subprocess.run(
        [sys.executable, '-m', 'ZODB.scripts.repozo', '-B', '-r', 'rz', '-f', 'a.fs', *args],
        check=True,
        timeout=50,
        capture_output=True,
    )


@pytest.mark.parametrize('switch', ['-Q', '-z'])
def test_a_backup_of_repozo_is_restored(here, capsys, switch):
    os.mkdir('rz')
    repozo(switch)
    for path in all_files('rz'):  # as if it was older
        os.rename(path, path.replace('rz/20', 'rz/19'))
    for path in all_files('rz'):
        if path.endswith('.dat'):
            with open(path) as file:
                text = file.read().replace('rz/20', 'rz/19')
            with open(path, 'w') as file:
                file.write(text)
    history = original()
    build('a.fs', 'a.blobs', 2)
    repozo(switch)
    command = ['restore', 'rz', 'c.fs', '--blobs', 'a.blobs', '--to-blobs', 'c.blobs', '--verify']
    assert zeo.main(command) == 0
    assert content_of('c.fs', 'c.blobs') == original()
    os.unlink('c.fs')
    shutil.rmtree('c.blobs')
    assert zeo.main([*command, '--at', history[-1][0].hex()]) == 0
    assert content_of('c.fs', 'c.blobs') == history
    delta = next(path for path in all_files('rz') if 'deltafs' in path)
    flip(delta, os.path.getsize(delta) // 2)
    os.unlink('c.fs')
    shutil.rmtree('c.blobs')
    capsys.readouterr()
    assert zeo.main(command) == 1
    assert f'{delta} is damaged' in capsys.readouterr().err
    assert not [name for name in os.listdir('.') if name.startswith('zeo-repozo')]
