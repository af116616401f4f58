"""A cache file as a kill, a torn write, a flipped bit or a truncation leaves it."""

import os
import shutil

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ZODB.utils import p64

from support.cache_files import leave
from support.cache_stream import Stream, wrong_records
from support.inside import record_index
from ZEO.cache import ClientCache, cache_file
from ZEO.cache.inspection import inspect

SIZE = 24 * 1024  # small, so that the hand goes round the ring many times


@pytest.fixture
def writes(monkeypatch):
    """Every write to a file, as (offset, bytes); None for a change of the file's length."""
    log = []
    real = cache_file.pwrite

    def pwrite(fd, data, offset):
        log.append((offset, bytes(data)))
        return real(fd, data, offset)

    monkeypatch.setattr(cache_file, 'pwrite', pwrite)
    return log


def replay(path, writes, count, torn):
    """Make the file that a kill leaves: `count` writes, and the first `torn` bytes of the next."""
    with open(path, 'wb') as file:
        file.truncate(SIZE)
        for offset, data in writes[:count]:
            file.seek(offset)
            file.write(data)
        if count < len(writes):
            offset, data = writes[count]
            file.seek(offset)
            file.write(data[:torn])


def check(path, history, size=SIZE):
    """Open the file, compare with the truth, go on using it, and compare again."""
    cache = ClientCache(str(path), size)
    try:
        assert wrong_records(cache, history) == []
        return len(cache)
    finally:
        cache.close()


@pytest.mark.parametrize('seed', range(4))
def test_killed_between_and_in_the_middle_of_writes(tmp_path, writes, seed):
    cache = ClientCache(str(tmp_path / 'a.zec'), SIZE)
    stream = Stream(seed)
    for _ in range(150):
        stream.transaction(cache)
    assert wrong_records(cache, stream.history) == []
    done = list(writes)
    cache.close()
    kept = 0
    crashed = tmp_path / 'crashed.zec'
    for count in range(3, len(done), 7):
        replay(crashed, done, count, stream.random.randrange(len(done[count][1]) + 1))
        kept += check(crashed, stream.history) > 10
    assert kept > len(done) // 7 * 0.8  # and it is not because everything was thrown away


def test_killed_in_every_byte_of_some_writes(tmp_path, writes):
    cache = ClientCache(str(tmp_path / 'a.zec'), SIZE)
    stream = Stream(9)
    for _ in range(100):
        stream.transaction(cache)
    done = list(writes)
    cache.close()
    crashed = tmp_path / 'crashed.zec'
    for count in range(len(done) - 6, len(done)):
        for torn in range(0, len(done[count][1]), 5):
            replay(crashed, done, count, torn)
            check(crashed, stream.history)


def test_a_crashed_file_goes_on_right(tmp_path, writes):
    cache = ClientCache(str(tmp_path / 'a.zec'), SIZE)
    stream = Stream(5)
    for _ in range(60):
        stream.transaction(cache)
    crashed = tmp_path / 'crashed.zec'
    for _ in range(40):
        count = stream.random.randrange(max(len(writes) - 20, 3), len(writes))
        history = {oid: list(tids) for oid, tids in stream.history.items()}
        replay(crashed, list(writes), count, stream.random.randrange(200))
        cache.close()
        writes.clear()
        shutil.copy(crashed, tmp_path / 'a.zec')
        with open(crashed, 'rb') as file:
            writes.append((0, file.read()))
        cache = ClientCache(str(tmp_path / 'a.zec'), SIZE)
        last = cache.getLastTid()
        for oid, tids in history.items():  # as the verification on connect does
            if last is None or any(tid > last for tid in tids):
                cache.invalidate(oid, None)
        for _ in range(10):
            stream.transaction(cache)
            assert wrong_records(cache, stream.history) == []
    cache.close()


@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    """(bytes of a file, truth): one closed properly, one not."""
    directory = tmp_path_factory.mktemp('samples')
    made = []
    for name in ('closed', 'killed'):
        path = directory / f'{name}.zec'
        cache = ClientCache(str(path), SIZE)
        stream = Stream(3)
        for _ in range(120):
            stream.transaction(cache)
        if name == 'closed':
            cache.close()
        made.append((path.read_bytes(), stream.history))
        cache.close()
    return made


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_flipped_bytes(samples, tmp_path_factory, data):
    contents, history = data.draw(st.sampled_from(samples))
    damaged = bytearray(contents)
    places = st.one_of(st.integers(0, SIZE - 1), st.integers(2048, 2200), st.integers(3072, 3200))
    for place in data.draw(st.lists(places, min_size=1, max_size=6)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / 'flipped.zec'
    path.write_bytes(bytes(damaged))
    check(path, history)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_truncated(samples, tmp_path_factory, data):
    contents, history = data.draw(st.sampled_from(samples))
    path = tmp_path_factory.getbasetemp() / 'truncated.zec'
    path.write_bytes(contents[: data.draw(st.integers(0, SIZE - 1))])
    check(path, history)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(garbage=st.binary(max_size=3000))
def test_any_other_file(tmp_path_factory, garbage):
    path = tmp_path_factory.getbasetemp() / 'garbage.zec'
    assume(not garbage.startswith((b'FS21', b'FS30')))  # a database is refused
    path.write_bytes(garbage)
    assert check(path, Stream(1).history) == 0


def test_bytes_flipped_while_it_is_open(tmp_path, samples):
    contents, history = samples[1]
    path = tmp_path / 'open.zec'
    path.write_bytes(contents)
    cache = ClientCache(str(path), SIZE)
    held = len(cache)
    with open(path, 'r+b', buffering=0) as file:
        for place in range(4096, SIZE, 700):
            byte = os.pread(file.fileno(), 1, place)
            os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), place)
    assert wrong_records(cache, history) == []
    stream = Stream(3)
    for _ in range(130):
        stream.transaction(cache)  # meets damaged records at the hand
    assert held
    cache.close()


def test_nothing_from_before_clear_comes_back(tmp_path):
    path = tmp_path / 'cleared.zec'
    cache = ClientCache(str(path), SIZE)
    stream = Stream(3)
    for _ in range(50):
        stream.transaction(cache)
    cache.clear()
    leave(cache)
    with open(path, 'r+b') as file:
        file.seek(4096)
        file.write(b'damage')  # to the gap that says there is nothing
    cache = ClientCache(str(path), SIZE)
    assert len(cache) == 0
    cache.close()


@pytest.mark.parametrize('tids', [(1, 1), (1, 2), (2, 1)])
def test_record_that_is_there_twice_is_invalidated_in_both_places(tmp_path, tids):
    path = str(tmp_path / 'twice.zec')
    cache = ClientCache(path, SIZE)
    for tid in tids:
        cache.store(p64(7), p64(tid), None, b'data')
        record_index(cache).clear()  # so that the next one does not know of it
    leave(cache)
    cache = ClientCache(path, SIZE)
    assert cache.load(p64(7)) == (b'data', p64(max(tids)))
    cache.invalidate(p64(7), p64(3))
    cache.setLastTid(p64(3))
    leave(cache)
    cache = ClientCache(path, SIZE)
    assert cache.load(p64(7)) is None
    cache.close()


def test_what_cannot_be_read_becomes_a_gap(tmp_path):
    path = tmp_path / 'damaged.zec'
    cache = ClientCache(str(path), SIZE)
    for oid in range(10):
        cache.store(p64(oid), p64(1), None, b'x' * 100)
    leave(cache)
    with open(path, 'r+b') as file:
        for place in (330, 1100):
            file.seek(4096 + place)
            file.write(b'damage' * 10)
    assert inspect(str(path)).problems
    ClientCache(str(path), SIZE).close()
    report = inspect(str(path))
    assert report.problems == [] and 5 <= report.records < 9
