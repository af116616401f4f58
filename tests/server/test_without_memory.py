"""A server that has no memory for what a client waits for: the client is answered or sent away, and
what it has held goes to the others.
"""

import threading

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import StorageError
from ZODB.utils import maxtid, p64, z64

from server.test_group_commit import serve as serve_grouped
from server.test_wait_for_replicas import finishing, voted
from support.processes import wait_until
from support.scripted import PATIENCE, framed
from ZEO.net.channel import Channel
from ZEO.net.loop import Loop
from ZEO.serving import answers
from ZEO.serving.backends import local
from ZEO.serving.calls.transactions import TransactionCalls
from ZEO.serving.commit import Commit, phases
from ZEO.serving.later import Later
from ZEO.serving.slices import Slice
from ZEO.serving.workers import Workers

OID, OTHER = p64(1), p64(2)

grouped = serve_grouped  # a fixture


@pytest.fixture
def fails_once(monkeypatch):
    """A function that has another one raise MemoryError once, when its arguments are `wanted`; or
    another error, for which not all clients are closed.
    """

    def fail(where, name, wanted=lambda *args: True, error=MemoryError):
        original, failures = getattr(where, name), [error()]

        def once(*args, **named):
            if failures and wanted(*args):
                raise failures.pop()
            return original(*args, **named)

        monkeypatch.setattr(where, name, once)
        return failures

    return fail


def test_a_client_that_cannot_be_answered_later_is_sent_away(serving, raw, fails_once):
    """It has waited for the commit lock, which goes to the next one."""
    server = serving(MappingStorage())
    holder, waiting, last = raw(server), raw(server), raw(server)
    voted(holder, 1, (OID, z64, b'data'))
    waiting.begin(1, (OTHER, z64, b'data'))
    waiting.ask('vote', 1)
    lock = server.hosted['1'].lock
    wait_until(lambda: len(lock._waiting) == 1)
    failures = fails_once(answers, 'frame', lambda data: lock.holder.phase is phases.VOTED)
    holder.ask('tpc_finish', 1)
    waiting.ended()
    assert not failures
    last.commit(1, (p64(3), z64, b'data'))


def test_what_is_committed_is_not_reported_as_failed(serving, raw, fails_once):
    server = serving(MappingStorage())
    client, reader = raw(server), raw(server)
    failures = fails_once(server.hosted['1'].sizes, 'send')
    voted(client, 1, (OID, z64, b'data'))
    client.ask('tpc_finish', 1)
    assert 'error' not in str(client.ended())
    assert not failures and reader.call('loadBefore', OID, maxtid)[0] == b'data'


def fail_a_task(server):
    def fail():
        raise MemoryError

    server.post(fail)


def test_after_a_task_that_was_lost_all_clients_begin_again(serving, raw):
    """What they wait for may have been lost with it."""
    server = serving(MappingStorage())
    holder, other = raw(server), raw(server)
    voted(holder, 1, (OID, z64, b'data'))
    fail_a_task(server)
    holder.ended()
    other.ended()
    assert server.hosted['1'].invalidations.since(z64, p64(1)) is None
    raw(server).commit(1, (OTHER, z64, b'data'))


def test_what_was_written_is_on_the_disk_and_seen_then(grouped):
    service = grouped()
    client = service.client()
    finishing(client, 1, (OID, z64, b'new'))
    assert service.storage.begun.acquire(timeout=PATIENCE)
    fail_a_task(service.server)
    service.storage.may_end.release(2)
    client.ended()
    after = service.client()
    assert after.call('loadBefore', OID, maxtid)[0] == b'new'
    assert after.commit(1, (OTHER, z64, b'data')) == after.call('lastTransaction')


def test_nobody_is_told_of_a_transaction_behind_one_that_could_not_be_told(grouped, fails_once):
    """It would be taken for all that has changed."""
    service = grouped()
    before, first, second, reader = (service.client() for _ in range(4))
    finish = finishing(before, 1, (p64(3), z64, b'before'))
    assert service.storage.begun.acquire(timeout=PATIENCE)
    finishing(first, 1, (OID, z64, b'first'))
    finishing(second, 1, (OTHER, z64, b'second'))
    wait_until(lambda: len(service.hosted.backend._waiting) == 3)
    service.storage.may_end.release()
    before.answer(finish)
    assert service.storage.begun.acquire(timeout=PATIENCE)
    reader.call('ping')
    failures = fails_once(phases.Written, 'finished')
    service.storage.may_end.release(2)
    told = reader.ended()
    assert not failures and 'invalidateTransaction' not in told
    after = service.client()
    assert after.call('loadBefore', OID, maxtid)[0] == b'first'
    assert after.call('loadBefore', OTHER, maxtid)[0] == b'second'


def test_what_could_not_be_hidden_is_permanent_at_once(grouped, fails_once):
    service = grouped()
    client, reader = service.client(), service.client()
    failures = fails_once(service.hosted.backend, '_hold', error=RuntimeError)
    service.storage.may_end.release(100)
    finishing(client, 1, (OID, z64, b'new'))
    client.ended()
    reader.ended()
    assert not failures
    assert service.client().call('loadBefore', OID, maxtid)[0] == b'new'


def test_what_is_permanent_is_answered_whatever_fails_behind_it(grouped, fails_once):
    service = grouped()
    client = service.client()
    failures = fails_once(service.hosted.sizes, 'send')
    finish = finishing(client, 1, (OID, z64, b'new'))
    service.storage.finish_sync()
    assert client.answer(finish) == service.storage.lastTransaction()
    assert not failures


def test_a_lock_that_is_granted_for_nothing_goes_to_the_next(serving, raw, fails_once):
    server = serving(MappingStorage())
    holder, waiting = raw(server), raw(server)
    voted(holder, 1, (OID, z64, b'data'))
    waiting.begin(1, (OTHER, z64, b'data'))
    vote = waiting.ask('vote', 1)
    wait_until(lambda: len(server.hosted['1'].lock._waiting) == 1)
    failures = fails_once(Commit, 'start_timer')
    holder.call('tpc_finish', 1)
    with pytest.raises(LookupError, match='MemoryError'):
        waiting.answer(vote)
    assert not failures
    waiting.commit(2, (OTHER, z64, b'data'))


def test_a_thread_for_which_there_is_no_memory_leaves_no_work_behind(loop_of_its_own, fails_once):
    loop, done = loop_of_its_own, []
    workers = Workers(loop)
    fails_once(loop.sharing, 'begin')
    with pytest.raises(StorageError, match='cannot start a thread'):
        workers.run(lambda: done.append('too late'))
    assert workers.waiting == 0
    ended = threading.Event()
    workers.run(lambda: done.append('next')).then(lambda _: ended.set(), print)
    while not ended.is_set():
        loop.run_once(0.01)
    assert done == ['next']


@pytest.fixture
def loop_of_its_own():
    loop = Loop()
    yield loop
    loop.close()


def test_a_lock_of_which_the_end_was_lost_is_taken_back_from_the_storage_as_well(serving, raw):
    """Else the next transaction would wait in the storage, and the loop with it."""
    server = serving(MappingStorage())
    holder = raw(server)
    voted(holder, 1, (OID, z64, b'data'))
    lock = server.hosted['1'].lock

    def lose_its_end():
        lock.holder.phase = phases.ENDED
        raise MemoryError

    server.post(lose_its_end)
    holder.ended()
    raw(server).commit(1, (OTHER, z64, b'data'))


def test_the_end_of_a_client_for_which_there_was_no_memory_comes_again(serving, raw, fails_once):
    """What it holds would be left for ever."""
    server = serving(MappingStorage())
    holder, other = raw(server), raw(server)
    voted(holder, 1, (OID, z64, b'data'))
    failures = fails_once(TransactionCalls, 'close')
    holder.close()
    other.ended()
    raw(server).commit(1, (OTHER, z64, b'data'))
    assert not failures


def test_a_storage_that_could_not_abort_is_asked_again(serving, raw, fails_once):
    server = serving(MappingStorage())
    holder = raw(server)
    voted(holder, 1, (OID, z64, b'data'))
    failures = fails_once(server.hosted['1'].storage, 'tpc_abort')
    holder.ask('tpc_abort', 1)
    holder.ended()
    raw(server).commit(1, (OTHER, z64, b'data'))
    assert not failures


def test_a_commit_that_may_be_permanent_is_not_reported_as_failed(serving, raw, fails_once):
    server = serving(MappingStorage())
    client, reader = raw(server), raw(server)
    failures = fails_once(phases.Finishing, 'finished')
    voted(client, 1, (OID, z64, b'data'))
    client.ask('tpc_finish', 1)
    assert 'invalidateTransaction' not in client.ended() + reader.ended()
    assert not failures and raw(server).call('loadBefore', OID, maxtid)[0] == b'data'


def test_a_commit_that_fails_so_later_is_not_answered(serving, raw, monkeypatch):
    failed = Later()
    failed.fail(MemoryError())
    monkeypatch.setattr(local.LocalBackend, 'finish', lambda self, commit: failed)
    client = raw(serving(MappingStorage()))
    voted(client, 1, (OID, z64, b'data'))
    client.ask('tpc_finish', 1)
    assert client.ended() == []


def test_what_a_thread_has_done_is_passed_on_once_there_is_memory(loop_of_its_own, fails_once):
    loop, done = loop_of_its_own, threading.Event()
    workers = Workers(loop)
    failures = fails_once(loop, 'from_thread')
    workers.run(lambda: 'result').then(lambda _: done.set(), print)
    while not done.is_set():
        loop.run_once(0.01)
    assert not failures


def test_what_is_posted_twice_is_done_once(loop_of_its_own, monkeypatch):
    """There was no memory to wake the loop, which had been given it by then."""
    loop, told, posted = loop_of_its_own, [], []
    post = loop.from_thread
    monkeypatch.setattr(loop, 'from_thread', lambda one: (post(one), post(one), posted.append(one)))
    Workers(loop).run(lambda: 'result').then(told.append, print)
    while len(posted) < 2 or loop.posted:  # the outcome, and the end of the thread
        loop.run_once(0.01)
    assert told == ['result']
    assert loop.sharing.threads == 0


def test_a_connection_of_which_the_end_failed_is_closed(serving, raw, monkeypatch):
    """The loop calls it again, so that it does that; others are served."""
    server = serving(MappingStorage())
    client, other = raw(server), raw(server)
    client.call('ping')

    def fail(*args):
        monkeypatch.undo()
        raise RuntimeError

    monkeypatch.setattr(Channel, '_failed', fail)
    client.send(framed(b'not a message'))
    client.ended()
    other.commit(1, (OTHER, z64, b'data'))


def test_a_commit_that_a_thread_is_at_is_not_given_up_before_it_is_done(serving, raw, fails_once):
    """The thread would begin it in the storage after that, and the next one wait there."""
    storage = Remote()
    server, may_vote, vote = serving(storage), threading.Event(), storage.tpc_vote
    storage.tpc_vote = lambda transaction: may_vote.wait(PATIENCE) and vote(transaction)
    client, other = raw(server), raw(server)
    failures = fails_once(Later, 'then')
    client.begin(1, (OID, z64, b'data'))
    client.ask('vote', 1)
    other.ended()
    assert not failures and server.hosted['1'].lock.holder is not None
    may_vote.set()
    wait_until(lambda: server.hosted['1'].lock.holder is None)
    raw(server).commit(1, (OTHER, z64, b'data'))


class Remote(MappingStorage):
    """One on a network, as far as a server knows; its tpc_finish fails behind the end."""

    is_connected = bool

    def tpc_finish(self, transaction, func=lambda tid: None):
        super().tpc_finish(transaction, func)
        raise OSError('behind the end')


def test_what_another_server_has_committed_is_answered_whatever_fails_behind_it(serving, raw):
    server = serving(Remote())
    client = raw(server)
    assert client.commit(1, (OID, z64, b'data')) == client.call('lastTransaction')


def test_a_vote_of_which_the_answer_failed_fails(serving, raw, fails_once, monkeypatch):
    """Also where it has taken more than one turn of the loop."""
    monkeypatch.setattr(Slice, 'is_over', lambda self: True)
    server = serving(MappingStorage())
    client = raw(server)
    failures = fails_once(phases.Preparing, 'prepared', error=RuntimeError)
    client.begin(1, (OID, z64, b'data'), (OTHER, z64, b'data'))
    vote = client.ask('vote', 1)
    with pytest.raises(LookupError, match='RuntimeError'):
        client.answer(vote)
    assert not failures
    client.commit(2, (OTHER, z64, b'data'))
