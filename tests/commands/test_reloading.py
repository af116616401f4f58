"""SIGHUP makes a server read its rules again, and keep them where the file is broken."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from ZODB.POSException import ReadOnlyError

import ZEO
from support.processes import Process
from ZEO.commands.probing import probe
from ZEO.commands.reloading import Reloading
from ZEO.Exceptions import AuthError, ClientDisconnected
from ZEO.net.notifications import Supervisor
from ZEO.net.system import REAL

SOURCES = str(Path(ZEO.__file__).parent.parent)
ME = f'unix-user {os.getuid()}'

CONFIGURATION = """\
<zeo>
  address {0}
  {1}
</zeo>
<mappingstorage>
</mappingstorage>
<mappingstorage second>
</mappingstorage>
"""


class Restricted(Process):
    """A runzeo whose rules are changed while it runs."""

    def __init__(self, directory, address):
        self._file = directory / 'zeo.conf'
        self.address = address
        self.write(f'{ME} write')
        super().__init__(
            [sys.executable, '-m', 'ZEO.runzeo', '-C', 'zeo.conf'],
            cwd=directory,
            env={**os.environ, 'PYTHONPATH': SOURCES},
        )
        self.errors.wait_for('serving storage second')

    def write(self, *rules, text=''):
        lines = ['<access>', *[f'rule {rule}' for rule in rules], '</access>'] if rules else []
        self._file.write_text(CONFIGURATION.format(self.address, '\n'.join([*lines, text])))

    def damage(self, text):
        """Write something else into the file."""
        self._file.write_text(text)

    def remove(self):
        self._file.unlink()

    def hang_up(self, answer):
        """Send SIGHUP; return the line of the log that answers it."""

        def lines():
            return [line for line in self.errors.seen.splitlines() if answer in line]

        before = len(lines())
        self.popen.send_signal(signal.SIGHUP)
        self.wait_until(lambda: len(lines()) > before)
        return lines()[-1]

    def may(self, wanted, name='1'):
        """Whether a client may do that with a storage: read, write or admin."""
        try:
            client = ZEO.client(self.address, storage=name, read_only=wanted != 'write')
        except (AuthError, ReadOnlyError):
            return False
        try:
            if wanted == 'admin':
                client.pack(time.time(), wait=True)
            return True
        except AuthError:
            return False
        finally:
            client.close()


@pytest.fixture
def server(tmp_path, sockets):
    with Restricted(tmp_path, sockets()) as process:
        yield process
        assert process.stop() == 0


AGAIN = 'the rules of access were read again: '
STAY = ': the rules of access stay as they were'


def test_the_rules_of_a_running_server_are_replaced(server):
    assert server.may('write') and not server.may('admin')
    assert server.hang_up(AGAIN).endswith('nothing has changed')
    server.write(f'{ME} read', 'anyone nothing')
    line = server.hang_up(AGAIN)
    assert line.endswith(
        f'new: {ME} read (every storage); new: anyone nothing (every storage); '
        f'gone: {ME} write (every storage)'
    )
    assert server.may('read') and not server.may('write')


def test_a_file_without_rules_does_not_open_a_server_that_has_some(server):
    """It may be half written; only a restart takes all rules away."""
    server.write()
    assert 'there is no <access> section any more' in server.hang_up(STAY)
    assert server.may('write') and not server.may('admin')


def test_clients_that_may_do_less_are_closed_and_know_why(server):
    writer = ZEO.client(server.address, read_only_fallback=True, wait_timeout=60)
    second = ZEO.client(server.address, storage='second', wait_timeout=60)
    assert not writer.isReadOnly() and second.new_oid()
    server.damage(
        CONFIGURATION.format(
            server.address,
            f'<access second>\nrule anyone nothing\n</access>\n<access>\nrule {ME} read\n</access>',
        )
    )
    server.hang_up(AGAIN)
    server.errors.wait_for('its right is now read, and was write')
    server.errors.wait_for('its right is now nothing, and was write')
    with pytest.raises(AuthError, match="there is no storage 'second'"):
        while True:
            try:
                second.ping()
            except ClientDisconnected:  # the call that was under way
                pass
    while not writer.isReadOnly():
        writer.sync()
    assert set(probe(server.address)) == {'1'}
    writer.close()
    second.close()


DAMAGES = [
    (lambda server: server.write('anyone everything'), "line 4: 'everything' is not a right"),
    (lambda server: server.write('unix-user nosuch-user read'), 'there is no user'),
    (lambda server: server.write('user ops read'), 'line 3: no client can match the rule'),
    (lambda server: server.write(text='require-access on'), 'there is no <access> section'),
    (lambda server: server.write('anyone read', text='adress 1'), 'not a known key name'),
    (lambda server: server.damage('<zeo>\n address 1\n <access>\n rule a'), 'zeo.conf'),
    (lambda server: server.damage(''), 'there is no <zeo> section'),
    (lambda server: server.damage('\0\xff\xfe'), 'zeo.conf'),
    (lambda server: server.remove(), 'cannot be read'),
    (
        lambda server: server.write(text='<access third>\nrule anyone read\n</access>'),
        "there is no storage 'third'",
    ),
]


def test_a_broken_file_changes_nothing(server):
    for damage, said in DAMAGES:
        damage(server)
        line = server.hang_up(STAY)
        assert said in line and ' ERROR ' in line
        assert server.may('write') and not server.may('admin')
    server.write(f'{ME} admin')
    server.hang_up(AGAIN)
    assert server.may('admin')


def test_many_signals_leave_the_last_rules(server):
    for number in range(30):
        server.write(f'{ME} {["read", "write", "admin"][number % 3]}')
        server.popen.send_signal(signal.SIGHUP)
    server.write(f'{ME} admin', 'anyone read')
    server.hang_up('new: anyone read')
    assert server.may('admin')


def test_a_signal_before_the_service_is_not_lost(tmp_path):
    posted = []

    class Server:
        def post(self, function):
            posted.append(function)

        def reload_passwords(self):
            posted.append('passwords')

    reloading = Reloading(Supervisor({}))
    reloading.watch(Server(), None)
    assert posted == []
    reloading = Reloading(Supervisor({}))
    reloading.signalled()
    reloading.watch(Server(), None)
    (begin,) = posted
    begin()  # there is no file to read
    assert posted == [begin, 'passwords']


@pytest.mark.parametrize('fails', ['the thread', 'what was read'])
def test_a_supervisor_is_told_the_end_whatever_fails(fails, monkeypatch, tmp_path):
    sent, posted = [], []

    class Server:
        def post(self, function):
            posted.append(function)

        def reload_passwords(self):
            pass

    class Told(Supervisor):
        def send(self, *messages, patience=0.0):
            sent.extend(messages)

    def spawn(name, function, *args):
        if fails == 'the thread':
            raise RuntimeError('no thread')

    monkeypatch.setattr(REAL, 'spawn', spawn)
    reloading = Reloading(Told({}))
    reloading.watch(Server(), str(tmp_path / 'zeo.conf'))
    reloading.signalled()
    posted.pop()()
    if fails == 'what was read':
        assert sent[0] == 'RELOADING=1' and 'READY=1' not in sent
        with pytest.raises(ZeroDivisionError):
            reloading._done(lambda: 1 / 0)
    assert sent[-1] == 'READY=1'


READ_AGAIN = 'the configuration was read again: '


def test_limits_and_times_are_used_from_now_on(server):
    keys = ['max-connections 1', 'transaction-timeout 7', 'slow-commit 2m', 'record-cache-size 1KB']
    server.write(f'{ME} write', text='\n'.join([*keys, 'stop-time 1', 'max-message-size 1MB']))
    line = server.hang_up(READ_AGAIN)
    for change in (
        'max-connections: 1 (was 10000)',
        'max-message-size: 1,048,576 (was 2,147,483,647)',
        'record-cache-size: 1024 (was 33,554,432)',
        'slow-commit: 120 (was 1)',
        'transaction-timeout: 7 (was 30)',
        'stop-time: 1 (was 5)',
    ):
        assert change in line
    with ZEO.client(server.address), pytest.raises(ClientDisconnected):
        ZEO.client(server.address, wait_timeout=0.1)
    server.write(f'{ME} write')
    assert 'max-connections: 10000 (was 1)' in server.hang_up(READ_AGAIN)


def test_what_needs_a_restart_is_said(server):
    server.write(f'{ME} write', text='invalidation-queue-size 7\nread-only on\nlog-format json')
    line = server.hang_up('only a restart can change: ')
    assert line.endswith(
        'only a restart can change: invalidation-queue-size, log-format, read-only'
    )
    server.write(f'{ME} write', text='invalidation-queue-size 7\nread-only on')
    line = server.hang_up('only a restart can change: ')  # as long as it is so
    assert line.endswith('only a restart can change: invalidation-queue-size, read-only')
    server.write(f'{ME} write', text='stop-time 2')
    server.hang_up('stop-time: 2 (was 5)')
    assert server.errors.seen.count('only a restart can change') == 2


def test_the_level_of_the_log_is_changed(server, tmp_path):
    (tmp_path / 'log').touch()
    eventlog = '<eventlog>\nlevel {}\n<logfile>\npath log\n</logfile>\n</eventlog>\n'
    text = CONFIGURATION.format(server.address + '2', '') + eventlog
    (tmp_path / 'zeo.conf').write_text(text.format('warning'))
    environ = {**os.environ, 'PYTHONPATH': SOURCES}
    command = [sys.executable, '-m', 'ZEO.runzeo', '-C', 'zeo.conf', '--pid-file', 'pid']
    log = tmp_path / 'log'
    with Process(command, cwd=tmp_path, env=environ) as process:
        process.wait_until(lambda: os.path.exists(server.address + '2'))
        ZEO.client(server.address + '2').close()
        (tmp_path / 'zeo.conf').write_text(text.format('info'))
        process.popen.send_signal(signal.SIGHUP)
        process.wait_until(lambda: 'level of the log root: INFO (was WARNING)' in log.read_text())
        assert 'serving storage' not in log.read_text()
        assert process.stop() == 0
    assert 'stopped by SIGTERM' in log.read_text()
