"""What a peer said is shown in one short line of printable characters, whatever it is."""

import pytest
from ZODB.POSException import POSKeyError

from ZEO.wire.quoting import MOST, cleaned, explained, of_database, quoted, text_of


class Unshowable:
    """Fails however it is looked at."""

    def __repr__(self):
        raise RuntimeError('no')

    __str__ = __repr__


class Endless(Exception):
    """Its text can't be had."""

    def __str__(self):
        raise RecursionError


def deep(levels):
    value = ()
    for _ in range(levels):
        value = (value,)
    return value


def cyclic():
    value = []
    value += [value] * 10
    return value


NASTY = [
    'two\nlines',
    'carriage\rreturn',
    '\x1b[2Jescape',
    '\u2028separator\u2029',
    '\u202eturned',
    'nul\0',
    '\x85next',
    '\x9b31m',
    '\ud800surrogate',
    '\x7f',
    '\u200b',
    'ü is fine',
]
ODD = [
    10**5000,
    -(10**5000),
    frozenset({10**5000}),
    deep(100_000),
    cyclic(),
    Unshowable(),
    [Unshowable()],
    {1: {2: {3: {4: 5}}}},
    'x' * 10**6,
    b'\xff' * 10**6,
    '\n' * 10**6,
    ['y' * 10**6] * 1000,
    dict.fromkeys(range(10**5)),
    Endless('x'),
    float('nan'),
    bytearray(b'x'),
    type('A\nB', (), {})(),
    KeyError(deep(10_000)),
    (),
]


@pytest.mark.parametrize('value', ODD + NASTY, ids=range(len(ODD + NASTY)))
def test_anything_becomes_one_short_printable_line(value):
    error = ValueError(value)
    for text in (
        quoted(value),
        cleaned(value),
        explained(error),
        text_of(error),
        explained(POSKeyError(value)),
    ):
        assert text.isprintable() and len(text) <= MOST + 100


def test_what_is_short_is_shown_as_python_writes_it():
    for value in ('text', b'\0\1', 5, None, True, 1.5, (1,), (), [1, 'x'], {'a': b'b'}, ''):
        assert quoted(value) == repr(value)


def test_how_much_was_cut_is_told():
    assert quoted('x' * 1000) == "'" + 'x' * 200 + "'... (800 more)"
    assert cleaned('x' * 1000) == 'x' * 200 + '... (800 more)'
    assert cleaned('\n' * 1000, 100) == r'\n' * 50 + '... (950 more)'
    assert quoted(list(range(1000))).endswith('... 994 more]')


def test_a_text_without_quotes_keeps_what_can_be_shown():
    assert cleaned('Zürich, 2 clients') == 'Zürich, 2 clients'
    assert cleaned('a\nb\x1b[2J') == r'a\nb\x1b[2J'
    assert cleaned(b'bytes') == "b'bytes'"


def test_an_exception_is_told_with_its_class():
    assert explained(ValueError('bad')) == 'ValueError: bad'
    assert explained(ValueError()) == 'ValueError'
    assert text_of(ValueError('a\nb')) == r'a\nb'


def test_an_error_of_a_database_is_told_in_one_line_without_escapes():
    error = RuntimeError('timeout expired\n\tIs the server running?\n')
    assert of_database(error) == 'RuntimeError: timeout expired Is the server running?'
    assert of_database(RuntimeError()) == 'RuntimeError'
    assert of_database(RuntimeError('a\x1b[2J')) == 'RuntimeError: a\\x1b[2J'

    class Unwritable(Exception):
        def __str__(self):
            raise ValueError

    assert of_database(Unwritable(7)) == 'Unwritable: 7'
