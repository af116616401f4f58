"""A connection is lost at the worst of times; nothing half-done is committed, and nothing that was
missed stays unknown.
"""

import threading

import pytest
import ZODB
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, z64

from support.scripted import Running, invalidation, message, oid, tid
from ZEO.cache.memory_cache import MemoryCache
from ZEO.Exceptions import ClientDisconnected
from ZEO.StorageServer import Limits

pytestmark = pytest.mark.smoke


def test_a_commit_missed_while_disconnected_is_seen_after_the_reconnect(serving, sockets, clients):
    """Without waiting for one more commit: the open connection's next snapshot has it."""
    storage = MappingStorage()
    storage.close = lambda: None
    address = sockets()
    first = serving(storage, address)
    reader = ZODB.DB(clients(address))
    reading = reader.open()
    reading.root()['x'] = 1
    reading.transaction_manager.commit()
    first.close()
    with ZODB.DB(storage).transaction() as other:
        other.root()['x'] = 2
    serving(storage, address)
    _reach(reader.storage)
    reading.sync()
    assert reading.root()['x'] == 2


def test_a_client_that_is_dropped_in_the_middle_of_telling_all_hides_nothing_from_the_next(
    serving, raw
):
    """The server finds out that it is gone while it walks over the table of its clients."""

    class Elsewhere(MappingStorage):
        def registerDB(self, database):
            self.database = database

    storage = Elsewhere()
    # more than one of these invalidations, less than two
    server = serving(storage, limits=Limits(output_buffer=60_000))
    before, stalled, behind = raw(server), raw(server, receive_buffer=4096), raw(server)
    for number in range(1, 41):
        storage.database.invalidate(tid(number), [oid(10**6 + some) for some in range(3000)])
        assert before.next()[3][0] == behind.next()[3][0] == tid(number)
    assert before.call('server_status')['connections'] == 2
    assert 0 < len(stalled.ended()) < 40


def test_a_store_that_was_accepted_and_never_sent_fails_the_vote(connected, metadata):
    """The vote goes to the connection on which the transaction was begun, never to the next one."""
    client, lost = connected(tid(1))
    client.tpc_begin(metadata)
    client.store(oid(7), z64, b'mine', '', metadata)
    again = _reconnect(client, lost, tid(1))
    voting = Running(client.tpc_vote, metadata)
    with pytest.raises(ClientDisconnected):
        voting.result()
    client.tpc_abort(metadata)
    _nothing_but_a_ping_comes(client, again)


@pytest.mark.parametrize('done', ['begin', 'store', 'vote'])
def test_a_transaction_does_not_outlive_its_connection(connected, metadata, done):
    """Lost and regained between begin and finish: whatever comes next fails, up to a fresh
    transaction.
    """
    client, lost = connected(tid(1))
    client.tpc_begin(metadata)
    if done != 'begin':
        client.store(oid(7), z64, b'mine', '', metadata)
    if done == 'vote':
        voting = Running(client.tpc_vote, metadata)
        lost.send(lost.expect('tpc_begin', 'storea', 'vote').reply([]))
        voting.result()
    again = _reconnect(client, lost, tid(1))
    step = {
        'begin': lambda: client.store(oid(7), z64, b'mine', '', metadata),
        'store': lambda: client.tpc_vote(metadata),
        'vote': lambda: client.tpc_finish(metadata),
    }[done]
    failing = Running(step)
    with pytest.raises(ClientDisconnected):
        failing.result()
    client.tpc_abort(metadata)
    fresh = TransactionMetaData()
    client.tpc_begin(fresh)
    committing = Running(client.tpc_vote, fresh)
    again.send(again.expect('tpc_begin', 'vote').reply([]))
    assert committing.result() == []


@pytest.mark.parametrize('committed', [True, False])
def test_a_server_that_dies_in_finish_leaves_the_truth_to_the_reconnect(
    connected, metadata, committed
):
    """The client raises, keeps its own data out of the cache, and loads again what it may have
    changed.
    """
    cache = MemoryCache()
    cache.store(oid(7), tid(1), None, b'old')
    cache.setLastTid(tid(1))
    client, lost = connected(tid(1), cache=cache)
    client.tpc_begin(metadata)
    client.store(oid(7), tid(1), b'mine', '', metadata)
    voting = Running(client.tpc_vote, metadata)
    lost.send(lost.expect('tpc_begin', 'storea', 'vote').reply([]))
    voting.result()
    called = []
    finishing = Running(client.tpc_finish, metadata, called.append)
    lost.expect('tpc_finish')
    again = _reconnect(client, lost, tid(2) if committed else tid(1), [oid(7)])
    with pytest.raises(ClientDisconnected):
        finishing.result()
    assert called == []
    assert client.lastTransaction() == (tid(2) if committed else tid(1))
    loading = Running(client.load, oid(7))
    there = (b'mine', tid(2)) if committed else (b'old', tid(1))
    again.send(again.expect('loadBefore').reply((*there, None)))
    assert loading.result() == there


def test_what_a_lost_connection_still_brings_is_not_applied_after_the_next_cache_check(
    connected, logged_cache
):
    """An answer from before the loss would be taken for current, though its invalidation was
    covered by the check.
    """
    client, lost = connected(tid(1), cache=logged_cache)
    loading = Running(client.loadBefore, oid(7), maxtid)
    load = lost.expect('loadBefore')
    again = _reconnect(
        client, lost, tid(2), [oid(7)], last_words=load.reply((b'old', tid(1), None))
    )
    with_data = _outcome(loading)
    assert with_data in (None, (b'old', tid(1), None))
    later = Running(client.load, oid(7))
    again.send(again.expect('loadBefore').reply((b'new', tid(2), None)))
    assert later.result() == (b'new', tid(2))


def test_what_arrives_behind_the_end_of_a_connection_is_not_applied(connected, logged_cache):
    """In one and the same packet: the message for which the client gives the server up, and an
    answer nobody waits for.
    """
    client, server = connected(tid(1), cache=logged_cache)
    client.prefetch([oid(7)], maxtid)
    load = server.expect('loadBefore')
    server.send(message(0, True, 'nonsense', ()), load.reply((b'old', tid(1), None)))
    client.sync()
    again = server.server.client()
    again.register(tid(1))
    _nothing_but_a_ping_comes(client, again)
    assert logged_cache.log == []


def test_every_waiting_call_ends_when_the_connection_is_lost(connected):
    """Those who do not read themselves are woken as well."""
    client, server = connected(tid(1))
    waiting = [Running(client.getTid, oid(number)) for number in range(5)]
    for _ in waiting:
        server.expect('getTid')
    server.close()
    server.server.close()
    for call in waiting:
        with pytest.raises(ClientDisconnected):
            call.result()


def test_invalidations_are_seen_by_a_client_that_does_nothing(connected):
    """The watcher reads while nobody calls; the database hears of it without a sync."""
    client, server = connected(tid(1))
    heard = threading.Event()

    class Listening:
        def invalidate(self, tid, oids):
            heard.set()

        transform_record_data = untransform_record_data = None

    client.registerDB(Listening())
    server.send(invalidation(tid(2), oid(7)))
    assert heard.wait(20)


def _reach(client):
    """Return once the client has a connection; calls fail until it has found out that it lost the
    old one.
    """
    while True:
        try:
            return client.ping()
        except ClientDisconnected:
            pass


def _reconnect(client, lost, last, changed=(), last_words=b''):
    """Lose the connection; return the next one, its cache check done."""
    if last_words:
        lost.send(last_words)
    lost.close()
    again = lost.server.client()
    again.send(again.expect('register').reply(last))
    again.send(again.expect('get_info').reply({'interfaces': (), 'extensions': ('multi_commit',)}))
    if last != client.lastTransaction():
        again.send(again.expect('getInvalidations').reply((last, list(changed))))
    _nothing_but_a_ping_comes(client, again)
    return again


def _nothing_but_a_ping_comes(client, conversation):
    ping = Running(client.ping)
    conversation.send(conversation.expect('ping').reply(None))
    ping.result()


def _outcome(running):
    try:
        return running.result()
    except ClientDisconnected:
        return None
