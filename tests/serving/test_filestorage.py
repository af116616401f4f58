"""What a crash or a full disk leaves in a FileStorage, and what its last transactions have
changed.
"""

import os

import pytest
import transaction
import ZODB
from ZODB.blob import BlobStorage
from ZODB.Connection import TransactionMetaData
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.format import FileStorageFormatter
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, p64, u64, z64

from support.clock import Clock
from support.history import committed
from ZEO.net.system import System
from ZEO.serving import filestorage
from ZEO.serving.invalidations import Invalidations

A, B, C = p64(1), p64(2), p64(3)


@pytest.fixture
def opened(tmp_path):
    """A function that opens the FileStorage."""
    storages = []

    def open_storage(**options):
        storages.append(FileStorage(str(tmp_path / 'data.fs'), **options))
        return storages[-1]

    yield open_storage
    for storage in storages:
        storage.close()


def voted(storage, *oids, data=b'voted', serial=z64):
    """Have a transaction vote; its end is up to the test."""
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    for oid in oids:
        storage.store(oid, serial, data, '', meta)
    storage.tpc_vote(meta)
    return meta


def crashed(storage):
    """The process is killed: nothing is closed in an orderly way."""
    storage._lock_file.close()


@pytest.mark.parametrize('before', [[], [[A], [B]]], ids=['empty', 'two'])
@pytest.mark.parametrize('options', [{}, {'read_only': True}], ids=['', 'read-only'])
def test_the_last_transaction_is_the_last_whole_one(opened, before, options):
    """FileStorage itself says the tid of the one that it has cut off."""
    first = opened()
    last = committed(first, *before)[-1] if before else z64
    voted(first, C)
    crashed(first)
    again = opened(**options)
    assert again.lastTransaction() > last, (
        'FileStorage has become better: there is nothing to mend any more'
    )
    filestorage.take_last_whole_transaction(again)
    assert again.lastTransaction() == last
    if not options:
        assert committed(again, [A])[0] > last


def test_a_storage_without_a_fault_stays_as_it_is(opened):
    storage = opened()
    for _ in range(3):
        last = committed(storage, [A])[-1]
        filestorage.take_last_whole_transaction(storage)
        assert storage.lastTransaction() == last


def test_a_storage_that_ends_at_a_time_says_its_own_last_transaction(opened):
    storage = opened()
    tids = committed(storage, [A], [B], [C])
    storage.close()
    os.remove(storage.getName() + '.index')  # which has everything
    again = opened(read_only=True, stop=tids[2])
    filestorage.take_last_whole_transaction(again)
    assert again.lastTransaction() == tids[1]


def test_file_storages_are_found_within_wrappers(opened, tmp_path):
    storage = opened()
    assert filestorage.file_storages(storage) == [storage]
    assert filestorage.file_storages(BlobStorage(str(tmp_path / 'blobs'), storage)) == [storage]
    demo = DemoStorage(base=MappingStorage(), changes=DemoStorage(base=storage))
    assert filestorage.file_storages(demo) == [storage]
    assert filestorage.file_storages(MappingStorage()) == []


def test_oids_begin_behind_all_that_an_earlier_process_has_given_out(opened):
    """However many there were and whenever they were stored, if at all."""
    clock = Clock()
    given = []
    for seconds in (0.001, 3, 100):
        storage = opened()
        filestorage.skip_oids(storage, clock)
        given.append([storage.new_oid() for _ in range(1000)])
        if seconds == 3:
            committed(storage, [given[-1][0]])
        crashed(storage)
        clock.ahead += seconds
    everything = [oid for oids in given for oid in oids]
    assert everything == sorted(set(everything))


def test_oids_of_a_new_file_begin_with_one_and_only_once(opened):
    """Another process may find the file as empty as the one that has made it, and as soon as it
    likes.
    """
    first = []
    for _ in range(3):
        storage = opened()
        filestorage.skip_oids(storage, Clock())
        first.append(u64(storage.new_oid()))
        crashed(storage)
    assert first[0] == 1
    assert min(first[1:]) > 2**40


def test_a_storage_that_has_given_out_oids_is_not_new(opened):
    """An embedding program serves it once more."""
    storage = opened()
    filestorage.skip_oids(storage, Clock())
    assert u64(storage.new_oid()) == 1
    filestorage.skip_oids(storage, Clock())
    assert u64(storage.new_oid()) > 2**40


def test_a_file_whose_times_can_not_be_set_is_not_taken_for_new(opened, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError

    storage = opened()
    monkeypatch.setattr(filestorage.os, 'utime', refuse)
    filestorage.skip_oids(storage, Clock())
    assert u64(storage.new_oid()) > 2**40


def test_oids_that_are_stored_and_beyond_the_clock_are_left_behind(opened):
    """The clock has gone back, or the database comes from a storage with oids of another kind."""
    storage = opened()
    high = p64(2**62)
    committed(storage, [high])
    filestorage.skip_oids(storage, Clock())
    assert u64(storage.new_oid()) > u64(high) + filestorage.OIDS_PER_SECOND


def test_processes_with_a_clock_behind_stored_oids_do_not_give_out_the_same_ones(opened):
    """Though nothing is stored in between: clients keep what they were given over a restart."""
    clock, given = Clock(), []
    storage = opened()
    committed(storage, [p64(2**62)])
    for _ in range(3):
        filestorage.skip_oids(storage, clock)
        given += [storage.new_oid() for _ in range(1000)]
        crashed(storage)
        clock.ahead += 3
        storage = opened()
    assert len(set(given)) == len(given)


def test_storages_without_oids_of_that_kind_are_left_alone():
    storage = MappingStorage()
    filestorage.skip_oids(storage, Clock())
    assert u64(storage.new_oid()) == 1


def test_what_failed_is_in_no_buffer_and_not_in_the_file(opened):
    """The truncation after a failed write fails as well, so that reads fill their buffers with what
    failed.
    """
    storage = opened()
    first = committed(storage, [A])[-1]
    size = os.path.getsize(storage.getName())
    meta = voted(storage, B, data=b'dirty')
    storage.loadBefore(A, maxtid)  # the buffer goes beyond this record
    storage._nextpos = 0  # as after a vote that has failed halfway
    storage.tpc_abort(meta)
    assert os.path.getsize(storage.getName()) > size
    storage.loadBefore(A, maxtid)
    filestorage.forget_failed(storage, meta)
    assert os.path.getsize(storage.getName()) == size and storage.lastTransaction() == first
    meta = voted(storage, B, data=b'clean')
    storage.tpc_finish(meta)
    assert storage.loadBefore(B, maxtid)[0] == b'clean'


def test_an_abort_that_failed_is_completed(opened, monkeypatch):
    storage = opened()
    committed(storage, [A])
    size = os.path.getsize(storage.getName())
    meta = voted(storage, B)
    monkeypatch.setattr(storage, '_abort', lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        storage.tpc_abort(meta)
    monkeypatch.undo()
    filestorage.forget_failed(storage, meta)
    assert os.path.getsize(storage.getName()) == size and storage.tpc_transaction() is None
    committed(storage, [B])


def test_a_transaction_of_another_one_is_not_cut_off(opened):
    """A program that has the storage open itself commits to it as well."""
    storage = opened()
    other = voted(storage, B, data=b'other')
    filestorage.forget_failed(storage, TransactionMetaData())
    storage.tpc_finish(other)
    assert storage.loadBefore(B, maxtid)[0] == b'other'


def test_a_closed_storage_is_left_alone(opened):
    storage = opened()
    committed(storage, [A])
    storage.close()
    filestorage.forget_failed(storage, TransactionMetaData())


def test_the_last_transactions_with_what_they_have_changed(opened):
    storage = opened()
    tids = committed(storage, [A], [B, C], [C], [A, B])
    assert filestorage.last_transactions(storage, 3, 100) == [
        (tids[3], [A, B]),
        (tids[2], [C]),
        (tids[1], [B, C]),
    ]
    assert len(filestorage.last_transactions(storage, 10, 100)) == 4
    assert [tid for tid, oids in filestorage.last_transactions(storage, 10, 3)] == tids[:1:-1]
    assert filestorage.last_transactions(storage, 10, 1) == []
    voted(storage, A, serial=tids[3])
    assert filestorage.last_transactions(storage, 1, 100) == [(tids[3], [A, B])]


def test_an_empty_storage_has_no_last_transactions(opened):
    assert filestorage.last_transactions(opened(), 10, 100) == []


def test_what_undo_and_large_metadata_leave_is_read_as_well(opened):
    database = ZODB.DB(opened())
    manager = transaction.TransactionManager()
    connection = database.open(manager)
    for number in range(3):
        connection.root()[number] = number
        manager.get().note('x' * 1000)
        manager.get().setUser('somebody')
        manager.commit()
    database.undo(database.undoInfo()[0]['id'], manager.get())
    manager.commit()
    storage = database.storage
    expected = [
        (transaction.tid, [record.oid for record in transaction])
        for transaction in storage.iterator()
    ]
    assert filestorage.last_transactions(storage, 100, 100) == expected[::-1]


def test_a_start_reads_as_many_transactions_as_are_remembered(opened, monkeypatch):
    """A large import of the same day costs nothing, nor does one that is too large to be
    remembered.
    """
    storage = opened()
    tids = committed(storage, list(map(p64, range(1, 3001))), *[[A]] * 5)
    read = []
    original = FileStorageFormatter._read_data_header
    monkeypatch.setattr(
        FileStorageFormatter,
        '_read_data_header',
        lambda self, pos, *args: read.append(pos) or original(self, pos, *args),
    )
    recent = Invalidations(storage, 4, None, System().wall_clock)
    assert len(read) == 4
    read.clear()
    recent = Invalidations(storage, 100, None, System().wall_clock, most=50)
    assert len(read) <= 60
    assert recent.since(tids[1], tids[-1]) == (tids[-1], [A])
    assert recent.since(tids[0], tids[-1]) is None


def test_a_storage_that_tells_its_last_transactions_is_not_iterated():
    class Told(MappingStorage):
        def lastInvalidations(self, size):
            return [
                (transaction.tid, [record.oid for record in transaction])
                for transaction in list(super().iterator())[-size:]
            ]

        def iterator(self, start=None, stop=None):
            raise AssertionError('it was iterated')

    storage = Told()
    tids = committed(storage, [A], [B], [C])
    recent = Invalidations(storage, 2, None, System().wall_clock)
    assert recent.since(tids[1], tids[2]) == (tids[2], [C])
    assert recent.since(tids[0], tids[2]) is None


def test_a_storage_that_does_not_tell_of_its_last_transaction_has_nothing_remembered():
    """A DemoStorage without changes, for one, whose base was written to a moment ago."""
    base = MappingStorage()
    tids = committed(base, [A], [B])
    storage = DemoStorage(base=base)
    storage.lastInvalidations = lambda size: [(tids[0], [A])]
    recent = Invalidations(storage, 10, None, System().wall_clock)
    assert recent.since(tids[1], tids[1]) == (tids[1], [])
    assert recent.since(tids[0], tids[1]) is None


@pytest.mark.parametrize(
    'error',
    [
        ValueError("Can't find last transaction in large file"),
        AttributeError('_scan_foreward'),
        OSError('gone'),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_iterator_that_stumbles_leaves_what_changed_unknown(error):
    """Half a transaction lies at the end of the file, on a disk that is full."""
    storage = MappingStorage()
    tids = committed(storage, [A], [B], [C])
    recent = Invalidations(storage, 1, 3600, System().wall_clock)
    assert (
        not recent.knows(tids[0], tids[2]) and recent.from_storage(tids[0], tids[2])[0] == tids[2]
    )

    def stumbles(start=None, stop=None):
        yield from list(MappingStorage.iterator(storage, start, stop))[:1]
        raise error

    storage.iterator = stumbles
    assert recent.from_storage(tids[0], tids[2]) is None


def test_so_many_oids_are_remembered():
    storage = MappingStorage()
    storage.lastTransaction = lambda: p64(10)
    recent = Invalidations(storage, 100, None, System().wall_clock, most=5)
    recent.add(p64(11), [A, B, C])
    recent.add(p64(12), [A, B])
    assert sorted(recent.since(p64(10), p64(12))[1]) == [A, B, C]
    recent.add(p64(13), [C])
    assert recent.since(p64(10), p64(13)) is None
    assert sorted(recent.since(p64(11), p64(13))[1]) == [A, B, C]
    recent.add(p64(14), [A] * 6)
    assert recent.since(p64(13), p64(14)) is None
    assert recent.since(p64(14), p64(14)) == (p64(14), [])
