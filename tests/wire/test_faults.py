"""Exceptions come back from the wire as what they were, and unknown ones say what they were and
where.
"""

import builtins
import pickle

import pytest
import transaction.interfaces
import ZODB.POSException
from ZODB.POSException import (
    ConflictError,
    MultipleUndoErrors,
    POSKeyError,
    ReadOnlyError,
    StorageError,
    UndoError,
)

from ZEO import Exceptions
from ZEO.Exceptions import ProtocolError, ServerException
from ZEO.wire import messages, pickles
from ZEO.wire.faults import conflict, describe, restore

OID, TID, OLD = b'\0' * 7 + b'\1', b'\0' * 7 + b'\3', b'\0' * 7 + b'\2'
WHERE = 'localhost:9100'

SPECIAL = {
    UnicodeDecodeError: ('utf-8', b'\xff', 0, 1, 'bad'),
    UnicodeEncodeError: ('ascii', 'ä', 0, 1, 'bad'),
    UnicodeTranslateError: ('ä', 0, 1, 'bad'),
    ConflictError: ('message',),
}
LEFT_OUT = {
    'BaseExceptionGroup',
    'ExceptionGroup',
    'KeyboardInterrupt',
    'SystemExit',
    'GeneratorExit',
    'BaseException',
    'StopIteration',
    'StopAsyncIteration',
}


def classes(module):
    for name, value in vars(module).items():
        if (
            isinstance(value, type)
            and issubclass(value, BaseException)
            and value.__module__ == module.__name__
        ):
            if name not in LEFT_OUT and value.__name__ == name:
                yield value


def over_the_wire(error):
    return restore(pickles.loads(pickles.dumps(describe(error))), WHERE)


def errors_in(error):
    """Return the parts of an error of several."""
    return error._errs


@pytest.mark.parametrize(
    'kind',
    [*classes(builtins), *classes(ZODB.POSException), *classes(Exceptions)],
    ids=lambda kind: f'{kind.__module__}.{kind.__name__}',
)
def test_every_class_comes_back(kind):
    try:
        error = kind(*SPECIAL.get(kind, ('what happened',)))
    except TypeError:
        error = kind.__new__(kind)  # it wants arguments that only its storage has
        error.__dict__.update(some='attribute')
    found = over_the_wire(error)
    assert type(found) is kind
    assert found.args == error.args or error.__dict__
    assert found.__dict__ == error.__dict__
    if not error.__dict__:
        assert str(found) == str(error)


class Unshowable(Exception):
    """Whatever is asked of it fails."""

    def __str__(self):
        raise RuntimeError('no')

    __repr__ = __str__


def deep(levels):
    value = ()
    for _ in range(levels):
        value = (value,)
    return value


def cyclic():
    value = []
    value += [value] * 10
    error = ValueError('x', value)
    error.args += (error,)
    return error


def with_attributes(**attributes):
    error = ValueError('x')
    error.__dict__.update(attributes)
    return error


@pytest.mark.parametrize('protocol', [b'Z5', b'M5'])
@pytest.mark.parametrize(
    'error',
    [
        POSKeyError(frozenset({10**5000})),
        POSKeyError(10**5000),
        ValueError(deep(100_000)),
        Unshowable(Unshowable()),
        Unshowable(object()),
        cyclic(),
        ValueError(2**64),
        ValueError(-(2**63) - 1),
        ValueError('\ud800'),
        ValueError({1, 2}),
        with_attributes(key={(1, 2): 10**5000, Unshowable(): deep(1000)}),
        with_attributes(deep=deep(1000)),
        ValueError(b'x' * 10**6),
        ValueError(['y' * 1000] * 10**6),
        KeyError(dict.fromkeys(range(10**5))),
        ValueError(frozenset({10**5000})),
    ],
    ids=range(16),
)
def test_describing_an_error_never_fails(error, protocol):
    codec = messages.codec(protocol)
    message_id, flags, name, description = codec.decode(codec.failure(1, error))
    found = restore(description, WHERE)
    assert type(found).__name__ in (type(error).__name__, 'ServerException')
    str(found)


def test_described_as_peers_do():
    assert describe(POSKeyError(OID)) == ('ZODB.POSException.POSKeyError', (OID,))
    assert describe(ReadOnlyError()) == ('ZODB.POSException.ReadOnlyError', ())
    assert describe(ValueError('x')) == ('builtins.ValueError', ('x',))
    name, args = describe(UndoError('it is not the last', OID))
    assert (name, args) == (
        'ZODB.POSException.UndoError',
        {'_reason': 'it is not the last', '_oid': OID},
    )


def test_conflict_error_keeps_what_a_database_asks_it():
    found = over_the_wire(ConflictError(oid=OID, serials=(TID, OLD)))
    assert (found.get_oid(), found.get_serials(), found.get_old_serial()) == (OID, (TID, OLD), OLD)
    assert str(found) == str(ConflictError(oid=OID, serials=(TID, OLD)))


def test_os_error_keeps_its_number():
    found = over_the_wire(OSError(28, 'No space left on device'))
    assert (found.errno, found.strerror) == (28, 'No space left on device')
    assert type(over_the_wire(FileNotFoundError(2, 'x', '/a'))) is FileNotFoundError


def test_several_undo_errors():
    errors = [(OID, UndoError('one', OID)), (TID, UndoError('other', TID))]
    found = over_the_wire(MultipleUndoErrors(errors))
    assert type(found) is MultipleUndoErrors
    assert [oid for oid, _ in errors_in(found)] == [OID, TID]
    for text in ('one', 'other'):
        assert text in str(found)


class Strange(Exception):
    """A class that no other process knows."""


def test_an_unknown_class_becomes_text():
    found = over_the_wire(Strange('what happened', 5))
    assert type(found) is ServerException
    assert isinstance(found, StorageError)
    for part in (f'{__name__}.Strange', 'what happened', '5', WHERE):
        assert part in str(found)


def test_an_unknown_class_with_attributes():
    error = Strange('x')
    error.where = 'there'
    assert 'where=' in str(over_the_wire(error)) and 'there' in str(over_the_wire(error))


def test_what_is_not_plain_becomes_text():
    error = ValueError(Strange, object, {1: Strange('inner')})
    name, args = describe(error)
    assert name == 'builtins.ValueError'
    assert isinstance(args[0], str)
    pickles.loads(pickles.dumps((name, args)))  # names no global


def test_groups_are_told_all_the_same():
    group = getattr(builtins, 'ExceptionGroup', None)
    if group is None:
        pytest.skip('there are none in this Python')
    found = over_the_wire(group('several', [ValueError(1), KeyError(2)]))
    assert 'several' in str(found)


@pytest.mark.parametrize(
    'name',
    [
        'KeyboardInterrupt',
        'SystemExit',
        'GeneratorExit',
        'BaseException',
        'BaseExceptionGroup',
        'StopIteration',
        'StopAsyncIteration',
    ],
)
def test_no_server_ends_a_client_or_its_loops(name):
    assert (
        type(restore((f'builtins.{name}', ('several', (('builtins.KeyError', ()),))), WHERE))
        is ServerException
    )


@pytest.mark.parametrize(
    'description',
    [
        None,
        5,
        'builtins.ValueError',
        ('builtins.ValueError',),
        (5, ()),
        ['builtins.ValueError', ()],
        ('a', 'b', 'c'),
    ],
)
def test_what_is_no_description(description):
    with pytest.raises(ProtocolError, match=WHERE):
        restore(description, WHERE)


@pytest.mark.parametrize(
    'description',
    [
        ('builtins.ValueError', 'text'),
        ('builtins.eval', ('1',)),
        ('builtins.object', ()),
        ('os.system', ('x',)),
        ('', ()),
        ('builtins.UnicodeDecodeError', ()),
        ('builtins.ExceptionGroup', ()),
        ('builtins.ExceptionGroup', {'a': 1}),
        ('builtins.OSError', (1, 2, 3, 4, 5, 6)),
        ('ZODB.POSException.StorageError', {5: 6}),
    ],
)
def test_a_description_of_any_content_is_an_exception(description):
    found = restore(description, WHERE)
    assert isinstance(found, Exception)
    assert isinstance(str(found), str)


def test_restored_errors_can_be_pickled_by_applications():
    assert pickle.loads(pickle.dumps(over_the_wire(POSKeyError(OID)))).args == (OID,)


def test_a_fault_within_faults_is_restored_to_a_bounded_depth():
    nested = ()
    for _ in range(100_000):
        nested = (nested,)
    faults = ('builtins.ValueError', ())
    for _ in range(100_000):
        faults = ('builtins.ValueError', (faults,))
    for description in (('builtins.ValueError', nested), ('some.Error', nested), faults):
        found = restore(description, WHERE)
        assert isinstance(found, Exception)
        assert len(str(found)) < 10_000
    del found
    while faults[1]:  # taken apart here: to free it at once is recursive in some Pythons
        faults = faults[1][0]


@pytest.mark.parametrize(
    'attributes', [{'serials': 5}, {'serials': (1, 2, 3)}, {'oid': {}}, {'serials': ('a', None)}]
)
def test_an_error_that_could_not_be_shown_is_told_as_text(attributes):
    found = restore(('ZODB.POSException.ConflictError', attributes), WHERE)
    assert isinstance(found, Exception)
    assert str(found)


def test_a_conflict_names_its_class_and_loads_nothing():
    for data, name in [
        (b'\x80\x03cshop.basket\nBasket\nq\0.}.', 'shop.basket.Basket'),
        (b'(cshop\nBasket\nNt.}.', 'shop.Basket'),
        (b'\x80\x03X\4\0\0\0shopX\6\0\0\0Basket\x86}\x86.}.', 'shop.Basket'),
        (b'\x80\x03X\4\0\0\0shopX\6\0\0\0Basket\x86.', 'shop.Basket'),
        (b'\x80\x03N0cos\nsystem\nX\2\0\0\0id\x85R.', None),
        (b'cno line ends here', None),
        (b'', None),
        (b'\xff' * 9, None),
    ]:
        error = conflict(OID, (TID, OLD), data)
        assert error.class_name == name
        assert (error.oid, error.serials) == (OID, (TID, OLD))


class Gone(POSKeyError):
    """Of a storage's own module."""


class Locked(ConflictError):
    """The same."""


class LockedOut(ConflictError):
    """One that does not make what its base is made of."""

    def __init__(self, text):
        Exception.__init__(self, text)


class Busy(transaction.interfaces.TransientError):
    """To be tried again."""


class Full(StorageError):
    """One with attributes."""

    def __init__(self, text):
        super().__init__(text)
        self.free = 0


class NotUndone(UndoError):
    """The same."""


class NoNumber(ValueError):
    """Of a builtin class."""


@pytest.mark.parametrize(
    ('error', 'kind', 'text'),
    [
        (Gone(OID), POSKeyError, '0x01'),
        (Locked('locked', oid=OID, serials=(TID, OLD)), ConflictError, 'Locked: locked (oid 0x01'),
        (LockedOut('locked out'), ConflictError, 'LockedOut: locked out'),
        (Busy('try again'), transaction.interfaces.TransientError, 'Busy: try again'),
        (Full('no space'), StorageError, 'Full: no space'),
        (Full(''), StorageError, 'Full'),
        (NotUndone('too late', OID), UndoError, 'NotUndone: too late'),
        (NoNumber('x', 5), ValueError, "NoNumber: x', 5"),
        (Strange('x'), ServerException, 'Strange: x'),
    ],
    ids=lambda value: getattr(value, '__name__', None) or type(value).__name__,
)
def test_an_error_of_another_module_comes_back_as_the_nearest_known_one(error, kind, text):
    """A framework tries again after a ConflictError of any storage's own; the text says which class
    it was.
    """
    for _ in range(2):  # told on by a server that is itself a client
        error = over_the_wire(error)
        assert type(error) is kind and text in str(error)
    if isinstance(error, ConflictError) and 'locked (' in str(error):
        assert error.oid == OID and error.serials == (TID, OLD)


def test_an_error_within_another_one_comes_back_as_the_nearest_known_one_as_well():
    error = over_the_wire(MultipleUndoErrors([(OID, Gone(OID))]))
    assert type(errors_in(error)[0][1]) is POSKeyError
