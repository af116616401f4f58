"""However a client's commit ends, the commit lock is free afterwards and the others commit."""

from math import inf
from types import SimpleNamespace

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, z64

from support.clock import Clock, let_pass
from support.scripted import Ended, message, oid, tid
from ZEO.serving.commit.phases import PREPARING, RESOLVING, VOTED

ONE, TWO = oid(1_000_001), oid(1_000_002)  # the good client's are small
SOME = (ONE, z64, b'data')


def begun(client):
    client.begin(1)


def stored(client):
    client.begin(1, SOME)


def voted(client):
    client.begin(1, SOME)
    client.call('vote', 1)


def in_the_middle_of_a_message(client):
    voted(client)
    client.send(message(0, True, 'storea', (TWO, z64, b'd' * 1000, 2))[:100])


def voting(client):
    client.begin(1, SOME)
    client.ask('vote', 1)


def finishing(client):
    voted(client)
    client.ask('tpc_finish', 1)


@pytest.fixture(params=[FileStorage, MappingStorage], ids=lambda kind: kind.__name__)
def either(request, serve, tmp_path):
    storage = (
        FileStorage(str(tmp_path / 'either.fs'))
        if request.param is FileStorage
        else MappingStorage()
    )
    return serve(storage)


@pytest.mark.parametrize(
    'phase', [begun, stored, voted, in_the_middle_of_a_message, voting, finishing]
)
def test_a_client_that_is_gone_leaves_the_lock(either, phase):
    client = either.client()
    phase(client)
    client.close()
    either.works()
    assert either.hosted.stats.active_txns == 0


def test_a_waiter_that_is_gone_is_not_handed_the_lock(either):
    holder, gone, next_one = either.client(), either.client(), either.client()
    voted(holder)
    voting(gone)
    gone.call('ping')  # by then it waits
    next_one.begin(1, (TWO, z64, b'next'))
    answer = next_one.ask('vote', 1)
    next_one.call('ping')
    assert either.hosted.lock.waiting == 2
    gone.close()
    holder.call('tpc_finish', 1)
    assert next_one.answer(answer) == []
    next_one.call('tpc_finish', 1)


def test_the_lock_is_handed_on_in_order(either):
    clients = [either.client() for _ in range(4)]
    votes, order = [], []
    for number, client in enumerate(clients):
        client.begin(1, (oid(number + 2_000_000), z64, b'data'))
        votes.append(client.ask('vote', 1))
        client.call('ping') if number else client.answer(votes[0])
    for number, client in enumerate(clients):
        if number:
            client.answer(votes[number])
        order.append(client.call('tpc_finish', 1))
    assert order == sorted(order)


def test_those_who_wait_are_served_meanwhile(either):
    holder, waiting = either.client(), either.client()
    voted(holder)
    voting(waiting)
    waiting.call('ping')
    assert waiting.call('lastTransaction') == either.storage.lastTransaction()
    holder.call('tpc_abort', 1)
    waiting.call('tpc_abort', 1)


def test_what_was_not_finished_was_not_done(either):
    client = either.client()
    voted(client)
    before = either.storage.lastTransaction()
    client.close()
    either.good.ping()
    assert either.storage.lastTransaction() == before
    with pytest.raises(KeyError):
        either.storage.loadBefore(ONE, maxtid)


@pytest.mark.parametrize(
    'call', ['storea', 'deleteObject', 'undoa', 'checkCurrentSerialInTransaction']
)
def test_a_one_way_call_that_fails_ends_the_connection_and_frees_the_lock(either, call):
    client = either.client()
    voted(client)
    # too late
    client.tell(call, *{'undoa': (b'x', 1), 'storea': (*SOME, 1)}.get(call, (ONE, z64, 1)))
    assert client.ended() in ([], ['.reply'])
    either.works()


@pytest.mark.parametrize(
    'args',
    [
        (),
        (1,),
        (1, 2, 3, 4, 5, 6, 7),
        (ONE, z64, b'data', 99),
        (ONE, z64, b'data', []),
        (ONE, z64, b'd', None),
    ],
)
def test_a_store_that_makes_no_sense_ends_the_connection(either, args):
    holder = either.client()
    voted(holder)
    holder.tell('storea', *args)
    assert holder.ended() == []
    either.works()


@pytest.mark.parametrize(
    'bad',
    [
        (b'', z64, b'data'),
        (b'short', z64, b'data'),
        (b'x' * 9, z64, b'data'),
        ('text-oid', z64, b'data'),
        (5, z64, b'data'),
        (ONE, z64, 'text'),
        (ONE, z64, None),
        (ONE, z64, 5),
        (ONE, b'x', b'data'),
        (ONE, 'x', b'data'),
        (None, None, None),
    ],
)
def test_records_that_no_storage_should_see(either, bad):
    """The connection ends, or the vote fails; the storage goes on as if nothing had been."""
    before = either.storage.lastTransaction()
    client = either.client()
    client.begin(1, bad)
    try:
        client.commit(2, (TWO, z64, b'x'))
        client.call('vote', 1)
        client.call('tpc_finish', 1)
    except (LookupError, Ended, OSError):
        pass
    else:
        assert bad[1] != z64  # MappingStorage looks at no serial of a new object
    client.close()
    either.works()
    assert either.storage.lastTransaction() > before


@pytest.mark.parametrize(
    'begin',
    [
        (1, b'u' * 70_000, b'', {}),
        (1, b'', b'd' * 70_000, {}),
        (1, b'', b'', {'k': 'e' * 70_000}),
        (1, b'', b'', {}, b'short', ' '),
        (1, b'', b'', {}, b'', 'p'),
        (1, b'', b'', {}, None, 5),
        (1, b'', b'', [1]),
        (1, 5, 6, 7),
        (1, b'', b'', {}, 'text', ' '),
        ([], b'', b'', {}),
        (1,),
    ],
)
def test_a_beginning_that_the_storage_refuses(either, begin):
    """FileStorage takes its own lock before it looks at what it was given."""
    client = either.client()
    client.tell('tpc_begin', *begin)
    try:
        client.tell('storea', *SOME, 1)
        client.call('vote', 1)
        client.call('tpc_finish', 1)
    except (LookupError, Ended, OSError):
        pass
    client.close()
    either.works()


def test_beginning_twice_ends_the_connection(either):
    client = either.client()
    voted(client)
    client.begin(1)
    assert client.ended() == []


@pytest.mark.parametrize(
    'calls, name',
    [
        (['tpc_finish'], 'StorageTransactionError'),
        (['vote', 'vote'], 'StorageTransactionError'),
        (['vote', 'tpc_finish', 'tpc_finish'], 'StorageTransactionError'),
        (['tpc_abort', 'vote'], 'StorageTransactionError'),
    ],
)
def test_calls_out_of_order(either, calls, name):
    client = either.client()
    client.begin(1, SOME)
    for call in calls[:-1]:
        client.call(call, 1)
    with pytest.raises(LookupError, match=name):
        client.call(calls[-1], 1)
    client.call('tpc_abort', 1)


@pytest.mark.parametrize('txn', [99, 'unknown', None, [], (1, 2), 2.5])
def test_unknown_transactions(either, txn):
    client = either.client()
    assert client.call('tpc_abort', txn) is None
    for call in ('vote', 'tpc_finish'):
        with pytest.raises(LookupError, match='StorageTransactionError'):
            client.call(call, txn)


def test_a_timeout_frees_the_lock_and_is_told(serve):
    clock = Clock()
    service = serve(transaction_timeout=30, system=clock)
    slow = service.client()
    voted(slow)
    let_pass(clock, service.server, 31)
    service.works()
    for late in ('vote', 'tpc_finish'):
        with pytest.raises(LookupError, match='ConflictError.*transaction-timeout'):
            # which every client tries again
            slow.call(late, 1)
    slow.call('tpc_abort', 1)  # from most clients none comes: the transaction is forgotten already
    with pytest.raises(LookupError, match='StorageTransactionError'):
        slow.call('tpc_finish', 1)
    slow.commit(2, SOME)


def test_a_client_is_not_late_while_the_storage_is_at_work_on_its_vote(serve, monkeypatch):
    clock = Clock()
    service = serve(transaction_timeout=30, system=clock)
    client = service.client()
    with monkeypatch.context() as patch:
        vote = service.storage.tpc_vote

        def slowly(transaction):
            clock.sleep(31)
            return vote(transaction)

        patch.setattr(service.storage, 'tpc_vote', slowly)
        voted(client)
        let_pass(clock, service.server, 29)
        assert client.call('tpc_finish', 1) > tid(0)
    client.begin(2, (TWO, z64, b'data'))
    client.call('vote', 2)
    let_pass(clock, service.server, 31)
    with pytest.raises(LookupError, match='ConflictError.*transaction-timeout'):
        client.call('tpc_finish', 2)


def test_time_in_which_a_client_resolves_conflicts_counts_and_that_of_the_storage_does_not():
    clock = SimpleNamespace(time=0.0)
    commit = SimpleNamespace(
        now=lambda: clock.time, waited=0.0, handed_over=0.0, voted=0.0, changed={}, progress=0
    )
    commit.hosted = SimpleNamespace(backend=SimpleNamespace(votes_end=True, prepare=lambda _: None))
    clock.time = 20.0  # the storage has taken that
    assert PREPARING.waited(commit) == 0
    commit.handed_over = 20.0
    clock.time = 25.0
    assert RESOLVING.waited(commit) == 5
    RESOLVING.vote(commit)
    clock.time = 90.0
    assert PREPARING.waited(commit) == 5
    commit.voted = 90.0
    clock.time = 97.0
    assert VOTED.waited(commit) == 12


def test_a_storage_on_a_network_is_given_up_when_it_takes_nothing_any_more():
    commit = SimpleNamespace(waited=0.0, changed={}, progress=0)
    commit.hosted = SimpleNamespace(backend=SimpleNamespace(votes_end=False))
    commit.changed[z64] = None
    assert PREPARING.waited(commit) == 0
    assert PREPARING.waited(commit) == inf


def test_waiting_for_the_lock_is_not_holding_it(serve):
    clock = Clock()
    service = serve(transaction_timeout=30, system=clock)
    clients = [service.client() for _ in range(4)]
    votes = []
    for number, client in enumerate(clients):
        client.begin(1, (oid(number + 2_000_000), z64, b'data'))
        votes.append(client.ask('vote', 1))
        client.call('ping') if number else client.answer(votes[0])
    for number in (1, 2, 3):  # each is handed the lock when the one before has timed out
        let_pass(clock, service.server, 31)
        clients[number].answer(votes[number])
    let_pass(clock, service.server, 29)
    assert clients[3].call('tpc_finish', 1) > tid(0)


def test_a_storage_that_fails_in_finish(serve, monkeypatch):
    service = serve()
    client = service.client()
    with monkeypatch.context() as patch:

        def fail(*args):
            raise OSError(28, 'No space left on device')

        patch.setattr(service.storage, 'tpc_finish', fail)
        voted(client)
        with pytest.raises(LookupError, match='OSError'):
            client.call('tpc_finish', 1)
    client.commit(2, SOME)


def test_two_commits_of_one_client(either):
    """They are two; the one waits for the other."""
    client = either.client()
    voted(client)
    client.begin(2, (TWO, z64, b'x'))
    second = client.ask('vote', 2)
    client.call('ping')
    first = client.call('tpc_finish', 1)
    assert client.answer(second) == []
    assert client.call('tpc_finish', 2) > first
