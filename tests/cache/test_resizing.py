"""A cache file that is opened with another size."""

import os

import pytest
from ZODB.utils import p64

from support.cache_files import SIZE, fill, leave
from ZEO.cache import ClientCache, format, resizing


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


@pytest.mark.parametrize('left', [b'', b'ZEO', bytes(4096)], ids=['empty', 'torn', 'zeros'])
def test_what_a_kill_has_left_of_a_resizing_does_not_prevent_the_next(path, left):
    assert format.MAGIC.startswith(left.rstrip(b'\0'))
    cache = ClientCache(path, SIZE)
    fill(cache, 10)
    cache.close()
    with open(path + resizing.RESIZED, 'wb') as file:
        file.write(left)
    cache = ClientCache(path, SIZE // 2)
    assert len(cache) == 10 and os.path.getsize(path) <= SIZE // 2
    cache.close()


def test_another_file_of_that_name_is_left_alone(path):
    ClientCache(path, SIZE).close()
    with open(path + resizing.RESIZED, 'wb') as file:
        file.write(b'ZEOs and other letters')
    ClientCache(path, SIZE // 2).close()
    assert os.path.getsize(path + resizing.RESIZED) == 22
