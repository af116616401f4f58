"""Iterating over transactions that do not fit into one answer: they stream, in any order of use,
and end only at their end.
"""

import tracemalloc

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

from support.scripted import INFO, Answering, oid, tid
from ZEO.Exceptions import ClientStorageError, UnrecognizedResult

KB = 1024
DESCRIBED = (tid(1), ' ', b'', b'', b'')
BATCHES = {**INFO, 'extensions': ('multi_commit', 'batches')}


def record(number, at=1):
    return oid(number), tid(at), b'data', None


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
    """A file with a small transaction, one of 24 MB, and a small one."""
    path = str(tmp_path_factory.mktemp('large') / 'Data.fs')
    storage = FileStorage(path)
    for numbers in [1], range(2, 2402), [2402]:
        transaction = TransactionMetaData()
        storage.tpc_begin(transaction)
        for number in numbers:
            storage.store(oid(number), z64, number.to_bytes(2, 'big') * (5 * KB), '', transaction)
        storage.tpc_vote(transaction)
        storage.tpc_finish(transaction)
    storage.close()
    return path


@pytest.fixture
def client(stored, serving, clients):
    server = serving(FileStorage(stored, read_only=True))
    return clients(server.addr, read_only=True)


def oids(transaction):
    found = []
    for one in transaction:
        assert one.data == one.oid[-2:] * (5 * KB)
        found.append(int.from_bytes(one.oid, 'big'))
    return found


ALL = [[1], list(range(2, 2402)), [2402]]


def test_records_are_fetched_while_they_are_iterated_over(client):
    iterator = client.iterator()
    assert oids(next(iterator)) == ALL[0]
    tracemalloc.start()
    try:
        assert oids(next(iterator)) == ALL[1]
        assert tracemalloc.get_traced_memory()[1] < 8 * KB * KB
    finally:
        tracemalloc.stop()
    assert [oids(transaction) for transaction in iterator] == ALL[2:]


def test_all_transactions_may_be_listed_first(client):
    assert list(map(oids, list(client.iterator()))) == ALL


def test_a_transaction_may_be_iterated_over_twice_and_side_by_side(client):
    _, large, _ = client.iterator()
    assert oids(large) == oids(large) == ALL[1]
    iterator = client.iterator()
    next(iterator)
    large = next(iterator)
    assert all(one.oid == other.oid for one, other in zip(large, large, strict=True))


def test_records_may_be_passed_over(client):
    iterator = client.iterator()
    assert len({transaction.tid for transaction in iterator}) == 3
    iterator = client.iterator()
    next(iterator)
    records = iter(next(iterator))
    next(records)
    assert oids(next(iterator)) == ALL[2]
    with pytest.raises(
        ClientStorageError, match='cut short: read them before the next transaction'
    ):
        list(records)


def test_a_copy_is_whole(client, tmp_path):
    with_copy = FileStorage(str(tmp_path / 'copy.fs'))
    with_copy.copyTransactionsFrom(client)
    assert list(map(oids, with_copy.iterator())) == ALL
    with_copy.close()


@pytest.fixture
def answering(scripted, clients):
    """A function that opens a client whose server answers iterator_batch by one of these after the
    other, then the last again.
    """

    def connect(*batches):
        left = list(batches)

        def answer(client, request):
            client.send(request.reply(left.pop(0) if len(left) > 1 else left[0]))

        server = scripted()
        Answering(
            server, tid(1), {'get_info': BATCHES, 'iterator_start': 1, 'iterator_batch': answer}
        )
        return clients(server.address)

    return connect


@pytest.mark.parametrize(
    'batches',
    [
        [([], False)],
        [([(DESCRIBED, [], False)], False)],
        [([(DESCRIBED, [record(1)], False)], False), ([], False)],
        [([(DESCRIBED, [record(1)], False)], False), ([], True)],
        [([(DESCRIBED, [record(1)], False)], True)],
        [
            (
                [(DESCRIBED, [record(1)], False), ((tid(2), *DESCRIBED[1:]), [record(2, 2)], True)],
                True,
            )
        ],
        [
            ([(DESCRIBED, [record(1)], False)], False),
            ([((tid(2), *DESCRIBED[1:]), [record(2, 2)], True)], True),
        ],
    ],
    ids=[
        'nothing',
        'no record',
        'nothing more',
        'an early end',
        'an end inside',
        'another in front',
        'another transaction',
    ],
)
def test_a_server_that_does_not_come_on_ends_the_iteration_with_an_error(answering, batches):
    client = answering(*batches)
    with pytest.raises(UnrecognizedResult):
        [list(transaction) for transaction in client.iterator()]
    client = answering(*batches)
    with pytest.raises(UnrecognizedResult):
        list(client.iterator())


def test_a_transaction_that_never_ends_takes_no_memory(answering):
    client = answering(([(DESCRIBED, [(oid(1), tid(1), b'x' * KB * KB, None)], False)], False))
    tracemalloc.start()
    try:
        for number, _ in enumerate(next(client.iterator())):
            if number == 200:
                break
        assert tracemalloc.get_traced_memory()[1] < 20 * KB * KB
    finally:
        tracemalloc.stop()
