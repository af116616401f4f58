"""Records kept in memory: always what the storage would return, within their bound, and only where
nobody else writes.
"""

import random

import pytest
import transaction
from ZODB import DB
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError
from ZODB.tests.hexstorage import HexStorage
from ZODB.utils import load_current, maxtid, p64, z64

from ZEO.serving.backends.recent import RecentRecords, keeps_to_itself


class Counted:
    """A storage that counts its loads."""

    def __init__(self, sizes):
        self.records = {p64(number): b'x' * size for number, size in enumerate(sizes)}
        self.loads = []

    def loadBefore(self, oid, tid):
        self.loads.append(oid)
        return self.records[oid], p64(7), None

    def lastTransaction(self):
        return p64(7)


def test_a_record_is_read_once():
    storage = Counted([10])
    records = RecentRecords(storage, 10_000)
    found = [records.load(p64(0), maxtid) for _ in range(5)]
    assert found == [(b'x' * 10, p64(7), None)] * 5
    assert len(storage.loads) == 1


def test_what_was_current_before_some_tid_is_for_the_storage_to_say():
    storage = Counted([10])
    records = RecentRecords(storage, 10_000)
    for tid in (maxtid, p64(8), p64(7), p64(3)):
        records.load(p64(0), tid)
    assert len(storage.loads) == 3


def test_what_has_changed_is_read_again():
    storage = Counted([10, 10])
    records = RecentRecords(storage, 10_000)
    for number in (0, 1):
        records.load(p64(number), maxtid)
    records.changed(p64(7), [p64(1), p64(99)])
    storage.records[p64(1)] = b'new'
    assert records.load(p64(1), maxtid)[0] == b'new'
    assert records.load(p64(0), maxtid)[0] == b'x' * 10
    assert len(storage.loads) == 3
    records.clear()
    records.load(p64(0), maxtid)
    assert len(storage.loads) == 4


def kept_by(records):
    return [*records._young.values(), *records._old.values()]


def test_memory_is_bounded_and_what_is_used_stays():
    storage = Counted([1000] * 500)
    records = RecentRecords(storage, 100_000)
    for number in range(500):
        records.load(p64(number), maxtid)
        records.load(p64(0), maxtid)
        if number % 3 == 0:
            records.changed(p64(7), [p64(number)] if number else [])
        kept = kept_by(records)
        assert sum(len(data) for data, _, _ in kept) <= 100_000
    assert storage.loads.count(p64(0)) == 1
    assert len(kept) > 20
    records.changed(p64(7), storage.records)
    assert kept_by(records) == []


@pytest.mark.parametrize('size, record', [(0, 10), (100_000, 50_000)])
def test_without_memory_and_for_large_records_the_storage_is_asked(size, record):
    storage = Counted([record])
    records = RecentRecords(storage, size)
    for _ in range(3):
        assert records.load(p64(0), maxtid)[0] == b'x' * record
    assert len(storage.loads) == 3


class Overriding(FileStorage):
    """Whose loads say something else."""

    def loadBefore(self, oid, tid):
        return super().loadBefore(oid, tid)


class Extended(FileStorage):
    """Whose loads are as ever."""


@pytest.mark.parametrize('kind, kept', [(FileStorage, True), (Extended, True), (Overriding, False)])
def test_files_are_kept_of(tmp_path, kind, kept):
    storage = kind(str(tmp_path / 'd'))
    assert keeps_to_itself(storage) is kept
    assert not keeps_to_itself(DemoStorage(base=storage))
    assert not keeps_to_itself(HexStorage(storage))
    storage.close()


def test_memory_needs_no_memory():
    assert not keeps_to_itself(MappingStorage())


def test_what_others_write_in_this_process_is_seen(tmp_path):
    storage = FileStorage(str(tmp_path / 'd'))
    records, database = RecentRecords(storage, 100_000), DB(storage)
    connection = database.open()
    for number in range(3):
        connection.root()['number'] = number
        transaction.commit()
        assert records.load(z64, maxtid) == storage.loadBefore(z64, maxtid)
    connection.close()
    database.close()


@pytest.mark.parametrize('seed', range(5))
def test_it_always_says_what_the_storage_says(tmp_path, seed):
    """Random commits, undos, packs and loads, as a server would tell of them."""
    chance = random.Random(seed)
    storage = FileStorage(str(tmp_path / 'd'))
    database = DB(storage)
    records = RecentRecords(storage, chance.choice([5_000, 1_000_000]))
    connection = database.open()
    root = connection.root()
    tids = [maxtid, p64(1)]
    for _ in range(150):
        work = chance.random()
        if work < 0.3:
            for _ in range(chance.randrange(1, 4)):
                name = chance.randrange(8)
                root[name] = type(root)({'data': 'x' * chance.randrange(2000)})
            if chance.random() < 0.2:
                root.pop(chance.randrange(8), None)
            transaction.commit()
            tids.append(storage.lastTransaction())
            records.changed(
                tids[-1],
                [record.oid for change in storage.iterator(start=tids[-1]) for record in change],
            )
        elif work < 0.35 and len(database.undoInfo()) > 1:  # there is a root object in any case
            database.undo(database.undoInfo()[0]['id'])
            transaction.commit()
            connection.sync()
            tids.append(storage.lastTransaction())
            records.changed(
                tids[-1],
                [record.oid for change in storage.iterator(start=tids[-1]) for record in change],
            )
        elif work < 0.37:
            database.pack()
            records.clear()
        oid, tid = p64(chance.randrange(40)), chance.choice([maxtid, maxtid, chance.choice(tids)])
        assert outcome(records.load, oid, tid) == outcome(storage.loadBefore, oid, tid)
    assert load_current(storage, p64(0))
    connection.close()
    database.close()


def outcome(load, oid, tid):
    try:
        return load(oid, tid)
    except POSKeyError:
        return 'no such object'
