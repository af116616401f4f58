"""Iterators that clients have open: bounded in number, and batches say the same as one by one."""

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import p64

from support.history import committed
from ZEO.serving.calls import iterating as module
from ZEO.serving.calls.iterating import Iterators
from ZEO.serving.slices import Endless


@pytest.fixture
def storage():
    storage = MappingStorage()
    committed(
        storage,
        [p64(1)],
        [p64(number) for number in range(1, 40)],
        [p64(2), p64(3)],
        data=b'd' * 100,
    )
    return storage


def open_in(some):
    return some._open


def is_empty(some):
    return not open_in(some) and not some._records_of


def one_by_one(storage):
    some, found = Iterators(10), []
    number = some.start(storage.iterator())
    while (transaction := some.next_transaction(number)) is not None:
        records, inner = [], some.start_records(number, transaction[0])
        while (record := some.next_record(inner)) is not None:
            records.append(record)
        found.append((transaction[0], records))
    assert is_empty(some)  # what came to its end is forgotten
    return found


def in_batches(storage):
    some, found, batches, ended = Iterators(10), [], 0, False
    number = some.start(storage.iterator())
    complete = True
    while not ended:
        batch, ended = some.batch(number, Endless())
        batches += 1
        for transaction, records, whole in batch:
            if complete:
                found.append((transaction[0], []))
            assert found[-1][0] == transaction[0]
            found[-1][1].extend(records)
            complete = whole
    assert complete
    return found, batches


@pytest.mark.parametrize(
    'size, items',
    [(10**6, 1000), (1000, 1000), (1, 1000), (10**6, 1), (10**6, 3), (10**6, 39), (10**6, 13)],
)
def test_batches_say_the_same_as_one_by_one(storage, monkeypatch, size, items):
    """Also where one transaction is split over many batches, at any place."""
    monkeypatch.setattr(module, 'BATCH_BYTES', size)
    monkeypatch.setattr(module, 'BATCH_ITEMS', items)
    found, batches = in_batches(storage)
    assert found == one_by_one(storage)
    assert len(found) == 3
    assert batches > 1 or items > 3


def test_a_batch_is_bounded(storage, monkeypatch):
    monkeypatch.setattr(module, 'BATCH_BYTES', 1000)
    some = Iterators(10)
    number, ended = some.start(storage.iterator()), False
    while not ended:
        batch, ended = some.batch(number, Endless())
        assert sum(len(record[2]) for _, records, _ in batch for record in records) <= 1100


def test_the_one_unused_longest_ends_when_there_are_too_many(storage):
    some = Iterators(2)
    first, second = some.start(storage.iterator()), some.start(storage.iterator())
    some.next_transaction(first)
    third = some.start(storage.iterator())
    with pytest.raises(KeyError, match=f'there is no iterator {second}'):
        some.next_transaction(second)
    assert some.next_transaction(first) and some.next_transaction(third)
    assert len(open_in(some)) == 2


def test_what_was_dropped_is_gone(storage):
    closed = []

    def items():
        try:
            yield from storage.iterator()
        finally:
            closed.append(1)

    some = Iterators(5)
    number = some.start(items())
    some.next_transaction(number)
    some.forget([number, number, 99, None])
    assert closed == [1] and is_empty(some)
    with pytest.raises(KeyError):
        some.batch(number, Endless())


def test_closing_ends_all(storage):
    some = Iterators(5)
    for _ in range(3):
        some.next_transaction(some.start(storage.iterator()))
    some.close()
    assert is_empty(some)


def test_records_of_another_transaction_than_the_one_at_hand(storage):
    some = Iterators(5)
    number = some.start(storage.iterator())
    first = some.next_transaction(number)
    some.next_transaction(number)
    for tid in (first[0], b'x' * 8):
        with pytest.raises(KeyError, match='is not at transaction'):
            some.start_records(number, tid)
    with pytest.raises(KeyError):
        some.start_records(99, first[0])
