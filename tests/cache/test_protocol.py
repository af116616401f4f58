"""What a client needs of its cache, and a program's own cache that has not all of that."""

import pytest
from ZODB.utils import p64

from ZEO.cache.client_cache import ClientCache
from ZEO.cache.memory_cache import MemoryCache
from ZEO.cache.protocol import REQUIRED, completed

SIZE = 1000
OPTIONAL = ('drop_noncurrent', 'detach')


class OwnCache:
    """A program's own cache, with the methods that it must have."""

    def __init__(self):
        self.inner = MemoryCache()
        for name in REQUIRED:
            setattr(self, name, getattr(self.inner, name))


@pytest.fixture
def own():
    cache = OwnCache()
    cache.store(p64(1), p64(1), None, b'data')
    cache.setLastTid(p64(1))
    return cache


def test_the_caches_of_this_package_are_complete():
    for cache in MemoryCache(), ClientCache():
        assert completed(cache, SIZE) is cache
        cache.close()


def test_a_hit_in_a_completed_cache_is_a_call_of_the_programs_own(own):
    cache = completed(own, SIZE)
    assert cache.load == own.load and cache.loadBefore == own.loadBefore


def test_after_a_pack_a_cache_that_cannot_forget_old_revisions_forgets_everything(own):
    completed(own, SIZE).drop_noncurrent()
    assert own.load(p64(1)) is None


def test_a_forked_child_leaves_a_cache_that_may_be_shared_to_its_parent(own):
    cache = completed(own, SIZE)
    cache.detach()
    assert cache.load(p64(1)) is None and cache.getLastTid() is None
    cache.store(p64(2), p64(2), None, b'of the child')
    assert cache.load(p64(2)) == (b'of the child', p64(2))
    assert own.load(p64(1)) and own.load(p64(2)) is None


def test_a_cache_that_cannot_end_revisions_early_has_them_ended_or_forgotten(own):
    cache = completed(own, SIZE)
    cache.end_early(p64(1), p64(3), p64(9))
    assert list(own.inner.contents()) == [(p64(1), p64(1), p64(3))]
    cache.store(p64(2), p64(5), None, b'data')
    cache.end_early(p64(2), p64(5), p64(9))
    cache.store(p64(3), p64(9), None, b'data')
    cache.end_early(p64(3), p64(5), p64(9))
    assert cache.load(p64(2)) is None and cache.load(p64(3))


def test_a_cache_that_can_does_so_itself(own):
    called = []
    own.end_early = lambda *args: called.append(args)
    completed(own, SIZE).end_early(p64(1), p64(3), p64(9))
    assert called == [(p64(1), p64(3), p64(9))]


@pytest.mark.parametrize('name', OPTIONAL)
def test_a_method_that_may_be_left_out_is_used_when_it_is_there(own, name):
    called = []
    setattr(own, name, lambda: called.append(name))
    getattr(completed(own, SIZE), name)()
    assert called == [name] and own.load(p64(1))


@pytest.mark.parametrize('name', REQUIRED)
def test_a_cache_without_a_method_that_it_must_have_is_refused(own, name):
    delattr(own, name)
    with pytest.raises(TypeError, match=name):
        completed(own, SIZE)
