"""Unix sockets: who may connect, and whose file is removed."""

import os
import socket
import stat
import subprocess
import sys

import pytest
import trustme

from ZEO.Exceptions import ConfigurationError
from ZEO.net import addresses, unix_sockets
from ZEO.net.unix_sockets import FileRights


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 's')


@pytest.fixture
def umask():
    """A function that sets the umask for the length of a test."""
    before = os.umask(0)
    yield os.umask
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.mark.parametrize(
    ('mask', 'mode'), [(0, 0o770), (0o22, 0o750), (0o27, 0o750), (0o77, 0o700), (0o2, 0o770)]
)
def test_by_default_others_have_no_rights_whatever_the_umask(path, umask, mask, mode):
    umask(mask)
    unix_sockets.bind(path, FileRights()).close()
    assert mode_of(path) == mode


@pytest.mark.parametrize('mask', [0, 0o22, 0o27])
@pytest.mark.parametrize('mode', [0o600, 0o660, 0o666, 0o777])
def test_a_mode_that_is_asked_for_is_given_whatever_the_umask(path, umask, mask, mode):
    umask(mask)
    unix_sockets.bind(path, FileRights(mode=mode)).close()
    assert mode_of(path) == mode


def test_the_file_never_has_more_rights_than_in_the_end(path, umask, monkeypatch):
    seen = []
    real = socket.socket.bind

    class Watched(socket.socket):
        def bind(self, where):
            real(self, where)
            seen.append(mode_of(where))

    monkeypatch.setattr(unix_sockets.socket, 'socket', Watched)
    unix_sockets.bind(path, FileRights()).close()
    os.unlink(path)
    unix_sockets.bind(path, FileRights(mode=0o600)).close()
    assert seen == [0o770, 0o600]


def test_nobody_can_connect_before_the_rights_are_set(path):
    with unix_sockets.bind(path, FileRights(mode=0o666)), socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(ConnectionRefusedError):
            client.connect(path)


@pytest.mark.skipif(os.geteuid(), reason='only root is a member of every group')
def test_the_file_belongs_to_the_group(path):
    unix_sockets.bind(path, FileRights(mode=0o660, group=54321)).close()
    assert os.stat(path).st_gid == 54321


def test_a_group_that_may_not_be_given_leaves_no_file(path, monkeypatch):
    def refused(*args, **options):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(unix_sockets.os, 'chown', refused)
    with pytest.raises(ConfigurationError, match='to the group with number 7: make the user'):
        unix_sockets.bind(path, FileRights(group=7))
    assert not os.path.lexists(path)


def test_a_link_in_the_place_of_the_new_file_is_not_followed(path, tmp_path, umask, monkeypatch):
    umask(0)
    victim = tmp_path / 'victim'
    victim.touch(mode=0o600)
    real = os.lstat

    def lstat(name):
        found = real(name)
        if name == path and stat.S_IMODE(found.st_mode) == 0o660:  # before it gets its mode
            os.unlink(path)
            os.symlink(victim, path)
        return found

    monkeypatch.setattr(unix_sockets.os, 'lstat', lstat)
    with pytest.raises(OSError, match='another file'):
        unix_sockets.bind(path, FileRights(mode=0o666))
    assert mode_of(victim) == 0o600


@pytest.mark.parametrize(
    'make',
    [lambda path: open(path, 'w').close(), os.mkdir, os.mkfifo, lambda path: os.symlink('x', path)],
)
def test_what_is_not_a_socket_stays(path, make):
    make(path)
    with pytest.raises(
        ConfigurationError, match='there is a file of that name that is not a socket'
    ):
        addresses.listen(path)
    assert os.path.lexists(path)


def test_a_link_to_a_stale_socket_stays(path, tmp_path):
    unix_sockets.bind(str(tmp_path / 'stale'), FileRights()).close()
    os.symlink('stale', path)
    with pytest.raises(ConfigurationError, match='is not a socket'):
        addresses.listen(path)
    assert os.path.islink(path) and (tmp_path / 'stale').exists()


def test_only_the_file_that_is_meant_is_removed(path):
    unix_sockets.bind(path, FileRights()).close()
    mine = unix_sockets.identity(path)
    os.rename(path, path + '2')  # which keeps its number from being used again
    open(path, 'w').close()
    unix_sockets.remove(path, mine)
    assert os.path.exists(path)
    unix_sockets.remove(path + '2', mine)
    assert not os.path.exists(path + '2')


@pytest.mark.parametrize(
    'address',
    [
        ('0.0.0.0', 1),
        ('::', 1),
        ('', 1),
        ('192.0.2.7', 1),
        ('10.0.0.1', 1),
        ('2001:db8::1', 1),
        ('fe80::1%eth0', 1),
        ('::ffff:192.0.2.7', 1),
        ('db.example', 1),
    ],
)
def test_other_machines_may_reach_an_address(address):
    assert addresses.is_exposed(address)


@pytest.mark.parametrize(
    'address',
    [
        ('127.0.0.1', 1),
        ('127.1.2.3', 1),
        ('::1', 1),
        ('::ffff:127.0.0.1', 1),
        ('localhost', 1),
        '/run/zeo.sock',
        'relative/zeo.sock',
    ],
)
def test_no_other_machine_reaches_an_address(address):
    assert not addresses.is_exposed(address)


ALONE = """
import logging, sys
from ZODB.MappingStorage import MappingStorage
from ZEO.net.tls import server_context
from ZEO.StorageServer import StorageServer
logging.basicConfig(format='%(levelname)s %(message)s')
ssl = server_context(sys.argv[2]) if sys.argv[2:] else None
StorageServer([(sys.argv[1], 0), ('127.0.0.1', 0)], {'1': MappingStorage()}, ssl=ssl).close()
"""


def on_no_network(*args):
    """Return what a server logs that listens in a network of its own, which no other process is
    in.
    """
    done = subprocess.run(
        ['unshare', '--net', sys.executable, '-c', ALONE, *args],
        capture_output=True,
        text=True,
        timeout=50,
    )
    if done.returncode and 'unshare' in done.stderr:
        pytest.skip('this process may not make a network of its own')
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if 'TLS' in line]


def test_listening_on_every_network_without_tls_is_warned_of_once():
    (line,) = on_no_network('')
    assert line.startswith('WARNING ') and ' 0.0.0.0:' in line
    assert 'may read and change all data; listen on 127.0.0.1' in line


def test_listening_on_this_machine_only_is_not_warned_of():
    assert on_no_network('127.0.0.1') == []


def test_listening_on_every_network_with_tls_is_not_warned_of(tmp_path):
    trustme.CA().issue_cert('localhost').private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / 'all.pem')
    )
    assert on_no_network('', str(tmp_path / 'all.pem')) == []
