"""A commit of very many objects holds the server's other clients for moments only."""

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.utils import maxtid, p64, z64

from support.in_memory import Client
from ZEO.serving.limits import Limits
from ZEO.StorageServer import StorageServer
from ZEO.wire.frames import frame

COUNT = 5_002


@pytest.fixture
def server(tmp_path, socket_path):
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    server = StorageServer(socket_path, {'1': storage}, msgpack=True, limits=Limits(turn=60))
    yield server
    server.close()


def until_voted(client):
    before = len(client.channel.sent)
    client.give(client.call('vote', 1))
    turns = 0
    while len(client.channel.sent) == before:
        client.loop.run_once(0.0)
        turns += 1
    return turns


def test_its_invalidation_is_made_between_other_clients_turns_and_says_the_same(
    server, monkeypatch
):
    monkeypatch.setattr('ZEO.serving.commit.state.MANY', 5_000)
    monkeypatch.setattr('ZEO.serving.backends.local.SLICE', 0.0)
    committer, pickled, packed = Client(server), Client(server), Client(server, b'M5')
    committer.give(committer.send('tpc_begin', 1, b'', b'', b'', None, ' '))
    for number in range(COUNT):
        committer.peer.handle(
            committer.messages(committer.send('storea', p64(number + 1), z64, b'x', 1))
        )
    assert until_voted(committer) >= COUNT / 1000
    late = Client(server)
    committer.give(committer.call('tpc_finish', 1))
    tid = server.hosted['1'].storage.lastTransaction()
    oids = [p64(number + 1) for number in range(COUNT)]
    for client in pickled, packed, late:
        sent = frame(client.codec.send('invalidateTransaction', (tid, oids)))
        assert client.channel.sent[-1] == sent
    assert committer.peer.hosted.storage.loadBefore(p64(COUNT), maxtid)[0] == b'x'


def test_the_records_in_memory_are_all_forgotten(server):
    backend = server.hosted['1'].backend
    backend.records.keep(p64(1), (b'data', z64, None))
    backend.changed(p64(2), [p64(2)] * 100_001)
    assert backend.records.held == (0, 0)
