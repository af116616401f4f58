"""What a client storage is opened with: what can't be meant is said at once, and what to write
instead.
"""

import os
import socket
import threading

import pytest
import ZODB
from ZODB.MappingStorage import MappingStorage

import ZEO
from support.inside import link_of
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected, ConfigurationError
from ZEO.StorageServer import StorageServer


@pytest.mark.parametrize(
    'argument, value, remedy',
    [
        ('storage', 1, "storage is 1: names are text, such as '1'"),
        ('storage', b'1', 'names are text'),
        ('name', 5, 'give a text'),
        ('client', 5, 'give a text'),
        ('client', b'c', 'give a text'),
        ('client_label', 5, 'give a text'),
        ('prefer', 'follower', 'give one of nearest, replica, primary'),
        ('prefer', 1, 'give one of nearest'),
        ('prefer', ['replica'], 'give one of nearest'),
        ('prefer_wait', -1, 'seconds'),
        ('ssl', True, r'ssl is True: give an ssl.SSLContext, such as ssl.create_default_context\('),
        ('ssl', 'cert.pem', 'SSLContext'),
        ('ssl', {}, 'SSLContext'),
        ('ssl', (True, 'host'), 'SSLContext'),
        ('ssl_server_hostname', 5, 'give a text'),
        ('wait_timeout', -1, 'wait_timeout is -1: give a number of seconds'),
        ('wait_timeout', '30', 'give a number of seconds'),
        ('wait_timeout', float('nan'), 'seconds'),
        ('wait_timeout', True, 'seconds'),
        ('min_disconnect_poll', -1, 'seconds'),
        ('max_disconnect_poll', 'x', 'seconds'),
        ('disconnect_poll', [], 'seconds'),
        ('cache_size', -1, 'give a number of bytes'),
        ('cache_size', '20MB', 'bytes'),
        ('cache_size', 1.5, 'bytes'),
        ('cache_size', True, 'bytes'),
        ('blob_cache_size', -1, 'bytes'),
        ('blob_cache_size', '1GB', 'bytes'),
        ('blob_cache_size_check', 101, 'from 1 to 100'),
        ('blob_cache_size_check', '10', 'from 1 to 100'),
        ('blob_dir', 5, 'the path of a directory'),
        ('var', 5, 'the path of a directory'),
        ('blob_dir', b'blobs', 'path'),
        *[
            (flag, value, 'give True or False')
            for value in ('no', 2, [])
            for flag in 'wait read_only read_only_fallback shared_blob_dir server_sync '
            'drop_cache_rather_verify '
            'drop_cache_if_older wait_for_server_on_startup'.split()
        ],
        ('cache', 5, 'cache is a int without the method load: give the path of a file'),
        ('cache', {}, 'ZEO.cache.protocol.BasicCache'),
    ],
)
def test_an_argument_that_can_not_be_meant_is_said_at_once(argument, value, remedy):
    with pytest.raises(ConfigurationError, match=remedy):
        ClientStorage('/nowhere/socket', **{argument: value})


@pytest.mark.parametrize(
    'addr',
    [
        None,
        5.0,
        True,
        [],
        (),
        '',
        [5.0],
        {},
        ('host', -1),
        ('host', 70000),
        ['host', 70000],
        [None],
        pytest.param(object(), id='an object'),
        '::1:9100',
        'fe80::1',
        'host:70000',
    ],
    ids=str,
)
def test_an_address_that_can_not_be_meant_is_said_at_once(addr):
    with pytest.raises(ConfigurationError):
        ClientStorage(addr, wait=False)


@pytest.mark.parametrize(
    'options',
    [
        {
            'wait_timeout': None,
            'wait': 0,
            'read_only': 1,
            'ssl': False,
            'blob_cache_size_check': 0,
            'name': '',
            'storage': '',
        },
        {
            'wait_timeout': 10**20,
            'min_disconnect_poll': float('inf'),
            'max_disconnect_poll': float('inf'),
            'cache_size': 0,
        },
        {'blob_dir': '', 'var': None, 'client_label': None, 'debug': 1, 'shared_blob_dir': True},
    ],
)
def test_what_can_be_meant_is_taken(options, caplog):
    with caplog.at_level('WARNING', 'ZEO.ClientStorage'):  # `debug` sets another one
        ClientStorage('/nowhere/socket', **{'wait': False, **options}).close()


def test_a_directory_as_the_cache_is_told_what_to_give(tmp_path):
    with pytest.raises(
        ConfigurationError,
        match=r'is a directory: give the path of a file in it, .*client=NAME with var=',
    ):
        ClientStorage('/nowhere/socket', cache=str(tmp_path), wait=False)


def test_a_directory_of_blobs_that_can_not_be_used_leaves_the_cache_free(tmp_path):
    options = {'cache': str(tmp_path / 'cache'), 'wait': False}
    with pytest.raises(ConfigurationError, match='there is no directory'):
        ClientStorage(
            '/nowhere/socket', blob_dir=str(tmp_path / 'mispelt'), shared_blob_dir=True, **options
        )
    ClientStorage('/nowhere/socket', **options).close()


def test_a_server_that_does_not_greet_is_named_with_what_may_be_wrong():
    with socket.create_server(('127.0.0.1', 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(
            ClientDisconnected,
            match=f'127.0.0.1:{port}: .*Is a ZEO server listening there, and is TLS on',
        ):
            ClientStorage(('127.0.0.1', port), wait_timeout=0.5)


@pytest.fixture
def address():
    address, stop = ZEO.server()
    yield address
    stop()


@pytest.mark.parametrize(
    'form',
    [
        '127.0.0.1:{}',
        'localhost:{}',
        '{}',
        ':{}',
        ('127.0.0.1', '{}'),
        ['127.0.0.1', '{}'],
        ['127.0.0.1:{}'],
        ['127.0.0.1', int],
        ['/nowhere/socket', '127.0.0.1:{}'],
        ('127.0.0.1:{}', '127.0.0.1:1'),
    ],
    ids=str,
)
def test_an_address_may_be_a_text(address, form):
    def fill(part):
        return address[1] if part is int else part.format(address[1])

    client = ZEO.client(
        fill(form) if isinstance(form, str) else type(form)(map(fill, form)), wait_timeout=20
    )
    assert client.is_connected()
    client.close()


def test_a_socket_may_be_named_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir('d')
    server = StorageServer('./d:9100', {'1': MappingStorage()})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        client = ClientStorage('d:9100', wait_timeout=20)
        assert client.is_connected()
        client.close()
    finally:
        server.close()
        thread.join(30)


def test_relative_paths_go_on_meaning_what_they_meant(tmp_path, monkeypatch):
    """Also that of the socket, when the connection is made again, and those of a trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('ZEO_CACHE_TRACE', '1')
    for name in 'var', 'elsewhere':
        os.mkdir(name)
    _, stop = ZEO.server(port='./socket', blob_dir='server', path='Data.fs')
    clients = [
        ClientStorage('socket', blob_dir='blobs', wait_timeout=20, **options)
        for options in ({'client': 'c', 'var': 'var'}, {'client': 'd'}, {'cache': 'file.zec'})
    ]
    os.chdir('elsewhere')
    try:
        for client in clients:
            link_of(client).connection.lose('the test says so')
            database = ZODB.DB(client)
            with database.transaction() as connection:
                connection.root()['blob'] = ZODB.blob.Blob(b'data')
            with database.transaction() as connection, connection.root()['blob'].open('w') as file:
                file.write(b'other')
            with database.transaction() as connection, connection.root()['blob'].open() as file:
                assert file.read() == b'other'
            database.close()
    finally:
        os.chdir('..')
        stop()
    assert os.listdir('elsewhere') == []
    assert {'file.zec', 'd-1.zec', 'var', 'blobs'} <= set(os.listdir()) and 'c-1.zec' in os.listdir(
        'var'
    )


@pytest.mark.parametrize(
    'ask, answer',
    [
        (bool, False),
        (len, 0),
        (ClientStorage.getSize, 0),
        (ClientStorage.supportsUndo, False),
        (ClientStorage.is_connected, False),
        (ClientStorage.getName, '/nowhere/socket/1 (disconnected)'),
        (ClientStorage.sortKey, '1:/nowhere/socket'),
        (ClientStorage.isReadOnly, False),
        (ClientStorage.tpc_transaction, None),
    ],
)
def test_a_client_that_was_never_connected_answers_at_once(ask, answer):
    client = ClientStorage('/nowhere/socket', wait=False, wait_timeout=1000)
    assert ask(client) == answer
    client.close()


@pytest.mark.parametrize(
    'addr, name',
    [
        (('127.0.0.1', 1), "('127.0.0.1', 1)"),
        ([('127.0.0.1', 1)], "[('127.0.0.1', 1)]"),
        ('/a/socket', '/a/socket'),
        (1, "('127.0.0.1', 1)"),
        (['/a/socket'], "['/a/socket']"),
        (('localhost', 1), "('localhost', 1)"),
    ],
)
def test_the_name_of_a_client_is_what_it_was_in_the_first_releases(addr, name):
    for options, expected in ({}, name), ({'storage': '2'}, name), ({'name': 'mine'}, 'mine'):
        client = ClientStorage(addr, wait=False, **options)
        assert client.__name__ == expected
        client.close()


def test_a_second_database_is_warned_of(address, caplog):
    client = ClientStorage(address)
    first = ZODB.DB(client)
    assert 'second database' not in caplog.text
    ZODB.DB(client)
    assert 'a second database is opened on this client storage' in caplog.text
    first.close()


def test_a_client_without_a_directory_says_what_to_give_when_blobs_are_written(tmp_path):
    address, stop = ZEO.server(path=str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'blobs'))
    database = ZEO.DB(address)
    try:
        for make in (lambda: ZODB.blob.Blob(b'x'), lambda: ZODB.blob.Blob()):
            with pytest.raises(
                ZODB.POSException.Unsupported,
                match='opened without blob_dir. Give blob_dir=DIRECTORY',
            ):
                with database.transaction() as connection:
                    connection.root()['blob'] = make()
        with database.transaction() as connection:
            connection.root()['x'] = 1  # it goes on
    finally:
        database.close()
        stop()
