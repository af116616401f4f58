"""A server's shortest messages are read by patterns; the plain way, by an unpickler, reads the
same.
"""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ZEO.Exceptions import ProtocolError
from ZEO.wire import answer_templates, pickles
from ZEO.wire.frames import READ_SIZE, FrameReader, frame
from ZEO.wire.message import REPLY, EchoedId, checked
from ZEO.wire.messages import PickleCodec

numbers = st.one_of(st.integers(0, 2**31 - 1), st.sampled_from([0, 255, 256, 2**16 - 1, 2**16]))
results = st.one_of(st.none(), st.just([]), st.binary(min_size=8, max_size=8))
sizes = st.one_of(
    numbers, st.integers(2**31, 2**47 - 1), st.sampled_from([2**31, 2**39 - 1, 2**39])
)
messages = st.one_of(
    st.tuples(numbers, st.just(0), st.just(REPLY), results),
    st.tuples(
        st.just(0),
        st.just(True),
        st.just('info'),
        st.builds(lambda length, size: ({'length': length, 'size': size},), numbers, sizes),
    ),
)

ids = st.binary(min_size=8, max_size=8)
tids = ids.filter(lambda tid: tid < b'\x80')
invalidations = st.tuples(
    st.just(0),
    st.just(True),
    st.just('invalidateTransaction'),
    st.tuples(tids, st.one_of(st.lists(ids, min_size=1, max_size=3), st.just([b'12345678'] * 100))),
)


def plainly(data):
    return checked(pickles.loads(data, answer=True))


def same(one, other):
    """Tell whether two messages are equal, in the types of their parts too."""
    return repr(one) == repr(other)


@given(messages)
def test_a_short_message_is_read_as_the_unpickler_reads_it(message):
    data = pickles.dumps(message)
    assert same(answer_templates.read(data), message)
    assert same(plainly(data), message)
    assert same(PickleCodec().decode(data), message)
    assert same(PickleCodec().decode(bytearray(data)), message)
    assert len(data) <= answer_templates.LONGEST


@given(invalidations)
def test_an_invalidation_of_few_objects_is_read_as_the_unpickler_reads_it(message):
    data = pickles.dumps(message)
    assert data.startswith(answer_templates.INVALIDATION)
    assert same(answer_templates.read_invalidation(data), message)
    assert same(answer_templates.read_invalidation(bytearray(data)), message)
    assert same(plainly(data), message)
    assert same(PickleCodec().decode(data), message)


@given(invalidations, st.data())
def test_an_invalidation_that_was_changed_on_the_way_is_read_so_or_not_at_all(message, draw):
    data = bytearray(pickles.dumps(message))
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(data) - 1))
        data[place] = draw.draw(st.integers(0, 255))
    found = answer_templates.read_invalidation(bytes(data))
    if found is not None:
        pickles.check_answer(data)
        assert same(found, plainly(bytes(data)))


@given(messages, st.data())
def test_what_was_changed_on_the_way_is_read_so_or_not_at_all(message, draw):
    data = bytearray(pickles.dumps(message))
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(data) - 1))
        data[place] = draw.draw(st.integers(0, 255))
    found = answer_templates.read(bytes(data))
    if found is not None:
        pickles.check_answer(data)
        assert same(found, plainly(bytes(data)))


@given(
    numbers,
    st.one_of(results, st.binary(), st.lists(st.binary(), max_size=2), st.integers()),
)
def test_an_answer_is_written_as_the_pickler_writes_it(number, result):
    codec, opcodes = PickleCodec(), EchoedId(pickles.dumps(number)[2:-1])
    assert codec.reply(opcodes, result) == codec.reply(number, result)


@given(st.one_of(sizes, st.integers()), st.one_of(sizes, st.integers()))
def test_sizes_are_written_as_the_pickler_writes_them(length, size):
    codec, info = PickleCodec(), {'length': length, 'size': size}
    assert codec.info(info) == codec.send('info', (info,))
    info = {'size': size, 'length': length}
    assert codec.info(info) == codec.send('info', (info,))


def arrived(data, before=b''):
    """Return a reader in whose buffer that is, maybe behind the beginning of a frame."""
    frames = FrameReader(READ_SIZE, memoryview(bytearray(READ_SIZE)))
    frames.buffer()[: len(before)] = before
    frames.received(len(before))
    frames.buffer()[: len(data)] = data
    return frames


def each(messages):
    """Return messages with an own one for each transaction that is invalidated."""
    for message in messages:
        if type(message[3]) is answer_templates.Invalidations:
            yield from ((*message[:3], one) for one in message[3])
        else:
            yield message


#: What ends most transactions: an answer, maybe behind sizes.
ends = st.one_of(
    st.lists(messages.filter(lambda message: message[2] == REPLY), min_size=1, max_size=1),
    st.tuples(
        messages.filter(lambda message: message[2] == 'info'),
        messages.filter(lambda message: message[2] == REPLY),
    ).map(list),
)


#: What a client gets that commits as others do: what they have changed, and the ends of its own.
groups = st.lists(
    st.one_of(invalidations.map(lambda one: [one]), ends), min_size=1, max_size=6
).map(lambda parts: [message for part in parts for message in part])


@given(ends)
def test_the_end_of_a_transaction_is_read_where_it_has_arrived(messages):
    data = b''.join(frame(pickles.dumps(message)) for message in messages)
    assert same(answer_templates.read_arrived(arrived(data), len(data)), messages)


@given(groups)
def test_what_others_have_changed_is_read_in_one_where_it_has_arrived(messages):
    data = b''.join(frame(pickles.dumps(message)) for message in messages)
    found = answer_templates.read_arrived(arrived(data), len(data))
    assert same([*each(found)], messages)
    changed = [message[2] == 'invalidateTransaction' for message in found]
    assert (True, True) not in itertools.pairwise(changed)
    assert answer_templates.read_arrived(arrived(data), len(data) - 1) is None
    assert answer_templates.read_arrived(arrived(data, b'\0'), len(data)) is None
    other = frame(pickles.dumps((0, True, 'info', ({},))))
    assert answer_templates.read_arrived(arrived(data + other), len(data + other)) is None


@given(groups, st.data())
def test_what_was_changed_is_read_where_it_has_arrived_as_out_of_its_frames_or_not_at_all(
    messages, draw
):
    data = bytearray(b''.join(frame(pickles.dumps(message)) for message in messages))
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    found = answer_templates.read_arrived(arrived(data), len(data))
    if found is not None:
        frames = arrived(data).received(len(data))
        assert same([*each(found)], [PickleCodec().decode(bytes(one)) for one in frames])
        assert len(b''.join(map(frame, frames))) == len(data)


def test_other_messages_are_left_to_the_unpickler():
    codec = PickleCodec()
    for message in (
        (1, 0, REPLY, [b'12345678']),
        (1, 0, REPLY, b'1234567'),
        (-1, 0, REPLY, None),
        (2**31, 0, REPLY, None),
        (0, True, 'info', ({'size': 1, 'length': 2},)),
        (0, True, 'info', ({'length': 1, 'size': 2, 'packed': True},)),
        (0, True, 'info', ({'length': 1, 'size': -2},)),
        (0, True, 'info', ({'length': 1, 'size': 2**47},)),
        (0, True, 'invalidateTransaction', (b'12345678', [])),
        (0, True, 'invalidateTransaction', (b'12345678', (b'12345678',))),
        (0, True, 'invalidateTransaction', (b'12345678', [b'1234567'])),
        (0, True, 'invalidateTransaction', (b'\x80' * 8, [b'12345678'])),
        (0, True, 'invalidateTransaction', (b'12345678', [b'12345678'] * 101)),
    ):
        data = pickles.dumps(message)
        assert answer_templates.read(data) is None
        assert answer_templates.read_invalidation(data) is None
        try:
            assert same(codec.decode(data), message)
        except ProtocolError:
            raise AssertionError(f'the codec refuses {message}') from None


def echoed(number):
    """Return an id as its opcodes, as a server has it."""
    return EchoedId(pickles.dumps(number)[2:-1])


@given(numbers, st.binary(min_size=8, max_size=8), numbers, sizes)
def test_framed_answers_of_a_small_commit_are_those_of_the_plain_way(number, tid, length, size):
    codec, message_id = PickleCodec(), echoed(number)
    assert codec.voted(message_id) == frame(pickles.dumps((number, 0, REPLY, [])))
    figures = {'length': length, 'size': size}
    info = pickles.dumps((0, True, 'info', (figures,)))
    reply = pickles.dumps((number, 0, REPLY, tid))
    assert codec.committed(message_id, tid, figures) == frame(info) + frame(reply)


@pytest.mark.parametrize(
    'tid, length, size',
    [
        (b'12345678', None, 1),
        (b'12345678', 1, 2**47),
        (b'12345678', -1, 1),
        (b'12345678', True, 1),
        (b'1234567', 1, 1),
        ('12345678', 1, 1),
        (None, 1, 1),
    ],
)
def test_there_is_no_template_for_what_a_storage_rarely_says(tid, length, size):
    figures = {'length': length, 'size': size}
    assert PickleCodec().committed(echoed(5), tid, figures) is None
