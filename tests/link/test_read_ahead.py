"""A client keeps what it was sent without asking until it is wanted, and never longer than it is
true.
"""

import pytest
from ZODB.utils import maxtid, z64

from support.inside import cache_of, state_of
from support.processes import wait_until
from support.scripted import INFO, Running, invalidation, message, oid, tid

INFO = {**INFO, 'extensions': ('multi_commit', 'stopping', 'records_ahead')}


def ahead(records, following=()):
    """Return the message by which a server sends records without being asked."""
    return message(0, True, 'readAhead', (list(records), list(following)))


@pytest.fixture
def opened(scripted, clients):
    """A function that returns a client that takes records ahead, its server's end, and the label
    that it has sent.
    """

    def connect(**options):
        server = scripted()
        opening = Running(lambda: clients(server.address, **options))
        served = server.client()
        served.server = server
        served.register(tid(1), INFO)
        label = served.expect('set_client_label').args[0]
        return opening.result(), served, label

    return connect


@pytest.fixture
def pair(opened):
    client, served, _ = opened()
    return client, served


def load(client, served, number, *behind):
    """Have the client load an object, with some messages behind the answer."""
    loading = Running(client.loadBefore, oid(number), tid(2))
    request = served.expect('loadBefore')
    served.send(request.reply((b'asked %d' % number, tid(1), None)), *behind)
    assert loading.result()[0] == b'asked %d' % number


def test_a_client_says_that_it_takes_records_unless_it_is_told_not_to(opened):
    assert 'records_ahead' in opened()[2]
    assert 'records_ahead' not in opened(read_ahead=False)[2]


def test_a_record_that_has_come_is_not_asked_for(pair):
    client, served = pair
    load(client, served, 1, ahead([(oid(2), b'sent', tid(1))]))
    wait_until(lambda: oid(2) in state_of(client).ahead.staged)
    assert cache_of(client).loadBefore(oid(2), maxtid) is None
    assert client.loadBefore(oid(2), tid(2)) == (b'sent', tid(1), None)
    assert cache_of(client).loadBefore(oid(2), maxtid) == (b'sent', tid(1), None)


def test_a_record_that_was_announced_is_waited_for(pair):
    client, served = pair
    load(client, served, 1, ahead([], [oid(2)]))
    wait_until(lambda: oid(2) in state_of(client).ahead.expected)
    loading = [Running(client.loadBefore, oid(2), tid(2)) for _ in range(3)]
    served.send(ahead([(oid(2), b'sent', tid(1))]))
    assert {one.result()[0] for one in loading} == {b'sent'}


def test_a_record_that_does_not_come_after_all_is_asked_for(pair):
    client, served = pair
    load(client, served, 1, ahead([], [oid(2)]))
    wait_until(lambda: oid(2) in state_of(client).ahead.expected)
    loading = Running(client.loadBefore, oid(2), tid(2))
    served.send(ahead([(oid(2), b'', z64)]))
    served.send(served.expect('loadBefore').reply((b'asked', tid(1), None)))
    assert loading.result()[0] == b'asked'


def test_an_invalidation_behind_a_record_ends_it(pair):
    client, served = pair
    load(client, served, 1, ahead([(oid(2), b'old', tid(1))]), invalidation(tid(5), oid(2)))
    wait_until(lambda: client.lastTransaction() == tid(5))
    loading = Running(client.loadBefore, oid(2), tid(6))
    served.send(served.expect('loadBefore').reply((b'new', tid(5), None)))
    assert loading.result()[0] == b'new'


def test_a_record_behind_its_invalidation_stays(pair):
    client, served = pair
    load(client, served, 1, invalidation(tid(5), oid(2)), ahead([(oid(2), b'new', tid(5))]))
    wait_until(lambda: oid(2) in state_of(client).ahead.staged)
    assert client.loadBefore(oid(2), tid(6)) == (b'new', tid(5), None)


def test_an_older_snapshot_asks_for_its_own_revision(pair):
    client, served = pair
    load(client, served, 1, invalidation(tid(5), oid(2)), ahead([(oid(2), b'new', tid(5))]))
    wait_until(lambda: oid(2) in state_of(client).ahead.staged)
    loading = Running(client.loadBefore, oid(2), tid(3))
    while (request := served.next())[2] != 'loadBefore':
        assert request[2] == 'used_ahead'
    served.send(message(request[0], 0, '.reply', (b'old', tid(1), tid(5))))
    assert loading.result() == (b'old', tid(1), tid(5))


def test_what_was_used_is_reported_with_the_next_call(pair):
    client, served = pair
    load(client, served, 1, ahead([(oid(2), b'sent', tid(1)), (oid(3), b'sent', tid(1))]))
    wait_until(lambda: oid(3) in state_of(client).ahead.staged)
    client.loadBefore(oid(3), tid(2))
    client.loadBefore(oid(2), tid(2))
    loading = Running(client.loadBefore, oid(4), tid(2))
    assert served.expect('used_ahead').args == ([oid(3), oid(2)],)
    served.send(served.expect('loadBefore').reply((b'asked', tid(1), None)))
    loading.result()


def test_a_new_connection_begins_with_nothing_and_a_waiting_thread_asks_there(pair):
    client, served = pair
    load(client, served, 1, ahead([(oid(2), b'sent', tid(1))], [oid(3)]))
    wait_until(lambda: oid(3) in state_of(client).ahead.expected)
    waiting = Running(client.loadBefore, oid(3), tid(2))
    served.close()
    again = served.server.client()
    again.register(tid(1), INFO)
    again.expect('set_client_label')
    again.send(again.expect('loadBefore').reply((b'asked', tid(1), None)))
    assert waiting.result()[0] == b'asked'
    assert not state_of(client).ahead.staged and not state_of(client).ahead.expected


def test_a_server_cannot_fill_the_memory(pair):
    client, served = pair
    staged = state_of(client).ahead
    large = b'x' * 1_000_000
    load(client, served, 1, *(ahead([(oid(n), large, tid(1))]) for n in range(2, 12)))
    wait_until(lambda: oid(11) in staged.staged)
    assert sum(len(data) for data, _ in staged.staged.values()) <= 4 * 2**20
    served.send(
        *(ahead([(oid(1000 * n + m), b'x', tid(1)) for m in range(1000)]) for n in range(9))
    )
    wait_until(lambda: oid(8999) in staged.staged and len(staged.staged) <= 4096)
    assert len(cache_of(client)) == 1


@pytest.mark.parametrize(
    'args',
    [
        (),
        ([],),
        (5, 5),
        ([], [5]),
        ([5], []),
        ([(oid(1), b'data')], []),
        ([(oid(1), 'text', tid(1))], []),
        ([(b'short', b'data', tid(1))], []),
        ([(oid(1), b'data', b'short')], []),
        ([], [oid(number) for number in range(5000)]),
    ],
    ids=lambda args: repr(args)[:30],
)
def test_a_malformed_message_ends_the_connection(pair, args, caplog):
    client, served = pair
    served.send(message(0, True, 'readAhead', args))
    wait_until(lambda: 'is closed' in caplog.text)
    assert not state_of(client).ahead.staged and not len(cache_of(client))
