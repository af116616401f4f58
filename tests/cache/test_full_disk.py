"""What a cache file does when it cannot write."""

import errno
import os
import random
import resource

import pytest
from ZODB.utils import p64

from support.cache_files import SIZE, fill, leave, warnings
from support.cache_stream import Stream, wrong_records
from support.inside import regions_of
from ZEO.cache import ClientCache, cache_file, format, opening, resizing
from ZEO.cache.inspection import inspect
from ZEO.cache.ring import NotStored
from ZEO.link.caches import open_cache
from ZEO.link.options import CacheOptions


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
        patch.setattr(regions_of(cache), 'place_index', _no_room)
        cache.close()
    # closed properly: another boot does not matter
    monkeypatch.setattr(opening, 'boot_id', lambda: b'2' * 16)
    cache = ClientCache(path, SIZE)
    assert len(cache) == 500 and cache.getLastTid() == p64(1)
    cache.close()


def _no_room(length, pack):
    raise NotStored('no room')


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
    held = []
    open_cache(CacheOptions(path, None, None, '1', SIZE, 'a database'), held.append)
    cache = held[-1]
    fill(cache, 10)
    assert cache.load(p64(1)) == (b'\1' * 100, p64(1))
    lock = cache_file.FileLock(path)
    lock.take()  # nobody holds it
    lock.close()
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

    unlink = os.unlink

    def remove(name, **options):
        unlink(name, **options)
        disk.full = disk.full and not str(name).endswith(resizing.RESIZED)

    monkeypatch.setattr(resizing, 'open_file', open_file)
    monkeypatch.setattr(os, 'unlink', remove)
    cache = ClientCache(path, size)
    assert not disk.full
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
