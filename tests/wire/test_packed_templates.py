"""The most frequent messages in msgpack are read and made by patterns, as msgpack does it."""

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from ZEO.Exceptions import ProtocolError
from ZEO.wire import packed, packed_templates
from ZEO.wire.message import REPLY, EchoedId, checked
from ZEO.wire.messages import MsgpackCodec

ids = st.binary(min_size=8, max_size=8)
numbers = st.one_of(
    st.integers(0, 2**32 - 1), st.sampled_from([0, 127, 128, 255, 256, 2**16 - 1, 2**16])
)
sizes = st.sampled_from([0, 1, 255, 256, 2**15, 2**16 - 1, 2**16, 2**16 + 1])
records = st.one_of(
    st.binary(max_size=300),
    sizes.map(bytes),
    st.lists(st.sampled_from([b'\xc4\x08', bytes(8), b'\xc0', b'\xc5', b'\x93']), max_size=9).map(
        b''.join
    ),
)
answers = st.one_of(
    st.tuples(numbers, st.just(0), st.just(REPLY), st.tuples(records, ids, st.none() | ids)),
    st.tuples(numbers, st.just(0), st.just(REPLY), st.one_of(st.none(), st.just(()), ids)),
)


def plainly(data):
    packed.check_answer(data)
    return checked(msgpack.unpackb(data, raw=False, use_list=False, strict_map_key=False))


def same(one, other):
    """Tell whether two messages are equal, in the types of their parts too."""
    return repr(one) == repr(other)


@given(answers)
def test_an_answer_is_read_as_msgpack_reads_it(message):
    data = msgpack.packb(message)
    assert same(plainly(data), message)
    assert same(MsgpackCodec().decode(data), message)
    assert same(MsgpackCodec().decode(bytearray(data)), message)


@given(answers, st.data())
def test_an_answer_that_was_changed_on_the_way_is_read_so_or_not_at_all(message, draw):
    data = bytearray(msgpack.packb(message))
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(data) - 1))
        data[place] = draw.draw(st.integers(0, 255))
    for read in (packed_templates.read_loaded, packed_templates.read_reply):
        found = read(bytes(data))
        if found is not None:
            assert same(found, plainly(bytes(data)))


@given(numbers, ids, ids)
def test_a_load_is_made_as_msgpack_makes_it(number, oid, tid):
    made = MsgpackCodec().load_before(number, oid, tid)
    assert int.from_bytes(made[:4], 'big') == len(made) - 4
    assert made[4:] == msgpack.packb((number, False, 'loadBefore', (oid, tid)))


@given(numbers, ids, ids)
def test_a_load_is_read_and_its_id_echoed(number, oid, tid):
    codec = MsgpackCodec()
    message_id, one_way, name, args = codec.decode_request(
        msgpack.packb((number, False, 'loadBefore', (oid, tid)))
    )
    assert type(message_id) is EchoedId
    assert (one_way, name, args) == (False, 'loadBefore', (oid, tid))
    assert msgpack.unpackb(codec.reply(message_id, None)) == [number, 0, REPLY, None]
    assert msgpack.unpackb(codec.failure(message_id, KeyError('x')))[0] == number


@given(numbers, ids, ids, st.data())
def test_a_load_that_was_changed_on_the_way_is_read_so_or_not_at_all(number, oid, tid, draw):
    data = bytearray(msgpack.packb((number, False, 'loadBefore', (oid, tid))))
    place = draw.draw(st.integers(0, len(data) - 1))
    data[place] = draw.draw(st.integers(0, 255))
    found = packed_templates.read_load(bytes(data))
    if found is not None:
        message_id, *args = found
        assert plainly(bytes(data)) == (
            msgpack.unpackb(message_id),
            False,
            'loadBefore',
            tuple(args),
        )


@given(numbers, records, ids, st.none() | ids)
def test_the_answer_to_a_load_is_made_as_msgpack_makes_it(number, record, tid, end):
    codec, message_id = MsgpackCodec(), EchoedId(msgpack.packb(number))
    made = b''.join(codec.loaded(message_id, record, tid, end))
    assert made == b''.join(codec.loaded(number, record, tid, end))


def test_other_answers_are_left_to_msgpack():
    for message in (
        (1, 0, REPLY, (b'12345678',)),
        (1, 0, REPLY, b'1234567'),
        (-1, 0, REPLY, None),
        (1, 2, REPLY, None),
        (2**32, 0, REPLY, None),
    ):
        data = msgpack.packb(message)
        assert packed_templates.read_reply(data) is None
        try:
            assert same(MsgpackCodec().decode(data), message)
        except ProtocolError:
            raise AssertionError(f'the codec refuses {message}') from None
