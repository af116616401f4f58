"""The cache check on connect: nothing, the oids that the server names, or everything."""

import itertools

import pytest
from ZODB.utils import p64

from support.striking import Striker
from ZEO.cache.memory_cache import MemoryCache
from ZEO.Exceptions import StaleServerError, UnrecognizedResult
from ZEO.link.state import ClientState
from ZEO.link.verify import check

A, B = p64(1), p64(2)
OLD, NEW = p64(10), p64(20)


class Server:
    """Answers getInvalidations, and notes that it was asked."""

    where = who = 'there'

    def __init__(self, answer=None):
        self.answer, self.asked = answer, []

    def call(self, name, args):
        self.asked.append((name, args))
        return self.answer


class Database:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def invalidate(self, tid, oids):
        self.told.append((tid, oids))

    def invalidateCache(self):
        self.told.append('everything')


@pytest.fixture
def state():
    cache = MemoryCache()
    for oid in (A, B):
        cache.store(oid, OLD, None, b'data')
    cache.setLastTid(OLD)
    state = ClientState(cache)
    state.database = Database()
    return state


def run(state, server, tid=NEW, older=False, rather=False):
    return check(state, server, tid, older, rather)


def test_nothing_has_changed(state):
    server = Server()
    assert not run(state, server, OLD)
    assert server.asked == [] and state.cache.load(A) == (b'data', OLD)


def test_what_changed_is_forgotten_and_told(state):
    server = Server((NEW, [A]))
    assert not run(state, server)
    assert server.asked == [('getInvalidations', (OLD,))]
    assert state.cache.load(A) is None and state.cache.load(B) == (b'data', OLD)
    assert state.database.told == [(NEW, [A])]
    assert state.last_tid == state.cache.getLastTid() == NEW


@pytest.mark.parametrize('rather', [False, True])
def test_nobody_knows_what_changed(state, rather):
    server = Server()
    assert run(state, server, rather=rather)
    assert bool(server.asked) != rather
    assert state.cache.load(B) is None and 'everything' in state.database.told
    assert state.last_tid == NEW


def test_an_older_server_is_refused(state):
    """It was restored from a backup, or is another database: what the cache has never happened
    there.
    """
    with pytest.raises(StaleServerError, match='drop_cache_if_older=True'):
        run(state, Server(), p64(5))
    assert state.cache.load(A) == (b'data', OLD)
    assert run(state, Server(), p64(5), older=True)
    assert state.cache.load(A) is None and state.last_tid == p64(5)


@pytest.mark.parametrize('answer', [5, 'text', (), (NEW,), (None, [A]), [NEW, [A], 3]])
def test_an_answer_that_makes_no_sense(state, answer):
    with pytest.raises(UnrecognizedResult):
        run(state, Server(answer))


def test_invalidations_that_come_during_the_check_are_applied_after_it(state):
    state.hold()
    state.on_message('invalidateTransaction', (p64(15), [B]))  # before the check's tid: it knows
    state.on_message('invalidateTransaction', (p64(30), [B]))
    assert state.cache.load(B) == (b'data', OLD) and state.last_tid == OLD
    run(state, Server((NEW, [A])))
    state.release()
    assert [told[0] for told in state.database.told] == [NEW, p64(30)]
    assert state.cache.load(B) is None and state.last_tid == p64(30)


class Forgetting(Database):
    """Notes for which last transaction it has been asked to forget everything."""

    def __init__(self, state):
        super().__init__()
        self._state = state
        self.forgot_at = []

    def invalidateCache(self):
        self.forgot_at.append(self._state.last_tid)


@pytest.mark.parametrize('tid', [NEW, p64(30)])
def test_a_check_that_was_struck_while_everything_was_forgotten_is_done_again(state, tid):
    """A connection of the database may have taken an older snapshot until the last tid was set: it
    has to forget what it reads there.
    """
    for point in itertools.count(1):
        state.database, state.last_tid = Forgetting(state), OLD
        state.cache.setLastTid(OLD)
        striking = Striker(point)
        striking.run(lambda: run(state, Server()))
        if striking.where is None:
            break
        had_come = state.last_tid == NEW
        run(state, Server((tid, [])), tid)
        assert not had_come or {NEW, tid} & {*state.database.forgot_at}, striking.where
    assert point > 10
