"""The answer to a load is read by one pattern; the plain way, by an unpickler, reads the same."""

from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ZEO.Exceptions import ProtocolError
from ZEO.wire import pickles, templates
from ZEO.wire.frames import LARGE, READ_SIZE, SIZE, UNCOUNTED, FrameReader, frame
from ZEO.wire.message import REPLY, checked
from ZEO.wire.messages import MsgpackCodec, PickleCodec

ids = st.binary(min_size=8, max_size=8)
numbers = st.integers(min_value=0, max_value=2**31 - 1)

#: Records that look like what is around them.
records = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from([b'C\x08', bytes(8), b'N\x87t.', b'\x87t.', b'C', b'B']), max_size=9
    ).map(b''.join),
)


def answered(number, record, tid, end):
    """Return the message of an answer, as a server makes it by its template."""
    message_id = b'J' + number.to_bytes(4, 'little')
    return b''.join(templates.loaded(message_id, record, tid, end))[4:]


def plainly(data):
    return checked(pickles.loads(data, answer=True))


@given(numbers, records, ids, st.none() | ids)
def test_an_answer_is_read_as_the_unpickler_reads_it(number, record, tid, end):
    data = answered(number, record, tid, end)
    assert PickleCodec().decode(data) == plainly(data)
    assert PickleCodec().decode(data) == (number, 0, REPLY, (record, tid, end))
    assert (templates.read_loaded(data) is not None) == (end is None)
    assert templates.read_loaded(bytearray(data)) == templates.read_loaded(data)


@given(numbers, records, ids, st.data())
def test_what_was_changed_on_the_way_is_read_so_or_not_at_all(number, record, tid, draw):
    data = bytearray(answered(number, record, tid, None))
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(data) - 1))
        data[place] = draw.draw(st.integers(0, 255))
    found = templates.read_loaded(bytes(data))
    if found is not None:
        assert found == plainly(bytes(data))
        try:
            assert found == PickleCodec().decode(bytes(data))
        except ProtocolError:
            raise AssertionError('the template took what the codec refuses') from None


def codecs_here():
    """Return the codec of each protocol; msgpack may not be installed."""
    return [PickleCodec(), *([MsgpackCodec()] if find_spec('msgpack') else [])]


def arrived(data, before=b''):
    """Return a reader in whose buffer that is, maybe behind the beginning of a frame."""
    frames = FrameReader(READ_SIZE, memoryview(bytearray(2048)))
    frames.buffer()[: len(before)] = before
    frames.received(len(before))
    frames.buffer()[: len(data)] = data
    return frames


def framed_by(codec, number, record, tid, end):
    """Return the frame of an answer, as a server makes it."""
    load = codec.decode_request(codec.load_before(number, tid, tid)[4:])
    return b''.join(codec.loaded(load[0], record, tid, end))


codecs = pytest.mark.parametrize('codec', codecs_here(), ids=lambda codec: codec.name.decode())


@codecs
@given(number=numbers, record=records, tid=ids, end=st.none() | ids)
def test_an_answer_is_read_where_it_has_arrived_as_out_of_its_frame(
    codec, number, record, tid, end
):
    data = framed_by(codec, number, record, tid, end)
    found = codec.read_loaded_frame(arrived(data), len(data))
    if end is not None:
        assert found is None
    else:
        assert found == (number, record, tid)
        assert type(found[1]) is type(found[2]) is bytes
        assert codec.decode(data[4:]) == (number, 0, REPLY, (record, tid, None))


@codecs
@given(number=numbers, record=records, tid=ids, draw=st.data())
def test_what_was_changed_is_read_where_it_has_arrived_as_out_of_its_frame_or_not_at_all(
    codec, number, record, tid, draw
):
    data = bytearray(framed_by(codec, number, record, tid, None))
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    found = codec.read_loaded_frame(arrived(data), len(data))
    if found is not None:
        assert SIZE.pack(len(data) - 4) == data[:4]
        message_id, flags, name, (record, tid, end) = codec.decode(bytes(data[4:]))
        assert (flags, name, end) == (0, REPLY, None)
        assert found == (message_id, record, tid)


@codecs
def test_an_answer_is_not_read_where_it_has_arrived_unless_it_is_alone(codec):
    data = framed_by(codec, 300, b'record', bytes(8), None)
    assert codec.read_loaded_frame(arrived(data), len(data)) is not None
    assert codec.read_loaded_frame(arrived(data * 2), len(data) * 2) is None
    assert codec.read_loaded_frame(arrived(data), len(data) - 1) is None
    assert codec.read_loaded_frame(arrived(data, b'\0'), len(data)) is None
    large = arrived(b'', SIZE.pack(UNCOUNTED + 1))
    large.scratch[: len(data)] = data  # left over there: the next bytes go elsewhere
    assert codec.read_loaded_frame(large, len(data)) is None


@pytest.mark.parametrize('end', [None, bytes(8)])
@pytest.mark.parametrize('size', [0, 255, 256, LARGE - 1, LARGE, 100_000])
def test_an_answer_of_any_size_is_written_as_the_pickler_writes_it(size, end):
    pieces = templates.loaded(b'J\1\2\3\4', bytes(size), bytes(8), end)
    assert b''.join(pieces) == frame(PickleCodec().reply(0x04030201, (bytes(size), bytes(8), end)))
    assert (len(pieces) == 1) == (size < LARGE)


@given(ids, ids, records, st.none() | ids, numbers)
def test_a_copied_record_is_sent_and_read_as_the_pickler_does(oid, serial, record, previous, txn):
    args = oid, serial, record, previous, txn
    data = templates.restore(*args)
    assert pickles.loads(data) == (0, True, 'restorea', args)
    assert templates.read_restore(data) == args
    short = pickles.dumps((0, True, 'restorea', args))
    assert templates.read_restore(short) == args
    assert PickleCodec().decode_request(short)[1:] == (True, 'restorea', args)
    assert PickleCodec().send('restorea', args) == data


@given(ids, records, st.data())
def test_a_copied_record_that_was_changed_on_the_way_is_read_so_or_not_at_all(oid, record, draw):
    data = bytearray(templates.restore(oid, oid, record, None, 7))
    place = draw.draw(st.integers(0, len(data) - 1))
    data[place] = draw.draw(st.integers(0, 255))
    found = templates.read_restore(bytes(data))
    if found is not None:
        assert pickles.loads(bytes(data)) == (0, True, 'restorea', found)


@given(st.integers(0, 600).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
def test_part_of_a_blob_is_sent_and_read_as_the_pickler_does(data):
    plain = pickles.dumps((0, True, 'storeBlobChunk', (data,)))
    assert b''.join(PickleCodec().chunk(data)) == frame(plain)
    message = PickleCodec().decode_request(plain)
    assert message[1:3] == (True, 'storeBlobChunk')
    assert bytes(message[3][0]) == data


@given(st.binary(min_size=256, max_size=400), st.data())
def test_part_of_a_blob_that_was_changed_on_the_way_is_read_so_or_not_at_all(chunk, draw):
    data = bytearray(pickles.dumps((0, True, 'storeBlobChunk', (chunk,))))
    place = draw.draw(st.integers(len(templates.CHUNK), len(data) - 1))
    data[place] = draw.draw(st.integers(0, 255))
    found = templates.read_chunk(bytes(data))
    if found is not None:
        assert pickles.loads(bytes(data)) == (0, True, 'storeBlobChunk', (bytes(found[0]),))
