"""commit_after: many transactions of one client are under way, and each needs the one before it."""

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, z64

from support.scripted import Ended, oid
from ZEO.serving.limits import Limits


def sent(client, numbers, after=None):
    """Send transactions, and have each committed after the one before; the ids of the calls."""
    asked = []
    for number in numbers:
        client.begin(number, (oid(number), z64, b'data'))
        asked.append(client.ask('commit_after', number, after))
        after = number
    return asked


def stored(server):
    return sorted(one.tid for one in server.hosted['1'].storage.iterator())


@pytest.fixture
def server(serving):
    return serving(MappingStorage())


def test_they_are_committed_in_their_order_and_others_are_told(server, raw):
    client, other = raw(server), raw(server)
    tids = [client.answer(number) for number in sent(client, range(1, 30))]
    assert tids == sorted(tids) == stored(server)
    assert other.call('loadBefore', oid(29), maxtid)[1] == tids[-1]
    assert other.call('server_status')['active_txns'] == 0


def test_they_wait_for_the_commit_of_another_client(server, raw):
    holder, client = raw(server), raw(server)
    holder.begin(1, (oid(100), z64, b'data'))
    holder.call('vote', 1)
    asked = sent(client, range(1, 5))
    assert holder.call('server_status')['commits'] == 0
    first = holder.call('tpc_finish', 1)
    assert [first, *map(client.answer, asked)] == stored(server)


def test_none_is_committed_behind_one_that_has_failed(server, raw):
    client = raw(server)
    before = [client.answer(number) for number in sent(client, [1, 2])]
    client.begin(3, (oid(1), b'notatid!', b'data'))  # a conflict
    asked = [client.ask('commit_after', 3, 2), *sent(client, [4, 5], after=3)]
    with pytest.raises(LookupError, match='ConflictError'):
        client.answer(asked[0])
    for number in asked[1:]:
        with pytest.raises(LookupError, match='the one before it was not'):
            client.answer(number)
    assert stored(server) == before
    assert client.call('server_status')['active_txns'] == 0
    # and the next one that needs no other is free
    assert client.answer(*sent(client, [6])) > before[-1]


def test_one_that_was_not_begun_is_an_error_of_its_own_call(server, raw):
    client = raw(server)
    with pytest.raises(LookupError, match='was not begun'):
        client.call('commit_after', 7, None)
    with pytest.raises(LookupError, match='the one before it was not'):
        client.call('commit_after', 7, 6)
    client.call('ping')


def test_a_client_that_leaves_takes_those_with_it_that_wait(server, raw):
    holder, client = raw(server), raw(server)
    holder.begin(1, (oid(100), z64, b'data'))
    holder.call('vote', 1)
    sent(client, range(1, 5))
    client.call('ping')
    client.close()
    tid = holder.call('tpc_finish', 1)
    while holder.call('server_status')['active_txns']:
        pass
    assert stored(server) == [tid]


def test_no_client_has_more_of_them_wait_than_it_may_have_open(serving, raw):
    server = serving(MappingStorage(), limits=Limits(transactions=5))
    holder, client = raw(server), raw(server)
    holder.begin(1, (oid(100), z64, b'data'))
    holder.call('vote', 1)
    sent(client, range(1, 2))
    for _ in range(10):
        client.ask('commit_after', 99, None)
    client.call('ping')
    with pytest.raises(Ended):
        client.call('commit_after', 99, None)
