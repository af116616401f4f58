"""Frames come out whole and in order however the stream is cut, and an announcement costs
nothing.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ZEO.Exceptions import ProtocolError
from ZEO.wire import frames
from ZEO.wire.frames import FrameReader, FrameTooLarge, frame

SCRATCH = 64
CONTENTS = st.lists(st.binary(max_size=3 * SCRATCH), max_size=8)


def feed(reader, data):
    """Give bytes to a reader as a socket does; return the frames that are complete."""
    frames = []
    view = memoryview(data)
    while view:
        room = reader.buffer()
        count = min(len(room), len(view))
        room[:count] = view[:count]
        frames += reader.received(count)
        view = view[count:]
    return frames


def reader(limit: int = 10_000, scratch: int = SCRATCH) -> FrameReader:
    """Return a reader with so little memory that most frames are large for it."""
    return FrameReader(limit, memoryview(bytearray(scratch)))


def test_a_frame_is_its_length_and_itself():
    assert frame(b'Z5') == b'\0\0\0\2Z5'
    assert frame(b'') == b'\0\0\0\0'


@given(CONTENTS, st.lists(st.integers(1, 100), min_size=1))
def test_any_split_gives_the_same_frames(contents, sizes):
    stream, found, cuts = b''.join(map(frame, contents)), [], reader()
    position = number = 0
    while position < len(stream):
        size = sizes[number % len(sizes)]
        found += feed(cuts, stream[position : position + size])
        position, number = position + size, number + 1
    assert found == contents


@given(CONTENTS)
def test_byte_by_byte(contents):
    cuts, found = reader(), []
    for byte in b''.join(map(frame, contents)):
        found += feed(cuts, bytes([byte]))
    assert found == contents


def test_a_frame_comes_with_its_last_byte_and_not_before():
    cuts = reader()
    assert feed(cuts, b'\0\0\0\3ab') == []
    assert feed(cuts, b'c') == [b'abc']


def test_frames_outlive_the_memory_they_were_read_into():
    cuts = reader()
    (first,) = feed(cuts, frame(b'first'))
    feed(cuts, frame(b'other'))
    assert first == b'first'


def test_readers_share_their_scratch_memory():
    scratch = memoryview(bytearray(SCRATCH))
    one, other = FrameReader(100, scratch), FrameReader(100, scratch)
    assert feed(one, frame(b'one')[:5]) == []
    assert feed(other, frame(b'other')) == [b'other']
    assert feed(one, frame(b'one')[5:]) == [b'one']


@pytest.mark.parametrize('before', [b'', frame(b'small')])
def test_a_frame_beyond_the_limit_is_refused_by_its_announcement(before):
    cuts = reader(limit=10)
    assert feed(cuts, before + frame(b'x' * 10))[-1:] == [b'x' * 10]
    with pytest.raises(FrameTooLarge, match='11 bytes, when at most 10'):
        feed(cuts, (11).to_bytes(4, 'big'))
    assert issubclass(FrameTooLarge, ProtocolError)


def test_the_limit_may_change_between_frames():
    cuts = reader(limit=1)
    feed(cuts, frame(b'1'))
    cuts.limit = 1000
    assert feed(cuts, frame(b'2' * 1000)) == [b'2' * 1000]


def test_memory_grows_with_what_has_arrived_not_with_what_was_announced():
    cuts = reader(limit=2**32)
    feed(cuts, (2**32 - 1).to_bytes(4, 'big') + b'some')
    assert len(cuts.buffer()) <= frames.FIRST_GROWTH


def test_a_large_frame_is_received_in_place_and_with_few_moves(monkeypatch):
    """What moves when its memory grows is in all less than twice its size; pieces never are
    joined.
    """
    monkeypatch.setattr(frames, 'FIRST_GROWTH', 1000)
    size = 1_000_000
    cuts = reader(limit=size)
    feed(cuts, size.to_bytes(4, 'big') + b'x')
    moved, last_room, found = 0, 0, []
    received = 1
    while not found:
        room = cuts.buffer()
        if len(room) > last_room:  # it has grown
            moved += received
        count = min(len(room), 100)
        room[:count] = b'x' * count
        last_room = len(room) - count
        del room
        found = cuts.received(count)
        received += count
    assert found == [b'x' * size]
    assert moved < 2 * size


def test_small_frames_after_a_large_one():
    cuts = reader()
    stream = frame(b'l' * 1000) + frame(b'') + frame(b's')
    assert feed(cuts, stream) == [b'l' * 1000, b'', b's']
