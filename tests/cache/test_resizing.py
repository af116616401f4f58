"""A cache file that is opened with another size."""

import os

import pytest
from ZODB.utils import p64

from support.cache_files import SIZE, fill, leave
from ZEO.cache import ClientCache


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
