"""The index: places by oid, what it takes in memory, and its saved form."""

import random
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ZEO.cache.index import PLACE_SHIFT, Index

oids = st.one_of(st.integers(0, 100), st.integers(0, 2**64 - 1))
places = st.integers(128, 2**30 - 1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from('srac'), oids, places), max_size=60))
def test_like_dictionaries(steps):
    index, current, closed = Index(), {}, set()
    for what, oid, place in steps:
        if what == 's':
            index.set(oid, place << PLACE_SHIFT)
            current[oid] = place << PLACE_SHIFT
        elif what == 'r' and oid in current:
            index.remove(oid)
            del current[oid]
        elif what == 'a':
            index.add_closed(oid, place)
            closed.add((oid, place))
        elif what == 'c' and closed:
            gone = min(closed)
            assert index.remove_closed(*gone)
            assert not index.remove_closed(*gone)
            closed.remove(gone)
    again = Index()
    saved = index.dump()
    assert len(saved) == index.saved_length()
    again.load(saved)
    for each in (index, again):
        assert dict(each.current_items()) == current
        assert set(each.closed_items()) == closed
        assert len(each) == len(current) + len(closed)
        assert all(each.get(oid) == value for oid, value in current.items())
        for oid, _, _ in ((oid, 0, 0) for _, oid, _ in steps):
            assert set(each.closed(oid)) == {place for other, place in closed if other == oid}


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_index(saved):
    index = Index()
    try:
        index.load(saved)
    except ValueError:
        pass


def test_counts_that_cannot_be():
    with pytest.raises(ValueError, match='not a saved index'):
        Index().load(struct.pack('<QQQI', 1, 0, 0, 2**31))


@pytest.mark.parametrize(('order', 'most'), [('in order', 9.5), ('shuffled', 9.5)])
def test_memory_per_record(order, most):
    numbers = list(range(100_000))
    if order == 'shuffled':
        random.Random(1).shuffle(numbers)
    tracemalloc.start()
    try:
        index = Index()
        for number in numbers:
            index.set(number, 1000 << PLACE_SHIFT)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken / len(numbers) < most


def test_memory_is_given_back():
    index = Index()
    for number in range(100_000):
        index.set(number, 1000 << PLACE_SHIFT)
    for number in range(100_000):
        if number % 1000:
            index.remove(number)
    state = [bucket.__sizeof__() for bucket in index.buckets.values()]
    assert len(index) == 100 and sum(state) < 100_000
