"""start.py as its users run it: real processes, signals, files and exit codes."""

import os
import pwd
import re
import signal
import socket
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from ZODB.FileStorage import FileStorage

import ZEO.start
from support.processes import Process, listens
from ZEO.commands.start_switches import Options, parse, parser
from ZEO.commands.user import User
from ZEO.Exceptions import ConfigurationError
from ZEO.start import main

MODULE = [sys.executable, '-m', 'ZEO.start']
FILE = [sys.executable, str(Path(ZEO.start.__file__))]
SOURCES = str(Path(ZEO.start.__file__).parent.parent)


class Server(Process):
    """A start.py that runs in a directory."""

    def __init__(self, directory, args, environ, command=MODULE):
        environ = {**os.environ, 'PYTHONPATH': SOURCES, **environ}
        if command is FILE:  # which finds the package by itself
            del environ['PYTHONPATH']
        super().__init__([*command, *args], cwd=directory, env=environ)
        self.lines_until = self.output.lines_until


@pytest.fixture
def start(tmp_path):
    """Start servers that end with the test."""
    processes = []

    def start_process(*args, environ=None, directory=tmp_path, **options):
        process = Server(directory, args, environ or {}, **options)
        processes.append(process)
        return process

    yield start_process
    for process in processes:
        process.kill()


@pytest.fixture
def refusal(start):
    """Run a command that cannot start; return its one line on standard error."""

    def run(*args, status=2, **options):
        process = start(*args, **options)
        ended, out, error = process.end()
        assert ended == status, (out, error)
        assert 'Traceback' not in error
        assert error.startswith('start.py: ')
        assert error.count('\n') == 1
        return error.strip()

    return run


@pytest.fixture
def public_directory():
    """A directory that every user can reach, which pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def greeting(address):
    """Return the first frame that a server sends to whoever connects."""
    if isinstance(address, tuple):
        client = socket.create_connection(address, timeout=30)
    else:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30)
        client.connect(str(address))
    with client, client.makefile('rb') as stream:
        return stream.read(int.from_bytes(stream.read(4), 'big'))


def port_in(line):
    """Return the port that a line of the announcement names."""
    return int(re.match(r'Listening on \S+:(\d+)', line)[1])


class TestServing:
    @pytest.mark.smoke
    @pytest.mark.parametrize('command', [MODULE, FILE], ids=['module', 'file'])
    def test_a_port_and_a_file_storage(self, start, tmp_path, command):
        server = start('-p', '0', command=command)
        listening, serving = server.lines_until('Serving')
        assert 'this machine only' in listening
        assert serving == 'Serving storage 1: FileStorage Data.fs'
        assert greeting(('127.0.0.1', port_in(listening))) == b'Z5'
        assert server.end(signal.SIGTERM) == (0, '', '')
        FileStorage(str(tmp_path / 'Data.fs')).close()  # it isn't locked any more

    def test_a_file_is_served_by_its_name(self, start, tmp_path):
        (tmp_path / 'var').mkdir()
        server = start('-p', '0', 'var/app.fs')
        assert server.lines_until('Serving')[-1].endswith('FileStorage var/app.fs')
        assert (tmp_path / 'var' / 'app.fs').exists()

    @pytest.mark.parametrize('host', ['', '0.0.0.0'])
    def test_it_listens_on_every_network_when_told(self, start, host):
        server = start('-h', host, '-p', '0')
        listening = server.lines_until('Serving')[0]
        assert 'this machine only' not in listening
        assert greeting(('127.0.0.1', port_in(listening))) == b'Z5'

    def test_it_listens_on_all_addresses(self, start, tmp_path, monkeypatch):
        server = start('-p', '0', '-p0', '-U', 'a.sock', '-U', str(tmp_path / 'b.sock'))
        lines = server.lines_until('Serving')
        assert [line for line in lines if 'sock' in line] == [
            'Listening on a.sock',
            f'Listening on {tmp_path}/b.sock',
        ]
        for line in lines:
            if 'this machine only' in line:
                assert greeting(('127.0.0.1', port_in(line))) == b'Z5'
        monkeypatch.chdir(tmp_path)  # Unix socket paths are short; tmp_path's may not be
        assert greeting('a.sock') == greeting('b.sock') == b'Z5'

    def test_it_shows_figures_over_http(self, start, tmp_path):
        process = start('-U', f'{tmp_path}/s', '--monitor', f'{tmp_path}/m', 'Data.fs')
        process.wait_until(lambda: listens(f'{tmp_path}/m'))
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(f'{tmp_path}/m')
            stream.sendall(b'GET /readyz HTTP/1.0\r\n\r\n')
            assert stream.makefile('rb').read().endswith(b'\r\n\r\nready\n')
        assert process.end(signal.SIGTERM)[0] == 0
        assert not (tmp_path / 'm').exists()

    def test_storages_of_modules_are_served(self, start, tmp_path):
        (tmp_path / 'oracle.py').write_text(
            textwrap.dedent("""
            from ZODB.MappingStorage import MappingStorage
            system = MappingStorage('s1')
            scott = MappingStorage('s2')
            """)
        )
        server = start('-p', '0', '-Ssystem=oracle:system', '-S', f'scott={tmp_path}/oracle.py')
        server.lines_until('Listening')
        assert server.lines_until('Serving') == ['Serving storage system: MappingStorage s1']
        assert server.lines_until('Serving') == ['Serving storage scott: MappingStorage s2']
        assert not (tmp_path / 'Data.fs').exists()

    def test_arguments_set_the_environment(self, start, tmp_path):
        (tmp_path / 'home' / 'var').mkdir(parents=True)
        server = start('-p', '0', f'INSTANCE_HOME={tmp_path}/home')
        server.lines_until('Serving')
        assert (tmp_path / 'home' / 'var' / 'Data.fs').exists()

    def test_run_as_a_file_it_hides_no_module(self, start, tmp_path):
        (tmp_path / 'own.py').write_text(
            'import sys, wire, start\nfrom ZODB.MappingStorage import MappingStorage\n'
            'S = MappingStorage(wire.__file__ + start.__file__)'
        )
        (tmp_path / 'wire.py').touch()
        (tmp_path / 'start.py').touch()
        server = start('-p', '0', '-S', '1=own:S', command=FILE)
        line = server.lines_until('Serving')[-1]
        assert line.endswith(f'{tmp_path}/wire.py{tmp_path}/start.py')


class TestStopping:
    @pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_leaves_nothing_behind(self, start, tmp_path, number):
        environ = {'ZEO_SERVER_PID': str(tmp_path / 'zeo.pid')}
        server = start('-U', 'zeo.sock', environ=environ)
        server.lines_until('Serving')
        assert (tmp_path / 'zeo.pid').read_text() == f'{server.pid}\n'
        assert (tmp_path / 'zeo.sock').exists()
        assert server.end(number) == (0, '', '')
        assert not (tmp_path / 'zeo.pid').exists()
        assert not (tmp_path / 'zeo.sock').exists()
        FileStorage(str(tmp_path / 'Data.fs')).close()

    def test_with_a_client_connected(self, start):
        server = start('-p', '0')
        port = port_in(server.lines_until('Serving')[0])
        with socket.create_connection(('127.0.0.1', port), timeout=30) as client:
            assert client.recv(4)
            assert server.end(signal.SIGTERM)[0] == 0

    def test_while_a_storage_is_being_opened(self, start, tmp_path):
        (tmp_path / 'slow.py').write_text(
            "import time\nS = FileStorage('slow.fs')\nprint('Opening', flush=True)\ntime.sleep(600)"
        )
        server = start('-U', 'zeo.sock', '-S', '1=slow:S')
        server.lines_until('Opening')
        assert server.end(signal.SIGTERM) == (0, '', '')
        assert not (tmp_path / 'zeo.sock').exists()

    def test_a_hangup_that_nohup_ignores_stays_ignored(self, start):
        ignoring = (
            'import signal, runpy; signal.signal(signal.SIGHUP, signal.SIG_IGN);'
            "runpy.run_module('ZEO.start', run_name='__main__')"
        )
        server = start('-p', '0', command=[sys.executable, '-c', ignoring])
        port = port_in(server.lines_until('Serving')[0])
        server.popen.send_signal(signal.SIGHUP)
        assert greeting(('127.0.0.1', port)) == b'Z5'
        assert server.end(signal.SIGTERM)[0] == 0

    def test_the_pid_file_is_removed_when_the_server_fails(self, start, tmp_path):
        (tmp_path / 'fails.py').write_text(
            textwrap.dedent("""
            import sys
            from ZODB.MappingStorage import MappingStorage
            from ZEO.StorageServer import StorageServer
            def serve_forever(self):
                raise RuntimeError('the loop broke')
            StorageServer.serve_forever = serve_forever
            S = MappingStorage()
            """)
        )
        server = start('-U', 'zeo.sock', '-S', '1=fails:S', 'ZEO_SERVER_PID=zeo.pid')
        status, _, error = server.end()
        assert status == 1
        assert 'the loop broke' in error
        assert not (tmp_path / 'zeo.pid').exists()
        assert not (tmp_path / 'zeo.sock').exists()

    def test_a_profile_is_written_at_the_end(self, start, tmp_path):
        server = start('-p', '0', '-P', 'zeo.prof')
        server.lines_until('Serving')
        assert server.end(signal.SIGTERM)[0] == 0
        assert (tmp_path / 'zeo.prof').stat().st_size

    def test_a_killed_servers_socket_is_taken_over(self, start, tmp_path):
        server = start('-U', 'zeo.sock')
        server.lines_until('Serving')
        server.kill()
        assert (tmp_path / 'zeo.sock').exists()
        start('-U', 'zeo.sock').lines_until('Serving')


class TestRefusals:
    def test_no_arguments_print_the_options(self, start):
        for args in [], ['--help']:
            _, out, error = start(*args).end()
            assert out == parser().format_help()
            assert error == ''

    def test_a_port_in_use(self, start, refusal):
        port = port_in(start('-p', '0').lines_until('Serving')[0])
        assert f'127.0.0.1:{port}: Address already in use' in refusal('-p', str(port), 'other.fs')

    def test_the_storages_are_closed_then(self, start, tmp_path, capsys):
        port = port_in(start('-p', '0').lines_until('Serving')[0])
        assert main(['-p', str(port), str(tmp_path / 'other.fs')]) == 2
        assert 'Address already in use' in capsys.readouterr().err
        FileStorage(str(tmp_path / 'other.fs')).close()

    def test_a_socket_in_use(self, start, refusal):
        start('-U', 'zeo.sock').lines_until('Serving')
        assert 'cannot listen on zeo.sock: ' in refusal('-U', 'zeo.sock', 'other.fs')

    def test_a_file_in_the_place_of_a_socket(self, refusal, tmp_path):
        (tmp_path / 'notes.txt').write_text('milk')
        assert 'notes.txt' in refusal('-U', 'notes.txt')
        assert (tmp_path / 'notes.txt').read_text() == 'milk'

    def test_a_storage_in_use(self, start, refusal):
        start('-p', '0').lines_until('Serving')
        line = refusal('-p', '0', status=1)  # which may pass
        assert 'cannot open Data.fs' in line and 'this or another process has' in line

    @pytest.mark.parametrize('place', ['nosuchhost.invalid', '192.0.2.77'])
    def test_an_address_that_may_be_there_later(self, refusal, tmp_path, place):
        assert f'cannot listen on {place}:9' in refusal('-p', '9', '-h', place, status=1)
        assert not (tmp_path / 'Data.fs').exists()  # it was not opened for nothing

    def test_a_host_that_no_name_service_knows(self, refusal):
        assert "'a..b' is not the name of a host: give" in refusal('-p', '9', '-h', 'a..b')

    def test_a_socket_in_a_directory_that_may_be_there_later(self, refusal):
        assert 'No such file or directory' in refusal('-U', 'run/zeo.sock', status=1)

    def test_a_module_that_finds_its_file_locked(self, start, refusal, tmp_path):
        (tmp_path / 'fs.py').write_text("S = FileStorage('Data.fs')\n")
        start('-p', '0').lines_until('Serving')
        assert 'fs.py, line 1' in refusal('-p', '0', '-S', '1=fs:S', status=1)

    def test_a_module_that_is_wrong(self, refusal, tmp_path):
        (tmp_path / 'fs.py').write_text('S = FileStorag()\n')
        assert 'fs.py, line 1: NameError' in refusal('-p', '0', '-S', '1=fs:S')

    def test_a_file_that_is_damaged(self, refusal, tmp_path):
        (tmp_path / 'Data.fs').write_text('This is not a FileStorage.')
        assert 'it is not the file of a FileStorage' in refusal('-p', '0')

    def test_a_missing_directory_is_refused(self, refusal, tmp_path):
        assert f'there is no directory {tmp_path}/var' in refusal('-p', '0', 'var/Data.fs')

    def test_a_missing_module_is_refused(self, refusal):
        assert 'there is no module nosuch' in refusal('-p', '0', '-S', '1=nosuch:S')

    def test_an_unknown_user_is_refused(self, refusal, tmp_path):
        assert refusal('-p', '0', '-u', 'nosuch') == 'start.py: -u nosuch: there is no such user'
        assert not (tmp_path / 'Data.fs').exists()

    def test_a_pid_file_that_cannot_be_written(self, refusal, tmp_path):
        line = refusal('-U', 'zeo.sock', 'ZEO_SERVER_PID=/nosuch/zeo.pid', status=1)
        assert 'cannot write the process id to /nosuch/zeo.pid' in line
        assert not (tmp_path / 'zeo.sock').exists()

    def test_a_pid_file_that_is_the_database(self, refusal, tmp_path):
        FileStorage(str(tmp_path / 'Data.fs')).close()
        before = (tmp_path / 'Data.fs').read_bytes()
        line = refusal('-U', 'zeo.sock', 'ZEO_SERVER_PID=Data.fs')
        assert 'to Data.fs: the file exists and does not hold a process id' in line
        assert (tmp_path / 'Data.fs').read_bytes() == before

    def test_a_profile_that_is_the_database(self, refusal, tmp_path):
        FileStorage(str(tmp_path / 'Data.fs')).close()
        before = (tmp_path / 'Data.fs').read_bytes()
        line = refusal('-U', 'zeo.sock', '-P', 'Data.fs')
        assert 'cannot write the profile to Data.fs: the file exists and is not a profile' in line
        assert (tmp_path / 'Data.fs').read_bytes() == before

    def test_a_pid_file_that_is_a_link(self, refusal, tmp_path):
        (tmp_path / 'victim').write_text('1')
        (tmp_path / 'pid').symlink_to('victim')
        assert 'not a regular file but a symbolic link' in refusal(
            '-U', 'zeo.sock', 'ZEO_SERVER_PID=pid'
        )
        assert (tmp_path / 'victim').read_text() == '1'


class TestUser:
    def test_becoming_oneself_changes_nothing(self):
        user = User(str(os.geteuid()))
        with user.for_a_while():
            user.for_good()
        assert user.name == pwd.getpwuid(os.geteuid()).pw_name

    def test_only_root_can_become_another_user(self, monkeypatch):
        monkeypatch.setattr(os, 'geteuid', lambda: 4711)
        with pytest.raises(ConfigurationError, match='only root can serve as another user'):
            User('root')

    @pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user')
    def test_root_turns_into_the_user(self, start, public_directory):
        nobody = pwd.getpwnam('nobody')
        os.chown(public_directory, nobody.pw_uid, nobody.pw_gid)
        args = ['-u', 'nobody', '-p', '0', '-U', 's', 'ZEO_SERVER_PID=pid']
        server = start(*args, directory=public_directory)
        server.lines_until('Serving')
        status = Path(f'/proc/{server.pid}/status')
        if status.exists():
            text = status.read_text()
            assert re.search(rf'^Uid:(\s{nobody.pw_uid}){{4}}$', text, re.M)
            assert re.search(rf'^Gid:(\s{nobody.pw_gid}){{4}}$', text, re.M)
        owners = {path.name: path.stat().st_uid for path in public_directory.iterdir()}
        assert {'Data.fs', 's', 'pid'} <= set(owners)
        assert set(owners.values()) == {nobody.pw_uid}
        assert server.end(signal.SIGTERM) == (0, '', '')
        assert not (public_directory / 's').exists()
        assert not (public_directory / 'pid').exists()


class TestParse:
    def test_every_switch_arrives_in_the_options(self):
        line = '-p1 -p 2 -h ::1 -U a -S 1=fs:S -S2=fs:T -u me -D -s -P prof A=b C_1=d=e -Ub x.fs'
        assert parse(line.split()) == Options(
            ports=[1, 2],
            hosts=['::1'],
            sockets=['a', 'b'],
            storages=['1=fs:S', '2=fs:T'],
            environment={'A': 'b', 'C_1': 'd=e'},
            file_name='x.fs',
            user='me',
            debug=True,
            profile='prof',
        )

    def test_a_port_alone_is_on_the_loopback(self):
        assert parse(['-p', '9100']).addresses == [('127.0.0.1', 9100)]

    def test_every_host_with_every_port(self):
        options = parse(['-h', 'a', '-h', '', '-p', '1', '-p', '2', '-U', 's'])
        assert options.addresses == [('a', 1), ('', 1), ('a', 2), ('', 2), 's']

    def test_a_path_with_an_equals_sign_is_a_file(self):
        assert parse(['-p1', './a=b.fs']).file_name == './a=b.fs'

    @pytest.mark.parametrize(
        'line, told',
        [
            ('-p', 'argument -p: expected one argument'),
            ('-x -p 1', 'unrecognized arguments: -x; see start.py --help'),
            ('-p http', "argument -p: 'http' is not a port: give a number"),
            ('-p 65536', "'65536' is not a port"),
            ('-p ²', "'²' is not a port"),
            ('-p -1', "'-1' is not a port"),
            ('Data.fs', 'no address to listen on: give -p PORT or -U SOCKET'),
            ('-h localhost -U s', '-h needs a port: give -p PORT as well'),
            ('-p 1 a.fs b.fs', 'b.fs: only one file can be given, and a.fs is given already'),
        ],
    )
    def test_what_makes_no_sense(self, line, told):
        with pytest.raises(ConfigurationError, match=told):
            parse(line.split())

    @pytest.mark.parametrize('args', [['-U', ''], ['-p', '1', '-P', ''], ['-p', '1', '']])
    def test_an_empty_name_of_a_file_is_refused(self, args):
        with pytest.raises(ConfigurationError, match='needs the name of a file'):
            parse(args)
