"""Servers under a supervisor such as systemd: what it is sent, and the sockets that it opens."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from types import SimpleNamespace

import pytest
from ZODB.utils import z64

from support.processes import PATIENCE, Process, free_port
from support.scripted import RawClient
from support.sides import SOURCES
from ZEO.commands.watching import SHORTEST, Watching
from ZEO.Exceptions import ConfigurationError
from ZEO.net import notifications
from ZEO.net.activation import join, take
from ZEO.net.notifications import Supervisor

#: As sh: the descriptor that is passed becomes number 3, and the process id is announced.
ACTIVATED = 'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=zeo exec "$@" 3<&0 </dev/null'

#: The same with a second one.
BOTH = 'LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES={} exec "$@" 3<&0 4<&1 </dev/null >/dev/null'


class Systemd:
    """A socket that takes what services send."""

    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace('@', '\0', 1))
        self.socket.settimeout(PATIENCE)
        self.seen = []

    def hears(self, wanted):
        """Wait for a line; return all that came before it."""
        before = len(self.seen)
        while wanted not in self.seen[before:]:
            self.seen += self.socket.recv(4096).decode().split('\n')
        return self.seen[before:]

    def close(self):
        self.socket.close()


@pytest.fixture(params=['a path', 'an abstract name'])
def systemd(request, short):
    made = Systemd(f'{short}/notify' if request.param == 'a path' else f'@zeo-{os.getpid()}')
    yield made
    made.close()


@pytest.fixture
def short():
    """A directory whose name is short."""
    with tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp') as folder:
        yield folder


@pytest.fixture
def start(tmp_path):
    """Start processes that end with the test."""
    processes = []

    def run(command, environ=None, **options):
        environ = {**os.environ, 'PYTHONPATH': str(SOURCES), **(environ or {})}
        processes.append(Process(command, env=environ, cwd=tmp_path, **options))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()


def test_a_server_says_what_it_does(systemd, start, short, tmp_path):
    conf = tmp_path / 'zeo.conf'
    conf.write_text(f'<zeo>\n address {short}/s\n</zeo>\n<mappingstorage>\n</mappingstorage>\n')
    environ = {'NOTIFY_SOCKET': systemd.address, 'WATCHDOG_USEC': '300000'}
    process = start([sys.executable, '-m', 'ZEO.runzeo', '-C', conf], environ)
    assert 'STATUS=opening storages' in systemd.hears('READY=1')
    systemd.hears('STATUS=serving 1 to 0 clients')
    systemd.hears('WATCHDOG=1')
    systemd.hears('WATCHDOG=1')
    process.popen.send_signal(signal.SIGTERM)
    systemd.hears('STOPPING=1')
    assert process.end()[0] == 0


def activated(start, path, *command):
    """Start a server with a socket that listens already."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        return start(['sh', '-c', ACTIVATED, 'sh', *command], stdin=listener)


def serves(path):
    client = RawClient(path)
    try:
        return client.last == z64
    finally:
        client.close()


@pytest.mark.parametrize('classic', [False, True])
def test_a_server_takes_a_socket_and_leaves_its_file(start, short, tmp_path, classic):
    path, conf = f'{short}/s', tmp_path / 'zeo.conf'
    conf.write_text('<zeo>\n</zeo>\n<mappingstorage>\n</mappingstorage>\n')
    command = ['-m', 'ZEO.start', 'data.fs'] if classic else ['-m', 'ZEO.runzeo', '-C', str(conf)]
    process = activated(start, path, sys.executable, *command)
    assert serves(path)
    assert process.stop() == 0
    assert os.path.exists(path)


def test_a_configured_address_is_listened_on_beside_it(start, short, tmp_path):
    path, other = f'{short}/s', f'{short}/other'
    conf = tmp_path / 'zeo.conf'
    conf.write_text(
        f'<zeo>\n address {path}\n address {other}\n</zeo>\n<mappingstorage>\n</mappingstorage>\n'
    )
    process = activated(start, path, sys.executable, '-m', 'ZEO.runzeo', '-C', str(conf))
    assert serves(path)
    assert serves(other)
    process.stop()
    assert os.path.exists(path) and not os.path.exists(other)


@pytest.mark.parametrize('classic', [False, True])
def test_a_socket_called_monitor_is_for_figures(start, short, tmp_path, classic):
    path, conf = f'{short}/s', tmp_path / 'zeo.conf'
    conf.write_text('<zeo>\n</zeo>\n<mappingstorage>\n</mappingstorage>\n')
    command = ['-m', 'ZEO.start', 'data.fs'] if classic else ['-m', 'ZEO.runzeo', '-C', str(conf)]
    with socket.socket(socket.AF_UNIX) as listener, socket.socket() as figures:
        listener.bind(path)
        listener.listen()
        figures.bind(('127.0.0.1', 0))
        figures.listen()
        shell = BOTH.format('zeo@main.socket:monitor')
        command = ['sh', '-c', shell, 'sh', sys.executable, *command]
        process = start(command, stdin=listener, stdout=figures)
        url = 'http://{}:{}/readyz'.format(*figures.getsockname())
    assert serves(path)
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        assert answer.read() == b'ready\n'
    assert process.stop() == 0


def test_a_socket_for_figures_is_not_one_for_clients(start, short):
    shell = ACTIVATED.replace('=zeo', '=monitor')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f'{short}/s')
        listener.listen()
        command = ['sh', '-c', shell, 'sh', sys.executable, '-m', 'ZEO.start', 'data.fs']
        status, _, errors = start(command, stdin=listener).end()
    assert status == 2 and 'no address to listen on' in errors


def test_without_a_socket_an_address_is_needed(start):
    process = start(
        [sys.executable, '-m', 'ZEO.start', '-s'], {'LISTEN_PID': '1', 'LISTEN_FDS': '1'}
    )
    status, _, errors = process.end()
    assert status == 2 and 'no address to listen on' in errors


def test_what_is_announced_to_another_process_is_not_taken():
    environ = {'LISTEN_PID': str(os.getpid() + 1), 'LISTEN_FDS': '1', 'LISTEN_FDNAMES': 'a'}
    assert take(environ) == [] and environ == {}


@pytest.mark.parametrize('kind', ['a file', 'a datagram socket', 'nothing'])
def test_a_descriptor_that_is_not_a_listening_socket(kind, short):
    code = (
        'import os; from ZEO.net.activation import take; '
        "take({'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'})"
    )
    with open(f'{short}/file', 'w') as file, socket.socket(type=socket.SOCK_DGRAM) as udp:
        given = {'a file': file, 'a datagram socket': udp, 'nothing': subprocess.DEVNULL}[kind]
        redirect = '3<&-' if kind == 'nothing' else '3<&0'
        done = subprocess.run(
            ['sh', '-c', f'exec "$@" {redirect}', 'sh', sys.executable, '-c', code],
            stdin=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, 'PYTHONPATH': str(SOURCES)},
        )
    assert done.returncode == 1
    assert ConfigurationError.__name__ in done.stderr.splitlines()[-1]
    assert 'cannot listen on descriptor 3, which LISTEN_FDS announces' in done.stderr


def test_an_address_that_a_socket_covers_is_not_opened_again():
    port = free_port()
    with socket.create_server(('0.0.0.0', port)) as everywhere:
        wanted = [('127.0.0.1', port), ('127.0.0.1', port + 1), ('', port)]
        assert join(wanted, [everywhere]) == [everywhere, ('127.0.0.1', port + 1)]


def test_without_a_supervisor_nothing_is_sent():
    supervisor = Supervisor({'WATCHDOG_USEC': '1000'})
    supervisor.send('READY=1')
    assert not supervisor.listens and supervisor.watchdog == 0


def test_a_supervisor_that_is_gone_is_no_failure(short):
    Supervisor({'NOTIFY_SOCKET': f'{short}/nothing'}).send('READY=1')


def test_a_supervisor_that_takes_nothing_does_not_hold_the_loop(short):
    full = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    full.bind(f'{short}/full')
    supervisor = Supervisor({'NOTIFY_SOCKET': f'{short}/full', 'WATCHDOG_USEC': '1000000'})
    waits = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, full:
        out.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                out.sendto(b'x', f'{short}/full')
        real = notifications.socket.socket.settimeout
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                notifications.socket.socket,
                'settimeout',
                lambda made, seconds: (waits.append(seconds), real(made, seconds)),
            )
            server = SimpleNamespace(hosted={}, is_stopping=False, later=lambda *args: None)
            Watching(server, supervisor)._look_again()
    assert waits == [0, 0]


def test_a_look_that_fails_is_not_the_last(short):
    looks = []

    class Failing(dict):
        def values(self):
            raise MemoryError

    server = SimpleNamespace(
        hosted={}, is_stopping=False, later=lambda seconds, look: looks.append(look)
    )
    Watching(server, Supervisor({'NOTIFY_SOCKET': short, 'WATCHDOG_USEC': '1000000'})).begin()
    server.hosted = Failing()
    with pytest.raises(MemoryError):
        looks.pop()()
    assert looks


@pytest.mark.parametrize('text', ['0', '-5', '9' * 5000, '٣' * 7, 'x', '1e6'])
def test_a_watchdog_that_is_not_a_number_is_none(short, text):
    assert Supervisor({'NOTIFY_SOCKET': short, 'WATCHDOG_USEC': text}).watchdog == 0


def test_a_watchdog_of_microseconds_does_not_keep_the_loop_busy(short):
    pauses = []
    server = SimpleNamespace(
        hosted={}, is_stopping=False, later=lambda seconds, look: pauses.append(seconds)
    )
    Watching(server, Supervisor({'NOTIFY_SOCKET': short, 'WATCHDOG_USEC': '1'})).begin()
    assert pauses == [SHORTEST]


@pytest.mark.parametrize('address', ['@', 'vsock:2:1234', 'relative', '/' + 'x' * 500, '\udc80'])
def test_an_address_that_is_none_is_no_failure(address):
    supervisor = Supervisor({'NOTIFY_SOCKET': address})
    supervisor.send('READY=1')
    supervisor.status('a\nWATCHDOG=1')


def test_a_status_is_one_line(systemd):
    Supervisor({'NOTIFY_SOCKET': systemd.address}).status('serving a\nMAINPID=1\r to all')
    systemd.hears('STATUS=serving a MAINPID=1 to all')


def test_numbers_of_sockets_that_are_too_large_are_none():
    assert take({'LISTEN_PID': '9' * 5000, 'LISTEN_FDS': '1'}) == []
    assert take({'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '9' * 5000}) == []


def test_a_watchdog_of_another_process_is_not_fed(short):
    environ = {'NOTIFY_SOCKET': short, 'WATCHDOG_USEC': '1000000', 'WATCHDOG_PID': '1'}
    assert Supervisor(environ).watchdog == 0 and environ == {}
