"""What a client of ours asks of a server of ours, beyond what ZODB's own tests look at."""

import time

import pytest
import transaction
import ZODB
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, ReadOnlyError, StorageTransactionError
from ZODB.utils import maxtid, p64, z64

from support.counters import Counter
from support.inside import link_of
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected, ClientStorageError, ConfigurationError, ProtocolError
from ZEO.StorageServer import StorageServer


@pytest.fixture
def open_client():
    """A function that opens a client storage, closed at the end."""
    clients = []

    def opened(address, **options):
        clients.append(ClientStorage(address, **{'wait_timeout': 10, **options}))
        return clients[-1]

    yield opened
    for client in clients:
        client.close()


def conflicting(address, open_client):
    """Two databases, whose connections have both changed one counter; the first has committed."""
    managers = transaction.TransactionManager(), transaction.TransactionManager()
    connections = [ZODB.DB(open_client(address)).open(manager) for manager in managers]
    with managers[0]:
        connections[0].root()['counter'] = Counter()
    for manager, connection in zip(managers, connections, strict=True):
        manager.begin()
        connection.root()['counter'].value += 1
    managers[0].commit()
    return managers[1], connections[1]


class TestConflicts:
    """The server does not load the code of applications; the client that has it resolves."""

    def test_the_client_resolves_what_the_server_may_not_load(self, serve, open_client):
        service = serve()
        manager, connection = conflicting(service.server.addr, open_client)
        manager.commit()
        manager.begin()
        assert connection.root()['counter'].value == 2
        assert service.hosted.stats.conflicts == 1

    def test_a_client_that_does_not_say_it_can_gets_the_conflict(
        self, serve, open_client, monkeypatch
    ):
        monkeypatch.setattr('ZEO.wire.extensions.ALL', ())
        service = serve()
        manager, _ = conflicting(service.server.addr, open_client)
        with pytest.raises(ConflictError):
            manager.commit()

    def test_all_go_to_the_client_where_that_is_configured(self, serve, open_client):
        service = serve(client_conflict_resolution=True, conflict_modules=['support'])
        manager, connection = conflicting(service.server.addr, open_client)
        manager.commit()
        manager.begin()
        assert connection.root()['counter'].value == 2
        assert service.hosted.stats.conflicts == 1

    @pytest.mark.parametrize('client_resolves', [True, False])
    def test_a_record_that_is_no_pickle_is_a_conflict_too(
        self, serve, open_client, monkeypatch, client_resolves
    ):
        if not client_resolves:
            monkeypatch.setattr('ZEO.wire.extensions.ALL', ())
        client, meta = open_client(serve().server.addr), TransactionMetaData()
        for serial in (z64, p64(1)):
            client.tpc_begin(meta)
            client.store(p64(7), serial, b'cno line ends here', '', meta)
            if serial == z64:
                client.tpc_vote(meta)
                client.tpc_finish(meta)
        with pytest.raises(ConflictError) as caught:
            client.tpc_vote(meta)
        assert caught.value.oid == p64(7)

    def test_the_server_resolves_what_it_may_load(self, serve, open_client):
        service = serve(conflict_modules=['support'])
        manager, connection = conflicting(service.server.addr, open_client)
        manager.commit()
        manager.begin()
        assert connection.root()['counter'].value == 2
        assert service.hosted.stats.conflicts == 0
        assert service.hosted.stats.conflicts_resolved == 1


class TestPrefetch:
    """Many objects in one request."""

    def test_one_request_and_no_load_after_it(self, service, open_client):
        oids = [service.good.new_oid() for _ in range(50)]
        service.commit(*oids)
        client = open_client(service.server.addr)
        client.prefetch(oids, maxtid)
        loads = []
        link_of(client).load_before = lambda *args: loads.append(args)
        for oid in oids:
            assert client.loadBefore(oid, maxtid)[0] == b'good'
        assert loads == []

    def test_a_server_without_batches_is_asked_for_each(self, service, open_client, monkeypatch):
        oids = [service.good.new_oid() for _ in range(5)]
        service.commit(*oids)
        monkeypatch.setattr('ZEO.wire.extensions.ALL', ())
        client = open_client(service.server.addr)
        client.prefetch(oids, maxtid)
        assert [client.loadBefore(oid, maxtid)[0] for oid in oids] == [b'good'] * 5

    def test_an_object_that_is_not_there_is_no_trouble(self, service, open_client):
        client = open_client(service.server.addr)
        client.prefetch([b'\1' * 8], maxtid)
        with pytest.raises(KeyError):
            client.load(b'\1' * 8)

    def test_a_connection_of_zodb_prefetches(self, service, open_client):
        database = ZODB.DB(open_client(service.server.addr))
        with database.transaction() as connection:
            connection.root()['counters'] = [Counter() for _ in range(10)]
        other = ZODB.DB(open_client(service.server.addr)).open()
        counters = other.root()['counters']
        other.prefetch(counters)
        assert sum(counter.value for counter in counters) == 0


class TestRefusals:
    """What can't be is said at once, and exactly."""

    def test_a_storage_that_is_not_served(self, service):
        began = time.monotonic()
        with pytest.raises(ClientStorageError, match="no storage 'other'.*serves 1") as caught:
            ClientStorage(service.server.addr, 'other', wait_timeout=50)
        assert not isinstance(caught.value, ClientDisconnected)
        assert time.monotonic() - began < 40  # it has not waited for its time-out

    def test_a_storage_that_can_only_be_read(self, serve, open_client):
        service = serve(read_only=True)
        with pytest.raises(ReadOnlyError, match='read-only'):
            ClientStorage(service.server.addr, wait_timeout=50)
        client = open_client(service.server.addr, read_only=True)
        with pytest.raises(ReadOnlyError):
            client.new_oid()

    def test_a_server_of_something_else(self, tmp_path, sockets_of_strangers):
        with pytest.raises(ProtocolError, match='not a ZEO server'):
            ClientStorage(
                sockets_of_strangers(b'HTTP/1.1 400 Bad Request\r\n\r\n'), wait_timeout=50
            )

    @pytest.mark.parametrize('address', ['', (), [], 70000, None, True, 1.5, [('host',)]])
    def test_what_is_no_address(self, address):
        with pytest.raises(ConfigurationError, match='address|port'):
            ClientStorage(address)

    def test_nobody_listens(self, tmp_path):
        with pytest.raises(ClientDisconnected, match='No such file'):
            ClientStorage(str(tmp_path / 'nobody'), wait_timeout=0.2)

    def test_a_directory_for_the_cache_that_is_not_there(self, service, tmp_path):
        with pytest.raises(ConfigurationError, match='no directory .*var='):
            ClientStorage(service.server.addr, client='x', var=str(tmp_path / 'no'))


class TestTransactions:
    """Several at a time, and those that are no such thing."""

    def test_several_of_one_client_at_once(self, service, open_client):
        client = open_client(service.server.addr)
        metas = [TransactionMetaData() for _ in range(3)]
        oids = [client.new_oid() for _ in metas]
        for meta, oid in zip(metas, oids, strict=True):
            client.tpc_begin(meta)
            client.store(oid, z64, b'mine', '', meta)
        for meta in metas:
            client.tpc_vote(meta)
            client.tpc_finish(meta)
        assert {client.load(oid)[0] for oid in oids} == {b'mine'}

    def test_a_transaction_that_was_not_begun(self, service, open_client):
        client = open_client(service.server.addr)
        with pytest.raises(StorageTransactionError):
            client.store(client.new_oid(), z64, b'', '', TransactionMetaData())

    def test_an_extension_with_objects_in_it(self, service, open_client):
        client = open_client(service.server.addr)
        meta = TransactionMetaData(extension={'when': Counter()})
        client.tpc_begin(meta)
        client.tpc_vote(meta)
        client.tpc_finish(meta)
        assert isinstance(next(client.iterator()).extension['when'], Counter)


class TestSync:
    """What a new transaction sees."""

    def test_a_round_trip_if_wanted(self, service, open_client):
        client = open_client(service.server.addr, server_sync=True)
        for _ in range(20):
            tid = service.commit(service.good.new_oid())
            client.sync()
            assert client.lastTransaction() == tid


def test_what_changed_is_known_after_a_restart_too(service, tmp_path):
    """A server looks for the last transactions of its storage, so that clients need not drop their
    caches.
    """
    oids = [service.good.new_oid() for _ in range(5)]
    tids = [service.commit(oid) for oid in oids]
    again = StorageServer(
        ('127.0.0.1', 0), {'1': FileStorage(service.storage.getName(), read_only=True)}
    )
    try:
        last, changed = again.hosted['1'].invalidations.since(tids[1], tids[-1])
        assert (last, sorted(changed)) == (tids[-1], oids[2:])
    finally:
        again.close()
