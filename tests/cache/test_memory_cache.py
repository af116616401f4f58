"""What every client cache does, on the one in memory; and how it evicts."""

import itertools
import threading

import pytest
from ZODB.utils import p64

from support.striking import Striker, Struck
from ZEO.cache.memory_cache import RECORD_OVERHEAD, MemoryCache


def test_evicts_unused_before_used():
    record = 100 + RECORD_OVERHEAD
    cache = MemoryCache(10 * record)
    for i in range(10):
        cache.store(p64(i), p64(1), None, b'x' * 100)
    cache.load(p64(0))
    for i in range(10, 19):
        cache.store(p64(i), p64(1), None, b'x' * 100)
    assert cache.load(p64(0)) is not None
    assert cache.load(p64(1)) is None
    assert len(cache) == 10


def test_noncurrent_revisions_are_the_first_to_go():
    record = 100 + RECORD_OVERHEAD
    cache = MemoryCache(10 * record)
    for i in range(10):
        cache.store(p64(i), p64(1), None, b'x' * 100)
    for i in range(5, 10):
        cache.invalidate(p64(i), p64(2))
    for i in range(10, 15):
        cache.store(p64(i), p64(3), None, b'x' * 100)
    assert {oid for oid, _, _ in cache.contents()} == {p64(i) for i in (*range(5), *range(10, 15))}


def test_record_larger_than_the_cache_is_not_kept():
    cache = MemoryCache(1000)
    cache.store(p64(1), p64(1), None, b'x' * 2000)
    assert len(cache) == 0
    cache.store(p64(1), p64(1), None, b'x' * 20)
    assert cache.load(p64(1)) == (b'x' * 20, p64(1))


def touched(cache):
    return cache._touched


def test_touched_set_does_not_outgrow_the_cache():
    cache = MemoryCache(10 * RECORD_OVERHEAD)
    for i in range(1000):
        cache.store(p64(i), p64(1), None, b'')
        cache.load(p64(i))
    assert len(touched(cache)) <= 10


def test_readers_while_another_thread_invalidates():
    cache = MemoryCache(10_000_000)
    cache.store(p64(1), p64(1), None, b'1')
    done = threading.Event()
    wrong = []

    def read():
        while not done.is_set():
            found = cache.loadBefore(p64(1), p64(2))
            if found is None or found[:2] != (b'1', p64(1)):
                wrong.append(found)

    thread = threading.Thread(target=read)
    thread.start()
    for i in range(2, 2000):
        cache.invalidate(p64(1), p64(i))
        cache.store(p64(1), p64(i), None, b'%d' % i)
    done.set()
    thread.join()
    assert wrong == []


@pytest.mark.parametrize('leaves', ['ended', 'for space'])
def test_touch_of_what_has_just_left_is_forgotten_when_more_leaves(leaves):
    cache = MemoryCache(10 * RECORD_OVERHEAD)
    touched(cache).update(p64(i) for i in range(100, 200))  # as if readers lost the race
    cache.store(p64(1), p64(1), None, b'')
    if leaves == 'ended':
        cache.invalidate(p64(1), p64(2))
    else:
        for i in range(20):
            cache.store(p64(i), p64(1), None, b'')
    assert not touched(cache)


def test_revisions_of_one_object_in_any_order():
    cache = MemoryCache()
    for tid in (5, 1, 9, 3, 7):
        cache.store(p64(1), p64(tid), p64(tid + 1), b'%d' % tid)
    for before in range(1, 12):
        found = cache.loadBefore(p64(1), p64(before))
        tid = before - 1
        assert found == ((b'%d' % tid, p64(tid), p64(before)) if tid % 2 else None)
    cache.size = 0
    cache.store(p64(2), p64(1), None, b'')  # everything has to leave
    assert len(cache) == 0 and cache.loadBefore(p64(1), p64(6)) is None


def filled(sizes):
    cache = MemoryCache(10 * RECORD_OVERHEAD)
    for i, size in enumerate(sizes):
        cache.store(p64(i), p64(1), None, b'x' * size)
    return cache


@pytest.mark.parametrize('size', [0, 50, 3000])
@pytest.mark.parametrize('known', [None, 1, 2, 3], ids=lambda tid: f'known-{tid}')
def test_a_record_is_replaced_as_by_an_end_and_a_store(known, size):
    one, other = filled([10] * 4), filled([10] * 4)
    for cache in one, other:
        cache.invalidate(p64(0), None)
        if known is not None:
            cache.store(p64(0), p64(known), None, b'known')
    one.replace(p64(0), p64(2), b'y' * size)
    other.invalidate(p64(0), p64(2))
    other.store(p64(0), p64(2), None, b'y' * size)
    for before in range(1, 5):
        assert one.loadBefore(p64(0), p64(before)) == other.loadBefore(p64(0), p64(before))
    assert sorted(one.contents(), key=str) == sorted(other.contents(), key=str)
    assert one._used == other._used


def test_what_is_replaced_again_and_again_stays_within_the_size():
    cache = filled([10] * 4)
    for i in range(2, 200):
        cache.replace(p64(i % 3), p64(i), b'x' * (i * 7 % 300))
        assert cache._used <= cache.size
    held = [*cache.contents()]
    assert cache._used == sum(
        RECORD_OVERHEAD + len(cache.loadBefore(oid, end or p64(2**40))[0]) for oid, tid, end in held
    )
    assert {oid for oid, _, end in held if end is None} >= {
        p64(197 % 3),
        p64(198 % 3),
        p64(199 % 3),
    }
    assert (
        cache._queues.used
        + sum(RECORD_OVERHEAD + len(cache.loadBefore(oid, end)[0]) for oid, _, end in held if end)
        == cache._used
    )


def test_a_replacement_that_fails_within_leaves_an_empty_cache(monkeypatch):
    cache = filled([10] * 4)
    monkeypatch.setattr(cache, '_add_closed', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cache.replace(p64(0), p64(2), b'new')
    assert len(cache) == cache._used == 0


class ForkedAt(Striker):
    """Stands for a child that was forked while the traced thread was at one line: there it detaches
    the cache and uses it, and the thread never goes on.
    """

    def __init__(self, point, cache):
        super().__init__(point)
        self._cache = cache

    def _step(self, frame, event, argument):
        try:
            return super()._step(frame, event, argument)
        except Struck:
            self._cache.detach()
            use(self._cache)
            raise


def change(cache):
    cache.replace(p64(1), p64(3), b'x' * 150)
    cache.invalidate_all([(p64(4), [p64(1), p64(2)])])
    cache.store(p64(50), p64(4), None, b'x' * 100)
    cache.invalidate(p64(50), None)
    cache.drop_noncurrent()


def use(cache):
    for i in range(10):
        for before in (2, 3, 9):
            cache.loadBefore(p64(i), p64(before))
    for i in range(100):
        cache.store(p64(i % 30), p64(10 + i), None, b'x' * 100)
        cache.invalidate(p64(i * 7 % 30), p64(200 + i))
    held = [*cache.contents()]
    assert cache._used == sum(
        RECORD_OVERHEAD + len(cache.loadBefore(oid, end or p64(2**40))[0]) for oid, _, end in held
    )
    assert len(cache._queues) == sum(end is None for _, _, end in held)


def test_a_child_can_use_a_cache_that_was_just_being_changed_in_its_parent():
    for point in itertools.count(1):
        cache = filled([10] * 8)
        cache.invalidate(p64(3), p64(2))
        forked = ForkedAt(point, cache)
        forked.run(lambda cache=cache: change(cache))
        if forked.where is None:
            break
    assert point > 50


def test_a_child_keeps_a_cache_that_was_whole():
    cache = filled([10] * 4)
    cache.detach()
    assert len(cache) == 4
