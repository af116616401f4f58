"""A call whose answer does not come has an end, though the server is alive and says so."""

import threading
import time

import pytest
from ZODB.Connection import TransactionMetaData

from support.scripted import Running, message, oid, tid
from ZEO.Exceptions import ClientDisconnected
from ZEO.link.deadlines import TIME_LIMIT, time_limit


@pytest.fixture
def alive():
    """A function that keeps a connection alive from the server's side."""
    ended, threads = threading.Event(), []

    def keep(talk):
        def run():
            while not ended.wait(0.05):
                try:
                    talk.send(message(-1, False, '.reply', None))
                except OSError:
                    return

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()

    yield keep
    ended.set()
    for thread in threads:
        thread.join()


CALLS = {
    'loadBefore': lambda client: client.load(oid(7)),
    'getTid': lambda client: client.getTid(oid(7)),
    'new_oids': lambda client: client.new_oid(),
    'pack': lambda client: client.pack(0),
    'undoLog': lambda client: client.undoLog(),
    'history': lambda client: client.history(oid(7)),
    'iterator_start': lambda client: next(client.iterator()),
    'server_status': lambda client: client.server_status(),
}


@pytest.mark.parametrize('name', CALLS)
def test_a_call_ends_after_the_time_that_the_user_has_set(connected, alive, name):
    """The error says what was called and for how long; the connection ends with it, and the next
    one works.
    """
    client, talk = connected(tid(1), timeout=0.5)
    alive(talk)
    calling = Running(CALLS[name], client)
    talk.expect(name)
    with pytest.raises(ClientDisconnected, match=f'has not answered {name} within 0.5 s'):
        calling.result()
    again = talk.server.client()
    again.register(tid(1))
    ping = Running(client.ping)
    again.send(again.expect('ping').reply(None))
    ping.result()


def test_a_call_may_have_a_limit_of_its_own(connected, alive):
    client, talk = connected(tid(1))
    alive(talk)
    asking = Running(lambda: client.server_status(timeout=0.5))
    talk.expect('server_status')
    with pytest.raises(ClientDisconnected, match='has not answered server_status within 0.5 s'):
        asking.result()


def test_a_call_may_have_no_limit_where_others_have_one(connected, alive):
    client, talk = connected(tid(1), timeout=0.1)
    alive(talk)
    asking = Running(lambda: client.server_status(timeout=0))
    request = talk.expect('server_status')
    time.sleep(0.3)  # longer than the limit of others
    talk.send(request.reply({}))
    assert asking.result() == {}


def test_giving_a_transaction_up_may_have_a_limit_of_its_own(connected, alive):
    """The connection ends with it, and so the server gives the transaction up as well."""
    client, talk = connected(tid(1))
    alive(talk)
    metadata = TransactionMetaData()
    client.tpc_begin(metadata)
    aborting = Running(lambda: client.tpc_abort(metadata, timeout=0.5))
    talk.expect('tpc_begin', 'tpc_abort')
    assert aborting.result() is None
    assert talk.ended() == []
    assert client.tpc_transaction() is None


@pytest.mark.parametrize('name', ['vote', 'tpc_finish'])
def test_a_commit_ends_as_well(connected, alive, name):
    client, talk = connected(tid(1), timeout=0.5)
    alive(talk)
    metadata = TransactionMetaData()
    client.tpc_begin(metadata)
    committing = Running(client.tpc_vote, metadata)
    vote = talk.expect('tpc_begin', 'vote')
    if name == 'tpc_finish':
        talk.send(vote.reply([]))
        committing.result()
        committing = Running(client.tpc_finish, metadata)
        talk.expect('tpc_finish')
    with pytest.raises(ClientDisconnected, match=f'has not answered {name} within 0.5 s'):
        committing.result()


def test_the_others_that_wait_end_with_it(connected, alive):
    """Also one that does not read itself, and whose time is not over."""
    client, talk = connected(tid(1), timeout=1.5)
    alive(talk)
    first = Running(client.getTid, oid(1))
    talk.expect('getTid')
    time.sleep(0.3)  # so that the second one's time is over later
    second = Running(client.getTid, oid(2))
    talk.expect('getTid')
    for waiting in first, second:
        with pytest.raises(ClientDisconnected, match='has not answered getTid within 1.5 s'):
            waiting.result()


def test_one_that_waits_for_another_thread_to_read_has_an_end_of_its_own(connected, alive):
    """The thread that reads gets its answer in time, again and again."""
    client, talk = connected(tid(1), timeout=1.0)
    alive(talk)
    reading = Running(client.getTid, oid(1))
    read = talk.expect('getTid')
    late = Running(client.getTid, oid(2))
    talk.expect('getTid')
    talk.send(read.reply(tid(1)))
    assert reading.result() == tid(1)
    with pytest.raises(ClientDisconnected, match='has not answered getTid within 1 s'):
        late.result()


def test_without_a_setting_a_pack_and_a_vote_take_as_long_as_they_take():
    assert time_limit('pack', None) is None and time_limit('vote', None) is None
    assert time_limit('loadBefore', None) == TIME_LIMIT
    assert time_limit('loadBefore', 0) is None
    assert time_limit('vote', 7.0) == 7.0
