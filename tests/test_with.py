"""Servers, clients, databases and connections end with their block, and say what they are."""

import os
import subprocess
import sys

import pytest
import transaction
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError

import ZEO
from support.sides import SOURCES
from ZEO.ClientStorage import ClientStorage
from ZEO.databases import Connection
from ZEO.Exceptions import ClientDisconnected
from ZEO.StorageServer import StorageServer


@pytest.mark.parametrize('threaded', [True, False])
def test_a_server_lives_as_long_as_its_block(threaded):
    with ZEO.server(threaded=threaded) as address, ZEO.client(address) as storage:
        assert storage.is_connected()
    with pytest.raises(ClientDisconnected):
        ZEO.client(address, wait_timeout=0)


def test_a_server_is_a_pair_as_well():
    address, stop = ZEO.server()
    with ZEO.client(address) as storage:
        storage.ping()
    stop()
    stop()


def test_a_database_and_its_connections():
    with ZEO.server() as address:
        with ZEO.DB(address) as database, database.transaction() as connection:
            connection.root()['answer'] = 42
        with ZEO.connection(address) as connection:
            assert connection.root()['answer'] == 42
            connection.root()['answer'] += 1
        assert connection.opened is None
        with ZEO.connection(address) as connection:
            assert connection.root()['answer'] == 43, 'the block has committed'


def test_a_block_that_fails_has_changed_nothing():
    with ZEO.server() as address:
        with pytest.raises(KeyError), ZEO.connection(address) as connection:
            connection.root()['answer'] = 42
            raise KeyError('a fault')
        with ZEO.connection(address) as connection:
            assert 'answer' not in connection.root()


def counted(database):
    """How many connections a database has, and how many of them are open; and how many storages it
    has for them, each of which notes what every transaction has changed.
    """
    return (
        len(database.pool.all),
        len(database.pool.all) - len(database.pool.available),
        len(database._mvcc_storage._instances),
    )


def test_a_transaction_whose_commit_fails_gives_its_connection_back():
    with ZEO.server() as address, ZEO.DB(address) as database:
        with database.transaction() as one, database.transaction() as two:
            before = counted(database)
            one.root()['answer'] = 1
        for _ in range(20):
            with pytest.raises(ConflictError), database.transaction() as one:
                with database.transaction() as two:
                    two.root()['answer'] += 1
                one.root()['answer'] += 1
        assert counted(database) == (*before[:1], 0, *before[2:])
        with database.transaction() as two:
            assert two.root()['answer'] == 21


def test_a_transaction_that_cannot_begin_gives_its_connection_back(monkeypatch):
    def begin(connection, transaction, sync=True):
        if sync:
            raise ClientDisconnected('a fault')
        usual(connection, transaction, sync)

    usual = Connection.newTransaction
    with ZEO.server() as address, ZEO.DB(address) as database:
        before = counted(database)
        with monkeypatch.context() as patched:
            patched.setattr(Connection, 'newTransaction', begin)
            for _ in range(20):
                with pytest.raises(ClientDisconnected), database.transaction():
                    raise AssertionError('it has begun')
        assert counted(database) == before


def test_a_connection_may_be_closed_inside():
    with ZEO.server() as address, ZEO.connection(address) as connection:
        connection.root()['answer'] = 42
        transaction.commit()
        connection.close()


def test_a_client_says_what_it_is(sockets):
    path = sockets()
    client = ClientStorage(path, wait=False, storage='main')
    assert repr(client) == f"<ClientStorage of {path}, storage 'main': there was no connection yet>"
    client.close()
    assert repr(client).endswith(': closed by the application>')


def test_a_server_says_what_it_is(sockets):
    path = sockets()
    server = StorageServer(path, {'1': MappingStorage(), 'main': MappingStorage()})
    assert repr(server) == f'<StorageServer at {path}, storages 1, main: not serving>'
    server.close()
    assert repr(server).endswith(': closed>')


def test_the_version_costs_nothing_until_it_is_asked_for():
    code = (
        'import sys, ZEO\n'
        "assert not [name for name in sys.modules if name.startswith(('ZODB', 'ZEO.'))]\n"
        'from importlib.metadata import version\n'
        "assert ZEO.__version__ == version('ZEO')\n"
        "assert not hasattr(ZEO, 'nothing')\n"
    )
    environ = {**os.environ, 'PYTHONPATH': str(SOURCES)}
    subprocess.run([sys.executable, '-c', code], check=True, env=environ, timeout=60)
