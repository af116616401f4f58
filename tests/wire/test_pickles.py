"""The unpickler makes plain data and nothing else, whatever the bytes; nothing that they name is
run or changed.
"""

import datetime
import io
import pickle
import pickletools
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ZEO.Exceptions import ProtocolError
from ZEO.wire import pickles
from ZEO.wire.pickles import ForbiddenPickle, check, dumps, loads

ATOMS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
)
HASHABLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.binary()
    | st.tuples(st.binary(), st.integers())
)
PLAIN = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(HASHABLE, inner),
    max_leaves=20,
)

RAN = []


def run_me(*args):
    """What no pickle may ever call."""
    RAN.append(args)


@pytest.fixture(autouse=True)
def nothing_ran():
    yield
    assert not RAN


def both(data):
    """Take a pickle as a server does."""
    check(data)
    return loads(data)


@given(PLAIN)
def test_plain_data_comes_back(value):
    assert both(dumps(value)) == value


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_of_other_picklers(value, protocol):
    """Old protocols write some of it by naming globals, or as text; those are refused, the rest is
    right.
    """
    out = io.BytesIO()
    pickler = pickle.Pickler(out, protocol)
    pickler.fast = True
    pickler.dump(value)
    try:
        found = both(out.getvalue())
    except ProtocolError:
        assert protocol < 3
    else:
        assert found == value


def test_what_is_written_has_no_memo():
    same = 'same'
    operations = [
        opcode.name
        for opcode, _, _ in pickletools.genops(dumps((same, same, [same], {same: same})))
    ]
    assert not {'PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE', 'BINGET'} & set(operations)
    register = b'\x80\x03(K\x01\x89X\x08\x00\x00\x00registerX\x01\x00\x00\x001\x89\x86t.'
    assert dumps((1, False, 'register', ('1', False))) == register


@settings(max_examples=500)
@given(st.binary())
@example(b'')
@example(b'.')
@example(b'\x80\x03')
@example(b'\x80\x03).\0rest')
def test_random_bytes_are_data_or_a_protocol_error(data):
    for take in (loads, both):
        try:
            take(data)
        except ProtocolError:
            pass


@settings(max_examples=500)
@given(
    st.lists(
        st.sampled_from([opcode.code.encode('latin-1') for opcode in pickletools.opcodes])
        | st.binary(max_size=5)
    )
)
def test_random_opcodes_are_data_or_a_protocol_error(parts):
    data = b''.join(parts) + b'.'
    try:
        check(data)
        loads(data)
    except ProtocolError:
        pass


@given(PLAIN)
def test_a_truncated_pickle(value):
    data = dumps((value,))
    for end in range(len(data)):
        for take in (loads, both):
            with pytest.raises(ProtocolError):
                take(data[:end])


HERE = __name__.encode()
NAMING = {
    'GLOBAL': b'c%b\nrun_me\n' % HERE,
    'STACK_GLOBAL': b'X%b%bX\6\0\0\0run_me\x93' % (struct.pack('<I', len(HERE)), HERE),
    'INST': b'(i%b\nrun_me\n' % HERE,
    'OBJ': b'(c%b\nrun_me\no' % HERE,
    'NEWOBJ': b'c%b\nrun_me\n)\x81' % HERE,
    'NEWOBJ_EX': b'c%b\nrun_me\n)}\x92' % HERE,
    'REDUCE': b'c%b\nrun_me\n)R' % HERE,
    'builtin': b'cbuiltins\neval\n(X\4\0\0\0quittR',
    'getattr': b'cbuiltins\ngetattr\n',
    'old builtin': b'c__builtin__\neval\n',
    'dotted': b'X\x0a\0\0\0zodbpickleX\x0e\0\0\0binary.fromhex\x93',
    'through an allowed module': b'czodbpickle\npickle\n',
}


@pytest.mark.parametrize('naming', NAMING.values(), ids=NAMING)
def test_every_way_to_name_a_global_is_refused(naming):
    for take in (loads, both):
        with pytest.raises(ForbiddenPickle):
            take(b'\x80\x04' + naming + b'.')


@pytest.mark.parametrize(
    'data',
    [
        b'\x80\x02\x82\1.',
        b'\x80\x02\x83\1\0.',
        b'\x80\x02\x84\1\0\0\0.',
        b'Pname\n.',
        b'\x80\x03X\1\0\0\0aQ.',
        b'\x80\5\x97.',
        b'\x80\5\x97\x98.',
    ],
    ids=['EXT1', 'EXT2', 'EXT4', 'PERSID', 'BINPERSID', 'NEXT_BUFFER', 'READONLY_BUFFER'],
)
def test_extensions_persistent_ids_and_buffers_are_refused(data):
    for take in (loads, both):
        with pytest.raises(ProtocolError):
            take(data)


def test_objects_of_other_classes_are_refused():
    with pytest.raises(ForbiddenPickle, match='datetime.date'):
        both(pickle.dumps(datetime.date.today()))


BINARY = b'czodbpickle\nbinary\n'


def test_binary_is_bytes():
    zodbpickle = pytest.importorskip('zodbpickle')
    for protocol in (2, 3, 4):
        data = pickle.dumps((zodbpickle.binary(b'oid'), 1), protocol)
        if protocol > 2:  # protocol 2 has no bytes: it names a codec
            assert both(data) == (b'oid', 1) and type(both(data)[0]) is bytes


@pytest.mark.parametrize(
    'make',
    [
        b'J\xff\xff\xff\x7f\x85R',
        b'J\xff\xff\xff\x7f\x85\x81',
        b'](K\1K\2e\x85R',
        b'\x8a\5\0\0\0\0\1\x85R',
    ],
)
def test_binary_makes_bytes_of_bytes_only(make):
    """bytes(2**31 - 1) would be as many bytes of memory."""
    with pytest.raises(ProtocolError):
        both(b'\x80\x03' + BINARY + make + b'.')


def allowed():
    return [(module, name, pickles.ALLOWED[module, name]) for module, name in pickles.ALLOWED]


@pytest.mark.parametrize(
    'state', [b'}X\4\0\0\0evilK\1sb', b'N}X\4\0\0\0evilK\1s\x86b', b'}X\7\0\0\0__new__K\1sb']
)
def test_no_pickle_changes_a_class(state):
    for module, name, kind in allowed():
        data = f'\x80\x03c{module}\n{name}\n'.encode('latin-1') + state + b'.'
        before = dict(vars(kind))
        with pytest.raises(ProtocolError):
            both(data)
        assert dict(vars(kind)) == before


def test_a_huge_memo_index_is_refused_before_memory_is_taken():
    data = b'\x80\x03Nr' + (2**31 - 1).to_bytes(4, 'little') + b'.'
    with pytest.raises(ProtocolError, match='not a plain pickle'):
        check(data)


def test_deeply_nested_tuples_never_reach_a_hash():
    data = b'\x80\x03})' + b'\x85' * 60_000 + b'Ns.'
    with pytest.raises(ProtocolError, match='of more than 20000 parts'):
        check(data)


@pytest.mark.parametrize(
    'again', [b'2', b'h\0', b'j\0\0\0\0', b'g0\n'], ids=['DUP', 'BINGET', 'LONG_BINGET', 'GET']
)
def test_no_object_is_given_twice(again):
    """Lists of ten times the same list, forty levels of them: to print it would take for ever."""
    with pytest.raises(ProtocolError, match='not a plain pickle'):
        check(b'\x80\x03]q\0' + again + b'a.')


def test_other_deep_nesting_is_no_harm():
    for data in (
        b'\x80\x03' + b']' * 100_000 + b'a' * 99_999 + b'.',
        b'\x80\x04' + b'(' * 60_000 + b'\x91' * 60_000 + b'.',
    ):
        try:
            both(data)
        except ProtocolError:
            pass


def test_a_counted_argument_that_reaches_beyond_the_end():
    for opcode in (
        b'C\xff',
        b'B\xff\xff\xff\xff',
        b'\x8e' + b'\xff' * 8,
        b'\x8b\xff\xff\xff\xff',
        b'X\xff\xff\xff\x7f',
        b'I1',
    ):
        for padding in (b'', b'N0' * 1000):
            with pytest.raises(ProtocolError):
                both(b'\x80\x04' + padding + opcode + b'.')


def test_the_walk_agrees_with_the_standard_library():
    """The walk must see the same opcodes that the unpickler runs, or something could hide in an
    argument.
    """
    for value in [
        (1, 2.5, 'text', b'bytes', b'b' * 300, 2**100, -1, 70_000, {'a': [None, True]}, {1, 2})
    ]:
        for protocol in (3, 4, 5):
            data = pickle.dumps(value, protocol)
            check(data)
            padded = data[:2] + b'N0' * 1000 + data[2:]  # long enough not to be spared the walk
            check(padded)
            with pytest.raises(ProtocolError):
                check(padded[:-1])  # the end is found where it is, not within an argument


def test_a_pickler_is_used_again_only_where_that_is_cheap(monkeypatch):
    idle = []
    monkeypatch.setattr(pickles, '_idle', idle)
    pickles.dumps((1, 'small'))
    assert len(idle) == 1
    kept = idle[0]
    pickles.dumps((2, 'small'))
    assert idle == [kept]
    pickles.dumps([b'x' * 1000] * 100)  # its buffer is that large from now on
    assert idle == []


def test_a_pickler_that_failed_is_not_used_again(monkeypatch):
    idle = []
    monkeypatch.setattr(pickles, '_idle', idle)
    with pytest.raises(Exception, match='pickle'):
        pickles.dumps([1, lambda: None])
    assert idle == []


def test_pickling_while_pickling():
    class Inner:
        def __reduce__(self):
            assert pickles.dumps('inner') == b'\x80\x03X\x05\x00\x00\x00inner.'
            return str, ('outer',)

    assert pickle.loads(pickles.dumps([Inner(), Inner()])) == ['outer', 'outer']
