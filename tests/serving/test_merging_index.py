"""Places that lie over an index are found as if they were in it."""

import random
import threading

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.fsIndex import fsIndex
from ZODB.utils import p64, z64

from ZEO.net.system import System
from ZEO.serving import index_saving, merging, merging_index
from ZEO.serving.crash_safety import make_safe
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.serving.many import ManyPlaces
from ZEO.serving.merging_index import MergingIndex


def filled(numbers, place=1):
    index = fsIndex()
    index.update({p64(number): place for number in numbers})
    return index


@pytest.mark.parametrize('seed', range(5))
def test_whatever_is_done_it_answers_as_an_index_does(monkeypatch, seed):
    monkeypatch.setattr(merging_index, 'AT_ONCE', 7)
    rng = random.Random(seed)
    numbers = [rng.randrange(2**40) for _ in range(40)] + list(range(65_500, 65_600))
    plain, index = filled(numbers[::3]), MergingIndex(filled(numbers[::3]), threading.RLock())
    for step in range(2, 400):
        some = {p64(rng.choice(numbers)): step for _ in range(rng.randrange(1, 40))}
        what = rng.random()
        if what < 0.1:
            index.push(ManyPlaces(some), sum(oid not in plain for oid in some))
            plain.update(some)
        elif what < 0.3:
            index.update(some)
            plain.update(some)
        elif what < 0.4:
            oid = next(iter(some))
            assert (oid in index) == (oid in plain) == index.has_key(oid)
            for each in plain, index:
                if oid in plain or each is index:
                    try:
                        del each[oid]
                    except KeyError:
                        assert oid not in plain
        else:
            index.merge()
        assert len(index) == len(plain)
        for oid in some:
            assert index.get(oid) == plain.get(oid)
            assert index.get(oid, 0) == plain.get(oid, 0)
    with pytest.raises(KeyError):
        index[p64(2**50)]
    assert index.minKey() == plain.minKey()
    assert list(index) == list(plain) and index.items() == plain.items()
    assert not index.merge() and index.base.items() == plain.items()


def test_a_step_merges_a_part_whatever_the_size_is():
    index = MergingIndex(fsIndex(), threading.RLock())
    index.push(ManyPlaces({p64(number): 5 for number in range(10_500)}), 10_500)
    before, steps = 0, 0
    while index.merge():
        assert len(index.base) - before <= merging_index.AT_ONCE
        assert len(index) == 10_500
        before = len(index.base)
        steps += 1
    assert before == 10_500 and steps <= 15


def test_threads_find_everything_while_it_moves():
    index = MergingIndex(filled(range(0, 30_000, 2)), threading.RLock())
    index.push(ManyPlaces({p64(number): 2 for number in range(30_000)}), 15_000)
    ended, missed = threading.Event(), []

    def look():
        while not ended.is_set():
            missed.extend(n for n in range(0, 30_000, 97) if index.get(p64(n)) != 2)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        index.whole()
    finally:
        ended.set()
        thread.join()
    assert not missed


# In a storage.


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, 'LATER_MERGED', 20)
    monkeypatch.setattr(merging_index, 'AT_ONCE', 7)
    monkeypatch.setattr('ZEO.serving.few_calls.MOST_IN_MEMORY', 100)
    storage = GroupedFileStorage(str(tmp_path / 'Data.fs'))
    make_safe(storage, System())
    storage.merge_soon = lambda: None  # the test does it
    yield storage
    storage.close()


def commit(storage, numbers, serial=z64, data=b'data'):
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    for number in numbers:
        storage.store(p64(number), serial, data, '', meta)
    for _ in storage.voting(meta):
        pass
    storage.tpc_vote(meta)
    return storage.tpc_finish(meta)


def is_merging(storage):
    return isinstance(storage._index, MergingIndex)


def test_a_large_transaction_is_there_at_once_and_merged_in_steps(storage):
    commit(storage, range(5))
    large = commit(storage, range(50, 100))
    assert is_merging(storage) and len(storage) == 55
    assert storage.load(p64(99)) == (b'data', large)
    steps = 1
    while storage.merge():
        steps += 1
    assert steps >= 8 and not is_merging(storage) and len(storage) == 55


def test_the_next_transactions_see_it_while_it_is_merged(storage):
    first = commit(storage, range(1, 50))
    storage.merge()
    second = commit(storage, [1, 49], first, b'second')
    assert storage.load(p64(49)) == (b'second', second)
    assert storage.loadBefore(p64(49), second)[:2] == (b'data', first)
    commit(storage, range(100, 150))
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.undo(storage.undoLog(0, 5)[1]['id'], meta)
    storage.tpc_vote(meta)
    storage.tpc_finish(meta)
    assert storage.load(p64(49))[0] == b'data' and is_merging(storage)
    assert storage.record_iternext()[0] == p64(1)
    assert len(storage) == 99


def test_a_pack_meanwhile_replaces_it(storage):
    first = commit(storage, range(1, 50))
    commit(storage, range(1, 50), first, b'new')
    storage.pack(0x7FFFFFFF, lambda data: [], gc=False)
    assert not is_merging(storage) and len(storage) == 49
    assert storage.load(p64(7))[0] == b'new'
    assert not storage.merge()


@pytest.mark.parametrize('merged', [0, 3, 100])
def test_closing_saves_all_of_it(storage, merged):
    commit(storage, range(1, 50))
    for _ in range(merged):
        storage.merge()
    storage.close()
    again = FileStorage(storage._file_name)
    assert again._used_index and len(again) == 49
    assert again.load(p64(30))[0] == b'data'
    again.close()


def test_an_index_is_saved_when_it_is_whole_and_large_commits_meanwhile_are_not_in_it(
    storage, monkeypatch
):
    commit(storage, range(1, 50))
    assert not index_saving.save(storage)
    while storage.merge():
        pass
    real, saved = index_saving._Snapshot._read_on, []

    def committing(snapshot, end):
        real(snapshot, end)
        if not saved:
            saved.append(commit(storage, range(100, 160)))
            storage.merge()

    monkeypatch.setattr(index_saving._Snapshot, '_read_on', committing)
    assert index_saving.save(storage)
    assert saved and is_merging(storage)
    info = fsIndex.load(storage._file_name + '.index')
    assert len(info['index']) <= 49 + 60 and info['index'][p64(49)] == storage._index[p64(49)]


def test_a_failed_sync_takes_back_small_ones_that_came_after_it(storage, monkeypatch):
    first = commit(storage, range(1, 50))
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.store(p64(7), first, b'lost', '', meta)
    storage.store(p64(70), z64, b'lost', '', meta)
    storage.tpc_vote(meta)
    storage.postpone_sync(meta)
    storage.tpc_finish(meta)
    assert storage.load(p64(70))[0] == b'lost'
    storage.merge()

    def broken():
        raise OSError(5, 'broken')

    monkeypatch.setattr(storage, '_sync_file', broken)
    with pytest.raises(Exception, match='broken'):
        storage.sync()
    assert storage.load(p64(7)) == (b'data', first)
    assert p64(70) not in storage._index and len(storage) == 49


def test_without_a_server_the_index_is_whole_at_once(storage):
    storage.merge_soon = None
    commit(storage, range(1, 50))
    assert not is_merging(storage)
