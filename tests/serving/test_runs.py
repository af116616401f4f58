"""Stores that come one behind another have the outcome that each of them has by itself."""

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, p64, z64

from support.in_memory import Client
from ZEO.Exceptions import ProtocolError
from ZEO.serving.calls.transactions import TransactionCalls
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.StorageServer import Limits, StorageServer
from ZEO.wire.runs import MOST, RESTORES, STORES

MAKERS = [lambda path: MappingStorage(), FileStorage, GroupedFileStorage]
MANY = MOST + 20


def serving(storage, socket_path, **limits):
    return StorageServer(socket_path, {'1': storage}, limits=Limits(turn=60, batch=100, **limits))


@pytest.fixture(params=MAKERS, ids=['memory', 'file', 'grouped'])
def server(request, tmp_path, socket_path):
    server = serving(request.param(str(tmp_path / 'Data.fs')), socket_path)
    yield server
    server.close()


def begin(client, tid=None):
    return client.send('tpc_begin', 1, b'user', b'what', b'', tid, ' ')


def stores(client, count=MANY, data=b'data %d', serial=z64):
    return [client.send('storea', p64(oid), serial, data % oid, 1) for oid in range(1, count + 1)]


def sent(client):
    """Return the answers that a client was sent since the last time."""
    return [message[3] for message in client.sent() if message[2] == '.reply']


def answers(client, frames, together):
    """Return what a client is answered to some frames that come in one piece, or one by one."""
    client.channel.sent.clear()
    for data in [b''.join(frames)] if together else frames:
        client.give(data)
    found = sent(client)
    for _ in range(20):
        if found:
            break
        client.loop.run_once(0.5)
        found = sent(client)
    return found


def commit(client, frames, together):
    """Return the answers to the vote and the finish of a transaction."""
    voted = answers(client, [*frames, client.call('vote', 1)], together)
    return voted, answers(client, [client.call('tpc_finish', 1)], together)


@pytest.mark.parametrize('together', [True, False])
def test_they_are_committed(server, together):
    client = Client(server)
    (voted,), (tid,) = commit(client, [begin(client), *stores(client)], together)
    assert voted == []
    storage = server.hosted['1'].storage
    for oid in range(1, MANY + 1):
        assert storage.loadBefore(p64(oid), maxtid) == (b'data %d' % oid, tid, None)
    assert (STORES in client.peer.calls) == together
    assert server.hosted['1'].stats.stores == MANY
    assert client.service.intake.budget.used == 0


@pytest.mark.parametrize('together', [True, False])
def test_a_copy_is_committed(tmp_path, socket_path, together):
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    server = serving(storage, socket_path)
    try:
        client, tid = Client(server), p64(2**60)
        frames = [
            client.send('restorea', p64(oid), tid, b'data %d' % oid, None, 1)
            for oid in range(1, MANY + 1)
        ]
        _, (committed,) = commit(client, [begin(client, tid), *frames], together)
        assert committed == tid
        assert storage.loadBefore(p64(MANY), maxtid) == (b'data %d' % MANY, tid, None)
        assert (RESTORES in client.peer.calls) == together
    finally:
        server.close()


def test_past_the_memory_of_a_client_they_go_to_a_file(tmp_path, socket_path):
    """In their order, whichever of them was the first there."""
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    server = serving(storage, socket_path, commit_memory=50_000)
    try:
        client = Client(server)
        data = b'%d ' + b'x' * 700
        frames = [begin(client), *stores(client, data=data), *stores(client, data=b'again %d')]
        client.give(b''.join(frames[: MANY // 2]))
        client.give(b''.join(frames[MANY // 2 :]))
        log = client.peer._stage._family(TransactionCalls).open.find(1).log
        assert len(log) == 2 * MANY and log._in_file > MANY
        (voted,), (tid,) = commit(client, [], True)
        assert voted == [] and len(tid) == 8
        for oid in range(1, MANY + 1):
            assert storage.loadBefore(p64(oid), maxtid)[0] == b'again %d' % oid
        assert client.service.intake.budget.used == 0
    finally:
        server.close()


@pytest.mark.parametrize('together', [True, False])
def test_more_than_a_client_may_have_fails_its_vote(tmp_path, socket_path, together):
    server = serving(
        FileStorage(str(tmp_path / 'Data.fs')),
        socket_path,
        commit_memory=10_000,
        transaction_disk=50_000,
    )
    try:
        client = Client(server)
        frames = [begin(client), *stores(client, data=b'x' * 700 + b'%d')]
        ((kind, _),) = answers(client, [*frames, client.call('vote', 1)], together)
        assert 'StorageError' in str(kind) or 'TooMuch' in str(kind)
        answers(client, [client.call('tpc_abort', 1)], together)
        assert client.service.intake.budget.used == 0 and client.peer.account.records == 0
    finally:
        server.close()


@pytest.mark.parametrize('together', [True, False])
@pytest.mark.parametrize('read_only', [True, False])
def test_what_may_not_be_stored_ends_the_connection(server, read_only, together):
    """Without a right to write, or without a transaction."""
    client = Client(server, read_only=read_only)
    with pytest.raises(AssertionError, match='storea failed: .*(read-only|not begun)'):
        answers(client, stores(client), together)


def test_before_a_client_has_registered(server):
    client = Client(server)
    other = Client(server)
    other.peer._stage = type(client.peer)(
        other.service, other.session, '', lambda _: other.channel, lambda _: None
    )._stage
    other.peer.calls.clear()
    with pytest.raises(ProtocolError, match='client called storea before register'):
        other.peer.handle(other.messages(b''.join(stores(client))))


def test_a_client_cannot_call_it_by_name(server):
    """What stands for several is no name."""
    client = Client(server)
    client.give(b''.join([begin(client), *stores(client)]))
    assert STORES in client.peer.calls and str(STORES) == 'storea'
    for name in ('several_storea', repr(STORES), 'a run of stores'):
        with pytest.raises(ProtocolError, match='unknown method'):
            client.peer.handle(client.messages(client.call(name, 1, [])))


def test_the_record_of_a_blob_among_them_is_stored_once(tmp_path, socket_path):
    """Clients send it before the blob and with it."""
    storage = FileStorage(str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'blobs'))
    server = serving(storage, socket_path)
    try:
        client = Client(server)
        frames = [begin(client), *stores(client, 3)]
        blob = [
            client.send('storeBlobStart'),
            client.send('storeBlobChunk', b'the blob'),
            client.send('storeBlobEnd', p64(3), z64, b'data 3', 1),
        ]
        (voted,), (tid,) = commit(client, [*frames, *blob], True)
        assert voted == [] and STORES in client.peer.calls
        stored = [record.oid for transaction in storage.iterator() for record in transaction]
        assert stored == [p64(1), p64(2), p64(3)]
        with storage.openCommittedBlobFile(p64(3), tid) as file:
            assert file.read() == b'the blob'
    finally:
        server.close()
