"""The client cache in a file: what it keeps, whom it refuses, and what several threads see."""

import os
import random
import threading

import pytest
from ZODB.utils import p64

from support.cache_files import SIZE, fill, leave
from support.cache_stream import Stream, data_of, wrong_records
from ZEO.cache import ClientCache
from ZEO.Exceptions import ClientStorageError


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


def test_a_database_is_never_overwritten(path):
    with open(path, 'wb') as file:
        file.write(b'FS21' + b'x' * 100)
    with pytest.raises(ClientStorageError, match='check cache='):
        ClientCache(path, SIZE)
    assert os.path.getsize(path) == 104


def test_second_cache_on_the_same_file_is_refused(path):
    cache = ClientCache(path, SIZE)
    with pytest.raises(ClientStorageError, match='in use by this or another process.*ZEO_CLIENT'):
        ClientCache(path, SIZE)
    cache.close()
    ClientCache(path, SIZE).close()


def test_a_cache_that_is_not_opened_can_be_closed(path):
    cache = ClientCache(path, SIZE, opened=False)
    assert cache.load(p64(1)) is None and not cache.is_usable
    cache.close()
    assert not os.path.exists(path)


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
