"""The client cache in a file: what it keeps, whom it refuses, and what it does when it cannot
write.
"""

import errno
import logging
import os
import random
import resource
import threading

import pytest
from ZODB.utils import p64

from support.cache_stream import Stream, data_of, wrong_records
from support.inside import record_index, revisions_of, ring_of
from support.killed_cache import leave
from ZEO.cache import ClientCache, cache_file, format, opening, recovery, resizing
from ZEO.cache.index import PLACE_SHIFT
from ZEO.cache.inspection import inspect
from ZEO.cache.ring import NotStored
from ZEO.Exceptions import ClientStorageError
from ZEO.link.caches import open_cache
from ZEO.link.options import CacheOptions

SIZE = 1_000_000


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'x-1.zec')


def fill(cache, count, size=100, tid=1):
    for i in range(count):
        cache.store(p64(i), p64(tid), None, bytes([i % 256]) * size)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_kept_from_one_run_to_the_next(path):
    cache = ClientCache(path, SIZE)
    fill(cache, 1000)
    cache.invalidate(p64(7), p64(5))
    cache.setLastTid(p64(5))
    before = set(cache.contents())
    cache.close()
    cache = ClientCache(path, SIZE)
    assert set(cache.contents()) == before
    assert len(cache) == 1000
    assert cache.getLastTid() == p64(5)
    assert cache.load(p64(8)) == (b'\x08' * 100, p64(1))
    assert cache.loadBefore(p64(7), p64(5)) == (b'\x07' * 100, p64(1), p64(5))
    cache.close()
    assert os.path.getsize(path) <= SIZE


def test_saved_index_is_used_and_void_once_the_file_is_open(path, monkeypatch):
    cache = ClientCache(path, SIZE)
    fill(cache, 100)
    cache.close()
    scans = []
    real = opening.recover
    monkeypatch.setattr(opening, 'recover', lambda *args: scans.append(1) or real(*args))
    cache = ClientCache(path, SIZE)
    assert scans == []
    cache.store(p64(1000), p64(1), None, b'new')
    leave(cache)
    cache = ClientCache(path, SIZE)
    assert scans == [1]
    assert len(cache) == 101
    cache.close()


@pytest.mark.parametrize('seed', range(10))
def test_saved_index_knows_all_that_is_in_the_file(path, seed):
    """Records slide on to make room for the index itself: forgotten by it, they could never be
    invalidated.
    """
    chooser = random.Random(seed)
    cache = ClientCache(path, 32 * 1024)
    for number in range(300):
        oid = p64(chooser.randrange(100))
        cache.invalidate(oid, p64(number + 2))
        cache.store(oid, p64(number + 2), None, oid * chooser.randrange(1, 40))
        for oid in chooser.choices(range(100), k=5):
            cache.load(p64(oid))
    cache.close()
    assert inspect(path).problems == []
    cache = ClientCache(path, 32 * 1024)
    revisions = revisions_of(cache)
    assert sorted(revisions.places()) == [
        entry.place for entry in recovery.verify(revisions._file) if entry.header is not None
    ]
    assert None not in map(revisions.header, revisions.places())
    cache.close()


def test_checker_sees_an_index_that_does_not_know_all(path):
    cache = ClientCache(path, SIZE)
    fill(cache, 10)
    record_index(cache).remove(3)
    record_index(cache).set(11, 77 << PLACE_SHIFT)
    cache.close()
    assert inspect(path).problems == [
        'the saved index lacks 1 of the records, and has 1 that are not there'
    ]


def test_invalidation_is_in_the_file_too(path):
    cache = ClientCache(path, SIZE)
    cache.store(p64(1), p64(1), None, b'1')
    cache.invalidate(p64(1), p64(2))
    cache.setLastTid(p64(2))
    leave(cache)
    cache = ClientCache(path, SIZE)
    assert cache.load(p64(1)) is None
    assert cache.loadBefore(p64(1), p64(2)) == (b'1', p64(1), p64(2))
    cache.close()


def test_forgotten_and_replaced_revisions_are_gone_from_the_file(path):
    cache = ClientCache(path, SIZE)
    cache.store(p64(1), p64(1), None, b'1')
    cache.invalidate(p64(1), None)
    cache.store(p64(2), p64(1), None, b'1')
    cache.store(p64(2), p64(3), None, b'3')
    leave(cache)
    cache = ClientCache(path, SIZE)
    assert list(cache.contents()) == [(p64(2), p64(3), None)]
    cache.close()


def test_clear_is_in_the_file_too(path):
    cache = ClientCache(path, SIZE)
    fill(cache, 100)
    cache.setLastTid(p64(1))
    cache.clear()
    cache.store(p64(1), p64(2), None, b'after')
    leave(cache)
    cache = ClientCache(path, SIZE)
    assert list(cache.contents()) == [(p64(1), p64(2), None)]
    assert cache.getLastTid() is None
    cache.close()


def test_hot_records_follow_invalidations(path):
    cache = ClientCache(path, SIZE)
    cache.store(p64(1), p64(1), None, b'1')
    for _ in range(5):
        cache.load(p64(1))
    assert p64(1) in cache._hot.records
    cache.invalidate(p64(1), p64(1))
    assert cache.load(p64(1)) == (b'1', p64(1))
    cache.invalidate(p64(1), p64(2))
    assert cache.load(p64(1)) is None
    assert cache.loadBefore(p64(1), p64(2)) == (b'1', p64(1), p64(2))
    cache.store(p64(1), p64(2), None, b'2')
    for _ in range(5):
        cache.load(p64(1))
    cache.store(p64(1), p64(3), None, b'3')
    assert cache.load(p64(1)) == (b'3', p64(3))
    cache.clear()
    assert cache.load(p64(1)) is None
    cache.close()


def test_hot_record_that_the_file_has_lost_is_invalidated_too(path):
    cache = ClientCache(path, SIZE)
    cache.store(p64(1), p64(1), None, b'1')
    for _ in range(5):
        cache.load(p64(1))
    record_index(cache).remove(1)  # as an eviction that could keep nothing more
    assert cache.load(p64(1)) == (b'1', p64(1))
    cache.invalidate(p64(1), p64(2))
    assert cache.load(p64(1)) is None
    cache.close()


def test_hot_record_whose_end_the_server_tells(path):
    cache = ClientCache(path, SIZE)
    cache.store(p64(1), p64(1), None, b'1')
    for _ in range(5):
        cache.load(p64(1))
    cache.store(p64(1), p64(1), p64(2), b'1')
    assert cache.load(p64(1)) is None
    cache.close()


def test_reader_that_finds_an_ended_revision_does_not_serve_it(path):
    cache = ClientCache(path, SIZE)
    cache.store(p64(1), p64(1), None, b'1')
    value = record_index(cache).get(1)
    cache.invalidate(p64(1), p64(2))
    record_index(cache).set(1, value)  # what a reader saw just before
    assert cache.load(p64(1)) is None
    cache.close()


@pytest.mark.parametrize('place', format.STATE_PLACES)
def test_no_state_from_before_opening_is_left(path, place):
    cache = ClientCache(path, SIZE)
    fill(cache, 10)
    cache.setLastTid(p64(1))
    cache.close()
    cache = ClientCache(path, SIZE)
    cache.store(p64(20), p64(2), None, b'new')
    leave(cache)
    with open(path, 'r+b') as file:
        file.seek(place)
        file.write(b'damage')
    cache = ClientCache(path, SIZE)
    assert cache.load(p64(20)) == (b'new', p64(2))  # it was scanned, not taken for closed properly
    cache.close()


def test_no_record_is_left_behind_the_last_one(path):
    cache = ClientCache(path, 10_000)
    for i in range(500):
        cache.store(p64(i), p64(1), None, b'x' * (i * 37 % 900))
        ring = ring_of(cache)
        with open(path, 'rb') as file:
            file.seek(ring.hand * format.UNIT)
            gap = file.read((ring.gap_end - ring.hand) * format.UNIT)
            assert format.RECORD_MAGIC not in gap
            file.seek(0)
            records = file.read().count(format.RECORD_MAGIC)
        assert records == len(cache)
    cache.close()


def test_use_that_is_counted_late_brings_nothing_back(path):
    cache = ClientCache(path, SIZE)
    cache.store(p64(1), p64(1), None, b'1')
    cache.load(p64(1))
    cache.load(p64(1))
    value = record_index(cache).get(1)
    cache.invalidate(p64(1), p64(2))
    cache._count_use(p64(1), 1, value, (b'1', p64(1)))  # by a reader that was held up
    assert cache.load(p64(1)) is None
    cache.close()


def test_hot_records_stay_in_the_file(path):
    cache = ClientCache(path, SIZE)
    cache.store(p64(1), p64(1), None, b'hot')
    for i in range(1000, 9000):
        cache.store(p64(i), p64(1), None, b'x' * 1000)
        cache.load(p64(1))
    cache.close()
    cache = ClientCache(path, SIZE)
    assert cache.load(p64(1)) == (b'hot', p64(1))
    cache.close()


def test_large_records(path):
    cache = ClientCache(path, SIZE)
    cache.store(p64(1), p64(1), None, b'x' * 300_000)
    cache.store(p64(2), p64(1), None, b'x' * 600_000)  # more than half of the file
    leave(cache)
    cache = ClientCache(path, SIZE)
    assert cache.load(p64(1)) == (b'x' * 300_000, p64(1))
    assert cache.load(p64(2)) is None
    cache.close()


def test_size_is_never_exceeded_and_what_is_used_stays(path):
    cache = ClientCache(path, SIZE)
    fill(cache, 100, size=1000)
    for i in range(1000, 6000):
        cache.store(p64(i), p64(1), None, b'x' * 1000)
        cache.load(p64(i % 100))
    assert sum(cache.load(p64(i)) is not None for i in range(100)) == 100
    assert os.path.getsize(path) <= SIZE
    cache.close()


def test_revisions_that_are_not_current_go_first(path):
    cache = ClientCache(path, SIZE)
    fill(cache, 900, size=1000)
    for i in range(0, 900, 2):
        cache.invalidate(p64(i), p64(2))
    for i in range(1000, 1300):
        cache.store(p64(i), p64(1), None, b'x' * 1000)
    assert all(cache.load(p64(i)) is not None for i in range(1, 900, 2))
    assert all(cache.load(p64(i)) is not None for i in range(1000, 1300))
    cache.close()


def test_an_object_that_changes_all_the_time_keeps_its_last_revisions(path):
    cache = ClientCache(path, SIZE)
    for tid in range(1, 30):
        cache.invalidate(p64(1), p64(tid))
        cache.store(p64(1), p64(tid), None, b'%d' % tid)
    last = [(p64(1), p64(tid), p64(tid + 1)) for tid in range(21, 29)]
    assert sorted(cache.contents(), key=lambda revision: revision[1]) == [
        *last,
        (p64(1), p64(29), None),
    ]
    cache.store(p64(1), p64(5), p64(6), b'5')  # older than all of them
    assert cache.loadBefore(p64(1), p64(6)) is None
    assert cache.loadBefore(p64(1), p64(22)) == (b'21', p64(21), p64(22))
    leave(cache)
    cache = ClientCache(path, SIZE)
    assert len(cache) == 9
    cache.close()


@pytest.mark.parametrize('crash', [False, True])
def test_growing_loses_nothing(path, crash):
    cache = ClientCache(path, SIZE)
    fill(cache, 700, size=1000)
    cache.invalidate(p64(1), p64(2))
    cache.setLastTid(p64(2))
    before = set(cache.contents())
    leave(cache) if crash else cache.close()
    cache = ClientCache(path, 2 * SIZE)
    assert set(cache.contents()) == before
    assert cache.getLastTid() == p64(2)
    for i in range(1000, 1800):
        cache.store(p64(i), p64(1), None, b'x' * 1000)
    assert before <= set(cache.contents())
    cache.close()


def test_shrinking_keeps_what_fits(path):
    cache = ClientCache(path, SIZE)
    fill(cache, 300, size=1000)
    for i in range(100):
        cache.invalidate(p64(i), p64(2))
    cache.setLastTid(p64(2))
    cache.close()
    cache = ClientCache(path, SIZE // 4)
    assert {oid for oid, _, _ in cache.contents()} >= {p64(i) for i in range(100, 300)}
    assert cache.getLastTid() == p64(2)
    assert os.path.getsize(path) <= SIZE // 4
    cache.close()
    cache = ClientCache(path, SIZE // 10)
    assert 80 < len(cache) < 100
    cache.close()


def test_other_identity_starts_empty(path, caplog):
    cache = ClientCache(path, SIZE, identity='server a, storage 1')
    fill(cache, 10)
    cache.close()
    cache = ClientCache(path, SIZE, identity='server a, storage 1')
    assert len(cache) == 10
    cache.close()
    assert warnings(caplog) == []
    cache = ClientCache(path, SIZE, identity='server b, storage 1')
    assert len(cache) == 0
    cache.close()
    assert 'belongs to server a, storage 1' in warnings(caplog)[0]


def test_file_with_a_damaged_header_starts_empty(path, caplog):
    cache = ClientCache(path, SIZE)
    fill(cache, 10)
    cache.close()
    with open(path, 'r+b') as file:
        file.seek(12)
        file.write(b'\7\7')
    cache = ClientCache(path, SIZE)
    assert len(cache) == 0
    fill(cache, 10)
    assert len(cache) == 10
    cache.close()
    assert 'header is damaged' in warnings(caplog)[0]
    assert sorted(os.listdir(os.path.dirname(path))) == [
        os.path.basename(path),
        os.path.basename(path) + '.lock',
    ]


def test_a_database_is_never_overwritten(path):
    with open(path, 'wb') as file:
        file.write(b'FS21' + b'x' * 100)
    with pytest.raises(ClientStorageError, match='check cache='):
        ClientCache(path, SIZE)
    assert os.path.getsize(path) == 104


def test_not_closed_under_another_boot_starts_empty(path, caplog, monkeypatch):
    monkeypatch.setattr(cache_file, 'boot_id', lambda: b'1' * 16)
    monkeypatch.setattr(opening, 'boot_id', lambda: b'1' * 16)
    cache = ClientCache(path, SIZE)
    fill(cache, 10)
    leave(cache)
    monkeypatch.setattr(opening, 'boot_id', lambda: b'2' * 16)
    cache = ClientCache(path, SIZE)
    assert len(cache) == 0
    assert 'before the machine went down' in warnings(caplog)[0]
    fill(cache, 10)
    cache.close()
    monkeypatch.setattr(opening, 'boot_id', lambda: b'3' * 16)
    cache = ClientCache(path, SIZE)
    assert len(cache) == 10  # closed properly: another boot does not matter
    leave(cache)
    monkeypatch.setattr(opening, 'boot_id', lambda: cache_file.UNKNOWN_BOOT)
    cache = ClientCache(path, SIZE)
    assert len(cache) == 0
    cache.close()


def test_second_cache_on_the_same_file_is_refused(path):
    cache = ClientCache(path, SIZE)
    with pytest.raises(ClientStorageError, match='in use by this or another process.*ZEO_CLIENT'):
        ClientCache(path, SIZE)
    cache.close()
    ClientCache(path, SIZE).close()


def test_directory_that_is_not_there(tmp_path):
    with pytest.raises(ClientStorageError, match='Cannot open the cache file'):
        ClientCache(str(tmp_path / 'none' / 'x.zec'), SIZE)


def test_temporary_cache_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    cache = ClientCache(None, SIZE)
    fill(cache, 10)
    assert os.listdir(tmp_path) == []
    assert cache.load(p64(1)) == (b'\1' * 100, p64(1))
    cache.close()


def test_after_close_nothing_is_found_and_nothing_raises(path):
    cache = ClientCache(path, SIZE)
    fill(cache, 10)
    cache.close()
    fill(cache, 20)
    cache.invalidate(p64(1), p64(2))
    cache.setLastTid(p64(2))
    cache.clear()
    cache.close()
    assert cache.load(p64(1)) is None
    assert len(cache) == 0


# --- when it cannot write -----------------------------------------------------------------------


class Full:
    """Makes writes fail while `full` is set, after half of the bytes went out."""

    def __init__(self, monkeypatch, error=errno.ENOSPC):
        self.full = False
        self.error = error
        self.real = cache_file.pwrite
        monkeypatch.setattr(cache_file, 'pwrite', self.pwrite)

    def pwrite(self, fd, data, offset):
        if self.full and len(data) > 16:  # a gap's header fits into a block that is there
            self.real(fd, data[: len(data) // 2], offset)
            raise OSError(self.error, os.strerror(self.error))
        return self.real(fd, data, offset)


def test_full_disk_goes_on_without_storing(path, monkeypatch, caplog):
    disk = Full(monkeypatch)
    cache = ClientCache(path, SIZE)
    fill(cache, 100)
    cache.setLastTid(p64(1))
    disk.full = True
    for i in range(200, 300):
        cache.store(p64(i), p64(1), None, b'x' * 100)
    assert len(cache) == 100
    assert cache.load(p64(5)) == (b'\5' * 100, p64(1))
    cache.invalidate(p64(5), p64(2))
    assert cache.load(p64(5)) is None
    assert len(warnings(caplog)) == 1
    assert 'without storing' in warnings(caplog)[0]
    disk.full = False
    cache.store(p64(200), p64(2), None, b'y' * 100)
    assert cache.load(p64(200)) == (b'y' * 100, p64(2))
    cache.setLastTid(p64(2))
    leave(cache)
    cache = ClientCache(path, SIZE)
    assert len(cache) == 101
    assert cache.load(p64(201)) is None
    cache.close()


def test_record_written_before_the_write_failed_is_not_found_later(path, monkeypatch):
    cache = ClientCache(path, SIZE)
    fill(cache, 10)
    real = cache_file.pwrite

    def pwrite(fd, data, offset):
        written = real(fd, data, offset)
        if len(data) > 100:
            raise OSError(errno.EIO, 'all of it is there')
        return written

    with monkeypatch.context() as patch:
        patch.setattr(cache_file, 'pwrite', pwrite)
        cache.store(p64(20), p64(1), None, b'x' * 100)
    cache.invalidate(p64(20), p64(2))
    cache.setLastTid(p64(2))
    leave(cache)
    cache = ClientCache(path, SIZE)
    assert cache.load(p64(20)) is None
    assert len(cache) == 10
    cache.close()


def test_full_disk_where_records_have_to_leave(path, monkeypatch, caplog):
    disk = Full(monkeypatch)
    cache = ClientCache(path, SIZE)
    fill(cache, 2000, size=1000)  # more than once round: the next store has to evict
    for oid, _, _ in list(cache.contents())[:20]:
        cache.load(oid)  # so that it slides
    disk.full = True
    held = len(cache)
    for i in range(5000, 5020):
        cache.store(p64(i), p64(1), None, b'x' * 1000)
    # without what was in the way of the first one that failed
    assert held - 100 < len(cache) < held
    cache.invalidate(p64(1999), p64(2))
    before = set(cache.contents())
    assert len(warnings(caplog)) == 1
    leave(cache)
    disk.full = False
    cache = ClientCache(path, SIZE)
    assert set(cache.contents()) == before
    assert cache.load(p64(5000)) is None and cache.load(p64(1999)) is None
    cache.close()
    assert inspect(path).problems == []


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('small', [True, False], ids=['small writes work', 'any write'])
def test_writes_that_fail_now_and_then(path, monkeypatch, seed, small):
    """Nothing wrong is served meanwhile, nor found in what is left of the file, which is kept where
    small writes work.
    """
    chooser, real = random.Random(seed), cache_file.pwrite
    failing = False

    def pwrite(fd, data, offset):
        if (
            failing
            and chooser.random() < 0.3
            and not (small and (len(data) <= 16 or offset < format.RING_START))
        ):
            real(fd, data[: chooser.randrange(len(data) + 1)], offset)
            raise OSError(errno.EIO, 'broken disk')
        return real(fd, data, offset)

    monkeypatch.setattr(cache_file, 'pwrite', pwrite)
    size = 24 * 1024
    cache, stream = ClientCache(path, size), Stream(seed)
    for step in range(200):
        failing = step > 40 and step % 20 < 10
        stream.transaction(cache)
        assert wrong_records(cache, stream.history) == []
        if step % 40 == 39:
            assert len(cache) > 5
            assert os.path.exists(path) or not small
            leave(cache) if seed % 2 else cache.close()
            failing = False
            cache = ClientCache(path, size)
            assert len(cache) > 5 or not small
            assert wrong_records(cache, stream.history) == []
            _check_as_on_connecting(cache, stream)
    cache.close()


def _check_as_on_connecting(cache, stream):
    last = cache.getLastTid()
    if last is None:
        cache.clear()
    else:
        for oid, tids in stream.history.items():
            if any(tid > last for tid in tids):
                cache.invalidate(oid, None)


def test_disk_that_takes_nothing_any_more(path, monkeypatch, caplog):
    """The process keeps its warm cache; the next one finds no file, for it could be out of date."""
    cache = ClientCache(path, SIZE)
    fill(cache, 2000, size=1000)
    cache.setLastTid(p64(1))
    held = {oid for oid, _, _ in cache.contents()}

    def fail(fd, data, offset):
        raise OSError(errno.EIO, 'broken disk')

    with monkeypatch.context() as patch:
        patch.setattr(cache_file, 'pwrite', fail)
        cache.invalidate(p64(1999), p64(2))
        cache.store(p64(1999), p64(2), None, b'new')
        cache.setLastTid(p64(2))
        assert not os.path.exists(path)
        assert cache.load(p64(1999)) is None
        assert sum(cache.load(oid) is not None for oid in held) > len(held) - 100
        cache.clear()
        assert all(cache.load(oid) is None for oid in held)
        cache.close()
    assert [
        message for message in warnings(caplog) if 'continues as a temporary one' in message
    ] == warnings(caplog)
    cache = ClientCache(path, SIZE)
    assert len(cache) == 0 and cache.getLastTid() is None
    cache.close()


def test_index_that_cannot_be_saved_costs_a_scan_only(path, monkeypatch):
    cache = ClientCache(path, SIZE)
    fill(cache, 500)
    cache.setLastTid(p64(1))
    with monkeypatch.context() as patch:
        patch.setattr(ring_of(cache), 'place', _no_room)
        cache.close()
    # closed properly: another boot does not matter
    monkeypatch.setattr(opening, 'boot_id', lambda: b'2' * 16)
    cache = ClientCache(path, SIZE)
    assert len(cache) == 500 and cache.getLastTid() == p64(1)
    cache.close()


def _no_room(length, pack):
    raise NotStored('no room')


@pytest.mark.parametrize('size', [2 * SIZE, SIZE // 2])
def test_file_that_cannot_be_resized_keeps_its_size(path, monkeypatch, caplog, size):
    cache = ClientCache(path, SIZE)
    fill(cache, 400, size=1000)
    cache.setLastTid(p64(1))
    cache.close()
    disk = Full(monkeypatch)
    real = resizing.open_file

    def open_file(name, new=False):
        disk.full = new
        return real(name, new)

    monkeypatch.setattr(resizing, 'open_file', open_file)
    monkeypatch.setattr(
        resizing,
        '_remove',
        lambda name, do=resizing._remove: (do(name), setattr(disk, 'full', False)),
    )
    cache = ClientCache(path, size)
    assert len(cache) == 400 and cache.getLastTid() == p64(1)
    assert all(cache.load(p64(i)) == (bytes([i % 256]) * 1000, p64(1)) for i in range(400))
    cache.store(p64(1000), p64(1), None, b'new')
    cache.close()
    assert 'keeps its size' in warnings(caplog)[0]
    assert not os.path.exists(path + resizing.RESIZED)
    monkeypatch.setattr(resizing, 'open_file', real)
    cache = ClientCache(path, size)
    assert os.path.getsize(path) == size
    assert cache.load(p64(1000)) == (b'new', p64(1))
    cache.close()


def test_invalidation_that_cannot_be_written_leaves_no_stale_file(path, monkeypatch):
    cache = ClientCache(path, SIZE)
    fill(cache, 10)
    cache.setLastTid(p64(1))

    def fail(fd, data, offset):
        raise OSError(errno.EIO, 'broken disk')

    with monkeypatch.context() as patch:
        patch.setattr(cache_file, 'pwrite', fail)
        cache.invalidate(p64(1), p64(2))
        cache.close()
    cache = ClientCache(path, SIZE)
    assert cache.load(p64(1)) is None
    cache.close()


def test_interrupted_change_leaves_no_stale_file(path, monkeypatch):
    cache = ClientCache(path, SIZE)
    fill(cache, 10)
    cache.setLastTid(p64(1))

    def interrupt(fd, data, offset):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache_file, 'pwrite', interrupt)
        with pytest.raises(KeyboardInterrupt):
            cache.invalidate(p64(1), p64(2))
    cache.setLastTid(p64(2))
    cache.close()
    cache = ClientCache(path, SIZE)
    assert cache.load(p64(1)) is None
    cache.close()


def test_full_disk_when_it_is_made(path, monkeypatch, caplog):
    Full(monkeypatch).full = True
    cache = ClientCache(path, SIZE)
    fill(cache, 10)
    assert cache.load(p64(1)) is None
    cache.setLastTid(p64(1))
    assert not cache.is_usable
    cache.close()
    assert 'There is no client cache' in warnings(caplog)[0]
    assert os.path.getsize(path) == 0


def test_client_without_room_for_a_cache_file_has_one_in_memory(path, monkeypatch):
    Full(monkeypatch).full = True
    cache = open_cache(CacheOptions(path, None, None, '1', SIZE, 'a database'))
    fill(cache, 10)
    assert cache.load(p64(1)) == (b'\1' * 100, p64(1))
    cache_file.take_lock(path).close()  # nobody holds it
    cache.close()


def test_real_limit_on_the_file_size(path):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _fill_under_a_limit(path)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    cache = ClientCache(path, SIZE)
    assert 0 < len(cache) < 1000
    cache.close()


def _fill_under_a_limit(path):
    cache = ClientCache(path, SIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, SIZE))
    fill(cache, 2000, size=1000)
    assert 0 < len(cache) < 1000
    assert all(cache.load(oid) is not None for oid, _, _ in list(cache.contents()))


# --- other threads and processes ----------------------------------------------------------------


def test_forked_child_leaves_the_parents_file_alone(path):
    cache = ClientCache(path, SIZE)
    fill(cache, 10)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            cache.detach()
            fill(cache, 10, tid=9)
            cache.invalidate(p64(1), p64(10))
            status = 0 if cache.load(p64(2)) == (b'\2' * 100, p64(9)) else 2
            cache.close()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(ClientStorageError):
        ClientCache(path, SIZE)  # the parent's lock is still there
    assert cache.load(p64(1)) == (b'\1' * 100, p64(1))
    cache.close()
    cache = ClientCache(path, SIZE)
    assert set(cache.contents()) == {(p64(i), p64(1), None) for i in range(10)}
    cache.close()


def test_readers_while_records_move_and_change(path):
    cache = ClientCache(path, 100_000, hot_size=10_000)
    done = threading.Event()
    wrong = []
    oids = [p64(i) for i in range(300)]

    def read():
        choose = random.Random(1).choice
        while not done.is_set():
            oid = choose(oids)
            found = cache.load(oid)
            if found is not None and found[0] != data_of(oid, found[1]):
                wrong.append((oid, found))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        chooser = random.Random(2)
        for tid in map(p64, range(2, 4000)):
            oid = chooser.choice(oids)
            cache.invalidate(oid, tid)
            cache.store(oid, tid, None, data_of(oid, tid))
            found = cache.load(oid)
            if found != (data_of(oid, tid), tid):
                wrong.append((oid, found))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    cache.close()
    assert wrong == []


def test_model(path):
    for seed in range(15):
        size = random.Random(seed).choice([9_000, 30_000, 200_000])
        cache = ClientCache(path, size)
        cache.clear()
        stream = Stream(seed)
        for step in range(150):
            stream.transaction(cache)
            if step % 50 == 49:
                assert wrong_records(cache, stream.history) == []
            if step % 40 == 39:
                leave(cache) if seed % 2 else cache.close()
                cache = ClientCache(path, size)
                assert cache.getLastTid() == p64(stream.tid)
        if size == 200_000:
            missing = [
                oid for oid, tids in stream.history.items() if len(tids) > 1 and not cache.load(oid)
            ]
            assert len(missing) < len(stream.history) / 2
        cache.close()
