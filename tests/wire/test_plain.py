"""Whatever a storage hands out becomes plain data, in bounded time."""

import pytest

from ZEO.wire.plain import is_plain, plain


class Unshowable:
    """Fails however it is looked at."""

    def __str__(self):
        raise RuntimeError('no')

    __repr__ = __str__


def deep(levels, value=()):
    for _ in range(levels):
        value = [value]
    return value


def laughing(levels):
    value = ['ha']
    for _ in range(levels):
        value = [value] * 10
    return value


def cyclic():
    value = []
    value += [value] * 10
    return value


@pytest.mark.parametrize(
    'value',
    [
        deep(100_000),
        laughing(15),
        cyclic(),
        Unshowable(),
        {Unshowable(): Unshowable()},
        frozenset({10**5000}),
        {10**5000: {1, 2}},
        ({frozenset({10**5000}): 1},),
        [object()],
        type('Huge', (int,), {})(10**5000),
        type('Named', (tuple,), {})([1]),
    ],
    ids=range(11),
)
def test_anything_becomes_plain(value):
    is_plain(value)
    assert is_plain(plain(value))


def test_what_is_plain_stays_as_it_is():
    for value in (
        [{'id': b'x', 'time': 1.5, 'nested': (1, [None, True], {'a': 'ü'})}] * 100,
        5,
        b'x',
        {},
    ):
        assert plain(value) == value
        assert is_plain(value)


def test_other_things_become_text():
    assert plain([ValueError('bad'), bytearray(b'x')]) == ['bad', b'x']
