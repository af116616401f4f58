"""A client prefetches many large objects: all come, a few at a time."""

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, p64, z64

from support.inside import cache_of
from support.processes import wait_until
from ZEO.link.connection import Connection

SIZE = 100_000


@pytest.fixture
def server(serving):
    return serving(MappingStorage())


@pytest.fixture
def hosted(server):
    """What the server serves."""
    return server.hosted['1']


@pytest.fixture
def stored(server, raw):
    """A function that commits some objects and returns their oids."""

    def commit(number, size=SIZE):
        found = [p64(10**6 + one) for one in range(number)]
        records = [(oid, z64, oid * (size // 8)) for oid in found]
        raw(server).commit(1, *records)
        return found

    return commit


@pytest.fixture
def fresh(server, clients):
    """A function that opens a client with an empty cache."""
    return lambda: clients(server.addr, cache_size=1_000_000_000)


@pytest.mark.parametrize('size', [1000, SIZE])
def test_all_come_without_a_further_call(stored, fresh, hosted, size):
    oids = stored(120, size)
    client = fresh()
    client.prefetch(oids, maxtid)
    for oid in reversed(oids):
        wait_until(lambda oid=oid: cache_of(client).load(oid))
    assert hosted.status()['loads'] == len(oids)


def test_they_are_waited_for_in_any_order(stored, fresh):
    oids = stored(120)
    client = fresh()
    client.prefetch(oids, maxtid)
    for oid in reversed(oids):
        assert client.loadBefore(oid, maxtid)[0] == oid * (SIZE // 8)
    client.ping()


def test_few_are_under_way_at_a_time(stored, fresh, monkeypatch):
    oids = stored(120)
    client = fresh()
    begin, under_way, most = Connection.begin, set(), []

    def noted(self, name, args, applied):
        number = len(most)

        def answered(result):
            under_way.discard(number)
            return applied(result)

        under_way.add(number)
        most.append(len(under_way))
        return begin(self, name, args, answered)

    monkeypatch.setattr(Connection, 'begin', noted)
    client.prefetch(oids, maxtid)
    wait_until(lambda: all(cache_of(client).load(oid) for oid in oids))
    assert max(most) <= 8 and len(most) > 4


def test_a_lost_connection_forgets_them(stored, fresh, hosted):
    oids = stored(120)
    client = fresh()
    client.prefetch(oids, maxtid)
    for peer in list(hosted.peers):
        hosted.loop.from_thread(lambda peer=peer: peer.close('the test says so'))
    for oid in oids[::20]:
        try:
            assert client.loadBefore(oid, maxtid)[0] == oid * (SIZE // 8)
        except Exception:
            pass
    assert client.loadBefore(oids[-1], maxtid)[0] == oids[-1] * (SIZE // 8)
    client.prefetch(oids, maxtid)
    wait_until(lambda: all(cache_of(client).load(oid) for oid in oids))


def test_oids_that_are_not_there_are_passed_over(stored, fresh):
    oids = stored(3)
    client = fresh()
    client.prefetch([p64(1), *oids, p64(2)], maxtid)
    wait_until(lambda: all(cache_of(client).load(oid) for oid in oids))
