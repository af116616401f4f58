"""One sync makes the transactions of several clients permanent: before, they are not seen."""

import errno
import os
import shutil
import tempfile
import threading

import pytest
from ZODB.config import storageFromString
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import StorageError
from ZODB.utils import maxtid, p64, z64

from server.conftest import Service
from server.test_wait_for_replicas import Follower, finishing, voted
from support.processes import wait_until
from support.scripted import PATIENCE
from ZEO.commands.start_switches import parse
from ZEO.config.storages import open_storages
from ZEO.Exceptions import ClientDisconnected
from ZEO.serving.backends import disk_watch, grouping
from ZEO.serving.grouped import GroupedFileStorage

OID, OTHER = p64(1), p64(2)


class Disk(GroupedFileStorage):
    """Its syncs in the thread wait until the test lets them go on, or fail."""

    def __init__(self, *args, **options):
        self.begun, self.may_end = threading.Semaphore(0), threading.Semaphore(0)
        super().__init__(*args, **options)

    def _sync_blobs(self, blobs):
        if threading.current_thread().name == 'ZEO sync':
            self.begun.release()
            assert self.may_end.acquire(timeout=PATIENCE)
        super()._sync_blobs(blobs)

    def finish_sync(self):
        """Let the sync end that has begun."""
        assert self.begun.acquire(timeout=PATIENCE)
        self.may_end.release()

    def close(self):
        self.may_end.release(100)
        super().close()


@pytest.fixture
def serve(tmp_path):
    """A function that starts a server with such a disk, and a client in a transaction: all syncs
    are in the thread, also where the disk is fast.
    """
    services, folder = [], tempfile.mkdtemp(prefix='zeo-', dir='/tmp')
    # not by the test's own monkeypatch, which would be undone after this
    worth, grouping.WORTH_A_THREAD = grouping.WORTH_A_THREAD, -1.0

    def start(**options):
        storage = Disk(str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'blobs'))
        services.append(Service(folder, storage, options))
        services[-1].client().begin(1, (p64(1000), z64, b'never finished'))
        wait_until(lambda: services[-1].hosted.stats.active_txns == 1)
        return services[-1]

    yield start
    for service in services:
        service.storage.may_end.release(100)
        service.close()
    grouping.WORTH_A_THREAD = worth
    shutil.rmtree(folder)


def failing(monkeypatch, number=errno.EIO, times=1):
    """Have syncs fail."""
    left, fsync = [None] * times, os.fsync

    def fail(fd):
        if left:
            left.pop()
            raise OSError(number, os.strerror(number))
        fsync(fd)

    monkeypatch.setattr(os, 'fsync', fail)


def test_a_commit_is_answered_and_seen_when_it_is_synced(serve):
    service = serve()
    client, reader = service.client(), service.client()
    before = reader.call('lastTransaction')
    finish = finishing(client, 1, (OID, z64, b'new'))
    assert service.storage.begun.acquire(timeout=PATIENCE)
    assert service.storage.lastTransaction() > before == reader.call('lastTransaction')
    assert reader.call('loadBefore', OID, maxtid) is None
    assert service.client().last == before
    assert not any(name == 'invalidateTransaction' for name, _ in reader.told)
    service.storage.may_end.release()
    tid = client.answer(finish)
    assert tid == reader.call('lastTransaction')
    assert ('invalidateTransaction', (tid, [OID])) in reader.told
    assert reader.call('loadBefore', OID, maxtid)[:2] == (b'new', tid)


def test_the_next_ones_are_written_meanwhile_and_share_a_sync(serve):
    service = serve()
    client, reader = service.client(), service.client()
    finishes = [finishing(client, 1, (OID, z64, b'data'))]
    assert service.storage.begun.acquire(timeout=PATIENCE)
    finishes += [finishing(client, n, (p64(n), z64, b'data')) for n in range(2, 7)]
    wait_until(lambda: len(service.hosted.backend._waiting) == 6)
    assert service.hosted.lock.holder is None
    service.storage.may_end.release(2)
    tids = [client.answer(finish) for finish in finishes]
    assert tids == sorted(tids)
    reader.call('ping')
    assert [args[0] for name, args in reader.told if name == 'invalidateTransaction'] == tids
    assert service.hosted.backend.syncing.shared.sum == 6
    assert service.hosted.backend.syncing.count == 2


def test_no_call_shows_what_is_not_synced(serve):
    service = serve()
    client, reader = service.client(), service.client()
    finish = finishing(client, 1, (OID, z64, b'old'))
    service.storage.finish_sync()
    old = client.answer(finish)
    finishing(client, 2, (OID, old, b'new'), (OTHER, z64, b'other'))
    assert service.storage.begun.acquire(timeout=PATIENCE)
    assert reader.call('loadBefore', OID, maxtid) == (b'old', old, None)
    assert reader.call('load_many', [OID, OTHER], maxtid) == [(b'old', old, None), None]
    assert reader.call('getTid', OID) == old
    assert [entry['tid'] for entry in reader.call('history', OID, 5)] == [old]
    assert len(reader.call('undoLog', 0, 5)) == len(reader.call('undoInfo', 0, -5)) == 1
    assert reader.call('record_iternext', None)[:3] == (OID, old, b'old')
    assert service.client().last == old == reader.call('lastTransaction')
    assert reader.call('getInvalidations', old) == (old, [])
    for one in (reader, Follower(service)):
        number = one.call('iterator_start', None, None)
        transactions, ended = one.call('iterator_batch', number)
        assert [transaction[0][0] for transaction in transactions] == [old] and ended


def test_a_follower_hears_of_it_when_it_is_synced_and_others_when_the_follower_has_it(serve):
    service = serve(wait_for_replicas=1, replica_timeout=PATIENCE)
    follower, client, reader = Follower(service), service.client(), service.client()
    finish = finishing(client, 1, (OID, z64, b'new'))
    assert service.storage.begun.acquire(timeout=PATIENCE)
    follower.call('ping')
    assert not any(name == 'invalidateTransaction' for name, _ in follower.told)
    service.storage.may_end.release()
    tid = follower.noticed()
    assert reader.call('lastTransaction') < tid
    follower.acknowledge(tid)
    assert client.answer(finish) == tid


def test_a_follower_that_is_not_waited_for_hears_of_it(serve):
    service = serve()
    follower, client = Follower(service), service.client()
    finish = finishing(client, 1, (OID, z64, b'new'))
    service.storage.finish_sync()
    assert follower.noticed() == client.answer(finish)


def test_a_conflict_with_what_is_not_synced_is_told_when_it_is(serve):
    service = serve()
    client, other = service.client(), service.client()
    finish = finishing(client, 1, (OID, z64, b'1'))
    assert service.storage.begun.acquire(timeout=PATIENCE)
    other.begin(1, (OID, z64, b'2'))
    vote = other.ask('vote', 1)
    other.call('ping')
    service.storage.may_end.release()
    with pytest.raises(LookupError, match='ConflictError'):
        other.answer(vote)
    assert ('invalidateTransaction', (client.answer(finish), [OID])) in other.told


@pytest.mark.parametrize('number', [errno.EIO, errno.ENOSPC])
def test_a_failed_sync_commits_none_of_those_that_wait_and_nothing_after(
    serve, monkeypatch, number
):
    service = serve()
    client, reader = service.client(), service.client()
    finish = finishing(client, 1, (OID, z64, b'old'))
    service.storage.finish_sync()
    old = client.answer(finish)
    size = service.storage.getSize()
    finishes = [finishing(client, 2, (OID, old, b'new')), finishing(client, 3, (OTHER, z64, b'x'))]
    voted(client, 4, (p64(4), z64, b'voted'))
    client.begin(5, (p64(5), z64, b'to vote'))
    vote = client.ask('vote', 5)
    client.call('ping')
    failing(monkeypatch, number)
    service.storage.finish_sync()
    for finish in finishes:
        with pytest.raises(LookupError, match='StorageError.*nothing of this transaction'):
            client.answer(finish)
    with pytest.raises(LookupError, match=r'StorageError.*takes no transactions.*start the server'):
        client.call('tpc_finish', 4)
    with pytest.raises(LookupError, match=r'StorageError.*takes no transactions.*start the server'):
        client.answer(vote)
    assert os.path.getsize(service.storage.getName()) == size
    assert reader.call('loadBefore', OID, maxtid) == (b'old', old, None)
    with pytest.raises(LookupError, match='POSKeyError'):
        reader.call('loadBefore', OTHER, maxtid)
    assert reader.call('lastTransaction') == old
    assert 'a sync of its file has failed' in service.hosted.status()['error']
    assert service.hosted.lock.holder is None


def test_it_is_not_known_what_has_become_of_them_where_the_disk_is_gone(serve, monkeypatch):
    service = serve()
    client = service.client()
    finish = finishing(client, 1, (OID, z64, b'new'))
    failing(monkeypatch, times=100)
    service.storage.finish_sync()
    with pytest.raises(LookupError, match='ClientDisconnected.*not known'):
        client.answer(finish)


def test_a_sync_that_does_not_end_leaves_no_client_waiting(serve, monkeypatch, caplog):
    monkeypatch.setattr(disk_watch, 'LONGEST_SYNC', 0.1)
    service = serve()
    client, reader = service.client(), service.client()
    finish = finishing(client, 1, (OID, z64, b'new'))
    with pytest.raises(LookupError, match='ClientDisconnected.*not known'):
        client.answer(finish)
    client.begin(2, (OTHER, z64, b'x'))
    with pytest.raises(LookupError, match='TransientError.*try again later'):
        client.call('vote', 2)
    service.storage.finish_sync()
    wait_until(lambda: reader.call('loadBefore', OID, maxtid) is not None)
    client.call('ping')
    assert any(name == 'invalidateTransaction' for name, _ in client.told)
    assert 'commits go on' in caplog.text


def test_what_has_no_room_waits_for_the_sync_with_the_lock(serve, monkeypatch):
    monkeypatch.setattr(grouping, 'MOST_TRANSACTIONS', 2)
    service = serve()
    client = service.client()
    finishes = [finishing(client, n, (p64(n), z64, b'data')) for n in range(1, 4)]
    wait_until(lambda: service.hosted.backend._postponed is not None)
    assert service.hosted.lock.holder is not None
    service.storage.may_end.release(len(finishes))
    tids = [client.answer(finish) for finish in finishes]
    assert tids == sorted(tids)


@pytest.fixture
def alone(tmp_path):
    """A server with such a disk, and its only client."""
    folder = tempfile.mkdtemp(prefix='zeo-', dir='/tmp')
    service = Service(folder, Disk(str(tmp_path / 'Data.fs')), {})
    yield service, service.client()
    service.storage.may_end.release(100)
    service.close()
    shutil.rmtree(folder)


def test_a_client_alone_is_synced_in_the_loop(alone):
    service, client = alone
    client.commit(1, (OID, z64, b'1'))
    assert service.hosted.backend.syncing.count == 1
    assert not service.storage.begun.acquire(blocking=False)


def chained(client, first, last):
    """Have a client commit transactions, each after the one before; the numbers of the calls."""
    asked = []
    for number in range(first, last):
        client.begin(number, (p64(number), z64, b'data'))
        asked.append(client.ask('commit_after', number, number - 1 if number > 1 else None))
    return asked


def test_what_a_client_commits_without_waiting_shares_a_sync(alone):
    service, client = alone
    asked = chained(client, 1, 2)
    assert service.storage.begun.acquire(timeout=PATIENCE)
    asked += chained(client, 2, 9)
    wait_until(lambda: len(service.hosted.backend._waiting) == 8)
    assert client.call('lastTransaction') == z64
    service.storage.may_end.release(2)
    tids = [client.answer(one) for one in asked]
    assert tids == sorted(set(tids))
    assert service.hosted.backend.syncing.count == 2


def test_a_failed_sync_commits_none_of_what_a_client_has_chained(alone, monkeypatch):
    service, client = alone
    before = service.storage.getSize()
    asked = chained(client, 1, 6)
    assert service.storage.begun.acquire(timeout=PATIENCE)
    wait_until(lambda: len(service.hosted.backend._waiting) == 5)
    failing(monkeypatch)
    service.storage.may_end.release()
    for first, last in ((1, 6), (6, 8)):
        for one in asked or chained(client, first, last):
            with pytest.raises(LookupError, match='StorageError|StorageTransactionError'):
                client.answer(one)
        asked = []
    assert service.storage.getSize() == before and client.call('lastTransaction') == z64
    assert service.hosted.lock.holder is None and not service.hosted.stats.active_txns


def test_a_server_that_is_closed_has_synced_what_is_written(serve):
    service = serve()
    finishing(service.client(), 1, (OID, z64, b'1'))
    wait_until(lambda: len(service.hosted.backend._waiting) == 1)
    service.server.close()
    assert FileStorage(service.storage.getName(), read_only=True).loadBefore(OID, maxtid)


def test_what_is_undone_packed_or_has_a_blob_is_grouped_as_well(serve, tmp_path):
    service = serve()
    storage = service.storage
    storage.may_end.release(100)
    client = service.client()
    first = client.commit(1, (z64, z64, b'(cpersistent.mapping\nPersistentMapping\nq\x01.}.'))
    second = client.commit(2, (z64, first, b'(cpersistent.mapping\nPersistentMapping\nq\x01.}q\2.'))
    undo = client.call('undoLog', 0, 1)[0]['id']
    client.begin(3)
    client.tell('undoa', undo, 3)
    client.call('vote', 3)
    third = client.call('tpc_finish', 3)
    found = client.call('loadBefore', z64, maxtid)
    assert first < second < third == found[1]
    client.call('pack', 2e9, True)
    assert client.call('loadBefore', z64, maxtid) == found
    assert client.commit(4, (OTHER, z64, b'after the pack')) > third


class Plain:
    """Commits the same to any FileStorage."""

    def __init__(self, storage):
        self.storage = storage
        self.serials = {}

    def commit(self, number, *oids, grouped=False):
        meta = TransactionMetaData('user', f'number {number}')
        storage = self.storage
        storage.tpc_begin(meta, p64(0x03E0000000000000 + number))
        for oid in oids:
            storage.store(oid, self.serials.get(oid, z64), b'data %d' % number * 50, '', meta)
            self.serials[oid] = storage._tid
        storage.tpc_vote(meta)
        if grouped:
            storage.postpone_sync(meta)
        storage.tpc_finish(meta)


def test_the_file_is_equal_to_that_of_a_file_storage(tmp_path):
    plain = Plain(FileStorage(str(tmp_path / 'plain.fs')))
    grouped = Plain(GroupedFileStorage(str(tmp_path / 'grouped.fs')))
    for number in range(1, 40):
        oids = {p64(number % 5), p64(number % 7), p64(number)}
        plain.commit(number, *sorted(oids))
        grouped.commit(number, *sorted(oids), grouped=number % 4)
        if not number % 6:
            grouped.storage.sync()
    plain.storage.close(), grouped.storage.close()
    assert (tmp_path / 'plain.fs').read_bytes() == (tmp_path / 'grouped.fs').read_bytes()
    assert (tmp_path / 'plain.fs.index').read_bytes() == (
        tmp_path / 'grouped.fs.index'
    ).read_bytes()


def test_a_file_storage_whose_sync_fails_is_as_it_was_before(tmp_path, monkeypatch):
    """The class by itself, as a database has it."""
    storage = Plain(GroupedFileStorage(str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'b')))
    storage.commit(1, OID)
    storage.commit(2, OID, OTHER, grouped=True)
    failing(monkeypatch)
    with pytest.raises(StorageError, match='nothing of this transaction was committed'):
        storage.commit(3, OTHER)
    assert storage.storage.loadBefore(OID, maxtid)[0] == b'data 1' * 50
    assert OTHER not in storage.storage._index
    with pytest.raises(StorageError, match='takes no transactions'):
        storage.commit(4, OTHER)
    storage.storage.close()
    again = FileStorage(str(tmp_path / 'Data.fs'))
    assert len(list(again.iterator())) == 1
    again.close()


def meanwhile(monkeypatch, call):
    """Have `call` called by the next sync, when the disk has everything."""
    calls, fsync = [call], os.fsync

    def sync(fd):
        fsync(fd)
        if calls:
            calls.pop()()

    monkeypatch.setattr(os, 'fsync', sync)


def test_what_was_cut_off_while_the_disk_said_that_it_has_it_is_not_committed(
    tmp_path, monkeypatch
):
    """The sync has succeeded; before its thread has the lock, another transaction finds the disk
    broken, and what was not known to be synced is cut off.
    """
    writer = Plain(GroupedFileStorage(str(tmp_path / 'Data.fs')))
    storage = writer.storage
    writer.commit(1, OID)
    writer.commit(2, OID, grouped=True)

    def fails():
        with monkeypatch.context() as patched:
            failing(patched)
            with pytest.raises(StorageError, match='nothing of this transaction was committed'):
                writer.commit(3, OTHER)

    meanwhile(monkeypatch, fails)
    with pytest.raises(StorageError, match='nothing of this transaction was committed'):
        storage.sync()
    assert storage.loadBefore(OID, maxtid)[0] == b'data 1' * 50
    storage.close()


def test_what_is_not_cut_off_may_be_there_though_no_sync_had_begun(tmp_path, monkeypatch):
    """The disk is gone, so that it is not known whether what waits for a sync is on it."""
    writer = Plain(GroupedFileStorage(str(tmp_path / 'Data.fs')))
    writer.commit(1, OID)
    writer.commit(2, OID, grouped=True)
    failing(monkeypatch, times=100)
    for _ in range(2):
        with pytest.raises(ClientDisconnected, match='it is not known whether'):
            writer.storage.sync()
    writer.storage.close()


def test_what_another_sync_has_made_permanent_is_committed(serve, monkeypatch):
    """As one at the end of a pack, before that of the server's thread, which fails."""
    service = serve()
    client, reader = service.client(), service.client()
    sync = service.storage.sync

    def fails_behind_another():
        sync()
        failing(monkeypatch)
        return sync()

    service.storage.sync = fails_behind_another
    service.storage.may_end.release(2)
    finish = finishing(client, 1, (OID, z64, b'data'))
    assert reader.call('lastTransaction') <= client.answer(finish)
    assert reader.call('loadBefore', OID, maxtid)[0] == b'data'
    client.begin(2, (OTHER, z64, b'data'))
    with pytest.raises(LookupError, match='takes no transactions'):
        client.call('vote', 2)


def test_a_conflict_that_the_client_resolves_is_handed_over_when_it_can_be_read(serve):
    service = serve(client_conflict_resolution=True)
    client, other = service.client(), service.client()
    finish = finishing(client, 1, (OID, z64, b'old'))
    service.storage.finish_sync()
    old = client.answer(finish)
    finish = finishing(client, 2, (OID, old, b'1'))
    assert service.storage.begun.acquire(timeout=PATIENCE)
    other.begin(1, (OID, old, b'2'))
    vote = other.ask('vote', 1)
    other.call('ping')
    service.storage.may_end.release()
    new = client.answer(finish)
    (conflict,) = other.answer(vote)
    assert conflict['oid'] == OID and conflict['serials'] == (new, old)


def test_a_conflict_with_what_a_failed_sync_has_lost_is_refused_at_once(serve, monkeypatch):
    service = serve(client_conflict_resolution=True)
    client, finish, other, vote = conflicting(service)
    other.call('ping')
    failing(monkeypatch)
    service.storage.may_end.release()
    with pytest.raises(LookupError, match='nothing of this transaction'):
        client.answer(finish)
    with pytest.raises(LookupError, match=r'StorageError.*nothing of this transaction'):
        other.answer(vote)


def test_the_section_has_the_keys_of_a_file_storage(tmp_path):
    text = f"""
    %import ZEO
    <grouped-filestorage>
      path {tmp_path}/Data.fs
      blob-dir {tmp_path}/blobs
      pack-keep-old off
      quota 1MB
      packer ZODB.FileStorage.FileStorage:FileStorage.packer
    </grouped-filestorage>
    """
    storage = storageFromString(text)
    assert type(storage) is GroupedFileStorage
    assert storage._quota == 1 << 20 and not storage.pack_keep_old and storage.blob_dir
    assert storage.packer is FileStorage.packer
    storage.close()


@pytest.mark.parametrize('grouped', [True, False])
def test_start_groups_unless_it_is_told_not_to(tmp_path, grouped):
    switches = [] if grouped else ['--no-group-commit']
    options = parse(['-p', '0', *switches, str(tmp_path / 'Data.fs')])
    assert options.no_group_commit is not grouped
    opened = open_storages([], options.file_name, grouped=not options.no_group_commit)
    assert isinstance(opened['1'], GroupedFileStorage) is grouped
    opened['1'].close()


def sync_is_late(service):
    """Have the server find that a sync takes too long, without the wait."""
    service.hosted.loop.from_thread(service.hosted.backend._sync_is_late)


def test_what_waits_for_room_is_refused_when_the_sync_does_not_end(serve, monkeypatch):
    monkeypatch.setattr(grouping, 'MOST_TRANSACTIONS', 2)
    service = serve()
    client = service.client()
    finishes = [finishing(client, n, (p64(n), z64, b'data')) for n in range(1, 4)]
    wait_until(lambda: service.hosted.backend._postponed is not None)
    sync_is_late(service)
    for finish in finishes[:2]:
        with pytest.raises(LookupError, match='ClientDisconnected.*not known'):
            client.answer(finish)
    with pytest.raises(LookupError, match='TransientError.*try again later'):
        client.answer(finishes[2])
    service.storage.may_end.release(100)
    wait_until(lambda: not service.hosted.backend._disk.is_late)
    assert client.commit(4, (p64(4), z64, b'data'))
    assert [oid in service.storage._index for oid in map(p64, range(1, 5))] == [1, 1, 0, 1]


def test_what_was_voted_for_before_is_refused_then_as_well(serve):
    service = serve()
    client = service.client()
    first = finishing(client, 1, (OID, z64, b'1'))
    voted(client, 2, (OTHER, z64, b'2'))
    sync_is_late(service)
    with pytest.raises(LookupError, match='ClientDisconnected.*not known'):
        client.answer(first)
    with pytest.raises(LookupError, match='TransientError.*try again later'):
        client.call('tpc_finish', 2)
    assert service.hosted.lock.holder is None


def conflicting(service):
    """Two clients, the second of which votes with a conflict with what is not synced."""
    client, other = service.client(), service.client()
    finish = finishing(client, 1, (OID, z64, b'old'))
    service.storage.finish_sync()
    old = client.answer(finish)
    finish = finishing(client, 2, (OID, old, b'1'))
    assert service.storage.begun.acquire(timeout=PATIENCE)
    other.begin(1, (OID, old, b'2'))
    return client, finish, other, other.ask('vote', 1)


@pytest.mark.parametrize('resolves', [False, True])
def test_a_conflict_with_what_is_not_synced_is_told_when_the_sync_does_not_end(serve, resolves):
    service = serve(client_conflict_resolution=resolves)
    client, finish, other, vote = conflicting(service)
    other.call('ping')
    sync_is_late(service)
    with pytest.raises(LookupError, match='not known'):
        client.answer(finish)
    with pytest.raises(LookupError, match='ConflictError'):
        other.answer(vote)
    assert service.hosted.lock.holder is None


@pytest.mark.parametrize('resolves', [False, True])
def test_a_conflict_that_is_found_then_is_told_at_once(serve, resolves):
    """In a transaction that has begun to vote before."""
    service = serve(client_conflict_resolution=resolves)
    store = service.storage.store

    def late_store(oid, serial, data, *args):
        if data == b'2':
            service.hosted.backend._sync_is_late()
        store(oid, serial, data, *args)

    service.storage.store = late_store
    client, finish, other, vote = conflicting(service)
    with pytest.raises(LookupError, match='not known'):
        client.answer(finish)
    with pytest.raises(LookupError, match='ConflictError'):
        other.answer(vote)
    assert service.hosted.lock.holder is None


def without_threads(service, monkeypatch, times):
    """Have no thread be started for a while."""
    left, spawn = [None] * times, type(service.hosted.loop.system).spawn

    def fail(system, name, *args):
        if left and name == 'ZEO sync':
            left.pop()
            raise RuntimeError("can't start new thread")
        return spawn(system, name, *args)

    monkeypatch.setattr(type(service.hosted.loop.system), 'spawn', fail)


def test_where_no_thread_can_be_started_the_loop_syncs_and_later_a_thread(
    serve, monkeypatch, caplog
):
    service = serve()
    client, reader = service.client(), service.client()
    without_threads(service, monkeypatch, times=2)
    for number in (1, 2):
        tid = client.commit(number, (p64(number), z64, b'data'))
        assert reader.call('loadBefore', p64(number), maxtid) == (b'data', tid, None)
    assert not service.storage.begun.acquire(blocking=False)  # no thread has begun
    assert 'no thread can be started to sync it' in caplog.text
    finish = finishing(client, 3, (p64(3), z64, b'data'))
    service.storage.finish_sync()
    assert client.answer(finish) > tid


def test_a_sync_that_fails_in_the_loop_commits_nothing(serve, monkeypatch):
    service = serve()
    client, reader = service.client(), service.client()
    without_threads(service, monkeypatch, times=1)
    failing(monkeypatch)
    finish = finishing(client, 1, (OID, z64, b'lost'))
    with pytest.raises(LookupError, match='StorageError.*nothing of this transaction'):
        client.answer(finish)
    with pytest.raises(LookupError, match='POSKeyError'):
        reader.call('loadBefore', OID, maxtid)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_what_ends_a_process_ends_the_loop_also_while_that_syncs(serve, monkeypatch):
    service = serve()
    without_threads(service, monkeypatch, times=1)

    def ended():
        raise SystemExit

    monkeypatch.setattr(service.storage, 'sync', ended)
    finishing(service.client(), 1, (OID, z64, b'data'))
    service.thread.join(PATIENCE)
    assert not service.thread.is_alive()


@pytest.mark.parametrize('grouped', [True, False], ids=['several', 'alone'])
def test_blobs_are_on_the_disk_before_the_transactions_that_have_stored_them(
    tmp_path, monkeypatch, grouped
):
    storage = GroupedFileStorage(str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'blobs'))
    synced, fsync = [], os.fsync

    def note(fd):
        synced.append(os.fstat(fd).st_ino)
        fsync(fd)

    for number in (1, 2):
        meta = TransactionMetaData()
        storage.tpc_begin(meta)
        (tmp_path / 'blob').write_bytes(b'data')
        storage.storeBlob(p64(number), z64, b'record', str(tmp_path / 'blob'), '', meta)
        storage.tpc_vote(meta)
        if grouped:
            storage.postpone_sync(meta)
        monkeypatch.setattr(os, 'fsync', note)
        storage.tpc_finish(meta)
    if grouped:
        assert synced == []
        storage.sync()
    files = [storage.fshelper.getBlobFilename(p64(n), storage.getTid(p64(n))) for n in (1, 2)]
    order = [os.stat(name).st_ino for name in (*files, storage.getName())]
    assert [one for one in synced if one in order] == (
        order if grouped else [order[0], order[2], order[1], order[2]]
    )
    storage.close()


def test_a_pack_does_not_sync_beside_a_commit(tmp_path, monkeypatch):
    """The system tells one of them only that the disk has failed."""
    storage = GroupedFileStorage(str(tmp_path / 'Data.fs'))
    other = TransactionMetaData()
    storage.tpc_begin(other)
    storage.store(OID, z64, b'data', '', other)
    storage.tpc_vote(other)
    synced, waits = [], threading.Event()
    commit_lock, sync = storage._commit_lock, storage.sync

    class Lock:
        def __enter__(self):
            waits.set()
            commit_lock.acquire()

        def __exit__(self, *args):
            commit_lock.release()

    monkeypatch.setattr(FileStorage, 'pack', lambda self, t, referencesf, gc: None)
    monkeypatch.setattr(storage, 'sync', lambda: synced.append(sync()))
    monkeypatch.setattr(storage, '_commit_lock', Lock())
    monkeypatch.setattr('ZEO.serving.grouped.replace_index', lambda storage: None)
    storage._index_waits = True
    thread = threading.Thread(target=storage.pack, args=(0.0, None))
    thread.start()
    try:
        assert waits.wait(PATIENCE) and not synced
        monkeypatch.setattr(storage, '_commit_lock', commit_lock)
        tid = storage.tpc_finish(other)
    finally:
        thread.join(PATIENCE)
    assert synced == [tid]
    storage.close()
