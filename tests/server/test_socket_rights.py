"""The modes of the Unix sockets of real servers, by whichever command they were started."""

import os
import stat
import subprocess
import sys

import pytest

import ZEO
from support.processes import Process

CONFIGURATION = """
<zeo>
  address {directory}/s
  {lines}
</zeo>
<mappingstorage>
</mappingstorage>
"""


@pytest.fixture
def mode(tmp_path):
    """A function that starts a server with a umask and returns the mode of its socket."""
    servers = []

    def of(mask, *command):
        process = Process([sys.executable, '-m', *command], cwd=tmp_path, umask=mask)
        servers.append(process)
        process.wait_until((tmp_path / 's').exists)
        ZEO.connection(str(tmp_path / 's'), wait_timeout=45).close()
        return stat.S_IMODE(os.stat(tmp_path / 's').st_mode)

    yield of
    for process in servers:
        process.kill()


@pytest.fixture
def configured(tmp_path, mode):
    """The same for a server that a file configures."""

    def of(mask, *lines):
        (tmp_path / 'zeo.conf').write_text(
            CONFIGURATION.format(directory=tmp_path, lines='\n'.join(lines))
        )
        return mode(mask, 'ZEO.runzeo', '-C', 'zeo.conf')

    return of


@pytest.mark.parametrize(('mask', 'expected'), [(0, 0o770), (0o22, 0o750), (0o27, 0o750)])
def test_runzeo_leaves_others_out(configured, mask, expected):
    assert configured(mask) == expected


@pytest.mark.parametrize(('mask', 'expected'), [(0, 0o770), (0o22, 0o750)])
def test_start_leaves_others_out(mode, mask, expected):
    assert mode(mask, 'ZEO.start', '-U', 's') == expected


@pytest.mark.parametrize('mask', [0, 0o27])
def test_a_mode_in_the_configuration_is_the_mode(configured, mask):
    assert configured(mask, 'unix-socket-mode 0666') == 0o666


@pytest.mark.skipif(os.geteuid(), reason='only root is a member of every group')
def test_a_group_in_the_configuration_is_the_group(configured, tmp_path):
    assert configured(0o22, 'unix-socket-mode 660', 'unix-socket-group 54321') == 0o660
    assert os.stat(tmp_path / 's').st_gid == 54321


@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        ('unix-socket-mode rw-rw----', "'rw-rw----' is not a mode: give three octal digits"),
        ('unix-socket-mode 0888', "'0888' is not a mode"),
        ('unix-socket-group no-such-group', "there is no group 'no-such-group' on this machine"),
    ],
)
def test_a_wrong_value_is_told_in_a_line(tmp_path, lines, words):
    (tmp_path / 'zeo.conf').write_text(CONFIGURATION.format(directory=tmp_path, lines=lines))
    done = subprocess.run(
        [sys.executable, '-m', 'ZEO.runzeo', '-C', 'zeo.conf'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=45,
    )
    assert done.returncode == 2 and words in done.stderr and 'line 4' in done.stderr


def test_rights_without_a_socket_are_told(tmp_path):
    (tmp_path / 'zeo.conf').write_text(
        '<zeo>\naddress 127.0.0.1:0\nunix-socket-mode 660\n</zeo>\n<mappingstorage>\n'
        '</mappingstorage>\n'
    )
    done = subprocess.run(
        [sys.executable, '-m', 'ZEO.runzeo', '-C', 'zeo.conf'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=45,
    )
    assert done.returncode == 2 and 'no address is the path of one' in done.stderr
