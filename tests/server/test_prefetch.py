"""Prefetching many large objects comes in bounded answers, and costs the server and the others
little.
"""

import time

import pytest
from ZODB.utils import maxtid, p64, z64

from support.inside import cache_of, channel_of, unsent
from ZEO.ClientStorage import ClientStorage
from ZEO.serving.limits import Limits

SIZE = 100_000


def oids_of(service, number, size=SIZE):
    """Commit some objects; return their oids."""
    client = service.client()
    found = [p64(10**6 + one) for one in range(number)]
    for first in range(0, number, 100):
        client.commit(
            first + 1, *[(oid, z64, oid * (size // 8)) for oid in found[first : first + 100]]
        )
    client.close()
    return found


def test_an_answer_is_bounded_and_says_how_far_it_goes(service):
    oids = oids_of(service, 40)
    client = service.client()
    answer = client.call('load_many', oids, maxtid)
    assert 1 <= len(answer) <= Limits().batch // SIZE + 1
    assert [data[:8] for data, _, _ in answer] == oids[: len(answer)]
    assert client.call('load_many', [oids[0]] * 1000, maxtid)[0] == answer[0]
    assert client.call('load_many', [p64(5), p64(6)], maxtid)[:1] == [None]
    assert client.call('load_many', [], maxtid) == []
    with pytest.raises(LookupError, match='at most 1000'):
        client.call('load_many', [oids[0]] * 1001, maxtid)


def test_what_waits_for_a_client_that_asks_and_does_not_read_is_bounded(serve):
    bound = 1_000_000
    service = serve(limits=Limits(output_buffer=bound))
    (oid,) = oids_of(service, 1, 1_000_000)
    client = service.client(receive_buffer=4096)
    for _ in range(30):
        client.ask('load_many', [oid] * 50, maxtid)
    for _ in range(20):
        service.good.ping()
        assert sum(unsent(channel_of(peer)) for peer in service.hosted.peers) < bound + 2_100_000
    assert service.hosted.status()['loads'] < 20


@pytest.fixture
def fresh(service):
    """A function that opens a client with an empty cache of some size."""
    clients = []

    def opened(size=1_000_000_000):
        clients.append(ClientStorage(service.server.addr, wait_timeout=20, cache_size=size))
        return clients[-1]

    yield opened
    for client in clients:
        client.close()


def until(what):
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize('size', [1000, SIZE])
def test_all_come_without_a_further_call(service, fresh, size):
    oids = oids_of(service, 120, size)
    client = fresh()
    client.prefetch(oids, maxtid)
    for oid in reversed(oids):
        until(lambda oid=oid: cache_of(client).load(oid))
    assert service.hosted.status()['loads'] == len(oids)


def test_they_are_waited_for_in_any_order(service, fresh):
    oids = oids_of(service, 120)
    client = fresh()
    client.prefetch(oids, maxtid)
    for oid in reversed(oids):
        assert client.loadBefore(oid, maxtid)[0] == oid * (SIZE // 8)
    client.ping()


def test_few_are_under_way_at_a_time(service, fresh, monkeypatch):
    oids = oids_of(service, 120)
    client = fresh()
    most, ask = [], client._prefetched._ask

    def noted(*args):
        ask(*args)
        most.append(client._prefetched._count())

    monkeypatch.setattr(client._prefetched, '_ask', noted)
    client.prefetch(oids, maxtid)
    until(lambda: all(cache_of(client).load(oid) for oid in oids))
    assert max(most) <= 8 and len(most) > 4


def test_a_lost_connection_forgets_them(service, fresh):
    oids = oids_of(service, 120)
    client = fresh()
    client.prefetch(oids, maxtid)
    for peer in list(service.hosted.peers):
        service.hosted.loop.from_thread(lambda peer=peer: peer.close('the test says so'))
    for oid in oids[::20]:
        try:
            assert client.loadBefore(oid, maxtid)[0] == oid * (SIZE // 8)
        except Exception:  # noqa: S110 - of the old connection
            pass
    assert client.loadBefore(oids[-1], maxtid)[0] == oids[-1] * (SIZE // 8)
    client.prefetch(oids, maxtid)
    until(lambda: all(cache_of(client).load(oid) for oid in oids))


def test_oids_that_are_not_there_are_passed_over(service, fresh):
    oids = oids_of(service, 3)
    client = fresh()
    client.prefetch([p64(1), *oids, p64(2)], maxtid)
    until(lambda: all(cache_of(client).load(oid) for oid in oids))
