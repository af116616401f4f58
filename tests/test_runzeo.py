"""runzeo as its users run it: real processes, signals, files and exit codes."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
import trustme

import ZEO
from support.processes import Process, wait_until
from ZEO import runzeo
from ZEO.commands import server_process
from ZEO.commands.probing import NoAnswer, probe

SOURCES = str(Path(ZEO.__file__).parent.parent)
MAPPING = '<mappingstorage>\n</mappingstorage>\n'


class Server(Process):
    """A runzeo in a directory."""

    def __init__(self, directory, args, environ):
        clean = {
            name: value
            for name, value in os.environ.items()
            if name not in ('INSTANCE', 'INSTANCE_HOME')
        }
        super().__init__(
            [sys.executable, '-m', 'ZEO.runzeo', *args],
            cwd=directory,
            env={**clean, 'PYTHONPATH': SOURCES, **environ},
        )

    def port(self):
        """Return where it listens on 127.0.0.1."""
        return '127.0.0.1', int(self.errors.wait_for(r'listening on 127.0.0.1:(\d+)')[1])


@pytest.fixture
def start(tmp_path):
    """Start servers that end with the test."""
    processes = []

    def start_process(*args, directory=tmp_path, **environ):
        processes.append(Server(directory, args, environ))
        return processes[-1]

    yield start_process
    for process in processes:
        process.kill()


@pytest.fixture
def serve(start, tmp_path):
    """Start a server with a configuration file."""

    def serve_text(text, *args, **environ):
        (tmp_path / 'zeo.conf').write_text(text)
        return start('-C', 'zeo.conf', *args, **environ)

    return serve_text


def refusal(process, status=2):
    """Return the one line of a server that does not start."""
    ended, out, error = process.end()
    assert (ended, out) == (status, ''), (ended, out, error)
    [line] = [line for line in error.splitlines() if line.startswith('runzeo: ')]
    assert error.splitlines()[-1] == line, error
    assert 'Traceback' not in error
    return line


def zeo(*lines, storages=MAPPING):
    return '\n'.join(['<zeo>', 'address 127.0.0.1:0', *lines, '</zeo>', storages])


# Serving and stopping.


@pytest.mark.smoke
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_leaves_nothing_behind(serve, tmp_path, number):
    process = serve(
        zeo(
            f'address {tmp_path}/s',
            f'pid-filename {tmp_path}/pid',
            storages=f'<filestorage>\npath {tmp_path}/Data.fs\n</filestorage>',
        )
    )
    address = process.port()
    connection = ZEO.connection(address)
    connection.root()['x'] = 1
    connection.transaction_manager.commit()
    connection.close()
    assert probe(address)['1']['commits'] == 2  # the first made the root
    assert list(probe(f'{tmp_path}/s')) == ['1']
    assert int((tmp_path / 'pid').read_text()) == process.pid
    status, out, error = process.end(number)
    assert (status, out) == (0, '')
    assert f'stopped by {number.name}' in error and 'Traceback' not in error
    assert not (tmp_path / 'pid').exists() and not (tmp_path / 's').exists()
    assert (tmp_path / 'Data.fs.index').exists()  # the storage was closed


def test_a_killed_server_leaves_nothing_that_hinders_the_next(serve, tmp_path):
    text = zeo(
        f'address {tmp_path}/s',
        f'pid-filename {tmp_path}/pid',
        storages=f'<filestorage>\npath {tmp_path}/Data.fs\n</filestorage>',
    )
    process = serve(text)
    process.port()
    process.end(signal.SIGKILL)
    assert (tmp_path / 's').exists()
    process = serve(text)
    process.port()
    assert list(probe(f'{tmp_path}/s')) == ['1']
    assert process.end(signal.SIGTERM)[0] == 0


def test_switches_without_a_file(start, tmp_path):
    process = start(
        '-a',
        '127.0.0.1:0',
        '--address',
        f'{tmp_path}/s',
        '-f',
        'Data.fs',
        '-t',
        '5',
        '--pid-file',
        'the.pid',
        '-m',
        '0',
    )
    process.port()
    process.errors.wait_for('serving storage 1: FileStorage')
    assert 'figures over HTTP: http://127.0.0.1:' in process.errors.seen
    assert (tmp_path / 'the.pid').exists()
    assert process.end(signal.SIGTERM)[0] == 0


def test_switches_override_the_file(serve, tmp_path):
    process = serve(
        zeo(
            f'pid-filename {tmp_path}/a.pid',
            storages=MAPPING + '<mappingstorage two>\n</mappingstorage>',
        ),
        '-a',
        f'{tmp_path}/s',
        '-f',
        'Data.fs',
        '--pid-file',
        f'{tmp_path}/b.pid',
    )
    process.errors.wait_for('serving storage 1: FileStorage')
    assert 'two' not in process.errors.seen and '127.0.0.1' not in process.errors.seen
    assert list(probe(f'{tmp_path}/s')) == ['1']
    assert (tmp_path / 'b.pid').exists() and not (tmp_path / 'a.pid').exists()


def test_the_instance_home_has_sockets_and_the_pid_file(serve, tmp_path):
    (tmp_path / 'var').mkdir()
    process = serve(
        '<zeo>\naddress $INSTANCE/s\naddress 127.0.0.1:0\n</zeo>\n' + MAPPING,
        INSTANCE_HOME=str(tmp_path),
    )
    process.port()
    assert list(probe(f'{tmp_path}/s')) == ['1']
    assert (tmp_path / 'var' / 'ZEO.pid').exists()
    assert process.end(signal.SIGTERM)[0] == 0
    assert not (tmp_path / 'var' / 'ZEO.pid').exists()


def test_a_profile_is_written_at_the_end(serve, tmp_path):
    process = serve(zeo(), '--profile', 'stats')
    process.port()
    assert process.end(signal.SIGTERM)[0] == 0
    assert (tmp_path / 'stats').stat().st_size


def test_old_keys_and_zdaemons_section(serve):
    process = serve(
        zeo(
            'authentication-protocol digest',
            'authentication-database x',
            'authentication-realm y',
        )
        + '<runner>\nprogram runzeo\nuser nobody\n</runner>\n'
    )
    process.port()
    for key in 'authentication-protocol', 'authentication-realm':
        assert f'{key} is ignored' in process.errors.seen
    assert process.end(signal.SIGTERM)[0] == 0


def test_it_serves_a_storage_of_another_server(serve, tmp_path):
    address, stop = ZEO.server(port=f'{tmp_path}/s')
    try:
        process = serve(
            '%import ZEO\n' + zeo(storages=f'<clientstorage>\nserver {address}\n</clientstorage>')
        )
        with ZEO.DB(address) as db, db.transaction() as connection:
            connection.root()['x'] = 1
        connection = ZEO.connection(process.port())
        assert connection.root()['x'] == 1
        connection.close()
        assert process.end(signal.SIGTERM)[0] == 0
    finally:
        stop()


def has_a_loop(pid):
    files = Path(f'/proc/{pid}/fd')
    return sys.platform != 'linux' or any(
        'eventpoll' in os.readlink(one) for one in files.iterdir()
    )


@pytest.mark.parametrize('listens', [False, True], ids=['is down', 'is silent'])
def test_a_signal_ends_a_start_that_waits_for_another_server(serve, tmp_path, listens):
    """A client storage with ``wait off`` is open at once; what has changed last is asked for before
    this server listens.
    """
    upstream = tmp_path / 'upstream'
    with socket.socket(socket.AF_UNIX) as silent:
        if listens:
            silent.bind(str(upstream))
            silent.listen()
        storage = (
            f'<clientstorage>\nserver {upstream}\nwait off\nwait-timeout 600\n</clientstorage>'
        )
        lines = f'address {tmp_path}/s', f'pid-filename {tmp_path}/pid'
        process = serve('%import ZEO\n' + zeo(*lines, storages=storage))
        process.errors.wait_for('storage 1 is open')
        wait_until(lambda: has_a_loop(process.pid))  # which is made before the storage is asked
        assert process.end(signal.SIGTERM)[0] == 0
    assert not (tmp_path / 's').exists() and not (tmp_path / 'pid').exists()


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp('certificates')
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / 'ca.pem'))
    blob = authority.issue_cert('localhost', '127.0.0.1').private_key_and_cert_chain_pem
    blob.write_to_path(str(folder / 'server.pem'))
    return folder


def test_it_serves_with_tls(serve, certificates):
    from ZEO.net.tls import client_context

    process = serve(zeo('<ssl>', f'certificate {certificates}/server.pem', '</ssl>'))
    address = process.port()
    context = client_context(authenticate=f'{certificates}/ca.pem')
    assert list(probe(address, ssl=context)) == ['1']
    with pytest.raises(NoAnswer, match='not for the name'):
        probe(address, ssl=context, server_hostname='other')


# Logs.


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGUSR2])
def test_logs_are_opened_again(serve, tmp_path, number):
    log = tmp_path / 'zeo.log'
    process = serve(
        zeo() + f'<eventlog>\nlevel info\n<logfile>\npath {log}\n</logfile>\n</eventlog>\n'
    )
    wait_until(lambda: log.exists() and 'listening on' in log.read_text())
    log.rename(tmp_path / 'zeo.log.1')
    process.popen.send_signal(number)
    wait_until(lambda: log.exists() and 'reopened' in log.read_text())
    status, out, error = process.end(signal.SIGTERM)
    assert (status, error) == (0, '')
    assert 'stopped by SIGTERM' in log.read_text()
    assert 'stopped' not in (tmp_path / 'zeo.log.1').read_text()


def test_a_hangup_without_log_files_changes_nothing(serve):
    process = serve(zeo())
    address = process.port()
    process.popen.send_signal(signal.SIGHUP)
    process.errors.wait_for('reopened')
    assert list(probe(address)) == ['1']


def test_failures_are_in_the_log_too(serve, tmp_path):
    line = refusal(
        serve(
            zeo(
                'address 127.0.0.1:0',
                storages='<filestorage>\npath Data.fs\nread-only on\n</filestorage>'
                '\n<eventlog>\n<logfile>\npath zeo.log\n</logfile>\n</eventlog>\n',
            )
        ),
        1,
    )
    assert line.removeprefix('runzeo: ') in (tmp_path / 'zeo.log').read_text()


# What is wrong.


def test_checking_touches_nothing(serve, tmp_path):
    text = zeo(
        f'pid-filename {tmp_path}/pid',
        'authentication-realm y',
        storages='<filestorage>\npath Data.fs\n</filestorage>\n<eventlog>\n<logfile>\n'
        'path zeo.log\n</logfile>\n</eventlog>\n',
    )
    for switch in '--test', '--check':
        status, out, error = serve(text, switch).end()
        assert (status, error) == (0, '')
        assert 'in order' in out and 'authentication-realm is ignored' in out
    assert [path.name for path in tmp_path.iterdir()] == ['zeo.conf']


@pytest.mark.parametrize(
    'text, words',
    [
        (
            zeo('adress 1'),
            "zeo.conf, line 3: 'adress' is not a known key name; did you mean address?",
        ),
        (zeo('pid-filename /missing/pid'), 'zeo.conf, line 3: there is no directory /missing'),
        (zeo('<ssl>', '</ssl>'), 'zeo.conf, line 3: a server needs a certificate'),
        (
            zeo(storages=MAPPING + MAPPING),
            "zeo.conf, line 6: duplicate storage name '1'",
        ),
        (zeo(storages=''), 'no storage to serve'),
        (MAPPING, 'no address to listen on'),
    ],
)
@pytest.mark.parametrize('switches', [[], ['--test']])
def test_a_wrong_file_is_refused_with_its_line(serve, text, words, switches):
    assert words in refusal(serve(text, *switches))


@pytest.mark.parametrize('switches, status', [([], 1), (['--test'], 2)])
def test_a_log_in_a_directory_that_is_not_there_yet(serve, switches, status):
    text = zeo() + '<eventlog>\n<logfile>\npath /missing/l\n</logfile>\n</eventlog>'
    assert 'zeo.conf, line 7: there is no directory /missing' in refusal(
        serve(text, *switches), status
    )


@pytest.mark.parametrize(
    'args, words',
    [
        ([], 'no storage to serve'),
        (['-f', 'x'], 'no address to listen on'),
        (['-a', '1'], 'no storage to serve'),
        (['-a', 'x', '-f', 'x'], "-a: 'x' is not an address"),
        (['-a', '1', '-f', 'x', '-t', 'soon'], "-t: 'soon' is not a time"),
        (['-C', 'missing.conf'], 'missing.conf'),
        (['--nonsense'], 'see runzeo --help'),
        (['-a', '127.0.0.1:0', '-f', 'missing/x'], 'there is no directory'),
        (['-a', '127.0.0.1:0', '-f', 'x', '--pid-file', 'missing/x'], '--pid-file: there is no'),
    ],
)
def test_a_wrong_command_line_is_refused(start, args, words):
    assert words in refusal(start(*args))


def test_a_port_in_use(serve):
    (host, port), stop = ZEO.server()
    try:
        line = refusal(serve(f'<zeo>\naddress {host}:{port}\n</zeo>\n{MAPPING}'))
        assert f'cannot listen on 127.0.0.1:{port}: Address already in use' in line
    finally:
        stop()


def test_a_locked_file_is_refused(serve, tmp_path):
    address, stop = ZEO.server(f'{tmp_path}/Data.fs')
    try:
        line = refusal(serve(zeo(storages='<filestorage>\npath Data.fs\n</filestorage>')), 1)
        assert "zeo.conf, line 4: cannot open storage '1'" in line
        assert 'this or another process has the database open' in line
    finally:
        stop()


def test_a_missing_file_that_may_not_be_made(serve):
    line = refusal(
        serve(zeo(storages='<filestorage>\npath Data.fs\nread-only on\n</filestorage>')), 1
    )
    assert "zeo.conf, line 4: cannot open storage '1'" in line and 'No such file' in line


def test_a_log_that_cannot_be_written(serve, tmp_path):
    (tmp_path / 'zeo.log').mkdir()
    assert 'the log file zeo.log is a directory' in refusal(
        serve(zeo() + '<eventlog>\n<logfile>\npath zeo.log\n</logfile>\n</eventlog>\n')
    )


def test_a_signal_while_storages_are_opened(serve, tmp_path):
    (tmp_path / 'slow.py').write_text(
        'import sys, time\nprint("opening", file=sys.stderr, flush=True)\ntime.sleep(60)\n'
    )
    process = serve(
        zeo(storages='<filestorage>\npath Data.fs\npacker slow:x\n</filestorage>'),
        PYTHONPATH=f'{SOURCES}{os.pathsep}{tmp_path}',
    )
    process.errors.wait_for('opening')
    assert process.end(signal.SIGTERM)[0] == 0


def test_the_process_can_be_found_while_storages_are_opened(serve, tmp_path):
    (tmp_path / 'slow.py').write_text(
        'import sys, time\nprint("slow", file=sys.stderr, flush=True)\ntime.sleep(60)\n'
    )
    process = serve(
        zeo(
            f'pid-filename {tmp_path}/pid',
            storages='<filestorage>\npath Data.fs\npacker slow:x\n</filestorage>',
        ),
        PYTHONPATH=f'{SOURCES}{os.pathsep}{tmp_path}',
    )
    process.errors.wait_for('slow\n')
    pid = process.pid
    assert (tmp_path / 'pid').read_text() == f'{pid}\n'
    assert (tmp_path / 'pid').stat().st_mode & 0o777 == 0o600
    process.errors.wait_for(
        rf'ZEO \S+ starts as process {pid}, .*\n.* opening storage 1: FileStorage\n'
    )
    assert process.end(signal.SIGTERM)[0] == 0
    assert not (tmp_path / 'pid').exists()


def test_a_second_start_leaves_the_first_servers_pid_file(serve, start, tmp_path):
    text = zeo(
        f'pid-filename {tmp_path}/pid', storages='<filestorage>\npath Data.fs\n</filestorage>'
    )
    first = serve(text)
    first.port()
    pid = (tmp_path / 'pid').read_text()
    assert 'has the database open' in refusal(serve(text), 1)
    assert (tmp_path / 'pid').read_text() == pid == f'{first.pid}\n'
    first.end(signal.SIGTERM)
    assert not (tmp_path / 'pid').exists()


@pytest.mark.parametrize(
    'address, words',
    [
        ('nosuchhost.invalid:8100', 'cannot listen on nosuchhost.invalid:8100: '),
        ('192.0.2.77:8100', 'cannot listen on 192.0.2.77:8100: Cannot assign requested address'),
    ],
)
def test_an_address_that_may_be_there_later(serve, tmp_path, address, words):
    assert words in refusal(
        serve(f'<zeo>\naddress {address}\n</zeo>\n<filestorage>\npath Data.fs\n</filestorage>'), 1
    )
    assert not (tmp_path / 'Data.fs').exists()  # it was not opened for nothing


def test_an_upstream_server_that_is_not_up(serve, tmp_path):
    line = refusal(
        serve(
            zeo(
                storages=f'%import ZEO\n<clientstorage>\nserver {tmp_path}/up\n'
                'wait-timeout 0.2\n</clientstorage>'
            )
        ),
        1,
    )
    assert "cannot open storage '1': ClientDisconnected" in line


def test_a_storage_that_fails_when_it_is_asked_for_the_first_time(serve, tmp_path):
    (tmp_path / 'flaky.py').write_text(
        'from ZEO.Exceptions import ClientDisconnected\n'
        'from ZODB.FileStorage import FileStorage\n'
        'def fail(self): raise ClientDisconnected("the server went away")\n'
        'FileStorage.isReadOnly = fail\n'
    )
    line = refusal(
        serve(
            zeo(storages='<filestorage>\npath Data.fs\npacker flaky:fail\n</filestorage>'),
            PYTHONPATH=f'{SOURCES}{os.pathsep}{tmp_path}',
        ),
        1,
    )
    assert line == 'runzeo: cannot serve: ClientDisconnected: the server went away'
    assert (tmp_path / 'Data.fs.index').exists()  # it was closed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_servers_are_stopped_at_any_moment(start, tmp_path):
    number = random.Random(1)
    for _ in range(100):
        process = start('-a', f'{tmp_path}/s', '-f', 'Data.fs')
        if number.random() < 0.8:
            process.errors.wait_for('serving storage')
        time.sleep(number.random() * 0.01)
        if process.errors.seen:
            # before Python has come to installing handlers, a signal ends it as any program
            assert process.end(number.choice([signal.SIGTERM, signal.SIGINT]))[0] == 0
        else:
            assert process.end(signal.SIGTERM)[0] in (0, -signal.SIGTERM)


# As a function.


def test_help_and_version_are_printed(capsys):
    for switch in '--help', '-h', '--version':
        with pytest.raises(SystemExit) as caught:
            runzeo.main([switch])
        assert caught.value.code == 0
    assert 'usage: runzeo' in capsys.readouterr().out


def test_main_says_what_is_wrong_by_its_exit(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        runzeo.main(['-C', str(tmp_path / 'missing.conf')])
    assert caught.value.code == 2
    assert 'missing.conf' in capsys.readouterr().err


def test_main_in_another_thread(tmp_path, monkeypatch):
    servers = []
    monkeypatch.setattr(
        server_process,
        'listen',
        lambda *args, real=server_process.listen, **options: (
            servers.append(real(*args, **options)) or servers[0]
        ),
    )
    thread = threading.Thread(
        target=runzeo.main, args=(['-a', f'{tmp_path}/s', '-f', f'{tmp_path}/Data.fs'],)
    )
    thread.start()
    wait_until(lambda: servers and (tmp_path / 's').exists())
    assert list(probe(f'{tmp_path}/s')) == ['1']
    servers[0].stop()
    thread.join(40)
    assert not thread.is_alive()
