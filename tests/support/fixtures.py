"""Servers and clients for tests of a client and its link, all of them gone at the end."""

import os
import random
import shutil
import tempfile
import threading

import pytest
from ZODB.Connection import TransactionMetaData

from support.scripted import RawClient, Running, ScriptedServer
from ZEO.cache.memory_cache import MemoryCache
from ZEO.ClientStorage import ClientStorage
from ZEO.StorageServer import StorageServer


@pytest.fixture
def seed():
    """Another number in each run; ZEO_TEST_SEED=... repeats a run that has failed."""
    number = int(os.environ.get('ZEO_TEST_SEED') or random.randrange(10**6))
    print(f'ZEO_TEST_SEED={number} repeats this run')
    return number


@pytest.fixture
def sockets():
    """A function that returns a new path, short enough for a Unix socket."""
    directory = tempfile.mkdtemp(prefix='zeo-', dir='/tmp')
    count = iter(range(1000))
    yield lambda: os.path.join(directory, str(next(count)))
    shutil.rmtree(directory)


@pytest.fixture
def scripted(sockets):
    """A function that starts a scripted server."""
    servers = []

    def start(**options):
        servers.append(ScriptedServer(sockets(), **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def clients():
    """A function that opens a ClientStorage."""
    opened = []

    def open_client(address, **options):
        client = ClientStorage(address, **{'wait_timeout': 20, 'disconnect_poll': 0.02, **options})
        opened.append(client)
        return client

    yield open_client
    for client in opened:
        client.close()


@pytest.fixture
def connected(scripted, clients):
    """A function that returns a client and the scripted server's end of its connection; its server
    is ``.server``.
    """

    def connect(last, **options):
        server = scripted()
        opening = Running(lambda: clients(server.address, **options))
        conversation = server.client()
        conversation.server = server
        conversation.register(last)
        return opening.result(), conversation

    return connect


@pytest.fixture
def serving(sockets):
    """A function that serves a storage in a thread of this process."""
    servers = []

    def serve(storage, address=None, **options):
        server = StorageServer(address or sockets(), {'1': storage}, **options)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def raw():
    """A function that connects a client that does nothing by itself."""
    connected = []

    def connect(server, **options):
        connected.append(RawClient(server.addr, **options))
        return connected[-1]

    yield connect
    for client in connected:
        client.close()


class LoggedCache(MemoryCache):
    """A cache that remembers what it was told, in order."""

    def __init__(self):
        super().__init__()
        self.log = []

    def store(self, oid, tid, end_tid, data):
        self.log.append(('store', oid, tid, end_tid))
        super().store(oid, tid, end_tid, data)

    def invalidate(self, oid, tid):
        self.log.append(('invalidate', oid, tid))
        super().invalidate(oid, tid)

    def invalidate_all(self, transactions):
        self.log += [('invalidate', oid, tid) for tid, oids in transactions for oid in oids]
        super().invalidate_all(transactions)

    def replace(self, oid, tid, data):
        self.log += [('invalidate', oid, tid), ('store', oid, tid, None)]
        super().replace(oid, tid, data)


class Database:
    """What a storage tells its database; `look` is called whenever it is told of a transaction."""

    def __init__(self, look=lambda: None):
        self.log = []
        self._look = look

    def invalidate(self, tid, oids, version=''):
        self.log.append((tid, sorted(oids), self._look()))

    def invalidateCache(self):
        self.log.append('everything')

    def transform_record_data(self, data):
        return data

    untransform_record_data = transform_record_data


@pytest.fixture
def logged_cache():
    """A cache that remembers what it was told."""
    return LoggedCache()


@pytest.fixture
def database():
    """The class of databases that remember what they were told."""
    return Database


@pytest.fixture
def metadata():
    """A transaction for tpc_begin and what follows."""
    return TransactionMetaData()
