"""The client cache's interface: the same tests for each implementation."""

import pytest
from ZODB.utils import p64

from ZEO.cache import ClientCache, MemoryCache


@pytest.fixture(params=['memory', 'file', 'temporary'])
def cache(request, tmp_path):
    if request.param == 'memory':
        made = MemoryCache(1_000_000)
    else:
        path = str(tmp_path / 'x.zec') if request.param == 'file' else None
        made = ClientCache(path, 1_000_000)
    yield made
    made.close()


def test_empty(cache):
    assert cache.load(p64(1)) is None
    assert cache.loadBefore(p64(1), p64(9)) is None
    assert cache.getLastTid() is None
    assert len(cache) == 0
    assert list(cache.contents()) == []


def test_current_revision(cache):
    cache.store(p64(1), p64(5), None, b'data')
    assert cache.load(p64(1)) == (b'data', p64(5))
    assert cache.loadBefore(p64(1), p64(6)) == (b'data', p64(5), None)
    assert cache.loadBefore(p64(1), p64(5)) is None


def test_invalidation_closes_the_revision(cache):
    cache.store(p64(1), p64(5), None, b'5')
    cache.invalidate(p64(1), p64(8))
    assert cache.load(p64(1)) is None
    assert cache.loadBefore(p64(1), p64(8)) == (b'5', p64(5), p64(8))
    assert cache.loadBefore(p64(1), p64(9)) is None
    cache.store(p64(1), p64(8), None, b'8')
    assert cache.load(p64(1)) == (b'8', p64(8))
    assert cache.loadBefore(p64(1), p64(9)) == (b'8', p64(8), None)
    assert cache.loadBefore(p64(1), p64(8)) == (b'5', p64(5), p64(8))
    assert set(cache.contents()) == {(p64(1), p64(5), p64(8)), (p64(1), p64(8), None)}
    assert len(cache) == 2


def test_invalidation_not_newer_than_the_revision_changes_nothing(cache):
    cache.store(p64(1), p64(5), None, b'5')
    cache.invalidate(p64(1), p64(5))
    cache.invalidate(p64(1), p64(4))
    cache.invalidate(p64(2), p64(9))
    assert cache.load(p64(1)) == (b'5', p64(5))


def test_invalidation_without_tid_forgets_all(cache):
    cache.store(p64(1), p64(5), None, b'5')
    cache.invalidate(p64(1), p64(8))
    cache.store(p64(1), p64(8), None, b'8')
    cache.invalidate(p64(1), None)
    assert len(cache) == 0
    assert cache.loadBefore(p64(1), p64(8)) is None


def test_store_of_closed_revisions(cache):
    cache.store(p64(1), p64(3), p64(5), b'3')
    cache.store(p64(1), p64(7), p64(8), b'7')
    assert cache.load(p64(1)) is None
    assert cache.loadBefore(p64(1), p64(5)) == (b'3', p64(3), p64(5))
    assert cache.loadBefore(p64(1), p64(6)) is None
    assert cache.loadBefore(p64(1), p64(8)) == (b'7', p64(7), p64(8))


def test_late_store_of_what_is_no_longer_current(cache):
    cache.store(p64(1), p64(5), None, b'5')
    cache.invalidate(p64(1), p64(8))
    cache.store(p64(1), p64(5), None, b'5')
    assert cache.load(p64(1)) is None
    cache.store(p64(1), p64(8), None, b'8')
    cache.store(p64(1), p64(6), None, b'6')
    assert cache.load(p64(1)) == (b'8', p64(8))


def test_store_with_end_of_the_current_revision_ends_it(cache):
    cache.store(p64(1), p64(5), None, b'5')
    cache.store(p64(1), p64(5), p64(8), b'5')
    assert cache.load(p64(1)) is None
    assert cache.loadBefore(p64(1), p64(8)) == (b'5', p64(5), p64(8))


def test_newer_current_revision_without_invalidation_replaces(cache):
    cache.store(p64(1), p64(5), None, b'5')
    cache.store(p64(1), p64(8), None, b'8')
    assert cache.load(p64(1)) == (b'8', p64(8))
    assert cache.loadBefore(p64(1), p64(7)) is None  # the end of the first is not known


def test_last_tid_and_clear(cache):
    cache.store(p64(1), p64(5), None, b'5')
    cache.setLastTid(p64(5))
    assert cache.getLastTid() == p64(5)
    cache.clear()
    assert cache.getLastTid() is None
    assert len(cache) == 0
    assert cache.load(p64(1)) is None
    cache.store(p64(1), p64(5), None, b'5')
    assert cache.load(p64(1)) == (b'5', p64(5))


def test_empty_data(cache):
    cache.store(p64(1), p64(5), None, b'')
    assert cache.load(p64(1)) == (b'', p64(5))


def test_a_revision_may_end_before_it_is_known_to_be_replaced(cache):
    cache.store(p64(1), p64(5), None, b'5')
    cache.end_early(p64(1), p64(7), p64(9))
    assert cache.load(p64(1)) is None
    assert cache.loadBefore(p64(1), p64(7)) == (b'5', p64(5), p64(7))
    assert cache.loadBefore(p64(1), p64(8)) is None
    cache.store(p64(1), p64(5), None, b'5')  # late
    assert cache.load(p64(1)) is None


@pytest.mark.parametrize('end', [5, 4])
def test_one_that_is_not_older_than_its_early_end_is_forgotten(cache, end):
    cache.store(p64(1), p64(3), p64(5), b'3')
    cache.store(p64(1), p64(5), None, b'5')
    cache.end_early(p64(1), p64(end), p64(9))
    assert list(cache.contents()) == []


def test_one_that_is_not_older_than_what_has_replaced_others_stays(cache):
    cache.store(p64(1), p64(5), None, b'5')
    cache.end_early(p64(1), p64(4), p64(5))
    cache.end_early(p64(2), p64(4), p64(5))
    assert cache.load(p64(1)) == (b'5', p64(5)) and len(cache) == 1


def test_one_that_has_ended_early_ends_later_once_that_is_known(cache):
    cache.store(p64(1), p64(5), None, b'5')
    cache.end_early(p64(1), p64(7), p64(9))
    cache.store(p64(1), p64(5), p64(8), b'5')
    cache.store(p64(1), p64(5), p64(6), b'5')
    assert list(cache.contents()) == [(p64(1), p64(5), p64(8))]
    assert cache.loadBefore(p64(1), p64(8)) == (b'5', p64(5), p64(8))
