"""Calls that run in threads: a few of each client, in turn, and an error where no thread can be
started.
"""

import pickle
import time

import pytest
from ZODB.utils import maxtid, z64

from support.bounded import eventually
from support.scripted import Running, oid

#: What a pack can read.
RECORD = pickle.dumps(('module', 'Class'), 3) + pickle.dumps({}, 3)


def history(client, transactions):
    """Commit so many small transactions."""
    tid = z64
    for number in range(transactions):
        tid = client.commit(number, (oid(1), tid, b'x'))
    return tid


def test_a_pack_without_a_thread_fails_alone(server):
    server.serve()
    client, other = server.client(), server.client()
    tid = client.commit(1, (z64, z64, RECORD))
    threads = server.threads()
    client.call('undoLog', 0, 20)  # as another user it could not import anything any more
    # a thread that is about to end would take what comes
    eventually(lambda: server.threads() == threads)
    with server.without_threads():
        for _ in range(2):
            with pytest.raises(LookupError, match='cannot start a thread'):
                client.call('pack', time.time(), True)
            with pytest.raises(LookupError, match='cannot start a thread'):
                client.call('undoLog', 0, 20)
        tid = other.commit(1, (z64, tid, RECORD))
        status = other.call('server_status')
        assert not status['packing'] and status['lock_time'] is None and status['active_txns'] == 0
    tid = client.commit(2, (z64, tid, RECORD))
    assert [entry['id'] for entry in client.call('undoLog', 0, 20)]
    client.call('pack', time.time() + 1, True)
    assert other.call('loadBefore', z64, maxtid) == (RECORD, tid, None)


def unanswered(client, call, begin):
    """Make a call for which no thread can be started, as soon as no other one is about to end and
    takes it.
    """
    for number in range(100, 200):
        begin(number)
        try:
            client.call(call, number)
        except LookupError as error:
            assert 'cannot start a thread' in str(error)
            return number
        client.call('tpc_abort', number)
    raise AssertionError('it always found a thread')


def test_a_commit_on_another_servers_storage_without_a_thread_frees_the_lock(server, tmp_path):
    """Where every call of a commit needs one, since it may wait for a network."""
    server.serve()
    upstream = server.address
    server.serve(
        f'%import ZEO\n<clientstorage>\nserver {upstream}\nwait-timeout 10\n</clientstorage>\n',
        slot='fan-out',
    )
    client, other = server.client(), server.client()
    tid = client.commit(1, (oid(1), z64, b'one'))
    with server.without_threads():
        number = unanswered(
            client, 'vote', lambda number: client.begin(number, (oid(1), tid, b'two'))
        )
        status = client.call('server_status')
        assert status['lock_time'] is None and status['waiting'] == 0
    client.call('tpc_abort', number)
    tid = other.commit(3, (oid(1), tid, b'three'))
    tid = other.commit(5, (oid(1), tid, b'five'))
    assert client.call('loadBefore', oid(1), maxtid) == (b'five', tid, None)


def test_a_client_that_asks_for_very_much_does_not_keep_others_from_their_answers(server):
    server.serve(limits={'slow_calls': 20})
    greedy, good = server.client(), server.client()
    history(good, 300)
    greedy.call('lastTransaction')  # behind the news of those
    Running(lambda: [greedy.ask('undoLog', 0, -(10**6)) for _ in range(5000)])
    assert greedy.next()[2] == '.reply'
    for _ in range(3):
        assert len(good.call('undoLog', 0, -5)) == 5
    good.commit(1000, (oid(2), z64, b'x'))


def test_a_client_that_reads_its_answers_gets_them_all(server):
    server.serve(limits={'slow_calls': 20})
    client = server.client()
    history(client, 10)
    # More than one read of the server brings, so that there is something left to be not read.
    asked = 12_000
    asking = Running(lambda: [client.ask('undoLog', 0, -1) for _ in range(asked)])
    answered = {client.next()[0] for _ in range(asked)}
    asking.result()
    assert len(answered) == asked


def test_slow_calls_of_a_client_that_is_gone_are_forgotten(server):
    server.serve(limits={'slow_calls': 20})
    gone, good = server.client(), server.client()
    history(good, 300)
    gone.call('lastTransaction')  # behind the news of those
    Running(lambda: [gone.ask('undoLog', 0, -(10**6)) for _ in range(20_000)])
    assert gone.next()[2] == '.reply'
    gone.close()
    eventually(lambda: good.call('server_status')['connections'] == 1)
    assert len(good.call('undoLog', 0, -5)) == 5
    good.commit(1000, (oid(2), z64, b'x'))
