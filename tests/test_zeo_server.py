"""ZEO.runzeo.ZEOOptions and ZEOServer, as programs use them that start a server by themselves."""

from __future__ import annotations

import gc
import os
import signal
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

import ZEO
from support.processes import Process
from ZEO.ClientStorage import ClientStorage
from ZEO.commands.probing import NoAnswer, probe
from ZEO.commands.zeo_options import SERVED_WITH
from ZEO.Exceptions import AuthError, ConfigurationError, Unavailable
from ZEO.runzeo import ZEOOptions, ZEOServer
from ZEO.serving.access import secrets_file
from ZEO.StorageServer import StorageServer

SOURCES = str(Path(ZEO.__file__).parent.parent)
PATIENCE = 40


def test_each_argument_of_a_server_is_an_attribute():
    assert set(ZEOOptions().served_with()) <= set(SERVED_WITH)


def realized(*args):
    options = ZEOOptions()
    options.realize(list(args))
    return options


def test_options_of_a_command_line(tmp_path):
    options = realized(
        '-a',
        '127.0.0.1:8100',
        '-f',
        str(tmp_path / 'a.fs'),
        '-t',
        '7',
        '--pid-file',
        str(tmp_path / 'pid'),
    )
    assert options.address == ('127.0.0.1', 8100)
    assert (options.transaction_timeout, options.pid_file, options.configfile) == (
        7.0,
        str(tmp_path / 'pid'),
        None,
    )
    assert [storage.name for storage in options.storages] == ['1']
    storage = options.storages[0].open()
    assert isinstance(storage, FileStorage)
    storage.close()


def test_options_of_a_file(tmp_path):
    (tmp_path / 'zeo.conf').write_text(
        '<zeo>\naddress 8100\naddress 8200\nread-only on\ninvalidation-queue-size 7\n'
        'client-conflict-resolution on\n</zeo>\n<mappingstorage main>\n</mappingstorage>\n'
    )
    options = realized('-C', str(tmp_path / 'zeo.conf'))
    assert options.address == [('', 8100), ('', 8200)]
    assert (
        options.read_only
        and options.client_conflict_resolution
        and options.invalidation_queue_size == 7
    )
    assert options.invalidation_age is None and options.ssl is None
    assert options.configfile == str(tmp_path / 'zeo.conf')
    assert [storage.name for storage in options.storages] == ['main']


def test_every_key_of_the_file_reaches_the_server(tmp_path):
    """Above all the keys that keep others out."""
    passwords, conf = tmp_path / 'users', tmp_path / 'zeo.conf'
    with secrets_file.change(str(passwords), may_create=True):
        pass
    conf.write_text(
        f'<zeo>\naddress {tmp_path}/s\npassword-file {passwords}\nunix-socket-mode 0600\n'
        '<access>\nrule user app write\n</access>\n</zeo>\n<mappingstorage>\n</mappingstorage>\n'
    )
    options = realized('-C', str(conf))
    served = options.served_with()
    said = options.settings.options
    assert {name: served.get(name) for name in said} == said
    assert served['password_file'] == str(passwords) and served['access'] is not None


@pytest.mark.smoke
def test_a_file_of_passwords_keeps_others_out(tmp_path):
    """Also without rules, by the command alone."""
    passwords, conf = tmp_path / 'users', tmp_path / 'zeo.conf'
    with secrets_file.change(str(passwords), may_create=True):
        pass
    conf.write_text(
        f'<zeo>\naddress {tmp_path}/s\npassword-file {passwords}\n</zeo>\n'
        '<mappingstorage>\n</mappingstorage>\n'
    )
    server = ZEOServer(realized('-C', str(conf)))
    server.open_storages()
    server.create_server()
    thread = threading.Thread(target=server.server.serve_forever)
    thread.start()
    try:
        with pytest.raises(AuthError):
            ClientStorage(f'{tmp_path}/s', wait_timeout=PATIENCE)
    finally:
        server.close_server()
        thread.join()


def test_a_wrong_command_line_is_one_line():
    with pytest.raises(ConfigurationError, match='no address to listen on'):
        realized('-f', 'x')


def test_the_steps_one_by_one(tmp_path):
    server = ZEOServer(realized('-a', f'{tmp_path}/s', '-f', str(tmp_path / 'a.fs')))
    server.open_storages()
    assert list(server.storages) == ['1']
    server.clear_socket()
    server.create_server()
    assert server.server.addr == f'{tmp_path}/s'
    server.close_server()
    assert not (tmp_path / 's').exists()
    FileStorage(str(tmp_path / 'a.fs')).close()  # not locked any more


def test_options_that_a_program_makes_itself(tmp_path):
    class Section:
        name = 'main'

        def open(self):
            return MappingStorage()

    options = ZEOOptions()
    options.address, options.storages, options.read_only = f'{tmp_path}/s', [Section()], True
    server = ZEOServer(options)
    server.open_storages()
    server.create_server()
    assert server.server.hosted['main'].read_only
    server.close_server()


def test_two_storages_of_one_name():
    class Section:
        def open(self):
            return MappingStorage()

    options = ZEOOptions()
    options.storages = [Section(), Section()]
    with pytest.raises(ConfigurationError, match="duplicate storage name '1'"):
        ZEOServer(options).open_storages()


def test_a_class_that_makes_its_own_server(tmp_path):
    class Server(StorageServer):
        pass

    class Starter(ZEOServer):
        def create_server(self):
            options = self.options
            self.server = Server(
                options.address,
                self.storages,
                read_only=options.read_only,
                ssl=options.ssl,
                client_conflict_resolution=options.client_conflict_resolution,
                invalidation_queue_size=options.invalidation_queue_size,
                invalidation_age=options.invalidation_age,
                transaction_timeout=options.transaction_timeout,
            )

    starter = Starter(realized('-a', f'{tmp_path}/s', '-f', str(tmp_path / 'a.fs')))
    starter.open_storages()
    starter.create_server()
    assert type(starter.server) is Server
    starter.close_server()


def test_steps_that_are_replaced_are_called_in_their_order():
    called = []

    class Starter(ZEOServer):
        pass

    steps = [
        'setup_default_logging',
        'setup_signals',
        'check_socket',
        'clear_socket',
        'make_pidfile',
        'open_storages',
        'create_server',
        'loop_forever',
        'close_server',
        'remove_pidfile',
    ]
    for step in steps:
        setattr(Starter, step, lambda self, step=step: called.append(step))
    Starter(None).main()
    assert called == steps


def test_what_was_begun_is_undone_when_a_step_fails(tmp_path):
    class Starter(ZEOServer):
        def setup_default_logging(self):
            pass

        def create_server(self):
            raise Unavailable('not now')

    with pytest.raises(Unavailable):
        Starter(
            realized(
                '-a',
                f'{tmp_path}/s',
                '-f',
                str(tmp_path / 'a.fs'),
                '--pid-file',
                str(tmp_path / 'pid'),
            )
        ).main()
    assert not (tmp_path / 'pid').exists()
    FileStorage(str(tmp_path / 'a.fs')).close()


def test_a_garbage_collection_leaves_out_what_was_there_before_the_first_client(tmp_path):
    spared = []

    class Starter(ZEOServer):
        def setup_default_logging(self):
            pass

        def create_server(self):
            super().create_server()
            serve = self.server.serve_forever

            def look_and_stop():
                spared.append(gc.get_freeze_count())
                self.server.stop()
                serve()

            self.server.serve_forever = look_and_stop

    Starter(realized('-a', f'{tmp_path}/s', '-f', str(tmp_path / 'a.fs'))).main()
    (number,) = spared
    assert number > 10_000
    assert gc.get_freeze_count() == 0  # a program that goes on has all of its collector


def answers(address):
    """Tell whether a server answers there."""
    try:
        probe(address)
    except NoAnswer:
        return False
    return True


@pytest.mark.parametrize(
    'program, number',
    [
        (
            """
     from ZEO import runzeo
     options = runzeo.ZEOOptions()
     options.realize(ARGS)
     runzeo.ZEOServer(options).main()
     """,
            signal.SIGTERM,
        ),
        (
            """
     import sys
     from ZEO import runzeo
     del runzeo.ZEOServer.handle_sigusr2
     runzeo.main(ARGS)
     """,
            signal.SIGINT,
        ),
        (
            """
     import sys
     from ZEO.runzeo import ZEOOptions, ZEOServer
     class Silent(ZEOServer):
         def setup_default_logging(self):
             pass
         def handle_sighup(self):
             print('a hangup', file=sys.stderr, flush=True)
             self.handle_sigterm()
     options = ZEOOptions()
     options.realize(args=ARGS)
     Silent(options).main()
     """,
            signal.SIGHUP,
        ),
    ],
)
def test_programs_start_servers_by_themselves(tmp_path, program, number):
    args = ['-a', f'{tmp_path}/s', '-f', str(tmp_path / 'a.fs')]
    command = [sys.executable, '-c', textwrap.dedent(program).replace('ARGS', repr(args))]
    with Process(command, env={**os.environ, 'PYTHONPATH': SOURCES}) as process:
        # the socket is there before anything listens to it
        process.wait_until(lambda: answers(f'{tmp_path}/s'))
        assert list(probe(f'{tmp_path}/s')) == ['1']
        status, _, error = process.end(number)
        assert status == 0 and 'Traceback' not in error
        assert number != signal.SIGHUP or error == 'a hangup\n'
