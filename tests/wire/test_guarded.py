"""What is read of stored bytes is what ZODB reads, and nothing of them is run, however they are
made.
"""

import io
import pickle
import time
from collections import OrderedDict

import pytest
import zodbpickle.pickle
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ZODB.blob import Blob
from ZODB.blob import is_blob_record as zodb_is_blob_record
from ZODB.POSException import ConflictError
from ZODB.serialize import ObjectWriter, referencesf
from ZODB.tests.MinPO import MinPO
from ZODB.utils import get_pickle_metadata

from ZEO.wire import guarded
from ZEO.wire.guarded import Unreadable, class_name, extension, is_blob, references
from ZEO.wire.machine import Machine
from ZEO.wire.tame import is_tame

OPCODES = [
    bytes([opcode])
    for opcode in (
        b'N\x88\x89KMJG\x8aIFLSTUXVCB()t\x85\x86\x87]lae}dsuqrphjgcR\x81iobQP012.'
        b'\x80\x8f\x90\x91\x93\x92'
    )
]
FEW = settings(max_examples=40)

ATOMS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
)
KEYS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.binary()
    | st.tuples(st.text(), st.integers())
)
PLAIN = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
    ),
    max_leaves=30,
)


class Reference(bytes):
    """What a test's pickler writes as a reference."""


def pickled(*values, protocol=3, references=True):
    out = io.BytesIO()
    pickler = zodbpickle.pickle.Pickler(out, protocol)
    if references:
        pickler.persistent_id = lambda value: (
            (bytes(value), MinPO) if type(value) is Reference else None
        )
    for value in values:
        pickler.dump(value)
    return out.getvalue()


@FEW
@given(PLAIN, st.integers(0, 3))
@example([{'a': (1, 2)}, {'a': (1, 2)}], 3)
@example(tuple('abcdef'), 1)
def test_plain_data_is_read_as_it_was_written(value, protocol):
    assert Machine(pickled(value, protocol=protocol)).load() == value


@FEW
@given(PLAIN)
def test_it_reads_what_zodbs_unpickler_reads(value):
    again = (value, [value], value)
    assert Machine(pickled(again)).load() == zodbpickle.pickle.loads(pickled(again)) == again


def test_texts_of_python_2():
    for data, text in [
        (b'U\3abc.', 'abc'),
        (b"S'a\\nb'\n.", 'a\nb'),
        (b'T\3\0\0\0abc.', 'abc'),
        (b'V\\u00e4\n.', 'ä'),
    ]:
        assert Machine(data).load() == text
    with pytest.raises(Unreadable):
        Machine(b'U\1\xe4.').load()
    assert Machine(b'U\1\xe4.', text_or_bytes=True).load() == b'\xe4'


@settings(max_examples=300)
@given(st.lists(st.sampled_from(OPCODES) | st.binary(max_size=9)).map(b''.join))
def test_any_bytes_are_data_or_unreadable(data):
    class_name(data)
    is_blob(data + b'ZODB.blob')
    assert type(extension(data)[0]) is dict
    for read in (references, lambda data: Machine(data).load()):
        try:
            read(data + b'..')
        except Unreadable:
            pass


RECORDS = st.lists(
    PLAIN
    | st.binary(min_size=8, max_size=8).map(Reference)
    | st.dictionaries(st.text(), st.binary(min_size=8, max_size=8).map(Reference)),
    max_size=8,
)


@FEW
@given(RECORDS)
def test_the_references_are_those_that_zodb_finds(state):
    record = pickled(MinPO, state)
    assert references(record) == referencesf(record)


@FEW
@given(RECORDS, st.sampled_from([bytes, tuple, list]))
def test_tame_records_are_safe_with_zodbs_search(state, kind):
    record = pickled(MinPO, state, 1)
    if is_tame(record):
        assert referencesf(record) == references(record)


def test_most_records_are_tame():
    for state in (
        {'a': 1, 'b': 'text' * 100, 'c': Reference(b'12345678'), 'd': [1.5, None, True]},
        (('a', 1, 'b', Reference(b'12345678')), Reference(b'abcdefgh')),
        5,
        {'data': {}},
    ):
        assert is_tame(pickled(MinPO, state))
    assert not is_tame(pickled(MinPO, {'a': (1, 2)}))


def test_weak_references_and_those_of_other_databases_are_left_out():
    for reference in (
        [b'12345678'],
        ['w', (b'12345678',)],
        ['m', ('other', b'12345678', MinPO)],
        ['n', ('other', b'12345678')],
    ):
        out = io.BytesIO()
        pickler = zodbpickle.pickle.Pickler(out, 3)
        pickler.persistent_id = lambda value: reference if value is MinPO else None  # noqa: B023
        pickler.dump(None)
        pickler.dump([MinPO])
        assert references(out.getvalue()) == referencesf(out.getvalue()) == []


def test_the_class_of_every_form_of_record():
    for item in (MinPO(1), Blob()):
        record = (
            ObjectWriter().serialize(item) if not isinstance(item, Blob) else pickled(Blob, None)
        )
        assert class_name(record) == get_pickle_metadata(record)
        assert is_blob(record) == zodb_is_blob_record(record) == isinstance(item, Blob)
    assert is_blob(None) is False
    for record, names in [
        (b'(cshop\nBasket\nNt.}.', ('shop', 'Basket')),
        (b'\x80\x02(U\4shopU\6Basketq\0t.}.', ('shop', 'Basket')),
        (b'\x80\x03((X\4\0\0\0shopX\6\0\0\0BaskettNt.', ('shop', 'Basket')),
        (b'', ('', '')),
        (b'.', ('', '')),
        (b'\x80\x03]K\1aX\4\0\0\0shop\x86.', ('', '')),
        (b'c' + b'x' * 5000 + b'\nname\n.', ('', '')),
    ]:
        assert class_name(record) == names


def test_extensions():
    value = {'user': 'me', 'when': 5.0, 'tags': ['a', {'b': (1, None)}], 'data': b'\0'}
    for protocol in (0, 1, 2, 3):
        assert extension(pickled(value, protocol=protocol)) == (value, True)
    assert extension(b'') == ({}, True)
    assert extension(pickled({**value, 'object': MinPO, 5: 6, 'inner': [MinPO]})) == (value, False)
    assert (
        extension(pickled([1]))
        == extension(b'garbage')
        == extension(pickle.dumps(value, 4))
        == ({}, False)
    )


class Mine(dict):
    """What an application gives as an extension."""

    def __reduce__(self):
        return dict, (tuple(self.items()),)


class MineInLists(dict):
    def __reduce__(self):
        return dict, ([list(item) for item in self.items()],)


class MineOfAnother(dict):
    def __reduce__(self):
        return dict, (dict(self),)


class MineWithItems(dict):
    def __reduce__(self):
        return dict, (), None, None, iter(self.items())


@pytest.mark.parametrize('protocol', [0, 1, 2, 3])
@pytest.mark.parametrize('kind', [Mine, MineInLists, MineOfAnother, MineWithItems, OrderedDict])
def test_an_extension_that_makes_a_dictionary_of_itself_is_that_dictionary(kind, protocol):
    value = {'foo': 1, 'bar': [(2, None)]}
    found, is_all = extension(pickled(kind(value), protocol=protocol))
    assert (found, is_all, type(found)) == (value, True, dict)
    found, is_all = extension(pickled({'inner': kind(value)}, protocol=protocol))
    assert (found, is_all, type(found['inner'])) == ({'inner': value}, True, dict)
    assert extension(pickled(kind({**value, 'object': MinPO}), protocol=protocol)) == (value, False)


@pytest.mark.parametrize(
    'args',
    [
        b'K\1\x85',
        b'N\x85',
        b'X\1\0\0\0a\x85',
        b'K\1\x85\x85',
        b'))\x86',
        b'N',
        b'K\1K\2K\3\x87\x85\x85',
    ],
)
def test_what_is_no_call_of_dict_is_no_extension(args):
    assert extension(b'\x80\x03cbuiltins\ndict\n' + args + b'R.') == ({}, False)


DEEP = 100_000


def colliding(key):
    return b'\x8a\x0a' + (key * (2**61 - 1)).to_bytes(10, 'little')


@pytest.mark.parametrize(
    'opcodes',
    [
        b'})' + b'\x85' * DEEP + b'Ns',
        b']' * DEEP + b'a' * (DEEP - 1),
        b'Nr\xff\xff\xff\xff',
        b'Np99999999999999999999\n',
        b')q\0' + b'h\0h\0\x86q\0' * 200,
        b']q\0' + b'0]q\1h\0ah\0aq\0' * 60,
        b']q\0h\0a',
        b'})q\0' + b'h\0h\0\x86q\0' * 60 + b'Ns',
        b'}(' + b''.join(colliding(key) + b'N' for key in range(1, 20_000)) + b'u',
        b'cbuiltins\nset\n](' + b''.join(colliding(key) for key in range(1, 20_000)) + b'e\x85R',
        b'(' * DEEP,
        b'I' + b'9' * DEEP + b'\n',
        b'N' * DEEP,
        b'(' + b']' * DEEP + b't',
        b'X\xff\xff\xff\xff',
        b'\x8b\xff\xff\xff\x7f',
        b'cbuiltins\nset\n]q\1h\1ah\1a\x85R',
        b'cbuiltins\ndict\n]('
        + b''.join(colliding(key) + b'N\x86' for key in range(1, 10_000))
        + b'e\x85R',
        b'(cbuiltins\ndict\nq\1]('
        + b'K\1N\x86' * 10_000
        + b'e\x85q\2R'
        + b'h\1h\2R' * 8_000
        + b'l',
        b'(cbuiltins\nset\nq\1](' + b'K\1' * 10_000 + b'e\x85q\2R' + b'h\1h\2R' * 8_000 + b'l',
    ],
    ids=[
        'tuples in a key',
        'lists',
        'LONG_BINPUT',
        'PUT',
        'shared tuples',
        'shared lists',
        'a list in itself',
        'a shared key',
        'keys that collide',
        'items that collide',
        'marks',
        'a long number',
        'many',
        'lists in a tuple',
        'a long text',
        'a long long',
        'a set of lists',
        'pairs whose keys collide',
        'many dictionaries of one list',
        'many sets of one list',
    ],
)
def test_what_is_made_to_hurt_takes_no_time(opcodes):
    data = b'\x80\x03' + opcodes + b'.'
    began = time.process_time()
    assert extension(data) == ({}, False) or opcodes[:1] == b'}'
    class_name(data)
    for read in (lambda: Machine(data, 200_000).load(), lambda: references(b'\x80\x03N.' + data)):
        try:
            read()
        except Unreadable:
            pass
    assert time.process_time() - began < 20  # a bound against hours, not a figure


def test_a_value_that_was_used_does_not_grow_behind_its_back():
    """Its size was counted when it was used: what comes later would not be."""
    with pytest.raises(Unreadable, match='changes after it was used'):
        Machine(b']q\0]q\1h\0ah\0(' + b'N' * 50 + b'e.').load()


def test_sharing_that_is_usual_is_read():
    class_, text = MinPO, 'a text of some length ' * 10
    value = [(text, n, ('same', 'tuple')) for n in range(5000)]
    shared = [value[0][2]] * 5000 + [text] * 5000
    data = pickled((value, shared, class_))
    assert len(Machine(data).load()[0]) == 5000


def test_nothing_here_unpickles():
    assert not {'pickle', 'zodbpickle', 'Unpickler'} & set(vars(guarded))
    with pytest.raises(ConflictError):
        raise ConflictError
