"""Blob directories: what can't be used is said at once, with what to do; the server's own is left
as it is.
"""

import os
import shutil
import subprocess
import sys
import tempfile

import pytest
from ZODB.blob import LAYOUT_MARKER, FilesystemHelper
from ZODB.utils import p64

from support.clock import Clock
from support.processes import Process
from ZEO.Exceptions import ConfigurationError
from ZEO.leftovers import prefix
from ZEO.link.cached_blobs import open_blobs
from ZEO.link.directories import cache, shared
from ZEO.link.options import BlobOptions


def tree(directory):
    """Return everything in a directory, with what tells whether it was touched."""
    found = {}
    for folder, folders, names in os.walk(directory):
        for name in [*folders, *names, '.']:
            status = os.stat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (
                status.st_mtime_ns,
                status.st_ctime_ns,
                status.st_mode,
            )
    return found


def nothing_comes(oid, serial):
    raise AssertionError('nothing is to be fetched')


class TestOfTheServer:
    """A directory that is shared."""

    @pytest.fixture
    def directory(self, tmp_path):
        helper = FilesystemHelper(str(tmp_path / 'shared'), 'bushy')
        helper.create()
        os.makedirs(helper.getPathForOID(p64(1)))
        with open(helper.getBlobFilename(p64(1), p64(1)), 'w') as file:
            file.write('blob')
        return str(tmp_path / 'shared')

    def test_a_misspelt_one_is_said_and_not_made(self, tmp_path):
        with pytest.raises(
            ConfigurationError,
            match='there is no directory .*/mispelt.* mount .* or correct blob_dir',
        ):
            shared(str(tmp_path / 'mispelt'))
        assert not os.listdir(tmp_path)

    def test_a_file_is_no_directory(self, tmp_path):
        (tmp_path / 'file').touch()
        with pytest.raises(ConfigurationError, match='there is no directory'):
            shared(str(tmp_path / 'file'))

    def test_a_cache_of_a_client_is_not_taken_for_it(self, tmp_path):
        cache(str(tmp_path / 'cache'))
        with pytest.raises(ConfigurationError, match='is the blob cache of a client'):
            shared(str(tmp_path / 'cache'))

    def test_an_unknown_layout_is_said(self, tmp_path):
        (tmp_path / LAYOUT_MARKER).write_text('strange')
        with pytest.raises(ConfigurationError, match="layout 'strange'"):
            shared(str(tmp_path))

    def test_one_that_may_not_be_mounted_is_warned_of(self, tmp_path, caplog):
        shared(str(tmp_path))
        assert 'is it mounted?' in caplog.text and not os.listdir(tmp_path)

    def test_reading_changes_nothing_in_it(self, directory):
        shutil.rmtree(os.path.join(directory, 'tmp'))
        os.utime(directory, (1, 1))
        before = tree(directory)
        store = open_blobs(BlobOptions(directory, shared=True), nothing_comes)
        with store.open(p64(1), p64(1)) as file:
            assert os.fstat(file.fileno()).st_size == 4
        assert tree(directory) == before

    @pytest.mark.skipif(not sys.platform.startswith('linux'), reason='mounts are those of Linux')
    def test_it_may_be_mounted_read_only(self, directory):
        """In a process of its own, whose mounts others do not see."""
        program = (
            f'import sys; sys.path.insert(0, {os.path.dirname(os.path.dirname(__file__))!r})\n'
            'from ZEO.link.cached_blobs import open_blobs\n'
            'from ZEO.link.options import BlobOptions\nfrom ZODB.utils import p64\n'
            f'store = open_blobs(BlobOptions({directory!r}, True), None)\n'
            'print(store.open(p64(1), p64(1)).read(), open(store.load(p64(1), p64(1)), '
            '"rb").read())\n'
            f'try: open({directory!r} + "/x", "w")\nexcept OSError as error: print(error.strerror)'
        )
        mounted = subprocess.run(
            [
                'unshare',
                '--mount',
                '--map-root-user',
                'sh',
                '-c',
                f'mount --bind {directory} {directory} && mount -o remount,ro,bind {directory} && '
                'exec "$0" -c "$1"',
                sys.executable,
                program,
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if 'unshare' in mounted.stderr or 'mount' in mounted.stderr:
            pytest.skip('this system lets no process have mounts of its own')
        assert mounted.stdout.splitlines() == ["b'blob' b'blob'", 'Read-only file system'], (
            mounted.stderr
        )


class TestOfAClient:
    """A cache."""

    def test_a_missing_one_is_made(self, tmp_path):
        cache(str(tmp_path / 'a' / 'b'))
        assert sorted(os.listdir(tmp_path / 'a' / 'b')) == [LAYOUT_MARKER, 'tmp']

    @pytest.mark.parametrize('left', [b'', bytes(8)])
    def test_one_of_which_a_power_failure_has_left_no_name_is_used_on(self, tmp_path, left):
        helper = cache(str(tmp_path))
        (tmp_path / LAYOUT_MARKER).write_bytes(left)
        assert cache(str(tmp_path)).getBlobFilename(p64(1), p64(1)) == helper.getBlobFilename(
            p64(1), p64(1)
        )
        assert (tmp_path / LAYOUT_MARKER).read_text() == 'zeocache'

    def test_a_directory_of_a_server_without_a_name_is_left_as_it_is(self, tmp_path):
        FilesystemHelper(str(tmp_path), 'bushy').getPathForOID(p64(1), create=True)
        (tmp_path / LAYOUT_MARKER).write_bytes(b'')
        with pytest.raises(ValueError, match='zeocache'):
            cache(str(tmp_path))
        assert (tmp_path / LAYOUT_MARKER).read_bytes() == b''

    def test_one_that_can_not_be_made_is_said(self):
        with pytest.raises(
            ConfigurationError, match='blob_dir is /proc/x, which cannot be created .* name another'
        ):
            cache('/proc/x')

    def test_a_file_is_no_directory(self, tmp_path):
        (tmp_path / 'file').touch()
        with pytest.raises(ConfigurationError, match='not a directory'):
            cache(str(tmp_path / 'file'))
        with pytest.raises(ConfigurationError, match='cannot be created'):
            cache(str(tmp_path / 'file' / 'below'))

    def test_one_that_can_not_be_written_to_is_said(self):
        """As another user: root may write everywhere."""
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o755)
            cache(directory)
            os.chmod(os.path.join(directory, 'tmp'), 0o555)
            said = self._opened(directory)
        assert 'but this process may not write to' in said.stdout, said.stderr

    def _opened(self, directory):
        program = (
            'import os, sys\nfrom ZEO.link.directories import cache\nfrom ZEO.Exceptions import '
            'ConfigurationError\n'
            'if not os.geteuid(): os.setuid(54321)\n'
            f'try: cache({directory!r})\nexcept ConfigurationError as error: print(error)'
        )
        return subprocess.run(
            [sys.executable, '-c', program], capture_output=True, text=True, timeout=60
        )

    def test_the_servers_directory_is_not_taken_for_it(self, tmp_path):
        FilesystemHelper(str(tmp_path / 'server'), 'bushy').create()
        with pytest.raises(ConfigurationError, match='shared_blob_dir=True'):
            cache(str(tmp_path / 'server'))

    def test_a_path_is_made_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        store = open_blobs(BlobOptions('blobs'), nothing_comes)
        monkeypatch.chdir('/')
        assert store.temporary_directory == str(tmp_path / 'blobs' / 'tmp') == store.prepare()


@pytest.fixture
def leave(tmp_path):
    """A function that has another process make a temporary file of some kind; returns its name and
    a function that ends it.
    """
    cache(str(tmp_path))
    processes = []

    def start(kind):
        program = (
            'import sys, tempfile\nfrom ZEO.leftovers import prefix\n'
            'print(tempfile.mkstemp(sys.argv[2], prefix(sys.argv[1]), sys.argv[3])[1], '
            'flush=True)\nsys.stdin.read()'
        )
        suffix = '.tmp' if kind == 'store' else '.blob'
        process = Process(
            [sys.executable, '-c', program, kind, suffix, tmp_path / 'tmp'], stdin=subprocess.PIPE
        )
        processes.append(process)
        return process.output.line().decode(), process.kill

    yield start
    for process in processes:
        process.kill()


def restart(tmp_path, ahead=0.0):
    clock = Clock(ahead=ahead)
    return open_blobs(BlobOptions(str(tmp_path)), nothing_comes, clock)


DAY = 86_400


class TestLeftovers:
    """Temporary files of processes that are gone."""

    @pytest.mark.parametrize('kind', ['store', 'fetch', 'zeo'])
    def test_those_of_a_killed_process_are_removed_at_the_next_start_and_told(
        self, tmp_path, leave, kind, caplog
    ):
        path, kill = leave(kind)
        restart(tmp_path)
        assert os.path.exists(path)  # it lives
        restart(tmp_path, ahead=10 * DAY)
        assert os.path.exists(path)
        kill()
        restart(tmp_path)
        assert not os.path.exists(path) and '1 temporary files' in caplog.text

    def test_our_own_stay(self, tmp_path):
        store = restart(tmp_path)
        mine = os.path.join(store.temporary_directory, prefix('store') + 'x.tmp')
        open(mine, 'w').close()
        restart(tmp_path)
        assert os.path.exists(mine)

    @pytest.mark.parametrize(
        'name',
        [
            'store-x8h_2k1f.tmp',
            'fetch-abcdefgh.blob',
            'zeo-abcdefgh.blob',
            'store-00000000-1-2-abcdefgh.tmp',
        ],
    )
    def test_those_of_other_machines_go_when_they_are_old(self, tmp_path, name):
        store = restart(tmp_path)
        path = os.path.join(store.temporary_directory, name)
        open(path, 'w').close()
        os.utime(path, (0, 0))  # a file that a program gave away may be of any age
        restart(tmp_path)
        assert os.path.exists(path)
        restart(tmp_path, ahead=2 * DAY)
        assert not os.path.exists(path)

    def test_files_of_others_stay(self, tmp_path):
        store = restart(tmp_path)
        for name in 'BUCabc', 'mine.tmp', 'store-', 'fetch.blob', 'storey-abc.tmp':
            open(os.path.join(store.temporary_directory, name), 'w').close()
        restart(tmp_path, ahead=100 * DAY)
        assert len(os.listdir(store.temporary_directory)) == 5
