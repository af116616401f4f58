"""What is in a cache file when it is opened again, and which files are not used."""

import os
import random

import pytest
from ZODB.utils import p64

from support.cache_files import SIZE, fill, leave, warnings
from support.inside import record_index, regions_of, revisions_of
from ZEO.cache import ClientCache, cache_file, format, opening, recovery
from ZEO.cache.index import PLACE_SHIFT
from ZEO.cache.inspection import inspect


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
        regions = regions_of(cache)
        with open(path, 'rb') as file:
            for ring in regions.small, regions.main:
                file.seek(ring.hand * format.UNIT)
                gap = file.read((ring.gap_end - ring.hand) * format.UNIT)
                assert format.RECORD_MAGIC not in gap
            file.seek(0)
            records = file.read().count(format.RECORD_MAGIC)
        assert records == len(cache)
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
