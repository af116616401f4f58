"""What arrives is applied in the order in which it arrived, and only then is it visible as the last
transaction.
"""

import threading

import pytest
from ZODB.utils import maxtid

from support.clock import Clock
from support.scripted import Running, invalidation, oid, tid
from ZEO.cache.memory_cache import MemoryCache
from ZEO.link.arrivals import Arrivals
from ZEO.link.reader import Reader
from ZEO.link.waiting import Waiting

pytestmark = pytest.mark.smoke


def test_a_load_that_an_invalidation_overtakes_is_not_current_in_the_cache(connected, logged_cache):
    """The answer (t1, current) and the invalidation t2 arrive together, read by another thread than
    the loader's.
    """
    client, server = connected(tid(1), cache=logged_cache)
    reader = Running(client.ping)
    ping = server.expect('ping')
    loader = Running(client.loadBefore, oid(7), maxtid)
    load = server.expect('loadBefore')
    server.send(load.reply((b'old', tid(1), None)), invalidation(tid(2), oid(7)), ping.reply(None))
    reader.result()
    assert loader.result() == (b'old', tid(1), None)
    assert logged_cache.log == [('store', oid(7), tid(1), None), ('invalidate', oid(7), tid(2))]
    again = Running(client.load, oid(7))
    server.send(server.expect('loadBefore').reply((b'new', tid(2), None)))
    assert again.result() == (b'new', tid(2))


def test_a_lone_loader_leaves_nothing_stale_either(connected):
    """The same with one thread: the invalidation behind its own answer is applied before the next
    look at the cache.
    """
    client, server = connected(tid(1))
    loader = Running(client.loadBefore, oid(7), maxtid)
    server.send(
        server.expect('loadBefore').reply((b'old', tid(1), None)), invalidation(tid(2), oid(7))
    )
    loader.result()
    client.sync()
    assert client.lastTransaction() == tid(2)
    again = Running(client.load, oid(7))
    server.send(server.expect('loadBefore').reply((b'new', tid(2), None)))
    assert again.result() == (b'new', tid(2))


def test_a_prefetched_object_that_an_invalidation_overtakes_is_not_current_in_the_cache(
    connected, logged_cache
):
    """Nobody waits for a prefetch, and its answer is applied all the same before the invalidation
    behind it.
    """
    client, server = connected(tid(1), cache=logged_cache)
    client.prefetch([oid(7)], maxtid)
    server.send(
        server.expect('loadBefore').reply((b'old', tid(1), None)), invalidation(tid(2), oid(7))
    )
    ping = Running(client.ping)
    server.send(server.expect('ping').reply(None))
    ping.result()
    assert logged_cache.log == [('store', oid(7), tid(1), None), ('invalidate', oid(7), tid(2))]
    again = Running(client.loadBefore, oid(7), maxtid)
    server.send(server.expect('loadBefore').reply((b'new', tid(2), None)))
    assert again.result() == (b'new', tid(2), None)


def test_an_answer_behind_its_invalidation_is_current(connected):
    """The server computed it after the transaction, so the cache may keep it."""
    client, server = connected(tid(1))
    loader = Running(client.load, oid(7))
    server.send(
        invalidation(tid(2), oid(7)), server.expect('loadBefore').reply((b'new', tid(2), None))
    )
    assert loader.result() == (b'new', tid(2))
    assert client.load(oid(7)) == (b'new', tid(2))  # of the cache: the server is not asked


def test_the_last_transaction_moves_after_cache_and_database_know_what_changed(connected, database):
    """A connection that opened at t2 without t2's invalidation would keep its old objects."""
    cache = MemoryCache()
    cache.store(oid(7), tid(1), None, b'old')
    cache.setLastTid(tid(1))
    client, server = connected(tid(1), cache=cache)
    seen = database(lambda: (client.lastTransaction(), cache.getLastTid(), cache.load(oid(7))))
    client.registerDB(seen)
    server.send(invalidation(tid(2), oid(7)))
    ping = Running(client.ping)
    server.send(server.expect('ping').reply(None))
    ping.result()
    assert seen.log == [(tid(2), [oid(7)], (tid(1), tid(1), None))]
    assert client.lastTransaction() == cache.getLastTid() == tid(2)


def test_what_several_transactions_have_changed_is_applied_in_the_same_order(connected, database):
    """A connection that opens at t2 in between must find what was current then."""
    cache = MemoryCache()
    for number in (7, 8):
        cache.store(oid(number), tid(1), None, b'old')
    cache.setLastTid(tid(1))
    client, server = connected(tid(1), cache=cache)
    seen = database(
        lambda: (client.lastTransaction(), cache.loadBefore(oid(8), tid(3)), cache.load(oid(8)))
    )
    client.registerDB(seen)
    ping = Running(client.ping)
    server.send(
        invalidation(tid(2), oid(7)),
        invalidation(tid(3), oid(7), oid(8)),
        server.expect('ping').reply(None),
    )
    ping.result()
    meanwhile = tid(1), (b'old', tid(1), tid(3)), None
    assert seen.log == [(tid(2), [oid(7)], meanwhile), (tid(3), [oid(7), oid(8)], meanwhile)]
    assert cache.loadBefore(oid(7), tid(2)) == (b'old', tid(1), tid(2))
    assert client.lastTransaction() == cache.getLastTid() == tid(3)


def test_our_own_commit_is_the_last_transaction_after_its_callback(connected, metadata):
    """A thread that asks while the callback tells the other connections must not see the new tid
    yet.
    """
    client, server = connected(tid(1))
    client.tpc_begin(metadata)
    finishing = threading.Event()
    early, inside = [], []

    def ask():
        finishing.wait()
        early.append((client.lastTransaction(), told))

    told = False
    asker = Running(ask)

    def callback(committed):
        nonlocal told
        inside.append(client.lastTransaction())
        finishing.set()
        waiting_asker = threading.Event()
        # time for the asker to do it wrong; it waits for this callback when it is right
        waiting_asker.wait(0.2)
        told = True

    commit = Running(client.tpc_finish, metadata, callback)
    server.send(server.expect('tpc_begin', 'tpc_finish').reply(tid(2)))
    assert commit.result() == tid(2)
    asker.result()
    assert (inside, early) == ([tid(1)], [(tid(2), True)])


def test_our_own_commit_that_a_later_one_overtakes_is_not_current_in_the_cache(connected, metadata):
    """A server between us and another one may tell of t3 before it answers the finish of t2."""
    client, server = connected(tid(1))
    client.tpc_begin(metadata)
    client.store(oid(7), tid(1), b'mine', '', metadata)
    commit = Running(client.tpc_finish, metadata)
    finish = server.expect('tpc_begin', 'storea', 'tpc_finish')
    server.send(invalidation(tid(3), oid(7)), finish.reply(tid(2)))
    assert commit.result() == tid(2)
    assert client.lastTransaction() == tid(3)
    loading = Running(client.load, oid(7))
    server.send(server.expect('loadBefore').reply((b'theirs', tid(3), None)))
    assert loading.result() == (b'theirs', tid(3))


def test_invalidations_during_the_cache_check_wait_for_its_answer(scripted, clients, database):
    """One newer than the answer is applied after it; one that the answer covers is dropped."""
    cache = MemoryCache()
    for number in (6, 7, 8):
        cache.store(oid(number), tid(1), None, b'old')
    cache.setLastTid(tid(1))
    server = scripted()
    opening = Running(lambda: clients(server.address, cache=cache, wait=False))
    client = opening.result()
    told = database()
    client.registerDB(told)
    talk = server.client()
    talk.send(talk.expect('register').reply(tid(2)), invalidation(tid(2), oid(6)))
    talk.send(
        talk.expect('get_info').reply({'interfaces': (), 'extensions': ()}),
        invalidation(tid(3), oid(7)),
    )
    talk.send(
        talk.expect('getInvalidations').reply((tid(2), [oid(6), oid(8)])),
        invalidation(tid(4), oid(8)),
    )
    ping = Running(client.ping)
    talk.send(talk.expect('ping').reply(None))
    ping.result()
    assert told.log == [
        (tid(2), [oid(6), oid(8)], None),
        (tid(3), [oid(7)], None),
        (tid(4), [oid(8)], None),
    ]
    assert client.lastTransaction() == cache.getLastTid() == tid(4)
    assert [cache.load(oid(number)) for number in (6, 7, 8)] == [None] * 3


def test_what_a_server_says_in_front_of_its_answer_to_register_waits_as_well(
    scripted, clients, database
):
    """Applied at once it would move the last transaction past what was missed, and nobody would ask
    for that.
    """
    cache = MemoryCache()
    for number in (6, 7):
        cache.store(oid(number), tid(1), None, b'old')
    cache.setLastTid(tid(1))
    server = scripted()
    client = Running(lambda: clients(server.address, cache=cache, wait=False)).result()
    told = database()
    client.registerDB(told)
    talk = server.client()
    register = talk.expect('register')
    talk.send(invalidation(tid(3), oid(7)), register.reply(tid(2)))
    talk.send(talk.expect('get_info').reply({'interfaces': (), 'extensions': ()}))
    check = talk.expect('getInvalidations')
    assert check.args == (tid(1),)
    talk.send(check.reply((tid(2), [oid(6)])))
    ping = Running(client.ping)
    talk.send(talk.expect('ping').reply(None))
    ping.result()
    assert told.log == [(tid(2), [oid(6)], None), (tid(3), [oid(7)], None)]
    assert client.lastTransaction() == cache.getLastTid() == tid(3)
    assert cache.load(oid(6)) is cache.load(oid(7)) is None


def test_what_a_server_says_that_is_not_used_is_not_applied(
    scripted, clients, database, monkeypatch
):
    """A client that may only read looks for a better server all the time, and each tells of changes
    before it refuses.
    """
    monkeypatch.setattr('ZEO.link.link.LOOK_FOR_BETTER', 0.05)
    server = scripted()
    client = clients(server.address, read_only_fallback=True, wait=False)
    told = database()
    client.registerDB(told)
    readable = server.client()
    register = readable.expect('register')
    readable.send(register.fault('ZODB.POSException.ReadOnlyError', ()))
    readable.register(tid(1))
    for _ in range(3):
        candidate = server.client()
        register = candidate.expect('register')
        candidate.send(
            invalidation(tid(9), oid(1)), register.fault('ZODB.POSException.ReadOnlyError', ())
        )
    readable.send(invalidation(tid(2), oid(2)))
    ping = Running(client.ping)
    readable.send(readable.expect('ping').reply(None))
    ping.result()
    assert [entry for entry in told.log if entry != 'everything' and entry[1]] == [
        (tid(2), [oid(2)], None)
    ]
    assert client.lastTransaction() == tid(2)


def test_an_answer_that_was_applied_just_before_this_thread_had_its_turn_is_not_waited_for():
    """The thread that had the turn has applied it since this one has looked, and has left."""
    waiting = Waiting('ping')

    class Stream:
        recv_into = None

        def is_at_hand(self):
            waiting.done = True
            return False

        def wait(self, seconds):
            raise AssertionError('it waits')

    arrivals = Arrivals(None, {}, None)
    reader = Reader(Stream(), None, {}, arrivals, lambda *reason: None, None, Clock())
    reader.wait_for(waiting)

    assert not reader.is_waiting
