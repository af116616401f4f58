"""Large messages that arrive: they share the server's memory, and each arrives in the end."""

import struct

from ZODB.Connection import TransactionMetaData
from ZODB.utils import maxtid, z64

from support.bounded import eventually
from support.scripted import Running, oid
from ZEO.ClientStorage import ClientStorage

MB = 2**20


def begin_message(client, size, announced=2**31 - 1):
    """Send the beginning of a message that is announced as larger; in another thread, since the
    server may not read it.
    """

    def send():
        client.send(struct.pack('>I', announced))
        for _ in range(size // MB):
            client.send(b'x' * MB)

    return Running(send)


def test_unfinished_messages_share_the_servers_memory(server):
    server.serve(limits={'shared_memory': 64 * MB})
    good, before = server.client(), server.memory()
    clients = [server.client() for _ in range(10)]
    begin_message(clients[0], 100 * MB).result()
    for client in clients[1:]:
        begin_message(client, 50 * MB)
    for number in range(20):  # others are served, also with records that are large themselves
        tid = good.commit(number, (oid(number), z64, b'x' * MB if number % 10 == 0 else b'good'))
        assert good.call('loadBefore', oid(number), maxtid)[1] == tid
    assert server.memory() < before + 260 * MB
    for client in clients:
        client.close()
    eventually(lambda: server.memory() < before + 100 * MB)


def test_unfinished_messages_of_some_kilobytes_share_it_too(server):
    """Hundreds of clients may have one each."""
    server.serve(limits={'shared_memory': 2 * MB})
    good, before = server.client(), server.memory()
    clients = [server.client() for _ in range(150)]
    for client in clients:
        client.send(struct.pack('>I', 240_000) + b'x' * 65_000)
    for client in clients[1:]:
        Running(client.send, b'x' * 170_000)
    tid = good.commit(1, (oid(1), z64, b'good'))
    assert good.call('loadBefore', oid(1), maxtid)[1] == tid
    assert server.memory() < before + 16 * MB
    for client in clients:
        client.close()


def test_large_records_of_many_clients_all_arrive(server):
    server.serve(limits={'shared_memory': 8 * MB, 'commit_memory': MB})
    clients = [server.client() for _ in range(5)]
    commits = [
        Running(client.commit, 1, (oid(number), z64, b'%d' % number * (10 * MB)))
        for number, client in enumerate(clients)
    ]
    for commit in commits:
        assert len(commit.result()) == 8
    for number, client in enumerate(clients):
        assert client.call('loadBefore', oid(number), maxtid)[0] == b'%d' % number * (10 * MB)


def test_a_record_of_150_mb_is_stored_with_the_usual_limits(server):
    client = ClientStorage(server.serve(), wait_timeout=20)
    record, meta = bytes(range(256)) * (4 * 1024 * 150), TransactionMetaData()
    client.tpc_begin(meta)
    client.store(oid(1), z64, record, '', meta)
    client.tpc_vote(meta)
    tid = client.tpc_finish(meta)
    client.close()
    client = ClientStorage(server.address, wait_timeout=20)
    assert client.loadBefore(oid(1), maxtid) == (record, tid, None)
    client.close()


def test_a_message_takes_memory_as_it_arrives(server):
    server.serve()
    client, before = server.client(), server.memory()
    begin_message(client, 5 * MB).result()
    server.client().call('ping')
    assert server.memory() < before + 60 * MB


def test_a_held_client_that_goes_away_is_noticed(server):
    server.serve(limits={'shared_memory': 8 * MB})
    first, held, good = server.client(), server.client(), server.client()
    begin_message(first, 20 * MB).result()
    begin_message(held, 50 * MB)
    good.call('ping')
    held.close()
    eventually(lambda: good.call('server_status')['connections'] == 2)
    first.close()
    eventually(lambda: good.call('server_status')['connections'] == 1)
