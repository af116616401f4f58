"""Records end early where a server does not tell transactions apart: their objects may have changed
at any time since the last one that this client knows.
"""

import pytest
from ZODB.utils import maxtid, p64

from ZEO.cache import ClientCache, MemoryCache
from ZEO.link.following_state import FollowingState
from ZEO.link.state import ClientState
from ZEO.wire.extensions import EXACT

A, B = p64(1), p64(2)
T1, T5, T6, T7, T9 = (p64(number) for number in (1, 5, 6, 7, 9))
POLLED = {EXACT: False}


@pytest.fixture(params=[MemoryCache, ClientCache])
def cache(request):
    """One with A and B as of T1, up to T5."""
    made = request.param()
    for oid in (A, B):
        made.store(oid, T1, None, b'1')
    made.setLastTid(T5)
    yield made
    made.close()


@pytest.fixture(params=[ClientState, FollowingState])
def state(request, cache):
    """What a client knows whose server polls."""
    made = request.param(cache)
    made.introduced(POLLED)
    return made


def invalidate(state, tid, *oids):
    state.on_message('invalidateTransaction', (tid, list(oids)))


def held(state):
    """All revisions of A."""
    return sorted((tid, end) for oid, tid, end in state.cache.contents() if oid == A)


def test_what_has_changed_was_current_up_to_the_last_transaction_that_is_known(state):
    invalidate(state, T9, A)
    assert held(state) == [(T1, T6)]
    assert state.cache.loadBefore(A, T6) == (b'1', T1, T6)
    assert state.cache.load(B) == (b'1', T1)
    invalidate(state, p64(12), B)
    assert state.cache.loadBefore(B, p64(10)) == (b'1', T1, p64(10))


@pytest.mark.parametrize('info', [{}, {EXACT: True}])
def test_it_was_current_up_to_the_transaction_where_the_server_tells_each(state, info):
    state.introduced(info)
    invalidate(state, T9, A)
    assert held(state) == [(T1, T9)]


def test_a_server_that_begins_to_tell_each_says_so(state):
    assert not state.changes_are_exact
    state.on_message('info', (POLLED,))
    invalidate(state, T7, A)
    state.on_message('info', ({EXACT: True},))
    invalidate(state, T9, B)
    assert held(state) == [(T1, T6)] and state.cache.loadBefore(B, T9) == (b'1', T1, T9)
    assert state.changes_are_exact


def test_what_is_younger_than_all_that_is_known_is_forgotten(state):
    state.cache.invalidate(A, None)
    state.cache.store(A, T7, None, b'7')
    invalidate(state, T9, A)
    assert held(state) == []


def test_what_was_told_late_ends_no_later_than_it_says(state):
    invalidate(state, T9, B)
    invalidate(state, T7, A)
    assert held(state) == [(T1, T7)]
    invalidate(state, T1, B)


def test_what_is_newer_than_what_is_told_stays(state):
    state.cache.invalidate(A, None)
    state.cache.store(A, T9, None, b'9')
    invalidate(state, T9, A)
    assert held(state) == [(T9, None)]


def test_what_came_while_the_cache_was_checked_ends_so_too(state):
    state.hold()
    invalidate(state, T9, A)
    state.introduced(POLLED)
    state.catch_up(T6, [B])
    state.release()
    assert held(state) == [(T1, T7)]
    assert state.cache.loadBefore(B, maxtid) is None


def test_a_forked_child_ends_it_in_its_own_cache(state):
    state.after_fork()
    invalidate(state, T9, A)
    assert held(state) == [(T1, T6)]


def commit(state, *changes):
    """This client commits at T9."""
    told = []
    if isinstance(state, FollowingState):
        state.own(T9, dict(changes), told.append)
        invalidate(state, T9, *(oid for oid, _ in changes))
    else:
        state.committed(T9, changes, told.append)
    assert told == [T9]


@pytest.mark.parametrize('data', [b'9', None])
def test_what_this_client_has_changed_may_have_changed_before_too(state, data):
    """As when a conflict was resolved."""
    commit(state, (A, data))
    assert held(state) == [(T1, T6)] + ([(T9, None)] if data else [])
    invalidate(state, p64(12), A)
    assert held(state)[1:] == ([(T9, p64(10))] if data else [])


def test_a_commit_that_is_behind_what_was_told_ends_what_it_has_changed(state):
    invalidate(state, p64(12), B)
    commit(state, (A, b'9'))
    assert held(state) == [(T1, T9)]
