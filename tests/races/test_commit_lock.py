"""The commit lock comes back however its holder ends, and is handed to nobody who is gone."""

import errno
import threading

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError
from ZODB.utils import maxtid, z64

from support.clock import Clock, let_pass
from support.inside import loop_of
from support.scripted import Running, oid, tid

pytestmark = pytest.mark.smoke


def _votes(client, txn, number=1):
    """Have a raw client vote; it holds the lock afterwards."""
    client.begin(txn, (oid(number), z64, b'mine'))
    assert client.call('vote', txn) == []


def _waits(client, txn, observer, waiting=1):
    """Have a raw client vote while another holds the lock; return once it is in the queue."""
    client.begin(txn, (oid(900 + txn), z64, b'mine'))
    vote = client.ask('vote', txn)
    while observer.call('server_status')['waiting'] < waiting:
        pass
    return vote


def _disconnect(server, holder):
    holder.close()


def _fail_one_way(server, holder):
    holder.tell('storea', oid(2), z64, b'after the vote', 1)


def _break_the_protocol(server, holder):
    holder.tell('no such call')


def _abort(server, holder):
    holder.ask('tpc_abort', 1)


def _be_dropped_by_the_server(server, holder):
    """As a stalled client is, or the storage's clients when it has lost track of its changes."""
    peer = next(iter(server.hosted['1'].peers))
    server.post(lambda: peer.close('the test says so'))


@pytest.mark.parametrize(
    'end', [_disconnect, _fail_one_way, _break_the_protocol, _abort, _be_dropped_by_the_server]
)
def test_whichever_way_the_holder_ends_the_next_one_gets_the_lock(serving, raw, end):
    """Lock held, others waiting in order: both commit, one after the other."""
    server = serving(MappingStorage())
    holder, second, third, observer = raw(server), raw(server), raw(server), raw(server)
    _votes(holder, 1)
    votes = [_waits(second, 2, observer, 1), _waits(third, 3, observer, 2)]
    end(server, holder)
    assert second.answer(votes[0]) == []
    second.call('tpc_finish', 2)
    assert third.answer(votes[1]) == []
    third.call('tpc_finish', 3)
    status = observer.call('server_status')
    assert (status['waiting'], status['lock_time'], status['active_txns']) == (0, None, 0)


def test_who_holds_the_lock_too_long_loses_it_and_is_told(serving, raw):
    """The transaction is aborted in the storage, the next one commits, and finish says what
    happened.
    """
    clock = Clock()
    server = serving(MappingStorage(), transaction_timeout=30, system=clock)
    holder, second, observer = raw(server), raw(server), raw(server)
    _votes(holder, 1)
    vote = _waits(second, 2, observer)
    let_pass(clock, server, 31)
    assert second.answer(vote) == []
    second.call('tpc_finish', 2)
    with pytest.raises(LookupError, match='transaction-timeout'):
        holder.call('tpc_finish', 1)
    with pytest.raises(LookupError, match='POSKeyError'):
        observer.call('loadBefore', oid(1), maxtid)


def test_time_spent_waiting_for_the_lock_does_not_count(serving, raw):
    """A client that waited long still has the whole time for itself once it holds the lock."""
    clock = Clock()
    server = serving(MappingStorage(), transaction_timeout=30, system=clock)
    holder, second, observer = raw(server), raw(server), raw(server)
    _votes(holder, 1)
    vote = _waits(second, 2, observer)
    let_pass(clock, server, 29)
    holder.call('tpc_finish', 1)
    assert second.answer(vote) == []
    let_pass(clock, server, 29)
    observer.call('ping')
    assert len(second.call('tpc_finish', 2)) == 8


@pytest.mark.parametrize(
    'end', [lambda client: client.close(), lambda client: client.call('tpc_abort', 2)]
)
def test_who_leaves_the_queue_is_not_handed_the_lock(serving, raw, end):
    """A client disconnects, or aborts, while it waits: the one behind it is next."""
    server = serving(MappingStorage(), transaction_timeout=None)
    holder, leaving, behind, observer = raw(server), raw(server), raw(server), raw(server)
    _votes(holder, 1)
    _waits(leaving, 2, observer, 1)
    vote = _waits(behind, 3, observer, 2)
    end(leaving)
    while observer.call('server_status')['waiting'] > 1:
        pass
    holder.call('tpc_finish', 1)
    assert behind.answer(vote) == []
    assert len(behind.call('tpc_finish', 3)) == 8


def test_who_is_granted_the_lock_and_leaves_in_the_same_moment_gives_it_back(serving, raw):
    """The holder finishes and the next one disconnects within one wake-up of the server."""
    server = serving(MappingStorage(), transaction_timeout=None)
    holder, leaving, behind, observer = raw(server), raw(server), raw(server), raw(server)
    _votes(holder, 1)
    _waits(leaving, 2, observer, 1)
    vote = _waits(behind, 3, observer, 2)
    lock, loop = server.hosted['1'].lock, loop_of(server)
    next_one = lock.waiting_clients[0]
    done = threading.Event()

    def both():
        lock.holder.phase.abort(lock.holder)  # grants the lock in this wake-up's end…
        next_one.close('it is gone')  # …to one who is gone by then
        done.set()

    loop.from_thread(both)
    assert done.wait(20)
    assert behind.answer(vote) == []


def test_a_storage_that_fails_to_abort_keeps_the_lock_from_nobody(serving, raw):
    """Whatever tpc_abort raises, the next transaction is voted on."""

    class Broken(MappingStorage):
        def tpc_abort(self, transaction):
            super().tpc_abort(transaction)
            raise OSError(errno.EIO, 'broken')

    server = serving(Broken())
    holder, second = raw(server), raw(server)
    _votes(holder, 1)
    holder.call('tpc_abort', 1)
    _votes(second, 2)


def test_a_conflict_leaves_the_cache_to_the_invalidation(connected, metadata, logged_cache):
    """The failed vote touches no cache, from no thread: the record stays right for its own time
    until t2 is told.
    """
    logged_cache.store(oid(7), tid(1), None, b'old')
    logged_cache.setLastTid(tid(1))
    client, server = connected(tid(1), cache=logged_cache)
    logged_cache.log.clear()
    client.tpc_begin(metadata)
    client.store(oid(7), tid(1), b'mine', '', metadata)
    voting = Running(client.tpc_vote, metadata)
    vote = server.expect('tpc_begin', 'storea', 'vote')
    server.send(
        vote.fault(
            'ZODB.POSException.ConflictError',
            {'message': 'conflict', 'oid': oid(7), 'class_name': None, 'serials': (tid(2), tid(1))},
        )
    )
    with pytest.raises(ConflictError):
        voting.result()
    aborting = Running(client.tpc_abort, metadata)
    server.send(server.expect('tpc_abort').reply(None))
    aborting.result()
    assert logged_cache.log == []
    assert client.loadBefore(oid(7), tid(2)) == (b'old', tid(1), None)


def test_what_the_server_resolved_is_not_in_the_cache_as_it_was_stored(connected, metadata):
    """The resolved record is another one than ours, and only the server has it."""
    client, server = connected(tid(1))
    client.tpc_begin(metadata)
    client.store(oid(7), tid(1), b'mine', '', metadata)
    voting = Running(client.tpc_vote, metadata)
    server.send(server.expect('tpc_begin', 'storea', 'vote').reply([oid(7)]))
    assert voting.result() == [oid(7)]
    finishing = Running(client.tpc_finish, metadata)
    server.send(server.expect('tpc_finish').reply(tid(3)))
    finishing.result()
    loading = Running(client.load, oid(7))
    server.send(server.expect('loadBefore').reply((b'both', tid(3), None)))
    assert loading.result() == (b'both', tid(3))


def test_a_client_with_many_voted_transactions_does_not_keep_the_lock_from_others(serving, raw):
    """It gets the lock and lets the time pass, again and again; in between each of the others has a
    turn.
    """
    clock = Clock()
    server = serving(MappingStorage(), transaction_timeout=30, system=clock)
    greedy, good = raw(server), raw(server)
    for txn in range(50):
        greedy.begin(txn, (oid(1), z64, b'greedy'))
        greedy.ask('vote', txn)
    greedy.ask('ping')
    assert greedy.next()[:3] == (2, 0, '.reply')  # the first vote, which holds the lock
    for txn in range(3):
        good.begin(txn, (oid(2 + txn), z64, b'good'))
        vote = good.ask('vote', txn)
        good.call('ping')  # so it is in the queue
        let_pass(clock, server, 31)
        assert good.answer(vote) == []
        good.call('tpc_finish', txn)
