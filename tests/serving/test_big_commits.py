"""A commit of very many objects holds the server's other clients for moments only."""

import threading

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.utils import maxtid, p64, z64

from support.in_memory import Client
from ZEO.serving import few_calls
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.serving.limits import Limits
from ZEO.serving.merging_index import MergingIndex
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


@pytest.mark.parametrize('fails', [False, True])
def test_a_grouped_storage_takes_a_large_one_in_short_steps(
    tmp_path, socket_path, monkeypatch, fails
):
    monkeypatch.setattr('ZEO.serving.backends.local.SLICE', 0.0)
    monkeypatch.setattr('ZEO.serving.backends.grouping.LARGE', 1000)
    monkeypatch.setattr('ZEO.serving.few_calls.MOST_IN_MEMORY', 1000)
    monkeypatch.setattr('ZEO.serving.few_calls.COPIED_AT_ONCE', 10_000)
    copied, synced = [], []
    write_at, sync_file = few_calls.write_at, GroupedFileStorage._sync_file
    monkeypatch.setattr(
        few_calls,
        'write_at',
        lambda file, data, place: copied.append(len(data)) or write_at(file, data, place),
    )

    def sync(storage):
        synced.append(threading.current_thread() is threading.main_thread())
        if fails:
            raise OSError(5, 'the disk is broken')
        sync_file(storage)

    monkeypatch.setattr(GroupedFileStorage, '_sync_file', sync)
    storage = GroupedFileStorage(str(tmp_path / 'Data.fs'))
    server = StorageServer(socket_path, {'1': storage}, limits=Limits(turn=60))
    try:
        committer = Client(server)
        committer.give(committer.send('tpc_begin', 1, b'', b'', b'', None, ' '))
        for number in range(COUNT):
            committer.peer.handle(
                committer.messages(committer.send('storea', p64(number + 1), z64, b'x', 1))
            )
        until_voted(committer)
        assert len(copied) > COUNT * 42 / 10_000 and max(copied) <= 10_000
        answers = len(committer.channel.sent)
        committer.give(committer.call('tpc_finish', 1))
        while len(committer.channel.sent) == answers:
            committer.loop.run_once(1.0)
        assert synced == [False]
        while server.hosted['1'].backend._computers._running:  # it shares the processors until then
            committer.loop.run_once(1.0)
        if fails:
            assert 'broken' in server.hosted['1'].backend.trouble
            assert len(storage) == 0
            return
        assert len(storage) == COUNT and storage.loadBefore(p64(COUNT), maxtid)[0] == b'x'
        turns = 0
        while isinstance(storage._index, MergingIndex):
            committer.loop.run_once(0.0)
            turns += 1
        assert turns >= COUNT // 1000 and len(storage) == COUNT
    finally:
        server.close()


def test_the_records_in_memory_are_all_forgotten(server):
    backend = server.hosted['1'].backend
    backend.records.keep(p64(1), (b'data', z64, None))
    backend.changed(p64(2), [p64(2)] * 100_001)
    assert backend.records.held == (0, 0)
