"""The front door: client, DB, connection and server, as a program calls them."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import transaction

import ZEO
import ZEO.interfaces
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected, ConfigurationError, Unavailable

SOURCES = str(Path(ZEO.__file__).parent.parent)


def code(text, **environ):
    """Run a program; return what it prints."""
    result = subprocess.run(
        [sys.executable, '-c', text],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, 'PYTHONPATH': SOURCES, **environ},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize('function', [ZEO.client, ZEO.DB, ZEO.connection])
def test_each_argument_of_a_client_shows(function):
    """Those of ClientStorage, with their defaults, but for what tests put in the clock's place."""
    from ZEO.ClientStorage import ClientStorage

    expected = dict(inspect.signature(ClientStorage).parameters)
    del expected['system']
    assert dict(inspect.signature(function).parameters) == expected


def test_each_argument_of_a_server_shows():
    assert not any(
        argument.kind in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL)
        for argument in inspect.signature(ZEO.server).parameters.values()
    )


@pytest.fixture
def serve():
    """Start servers that end with the test."""
    stops = []

    def start(*args, **options):
        address, stop = ZEO.server(*args, **options)
        stops.append(stop)
        return address

    yield start
    for stop in stops:
        stop()


def test_importing_the_package_imports_nothing_else():
    assert (
        code(
            'import sys, ZEO; print([m for m in sys.modules if m.split(".")[0] in '
            '("ZODB", "persistent", "transaction", "ZConfig", "socket")])'
        )
        == '[]\n'
    )


@pytest.mark.smoke
@pytest.mark.parametrize('threaded', [True, False])
def test_what_one_connection_writes_another_reads(serve, threaded):
    address = serve(threaded=threaded)
    writer = ZEO.connection(address)
    writer.root()['x'] = 42
    transaction.commit()
    reader = ZEO.connection(address)
    assert reader.root()['x'] == 42
    for connection in writer, reader:
        storage = connection.db().storage
        connection.close()
        assert not storage.is_connected()  # it took its database with it


def test_a_database(serve):
    db = ZEO.DB(serve())
    with db.transaction() as connection:
        connection.root()['x'] = 1
    assert db.storage.isReadOnly() is False
    db.close()


@pytest.mark.parametrize('moment', ['before the first load', 'before the commit'])
def test_two_programs_that_begin_a_new_database_at_once(serve, monkeypatch, moment):
    """Each finds it empty, and one makes its root: the other takes that one."""
    address = serve()
    before = {'before the first load': 'loadBefore', 'before the commit': 'tpc_begin'}[moment]
    method = getattr(ClientStorage, before)

    def second(storage, *args):
        monkeypatch.setattr(ClientStorage, before, method)
        with ZEO.DB(address) as other, other.transaction() as connection:
            connection.root()['made'] = 'by the other'
        return method(storage, *args)

    monkeypatch.setattr(ClientStorage, before, second)
    with ZEO.DB(address) as database, database.transaction() as connection:
        assert connection.root()['made'] == 'by the other'


def test_a_client_with_options(serve):
    storage = ZEO.client(serve(), name='somewhere', read_only=True)
    assert storage.getName().startswith('somewhere')
    assert storage.isReadOnly()
    storage.close()


def test_names_of_a_client(serve):
    """Two-phase commit orders storages by sortKey, which may not depend on how a client writes its
    server's address.
    """
    _, port = address = serve()
    storages = [
        ZEO.client(addr)
        for addr in (address, ('localhost', port), ('127.0.0.1', port), ('', port), port)
    ]
    try:
        assert len({storage.sortKey() for storage in storages}) == 1
        assert all(storage.getName().endswith(' (connected)') for storage in storages)
    finally:
        for storage in storages:
            storage.close()
    assert all(storage.getName().endswith(' (disconnected)') for storage in storages)
    others = [
        ZEO.client(addr, storage=name, wait=False)
        for addr, name in ((port, '2'), (port % 60000 + 1, '1'), ('/sock', '1'))
    ]
    for storage in others:
        storage.close()
    assert len({storage.sortKey() for storage in [storages[0], *others]}) == 4


def test_nobody_there(tmp_path):
    for function in ZEO.client, ZEO.DB, ZEO.connection:
        with pytest.raises(ClientDisconnected):
            function(str(tmp_path / 'nobody'), wait_timeout=0.1)


def test_a_database_that_fails_closes_its_storage(serve, monkeypatch):
    import ZEO.databases

    opened = []

    def fail(storage):
        opened.append(storage)
        raise RuntimeError('no database today')

    monkeypatch.setattr(ZEO.databases, 'Database', fail)
    with pytest.raises(RuntimeError):
        ZEO.DB(serve())
    assert not opened[0].is_connected()


@pytest.mark.parametrize('threaded', [True, False])
def test_a_file_and_blobs(serve, tmp_path, threaded):
    path, blobs = str(tmp_path / 'a $b.fs'), str(tmp_path / 'blobs')
    address = serve(path, blob_dir=blobs, threaded=threaded)
    ZEO.connection(address).close()
    assert os.path.exists(path) and os.path.isdir(blobs)


@pytest.mark.parametrize(
    'options',
    [
        {'blob_dir': 'blobs'},
        {'blob_dir': 'blobs', 'storage_conf': '<mappingstorage>\n</mappingstorage>'},
    ],
)
def test_blobs_of_other_storages(serve, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    storage = ZEO.client(serve(**options), blob_dir=str(tmp_path / 'cache'))
    assert storage.temporaryDirectory()
    storage.close()
    assert (tmp_path / 'blobs').is_dir()


def test_several_storages(serve):
    address = serve(
        storage_conf='<mappingstorage>\nname one\n</mappingstorage>\n'
        '<mappingstorage two>\n</mappingstorage>'
    )
    for name in '1', 'two':
        ZEO.client(address, name).close()


@pytest.mark.parametrize('port', [0, ('', 0), ('localhost', 0), 'localhost:0'])
def test_ports(serve, port):
    host, number = serve(port=port)
    assert host in ('127.0.0.1', '::1') and number
    ZEO.client((host, number)).close()


def test_unix_sockets(serve, tmp_path):
    path = str(tmp_path / 's')
    assert serve(port=path) == path
    ZEO.client(path).close()


@pytest.mark.parametrize(
    'zeo_conf',
    [
        {'client_conflict_resolution': True, 'read_only': True, 'transaction-timeout': 5},
        'read-only on\ntransaction-timeout 5',
        '<zeo>\nread-only on\n</zeo>',
    ],
)
@pytest.mark.parametrize('threaded', [True, False])
def test_settings(serve, zeo_conf, threaded, tmp_path):
    address = serve(
        storage_conf='<mappingstorage>\n</mappingstorage>', zeo_conf=zeo_conf, threaded=threaded
    )
    storage = ZEO.client(address, read_only_fallback=True)
    assert storage.isReadOnly()
    storage.close()


def test_an_address_in_the_settings_wins(serve, tmp_path):
    path = str(tmp_path / 's')
    assert serve(zeo_conf=f'<zeo>\naddress {path}\n</zeo>') == path


@pytest.mark.parametrize('threaded', [True, False])
def test_what_is_wrong_is_said(tmp_path, threaded):
    with pytest.raises(ConfigurationError, match="'nonsense' is not a known key name"):
        ZEO.server(zeo_conf={'nonsense': 1}, threaded=threaded)
    with pytest.raises(ConfigurationError, match='does not exist'):
        ZEO.server(str(tmp_path / 'missing' / 'a.fs'), threaded=threaded)
    taken, stop = ZEO.server()
    try:
        with pytest.raises(ConfigurationError, match='cannot listen'):
            ZEO.server(port=taken[1], threaded=threaded)
    finally:
        stop()


def test_a_locked_file_is_said(serve, tmp_path):
    path = str(tmp_path / 'a.fs')
    serve(path)
    with pytest.raises(ConfigurationError, match="cannot open storage '1'.*has the database open"):
        ZEO.server(path)


def test_values_that_would_become_other_keys_are_refused():
    with pytest.raises(ConfigurationError, match='one line'):
        ZEO.server(zeo_conf={'read_only': 'on\naddress 1'})


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError):
        ZEO.server(nonsense=1)
    address, stop = ZEO.server(name='a server', start_timeout=10, log='DEBUG')
    stop()


@pytest.mark.parametrize('threaded', [True, False])
def test_stop(threaded, tmp_path):
    path = str(tmp_path / 'a.fs')
    address, stop = ZEO.server(path, threaded=threaded)
    storage = ZEO.client(address, wait_timeout=2)
    stop()
    stop()
    with pytest.raises(ClientDisconnected):
        storage.ping()
    storage.close()
    address, stop = ZEO.server(path, threaded=threaded)  # the file is free again
    stop(stop_timeout=10)


def test_a_process_does_not_outlive_the_program(tmp_path):
    address = code(
        'import os, ZEO; address, stop = ZEO.server(threaded=False);'
        'print(address[1], flush=True); os._exit(0)'
    )
    with pytest.raises(ClientDisconnected):
        while True:  # until the process has seen the end of its input
            ZEO.client(('127.0.0.1', int(address)), wait_timeout=0.1).close()


@pytest.fixture
def processes(monkeypatch):
    """The processes that are started."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, 'Popen', Popen)
    return started


def test_a_process_that_does_not_stop_is_killed(processes):
    address, stop = ZEO.server(threaded=False)
    processes[0].send_signal(signal.SIGSTOP)
    stop(stop_timeout=0.1)
    assert processes[0].returncode == -signal.SIGKILL


def test_a_process_is_stopped_by_a_signal_as_well(tmp_path, processes):
    address, stop = ZEO.server(str(tmp_path / 'a.fs'), threaded=False)
    processes[-1].terminate()
    assert processes[-1].wait(40) == 0
    assert (tmp_path / 'a.fs.index').exists()  # the storage was closed
    stop()


def test_an_interrupt_from_the_terminal_is_left_to_the_program(processes):
    address, stop = ZEO.server(threaded=False)
    processes[-1].send_signal(signal.SIGINT)
    connection = ZEO.connection(address)
    connection.root()['x'] = 1
    connection.transaction_manager.commit()
    connection.close()
    assert processes[-1].poll() is None
    stop()
    assert processes[-1].returncode == 0


@pytest.mark.parametrize('threaded', [True, False])
def test_what_may_pass_is_told_apart(tmp_path, threaded):
    _, stop = ZEO.server(str(tmp_path / 'a.fs'))
    try:
        with pytest.raises(Unavailable, match='has the database open'):
            ZEO.server(str(tmp_path / 'a.fs'), threaded=threaded)
        with pytest.raises(ConfigurationError) as caught:
            ZEO.server(str(tmp_path / 'missing' / 'a.fs'), threaded=threaded)
        assert not isinstance(caught.value, Unavailable)
    finally:
        stop()


def test_a_process_that_does_not_start(monkeypatch):
    monkeypatch.setattr(sys, 'executable', 'false')
    with pytest.raises(ConfigurationError, match='did not start'):
        ZEO.server(threaded=False)


def test_events_of_a_server():
    told = code("""
import sys, types
events = types.ModuleType('zope.event')
events.notify = lambda event: print(type(event).__name__, event.server.addr == address or '')
sys.modules['zope.event'] = events
address = None
import ZEO
address, stop = ZEO.server()
stop()
""")
    assert told.split() == ['Serving', 'Closed', 'True']


def test_stale_cache_says_of_which_storage():
    storage = object()
    assert ZEO.interfaces.StaleCache(storage).storage is storage
