"""A read is as new as what this client could know: what another client's finished commit has sent
it is applied first.
"""

import socket
import threading

import pytest
import trustme
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.tests import BasicStorage, StorageTestBase
from ZODB.utils import maxtid, p64, u64, z64

from support.inside import link_of
from ZEO.net.tls import client_context, server_context

OID = p64(7)


@pytest.fixture(params=['unix', 'tcp', 'tls'])
def two(request, serving, clients, tmp_path):
    """A function that returns two clients of one server."""
    options, ssl = {}, {}
    address = None if request.param == 'unix' else ('127.0.0.1', free_port())
    if request.param == 'tls':
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / 'ca.pem'))
        authority.issue_cert('127.0.0.1').private_key_and_cert_chain_pem.write_to_path(
            str(tmp_path / 'server.pem')
        )
        options['ssl'] = server_context(str(tmp_path / 'server.pem'))
        ssl['ssl'] = client_context(authenticate=str(tmp_path / 'ca.pem'))
    server = serving(MappingStorage(), address, **options)
    return clients(address or server.addr, **ssl), clients(address or server.addr, **ssl)


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def commit(client, serial, data):
    """Store a record and return its tid."""
    metadata = TransactionMetaData()
    client.tpc_begin(metadata)
    client.store(OID, serial, data, '', metadata)
    client.tpc_vote(metadata)
    return client.tpc_finish(metadata)


READS = {
    'load': lambda client, tid: client.load(OID)[1],
    'loadBefore maxtid': lambda client, tid: client.loadBefore(OID, maxtid)[1],
    'loadBefore': lambda client, tid: client.loadBefore(OID, p64(u64(tid) + 1))[1],
    'lastTransaction': lambda client, tid: client.lastTransaction(),
    'getTid': lambda client, tid: client.getTid(OID),
}


@pytest.mark.parametrize('read', READS)
def test_what_another_client_has_committed_is_read(two, read):
    """Each time, at once, though a copy is in the cache."""
    reader, writer = two
    serial = z64
    for number in range(100):
        serial = commit(writer, serial, b'%d' % number)
        assert READS[read](reader, serial) == serial, number
        reader.load(OID)


@pytest.mark.parametrize('read', ['load', 'loadBefore', 'lastTransaction'])
def test_it_is_read_while_another_thread_of_the_reader_waits_for_the_server(two, read):
    """That thread may have taken the news from the socket, and not yet applied it."""
    reader, writer = two
    serial = commit(writer, z64, b'')
    done = threading.Event()

    def use():
        while not done.is_set():
            reader.ping()

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(100):
            serial = commit(writer, serial, b'%d' % number)
            assert READS[read](reader, serial) == serial, number
            reader.load(OID)
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_snapshot_that_this_client_knows_is_read_without_a_look_at_the_socket(two, monkeypatch):
    """As ZODB reads, in every transaction."""
    reader, writer = two
    tid = commit(writer, z64, b'x')
    reader.load(OID)
    monkeypatch.setattr(link_of(reader).connection, 'drain', None)
    assert reader.loadBefore(OID, p64(u64(tid) + 1)) == (b'x', tid, None)


class Competing(BasicStorage.BasicStorage, StorageTestBase.StorageTestBase):
    """ZODB's own test, with the competing commit by a client of its own."""

    __test__ = False  # by pytest itself

    def __init__(self, storage, competitor):
        super().__init__('test_checkCurrentSerialInTransaction')
        self._storage, self._competitor = storage, competitor

    def _do_store_in_separate_thread(self, oid, revid, voted):
        thread = threading.Thread(target=self._store, args=(oid, revid), daemon=True)
        thread.start()
        thread.join(0.01)
        return thread

    def _store(self, oid, revid):
        competing = StorageTestBase.StorageTestBase('_dostore')
        competing._storage = self._competitor
        competing._dostore(oid, revid=revid)


@pytest.mark.parametrize(
    'times', [10, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_a_competing_commit_of_another_client_is_seen_after_our_own(serving, clients, times):
    for _ in range(times):
        server = serving(MappingStorage())
        first, second = clients(server.addr), clients(server.addr)
        Competing(first, second).test_checkCurrentSerialInTransaction()
        first.close()
        second.close()
        server.close()
