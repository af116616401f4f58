"""Of most databases a server learns what has changed between two looks, not in which transaction:
old revisions in the caches of clients must not claim to have been current up to the look.
"""

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.tests.MVCCMappingStorage import MVCCMappingStorage
from ZODB.utils import maxtid, p64, u64, z64

A, B = p64(1), p64(2)


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


def before(tid):
    return p64(u64(tid) - 1)


@pytest.fixture
def database():
    storage = MVCCMappingStorage()
    commit(storage, A, B, data=b'1')
    return storage


@pytest.fixture
def client(database, serving, clients):
    """One that has read A and B; its server polls when it is asked to."""
    server = serving(database, poll_interval=3600)
    client = clients(server.addr)
    for oid in (A, B):
        assert client.loadBefore(oid, maxtid)[0] == b'1'
    return client


def test_a_read_of_the_time_between_two_polls_finds_what_was_there_then(client, database):
    other = database.new_instance()
    other.poll_invalidations()
    second = commit(other, A, data=b'2')
    third = commit(other, A, data=b'3')
    client.ping()
    assert client.lastTransaction() == third
    # as a database that is opened at a time between the two asks
    assert client.loadBefore(A, third) == (b'2', second, third)
    assert client.loadBefore(A, second)[0] == b'1'
    assert client.loadBefore(B, third)[0] == b'1'


def test_so_does_one_behind_an_own_commit_that_was_found_with_others(client, database):
    other = database.new_instance()
    other.poll_invalidations()
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
