"""Records that are read often are kept in memory, too, and are never older than the file's."""

from ZODB.utils import p64

from support.cache_files import SIZE
from support.inside import record_index
from ZEO.cache import ClientCache


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
