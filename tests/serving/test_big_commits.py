"""A commit of very many objects holds the server's other clients for moments only."""

import threading

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.fsIndex import fsIndex
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
    monkeypatch.setattr('ZEO.serving.slices.Slice.is_over', lambda self: True)
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


def test_one_that_waits_for_followers_is_hidden_until_they_have_it(
    tmp_path, socket_path, monkeypatch
):
    monkeypatch.setattr('ZEO.serving.commit.state.MANY', 5_000)
    storage = GroupedFileStorage(str(tmp_path / 'Data.fs'))
    server = StorageServer(socket_path, {'1': storage}, limits=Limits(turn=60), wait_for_replicas=1)
    try:
        committer, other, follower = Client(server), Client(server), Client(server)
        follower.give(follower.call('follow', 'follower'))
        committer.give(committer.send('tpc_begin', 1, b'', b'', b'', None, ' '))
        for number in range(COUNT):
            committer.peer.handle(
                committer.messages(committer.send('storea', p64(number + 1), z64, b'x', 1))
            )
        until_voted(committer)
        answers, told = len(committer.channel.sent), len(other.channel.sent)
        committer.give(committer.call('tpc_finish', 1))
        tid, hosted = storage.lastTransaction(), server.hosted['1']
        oids = [p64(number + 1) for number in range(COUNT)]
        sent = frame(other.codec.send('invalidateTransaction', (tid, oids)))
        assert follower.channel.sent[-1] == sent
        assert len(committer.channel.sent) == answers and len(other.channel.sent) == told
        assert hosted.backend.load_now(p64(COUNT), maxtid) is None
        follower.give(follower.send('replicated', tid))
        assert len(committer.channel.sent) > answers and other.channel.sent[-1] == sent
        assert follower.channel.sent.count(sent) == 1
        assert hosted.backend.load_now(p64(COUNT), maxtid)[0] == b'x'
    finally:
        server.close()


def test_a_grouped_storage_puts_no_more_than_a_thousand_places_into_the_index_at_once(
    tmp_path, socket_path, monkeypatch
):
    """Also where others commit on a slow disk, so that transactions share a sync."""
    sizes, update = [], fsIndex.update
    monkeypatch.setattr(
        fsIndex, 'update', lambda self, places: sizes.append(len(places)) or update(self, places)
    )
    storage = GroupedFileStorage(str(tmp_path / 'Data.fs'))
    server = StorageServer(socket_path, {'1': storage}, limits=Limits(turn=60))
    try:
        committer, other = Client(server), Client(server)
        server.hosted['1'].backend.syncing.note(0.1, 1)
        other.give(other.send('tpc_begin', 1, b'', b'', b'', None, ' '))
        committer.give(committer.send('tpc_begin', 1, b'', b'', b'', None, ' '))
        for number in range(2500):
            committer.peer.handle(
                committer.messages(committer.send('storea', p64(number + 1), z64, b'x' * 500, 1))
            )
        until_voted(committer)
        answers = len(committer.channel.sent)
        committer.give(committer.call('tpc_finish', 1))
        while len(committer.channel.sent) == answers:
            committer.loop.run_once(1.0)
        assert storage.loadBefore(p64(2500), maxtid)[0] == b'x' * 500
        assert all(size <= 1000 for size in sizes), sizes
    finally:
        server.close()


@pytest.mark.parametrize('fails', [False, True])
def test_a_grouped_storage_takes_a_large_one_in_short_steps(
    tmp_path, socket_path, monkeypatch, fails
):
    monkeypatch.setattr('ZEO.serving.slices.Slice.is_over', lambda self: True)
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


@pytest.fixture
def large(tmp_path, socket_path, monkeypatch):
    """A client that has its vote for a transaction which a thread is to sync."""
    monkeypatch.setattr('ZEO.serving.backends.grouping.LARGE', 1000)
    monkeypatch.setattr('ZEO.serving.few_calls.MOST_IN_MEMORY', 1000)
    storage = GroupedFileStorage(str(tmp_path / 'Data.fs'))
    server = StorageServer(socket_path, {'1': storage}, limits=Limits(turn=60))
    client = Client(server)
    client.storage, client.hosted = storage, server.hosted['1']
    vote(client, 1)
    yield client
    while client.hosted.backend._computers._running:  # it shares the processors until then
        client.loop.run_once(1.0)
    server.close()


def vote(client, txn):
    """Have a transaction of a few kilobytes voted for."""
    client.give(client.send('tpc_begin', txn, b'', b'', b'', None, ' '))
    client.give(client.send('storea', p64(txn), z64, b'x' * 5000, txn))
    answered(client, 'vote', txn)


def answered(client, name, *args):
    """Call; return what the client is sent, once it is."""
    before = len(client.channel.sent)
    client.give(client.call(name, *args))
    return sent(client, before)


def sent(client, before):
    """Return what the client is sent beyond so many messages, once it is."""
    while len(client.channel.sent) == before:
        client.loop.run_once(1.0)
    return client.channel.sent[-1]


def test_where_no_threads_can_be_started_the_loop_syncs_a_large_one(large, monkeypatch):
    def fail(*args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(type(large.loop.system), 'spawn', fail)
    answered(large, 'tpc_finish', 1)
    assert large.storage.loadBefore(p64(1), maxtid)[0] == b'x' * 5000


def test_a_disk_that_does_not_finish_the_sync_of_a_large_one_keeps_no_client_waiting(
    large, monkeypatch, caplog
):
    monkeypatch.setattr('ZEO.serving.backends.disk_watch.LONGEST_SYNC', 0.05)
    may_end, sync_file = threading.Event(), GroupedFileStorage._sync_file

    def hangs(storage):
        assert may_end.wait(20)
        sync_file(storage)

    monkeypatch.setattr(GroupedFileStorage, '_sync_file', hangs)
    try:
        assert b'try again later' in answered(large, 'tpc_finish', 1)
        # the others are refused at once, and the operator sees why
        large.give(large.send('tpc_begin', 2, b'', b'', b'', None, ' '))
        large.give(large.send('storea', p64(2), z64, b'x', 2))
        assert b'try again later' in answered(large, 'vote', 2)
        assert 'has not finished a sync' in large.hosted.status()['error']
        assert 'commits are refused' in caplog.text and large.hosted.lock.holder is None
    finally:
        may_end.set()
    while large.hosted.backend.trouble:
        large.loop.run_once(1.0)
    assert 'commits go on' in caplog.text
    with pytest.raises(KeyError):
        large.storage.loadBefore(p64(1), maxtid)
    vote(large, 3)
    answered(large, 'tpc_finish', 3)
    assert large.storage.loadBefore(p64(3), maxtid)[0] == b'x' * 5000


def test_the_records_in_memory_are_all_forgotten(server):
    backend = server.hosted['1'].backend
    backend.records.keep(p64(1), (b'data', z64, None))
    backend.changed(p64(2), [p64(2)] * 100_001)
    assert backend.records.held == (0, 0)
