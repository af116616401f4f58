"""A client that reads from a follower has committed what is lost with the primary."""

import pytest
from ZODB.utils import p64

from ZEO.cache import MemoryCache
from ZEO.link.following_state import FollowingState

A, B = p64(1), p64(2)
T1, T5, T9, T12, T15 = (p64(number) for number in (1, 5, 9, 12, 15))


class Database:
    """Notes what it is told to read again."""

    def __init__(self):
        self.told = []

    def invalidate(self, tid, oids):
        self.told.append((tid, list(oids)))

    def invalidateCache(self):
        self.told.append('everything')


@pytest.fixture
def state():
    """One that has come to T5, with a commit of A at T9 that it could not wait for."""
    cache = MemoryCache()
    cache.store(A, T1, None, b'1')
    made = FollowingState(cache)
    made.last_tid = T5
    cache.setLastTid(T5)
    made.database = Database()
    made.own(T9, {A: b'9'}, lambda tid: None)
    made.settle(T9)
    assert made.database.told == []
    return made


def invalidate(state, tid, *oids):
    state.on_message('invalidateTransaction', (tid, list(oids)))


def test_its_objects_are_read_again_when_another_server_has_gone_past_it(state):
    state.catch_up(T12, [B])
    assert (T12, [A]) in state.database.told and state.last_tid == T12
    assert state.cache.load(A) == (b'1', T1)  # as the other server has it


def test_the_same_when_the_follower_that_it_reads_from_goes_on_without_it(state):
    invalidate(state, T12, B)
    assert (T12, [A]) in state.database.told
    assert state.cache.load(A) == (b'1', T1)
    del state.database.told[:]
    invalidate(state, T15, B)
    assert state.database.told == [(T15, [B])]  # once


def test_the_same_while_the_commit_is_still_waited_for(state):
    state.own(T12, {B: b'12'}, lambda tid: None)
    invalidate(state, T15, A)
    assert (T15, [B]) in state.database.told


def test_one_that_comes_later_is_not_lost(state):
    invalidate(state, T9, A)
    invalidate(state, T12, B)
    assert state.database.told == [(T9, [A]), (T12, [B])]
