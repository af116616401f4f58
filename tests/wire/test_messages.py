"""Messages as the recorded peers write them, and the templates of the hot path that have to equal
what a pickler makes.
"""

import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ZEO.Exceptions import ConfigurationError, ProtocolError
from ZEO.wire import messages
from ZEO.wire.message import EchoedId
from ZEO.wire.messages import MsgpackCodec, PickleCodec, codec
from ZEO.wire.pickles import dumps

OID, TID, END = b'\0\0\0\0\0\0\0\1', b'\3\xf4\n.\0\x80tM', b'\3\xf5\n.\0\x80tM'
IDS = st.binary(min_size=8, max_size=8)
DATA = st.binary(max_size=300) | st.sampled_from([b'', b'd' * 255, b'd' * 256, b'd' * 70_000])
MESSAGE_IDS = (
    st.integers(0, 2**31 - 1) | st.sampled_from([0, 255, 256, 65_535, 65_536]) | st.tuples(IDS, IDS)
)


# Not with the opcodes of the memo, which make the unpickler allocate what a number says: a server
# is trusted with that.
HARMLESS = st.binary(max_size=40).map(lambda data: data.translate(None, b'rqp\x94'))


def unframed(pieces):
    """The message in a frame."""
    whole = b''.join(pieces)
    assert whole[:4] == len(whole[4:]).to_bytes(4, 'big')
    return whole[4:]


@pytest.fixture(params=[b'Z5', b'M5'])
def either(request):
    if request.param == b'M5':
        pytest.importorskip('msgpack')
    return codec(request.param)


# The bytes that peers send, written down opcode by opcode.
RECORDED = {
    b'\x80\x03(K\x01\x89X\x08\x00\x00\x00registerX\x01\x00\x00\x001\x89\x86t.': (
        1,
        False,
        'register',
        ('1', False),
    ),
    b'\x80\x03(K\x02\x89X\x08\x00\x00\x00get_info)t.': (2, False, 'get_info', ()),
    b'\x80\x03(J\xff\xff\xff\xffK\x00X\x06\x00\x00\x00.replyNt.': (-1, 0, '.reply', None),
    b'\x80\x03(C\x08'
    + OID
    + b'C\x08'
    + TID
    + b'\x86\x89X\n\x00\x00\x00loadBeforeC\x08'
    + OID
    + b'C\x08'
    + TID
    + b'\x86t.': ((OID, TID), False, 'loadBefore', (OID, TID)),
    b'\x80\x03(K\x00\x88X\x06\x00\x00\x00storea(C\x08'
    + OID
    + b'C\x08'
    + TID
    + b'C\x04dataK\x07tt.': (0, True, 'storea', (OID, TID, b'data', 7)),
    b'\x80\x03(K\x05K\x02X\x06\x00\x00\x00.replyX\x1d\x00\x00\x00ZODB.POSException.POSKeyErrorC\x08'
    + OID
    + b'\x85\x86t.': (5, 2, '.reply', ('ZODB.POSException.POSKeyError', (OID,))),
}


@pytest.mark.parametrize(
    'data, expected', RECORDED.items(), ids=[message[2] for message in RECORDED.values()]
)
def test_recorded_frames(data, expected):
    z5 = PickleCodec()
    assert z5.decode(data) == expected
    assert z5.decode(bytearray(data)) == expected
    message_id, *rest = z5.decode_request(data)
    assert (tuple(rest)) == expected[1:]
    assert z5.decode(z5.reply(message_id, None))[0] == expected[0]
    assert dumps(expected) == data


@given(MESSAGE_IDS, DATA, IDS, st.none() | IDS)
def test_the_answer_of_the_hot_path_is_what_a_pickler_makes(message_id, data, tid, end):
    z5 = PickleCodec()
    request = dumps((message_id, False, 'loadBefore', (OID, TID)))
    echoed, _, name, args = z5.decode_request(request)
    assert (name, args) == ('loadBefore', (OID, TID))
    if isinstance(message_id, tuple) or message_id < 256 or message_id > 65_535:
        assert type(echoed) is EchoedId
    answer = unframed(z5.loaded(echoed, data, tid, end))
    assert answer == dumps((message_id, 0, '.reply', (data, tid, end)))
    assert z5.decode(answer) == (message_id, 0, '.reply', (data, tid, end))
    assert z5.reply(echoed, None) == dumps((message_id, 0, '.reply', None))
    assert z5.decode(z5.failure(echoed, KeyError(1))) == (
        message_id,
        2,
        '.reply',
        ('builtins.KeyError', (1,)),
    )


@given(st.integers(0, 2**31 - 1), IDS, IDS)
def test_the_request_of_the_hot_path(message_id, oid, tid):
    request = unframed([PickleCodec().load_before(message_id, oid, tid)])
    assert pickle.loads(request) == (message_id, False, 'loadBefore', (oid, tid))
    assert type(PickleCodec().decode_request(request)[0]) is EchoedId


@given(
    st.integers(0, 2**31 - 1) | st.sampled_from([0, 255, 256, 65_535, 65_536, 2**31, 2**70]),
    DATA,
    IDS,
)
def test_a_store_is_what_a_pickler_makes(txn_id, data, serial):
    z5 = PickleCodec()
    args = OID, serial, data, txn_id
    assert pickle.loads(z5.send('storea', args)) == (0, True, 'storea', args)
    for message in (z5.send('storea', args), dumps((0, True, 'storea', args))):
        assert z5.decode_request(message)[1:] == (True, 'storea', args)
        # which no template is tried on
        assert z5.decode_request(bytearray(message)) == (0, True, 'storea', args)
    if txn_id > 65_535:
        assert z5.send('storea', args) == dumps((0, True, 'storea', args))


@pytest.mark.parametrize(
    'args',
    [
        (b'short', TID, b'', 1),
        (OID, None, b'', 1),
        (OID, TID, None, 1),
        (None, TID, b'', 1),
        (OID, 'text', b'', 1),
        (OID, TID, 'text', 1),
        (OID, TID, b'', -1),
        (OID, TID, b'', 'one'),
    ],
)
def test_a_store_of_anything_else_is_sent_as_it_is(either, args):
    assert either.decode_request(either.send('storea', args)) == (0, True, 'storea', args)


@given(HARMLESS, st.integers(24, 60), st.integers(0, 40))
def test_what_only_looks_like_a_store_is_read_in_full(inserted, start, cut):
    z5 = PickleCodec()
    message = z5.send('storea', (OID, TID, b'some data', 70_000))
    data = message[:start] + inserted + message[start + cut :]
    try:
        read = z5.decode_request(data)
    except ProtocolError:
        return
    assert read[1:] == z5.decode_request(bytearray(data))[1:]


def test_an_oid_or_tid_of_another_length_is_sent_as_it_is(either):
    for oid, tid in ((b'short', TID), (OID, b''), (OID, None), (5, TID)):
        try:
            request = either.load_before(5, oid, tid)
        except TypeError:
            assert not isinstance(oid, bytes) or not isinstance(tid, bytes)
        else:
            assert either.decode_request(unframed([request])) == (
                5,
                False,
                'loadBefore',
                (oid, tid),
            )


@given(HARMLESS, st.integers(24, 45), st.integers(0, 22))
def test_what_only_looks_like_an_answer_of_the_hot_path_is_read_in_full(inserted, start, cut):
    """The template takes nothing that the unpickler would read otherwise."""
    z5 = PickleCodec()
    answer = unframed(z5.loaded(EchoedId(b'J' + bytes(4)), b'some data', TID, None))
    data = answer[:start] + inserted + answer[start + cut :]
    try:
        read = z5.decode(data)
    except ProtocolError:
        return
    assert read == z5.decode(bytearray(data))  # which no template is tried on


def test_what_only_looks_like_the_hot_path_is_read_in_full():
    z5 = PickleCodec()
    request = unframed([z5.load_before(5, OID, TID)])
    for data in (request[:-1], request + b'.', request.replace(b'loadBefore', b'loadBefork')):
        try:
            message_id = z5.decode_request(data)[0]
        except ProtocolError:
            continue
        assert type(message_id) is not EchoedId


@given(st.integers(0, 2**31 - 1), DATA, IDS, st.none() | IDS)
def test_either_protocol_says_the_same(message_id, data, tid, end):
    pytest.importorskip('msgpack')
    for one in (PickleCodec(), MsgpackCodec()):
        assert one.decode(one.call(message_id, 'getTid', (OID,))) == (
            message_id,
            False,
            'getTid',
            (OID,),
        )
        assert one.decode(one.send('storea', (OID, TID, data, 1))) == (
            0,
            True,
            'storea',
            (OID, TID, data, 1),
        )
        assert one.decode_request(unframed([one.load_before(message_id, OID, TID)]))[1:] == (
            False,
            'loadBefore',
            (OID, TID),
        )
        echoed = one.decode_request(unframed([one.load_before(message_id, OID, TID)]))[0]
        assert one.decode(unframed(one.loaded(echoed, data, tid, end))) == (
            message_id,
            0,
            '.reply',
            (data, tid, end),
        )
        assert one.decode(one.reply(message_id, [OID])) in [
            (message_id, 0, '.reply', [OID]),
            (message_id, 0, '.reply', (OID,)),
        ]
        assert one.decode(one.failure(message_id, ValueError('x'))) == (
            message_id,
            2,
            '.reply',
            ('builtins.ValueError', ('x',)),
        )


def test_msgpack_as_recorded():
    msgpack = pytest.importorskip('msgpack')
    m5 = MsgpackCodec()
    assert m5.call(1, 'register', ('1', False)) == b'\x94\x01\xc2\xa8register\x92\xa11\xc2'
    assert (
        unframed([m5.load_before(1, OID, TID)])
        == b'\x94\x01\xc2\xaaloadBefore\x92\xc4\x08' + OID + b'\xc4\x08' + TID
    )
    asked = msgpack.packb(((OID, TID), False, 'loadBefore', (OID, TID)))
    assert m5.decode_request(asked) == ((OID, TID), False, 'loadBefore', (OID, TID))


@pytest.mark.parametrize(
    'value',
    [
        None,
        1,
        'text',
        [],
        (),
        (1, 2, 3),
        (1, 0, '.reply', None, 5),
        (1, 0, 5, ()),
        (1, 0, b'ping', ()),
        {1: 2, 3: 4, 5: 6, 7: 8},
    ],
)
def test_what_is_no_message(either, value):
    data = dumps(value) if either.name == b'Z5' else pytest.importorskip('msgpack').packb(value)
    for decode in (either.decode, either.decode_request):
        with pytest.raises(ProtocolError):
            decode(data)


@pytest.mark.parametrize('depth', [30, 900])
def test_an_id_that_could_not_be_sent_back_is_refused(either, depth):
    """Encoding the answer would run out of stack, where nobody catches it."""
    nested = 0
    for _ in range(depth):
        nested = [nested]
    with pytest.raises(ProtocolError):
        either.decode_request(
            either.call(nested, 'ping', ()) if depth < 400 else _deep(either.name, depth)
        )


def _deep(name, depth):
    if name == b'M5':
        return b'\x94' + b'\x91' * depth + b'\0\xc2\xa4ping\x90'
    return b'\x80\x03(' + b']' * depth + b'a' * (depth - 1) + b'\x89X\4\0\0\0ping)t.'


@given(st.binary(max_size=60))
@example(b'\x8d\x00\x00\x00\x00\x00\x00\x00\x80p\t')  # a length beyond what can be counted
def test_random_bytes_never_raise_anything_else(data):
    pytest.importorskip('msgpack')
    for one in (PickleCodec(), MsgpackCodec()):
        for decode in (one.decode, one.decode_request):
            try:
                decode(data)
            except ProtocolError:
                pass


def test_unknown_protocols():
    for name in (b'Z4', b'Z6', b'', b'HTTP/1.1 400', b'ruok'):
        with pytest.raises(ProtocolError, match='protocol Z5'):
            codec(name)


def test_msgpack_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'msgpack', None)
    with pytest.raises(ConfigurationError, match='pip install'):
        messages.codec(b'M5')
