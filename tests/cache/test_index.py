"""The index: places by oid, what it takes in memory, and its saved form."""

import io
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ZEO.cache.index import PLACE_SHIFT, SHIFT, Index

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
    saved = b''.join(index.dump())
    assert len(saved) == index.saved_length()
    again.load(io.BytesIO(saved).read)
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
        index.load(io.BytesIO(saved).read)
    except ValueError:
        pass


def saved(index):
    return io.BytesIO(b''.join(index.dump()))


def taken(index):
    """How many bytes the pages take per record, what they have to spare included."""
    return sum(page.__sizeof__() for page in index.pages.values()) / len(index)


@pytest.mark.parametrize(
    'fields', [('<8sQQ', b'another.', 0, 0), ('<8sQQQI', b'places 2', 1, 0, 0, 2**30)]
)
def test_fields_that_cannot_be(fields):
    with pytest.raises(ValueError, match='not a saved index'):
        Index().load(io.BytesIO(struct.pack(*fields) + bytes(100_000)).read)


@pytest.mark.parametrize('share', [1.0, 0.7, 0.4, 0.3, 0.2, 0.1])
@pytest.mark.parametrize('order', ['in order', 'shuffled'])
def test_memory_per_record(order, share):
    count = 6 << SHIFT
    numbers = random.Random(1).sample(range(count), int(count * share))
    if order == 'in order':
        numbers.sort()
    index = Index()
    for number in numbers:
        index.set(number, 1000 << PLACE_SHIFT)
    assert taken(index) < (4.1 / share if share > 0.25 else 16.5)
    again = Index()
    again.load(saved(index).read)
    assert dict(again.current_items()) == dict.fromkeys(numbers, 1000 << PLACE_SHIFT)
    assert taken(again) < min(4.1 / share, 8.2)


def test_pages_fill_and_empty():
    index, numbers = Index(), list(range(3 << SHIFT))
    chooser = random.Random(1)
    chooser.shuffle(numbers)
    for step, number in enumerate(numbers):
        index.set(number, number + 1)
        index.set(numbers[chooser.randrange(step + 1)], 77)
    seen = dict(index.current_items())
    assert seen == {number: index.get(number) for number in numbers}
    chooser.shuffle(numbers)
    while numbers:
        number = numbers.pop()
        assert index.get(number)
        index.remove(number)
        assert index.get(number) is None
        if len(numbers) % 4096 == 0:
            assert len(index) == len(numbers)
            again = Index()
            again.load(saved(index).read)
            assert (
                set(numbers)
                == {oid for oid, _ in index.current_items()}
                == {oid for oid, _ in again.current_items()}
            )
            for _ in range(500):
                again.set(chooser.randrange(3 << SHIFT), 5)
            assert len(again) == sum(1 for _ in again.current_items())
    assert index.pages == {} and len(index) == 0


def test_memory_is_given_back():
    index = Index()
    for number in range(100_000):
        index.set(number, 1000 << PLACE_SHIFT)
    for number in range(100_000):
        if number % 1000:
            index.remove(number)
    assert len(index) == 100 and taken(index) < 1000
