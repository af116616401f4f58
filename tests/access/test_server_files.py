"""The password file of a server in a process of its own: zeo passwd, zeo.conf and SIGHUP."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ZEO
from support.processes import Process
from ZEO.commands.zeo_check import main as zeo_check
from ZEO.Exceptions import AuthError, ClientDisconnected

SOURCES = str(Path(ZEO.__file__).parent.parent)
NAMES = {'username': 'app', 'password': 'correct horse battery'}

CONFIGURATION = """\
<zeo>
  address {address}
  password-file {file}
  {more}
</zeo>
<mappingstorage>
</mappingstorage>
"""


@pytest.fixture
def configured(tmp_path, sockets, path):
    """A function that writes a configuration file, and returns its path."""

    def write(more='', file=path):
        conf = tmp_path / 'zeo.conf'
        conf.write_text(CONFIGURATION.format(address=sockets(), file=file, more=more))
        return str(conf)

    return write


def test_a_file_that_cannot_be_used_is_named_with_its_place(configured, path, set_password, capsys):
    assert zeo_check([configured()]) != 0
    assert 'zeo.conf, line 3' in (err := capsys.readouterr().err) and 'no file' in err
    set_password('app')
    os.chmod(path, 0o644)
    assert zeo_check([configured()]) == 2
    assert 'zeo.conf, line 3' in (err := capsys.readouterr().err) and 'chmod 600' in err
    os.chmod(path, 0o600)
    assert zeo_check([configured('require-access on')]) == 0
    capsys.readouterr()
    Path(path).write_text('nonsense')
    assert zeo_check([configured()]) == 2
    assert 'is not a password file' in capsys.readouterr().err


class Server(Process):
    """A runzeo in the directory of its configuration."""

    def __init__(self, conf):
        super().__init__(
            [sys.executable, '-m', 'ZEO.runzeo', '-C', conf],
            env={**os.environ, 'PYTHONPATH': SOURCES},
        )
        self.errors.wait_for('serving storage 1')

    def hang_up(self, answer):
        """Send SIGHUP, and wait for a line of the log."""
        self.popen.send_signal(signal.SIGHUP)
        return self.errors.wait_for(answer)


def zeo_passwd(path, *args, typed=b''):
    command = [sys.executable, '-m', 'ZEO', 'passwd', path, *args]
    environ = {**os.environ, 'PYTHONPATH': SOURCES}
    subprocess.run(command, env=environ, input=typed, check=True, timeout=60)


def test_from_the_command_to_a_revoked_password(configured, path):
    zeo_passwd(path, 'app', '--stdin', typed=b'correct horse battery\n')
    conf = configured()
    address = Path(conf).read_text().split()[2]
    with Server(conf) as server:
        client = ZEO.client(address, wait_timeout=30, **NAMES)
        client.ping()
        Path(path).rename(path + '.away')
        server.hang_up('the passwords stay as they were')
        client.ping()
        Path(path + '.away').rename(path)
        zeo_passwd(path, 'app', '--delete')
        server.hang_up('users who are gone or changed: app')
        server.errors.wait_for('the password of its user was changed')
        with pytest.raises(AuthError, match='does not accept the user name with this password'):
            while True:
                try:
                    client.ping()
                except ClientDisconnected:  # the call that was under way
                    pass
        zeo_passwd(path, 'app', '--stdin', typed=b'another, longer one\n')
        server.hang_up('users who are gone or changed: none')
        ZEO.client(address, username='app', password='another, longer one').close()
        client.close()
        assert 'horse' not in server.errors.seen
        assert server.stop() == 0
