"""Of most databases a server learns what has changed between two looks, not in which transaction:
old revisions in the caches of clients must not claim to have been current up to the look.
"""

import time

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.tests.MVCCMappingStorage import MVCCMappingStorage
from ZODB.utils import maxtid, p64, u64, z64

from support.inside import cache_of, link_of, state_of
from ZEO.cache import MemoryCache
from ZEO.cache.protocol import REQUIRED

A, B, C = p64(1), p64(2), p64(3)
KEY = 'exact-changes'


class Own:
    """A program's own cache."""

    def __init__(self):
        self.inner = MemoryCache()
        for name in REQUIRED:
            setattr(self, name, getattr(self.inner, name))


def commit(storage, *oids, data):
    """Commit a record of each object; return the tid."""
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    for oid in oids:
        try:
            serial = storage.loadBefore(oid, maxtid)[1]
        except KeyError:
            serial = z64
        storage.store(oid, serial, data, '', transaction)
    storage.tpc_vote(transaction)
    return storage.tpc_finish(transaction)


@pytest.fixture
def database():
    storage = MVCCMappingStorage()
    commit(storage, A, B, C, data=b'1')
    return storage


@pytest.fixture
def other(database):
    """Another user of the database."""
    instance = database.new_instance()
    instance.poll_invalidations()
    return instance


@pytest.fixture(params=[False, True], ids=['Z5', 'M5'])
def server(request, database, serving):
    """One that polls when it is asked to."""
    return serving(database, poll_interval=3600, msgpack=request.param)


@pytest.fixture(params=['memory', 'file', 'own'])
def client(request, server, clients, tmp_path):
    """One that has read all objects."""
    cache = {'memory': None, 'file': str(tmp_path / 'client.zec'), 'own': Own()}[request.param]
    return reading(clients(server.addr, cache=cache))


def reading(client):
    for oid in (A, B, C):
        assert client.loadBefore(oid, maxtid)[0] == b'1'
    return client


def test_a_read_of_the_time_between_two_polls_finds_what_was_there_then(client, other):
    second = commit(other, A, data=b'2')
    third = commit(other, A, data=b'3')
    client.ping()
    assert client.lastTransaction() == third
    # as a database that is opened at a time between the two asks
    assert client.loadBefore(A, third) == (b'2', second, third)
    assert client.loadBefore(A, second)[0] == b'1'
    assert client.loadBefore(B, third)[0] == b'1'
    assert not client.changes_are_exact


def test_so_does_one_behind_an_own_commit_that_was_found_with_others(client, other):
    second = commit(other, A, data=b'2')
    own = commit(client, B, data=b'2')
    third = commit(other, A, B, data=b'3')
    fourth = commit(other, A, B, data=b'4')
    client.ping()
    assert client.lastTransaction() == fourth
    assert client.loadBefore(A, own) == (b'2', second, third)
    assert client.loadBefore(B, third) == (b'2', own, third)
    assert client.loadBefore(B, fourth) == (b'3', third, fourth)
    assert client.loadBefore(B, own)[0] == b'1'


def test_a_snapshot_that_was_taken_before_a_poll_is_read_from_the_cache(client, other):
    snapshot = p64(u64(client.lastTransaction()) + 1)
    commit(other, A, data=b'2')
    client.ping()
    link_of(client).load_before = None  # it is not called
    assert client.loadBefore(A, snapshot)[0] == b'1'
    assert client.loadBefore(B, p64(u64(client.lastTransaction()) + 1))[0] == b'1'


def test_what_was_read_again_is_kept_with_its_end(client, other):
    second = commit(other, A, data=b'2')
    third = commit(other, A, data=b'3')
    client.ping()
    for _ in range(2):
        assert client.loadBefore(A, second)[2] == second
        assert cache_of(client).loadBefore(A, second)[2] == second
        assert client.loadBefore(A, third) == cache_of(client).loadBefore(A, third)


def test_what_was_sent_ahead_ends_so_too(client, other):
    ahead = state_of(client).ahead
    first = client.lastTransaction()
    cache_of(client).invalidate(A, None)
    ahead.arrived([(A, b'1', first)], [])
    second = commit(other, A, data=b'2')
    third = commit(other, A, data=b'3')
    client.ping()
    assert not client.comes_ahead(A)
    assert client.loadBefore(A, third) == (b'2', second, third)


def test_a_server_behind_such_a_server_says_the_same(client, server, other, serving, clients):
    second = serving(clients(server.addr))
    far = reading(clients(second.addr))
    assert not far.changes_are_exact
    two = commit(other, A, data=b'2')
    three = commit(other, A, data=b'3')
    far.ping()
    assert far.lastTransaction() == three
    assert far.loadBefore(A, three) == (b'2', two, three)
    assert far.loadBefore(A, two)[0] == b'1'


@pytest.mark.parametrize('storage', [MappingStorage, MVCCMappingStorage])
def test_a_server_says_so_where_it_does_not_know_it_and_only_there(serving, raw, clients, storage):
    expected = {} if storage is MappingStorage else {KEY: False}
    first = serving(storage())
    middle = clients(first.addr)
    for server in (first, serving(middle)):
        info = raw(server).call('get_info')
        assert {key: value for key, value in info.items() if key == KEY} == expected
    assert middle.changes_are_exact is (not expected)


def until(condition):
    while not condition():
        time.sleep(0.005)


def test_a_server_whose_own_server_is_another_kind_now_says_so(serving, clients):
    exact, polled = MappingStorage(), MVCCMappingStorage()
    for storage in exact, polled:
        commit(storage, A, data=b'1')
    servers = {True: serving(exact), False: serving(polled, poll_interval=3600)}
    middle = clients(servers[True].addr, drop_cache_if_older=True)
    far = clients(serving(middle).addr, drop_cache_if_older=True)
    assert far.changes_are_exact
    for kind in False, True, False:
        middle.new_addr(servers[kind].addr)
        until(lambda kind=kind: far.changes_are_exact is kind and far.is_connected())
        assert middle.changes_are_exact is kind
