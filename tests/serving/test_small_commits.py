"""A transaction that comes whole has the same outcome as one whose messages come one by one."""

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, p64, z64

from support.in_memory import Client
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.StorageServer import Limits, StorageServer

OID = p64(1)
MAKERS = [lambda path: MappingStorage(), FileStorage, GroupedFileStorage]


@pytest.fixture(params=MAKERS, ids=['memory', 'file', 'grouped'])
def server(request, tmp_path, socket_path):
    storage = request.param(str(tmp_path / 'Data.fs'))
    server = StorageServer(socket_path, {'1': storage}, limits=Limits(turn=60, batch=100))
    yield server
    server.close()


def begun(client, number, serial, oid=OID):
    """Return the frames of a transaction, to its vote."""
    return [
        client.send('tpc_begin', number, b'user', b'what', b'', None, ' '),
        client.send('storea', oid, serial, b'data %d' % number, number),
        client.call('vote', number),
    ]


def outcome(client, frames, together):
    """Return what a client is answered to some frames."""
    client.channel.sent.clear()
    for data in [b''.join(frames)] if together else frames:
        client.give(data)
    return client.sent()


def finished(client, together):
    """Return what a client is answered when its transaction is finished."""
    found = outcome(client, [client.call('tpc_finish', 1)], together)
    for _ in range(10):
        if not found:  # a thread syncs the file
            client.loop.run_once(1.0)
            found = client.sent()
    return found


def both(server):
    """Return two clients, the first of which sends whole transactions."""
    return [(Client(server), True), (Client(server), False)]


def test_it_is_committed(server):
    serial = z64
    for client, together in both(server):
        assert outcome(client, begun(client, 1, serial), together) == [(7, 0, '.reply', [])]
        info, reply = finished(client, together)
        assert info[2] == 'info' and info[3][0]['length'] == 1
        serial = reply[3]
        found = server.hosted['1'].storage.loadBefore(OID, maxtid)
        assert found == (b'data 1', serial, None)
        assert client.peer.commits == 1 and server.hosted['1'].lock.holder is None
    stats = server.hosted['1'].stats
    assert (stats.commits, stats.stores, stats.active_txns) == (2, 2, 0)
    assert stats.durations.finish.count == stats.durations.wait.count == 2


def test_a_client_may_send_some_whole_and_some_in_parts(server):
    client, serial = Client(server), z64
    for together in (True, False, True, False):
        assert outcome(client, begun(client, 1, serial), together) == [(7, 0, '.reply', [])]
        info, reply = finished(client, together)
        assert info[2] == 'info' and reply[:3] == (7, 0, '.reply')
        serial = reply[3]
    assert client.peer.commits == server.hosted['1'].stats.commits == 4
    assert client.service.intake.budget.used == 0


@pytest.mark.parametrize(
    'size', [None, 2**60, lambda: 0], ids=['none', 'huge', 'not to be encoded']
)
def test_a_size_without_a_template_does_not_keep_the_answer_back(server, size):
    client = Client(server)
    outcome(client, begun(client, 1, z64), True)
    figures = {'length': 1, 'size': size}
    server.hosted['1'].sizes.for_client = lambda client: figures
    *info, reply = finished(client, True)
    assert [message[3][0] for message in info] == ([] if callable(size) else [figures])
    assert reply[3] == server.hosted['1'].storage.lastTransaction()


def test_another_client_is_sent_its_invalidation(server):
    other = Client(server)
    client = Client(server)
    outcome(client, begun(client, 1, z64), True)
    other.channel.sent.clear()
    *_, reply = finished(client, True)
    ((_, _, name, args),) = other.sent()
    assert (name, args[0], list(args[1])) == ('invalidateTransaction', reply[3], [OID])


def test_a_conflict_fails_its_vote(server):
    client = Client(server)
    outcome(client, begun(client, 1, z64), True)
    finished(client, True)
    faults = [outcome(one, begun(one, 1, p64(5)), how) for one, how in both(server)]
    assert [fault[0][:3] for fault in faults] == [(7, 2, '.reply')] * 2
    assert faults[0][0][3][0] == faults[1][0][3][0]
    assert server.hosted['1'].lock.holder is None and server.hosted['1'].stats.aborts == 2


def test_it_waits_for_the_lock(server):
    for client, together in both(server):
        first = Client(server)
        found = outcome(first, begun(first, 1, z64, p64(2)), True)
        assert found == [(7, 0, '.reply', [])]
        assert outcome(client, begun(client, 1, z64, p64(3)), together) == []
        outcome(first, [first.call('tpc_abort', 1)], True)
        assert client.sent() == [(7, 0, '.reply', [])]
        outcome(client, [client.call('tpc_abort', 1)], True)


@pytest.mark.parametrize('size, in_parts', [(4000, False), (5000, True)])
def test_what_waits_for_the_lock_is_on_its_clients_account(server, size, in_parts):
    first, client = Client(server), Client(server)
    used = client.service.intake.budget
    outcome(first, begun(first, 1, z64, p64(2)), True)
    frames = begun(client, 1, z64, p64(3))
    frames[1] = client.send('storea', p64(3), z64, b'x' * size, 1)
    assert outcome(client, frames, True) == []
    assert used.used > size
    outcome(first, [first.call('tpc_abort', 1)], True)
    assert server.hosted['1'].lock.holder.has_log is in_parts
    assert client.sent() == [(7, 0, '.reply', [])]
    found = finished(client, True)
    assert [message[2] for message in found] == ['info', '.reply']
    assert used.used == 0 and server.hosted['1'].lock.holder is None


def test_one_that_waits_for_the_lock_ends_with_its_client(server):
    first, client = Client(server), Client(server)
    outcome(first, begun(first, 1, z64, p64(2)), True)
    outcome(client, begun(client, 1, z64, p64(3)), True)
    outcome(client, [client.call('tpc_abort', 1)], True)
    outcome(client, begun(client, 2, z64, p64(3)), True)
    client.peer.closed('gone')
    finished(first, True)
    assert server.hosted['1'].lock.holder is None
    assert client.service.intake.budget.used == 0
    assert server.hosted['1'].stats.active_txns == 0


def test_one_that_was_voted_for_can_be_aborted_and_ends_with_its_client(server):
    client = Client(server)
    outcome(client, begun(client, 1, z64), True)
    assert outcome(client, [client.call('tpc_abort', 1)], True) == [(7, 0, '.reply', None)]
    assert server.hosted['1'].lock.holder is None
    outcome(client, begun(client, 2, z64), True)
    assert server.hosted['1'].lock.holder is not None
    client.peer.closed('gone')
    assert server.hosted['1'].lock.holder is None
    assert client.service.intake.budget.used == 0


def test_an_oid_that_no_client_may_use_fails_its_vote(server):
    for client, together in both(server):
        ((_, flags, _, fault),) = outcome(client, begun(client, 1, z64, b'\xff' * 8), together)
        assert flags == 2 and fault[0] == 'ZODB.POSException.StorageTransactionError'
        assert server.hosted['1'].lock.holder is None


def test_a_client_that_may_only_read_is_refused(server):
    outcomes = []
    for together in (True, False):
        client = Client(server, read_only=True)
        with pytest.raises(AssertionError, match='read-only'):
            outcome(client, begun(client, 1, z64), together)
        outcomes.append(server.hosted['1'].stats.active_txns)
    assert outcomes == [0, 0]


def test_a_storage_that_fails_to_finish_says_so(server):
    storage = server.hosted['1'].storage
    for client, together in both(server):
        outcome(client, begun(client, 1, z64, p64(9)), together)
        original = storage.tpc_finish
        storage.tpc_finish = None
        ((_, flags, _, _),) = outcome(client, [client.call('tpc_finish', 1)], together)
        storage.tpc_finish = original
        assert flags == 2 and server.hosted['1'].lock.holder is None
        ((_, flags, _, _),) = outcome(client, [client.call('tpc_finish', 1)], together)
        assert flags == 2
