"""Stores that are read together are what their frames are, however they arrive."""

import random

import pytest
from ZODB.utils import p64

from ZEO.Exceptions import ProtocolError
from ZEO.wire.frames import frame
from ZEO.wire.messages import PickleCodec
from ZEO.wire.pickles import dumps
from ZEO.wire.runs import MOST, RESTORES, STORES, Run, read
from ZEO.wire.session import ServerSession

CODEC = PickleCodec()
HELLO = frame(b'Z5') + frame(dumps((1, False, 'register', ('1', False))))


def store(number=1, oid=1, data=b'x' * 300):
    return CODEC.send('storea', (p64(oid), p64(oid + 1), data, number))


def restore(number=1, oid=1, data=b'x' * 300, previous=None):
    return CODEC.send('restorea', (p64(oid), p64(oid + 1), data, previous, number))


def stream(messages):
    return b''.join(map(frame, messages))


def each(message):
    """Yield the messages that one stands for."""
    message_id, one_way, name, args = message
    if type(name) is Run:
        number, calls = args
        for call in calls:
            yield message_id, one_way, str(name), (*call, number)
    else:
        yield message


def given(data, together=True, pieces=None, limit=10**9):
    """Return the messages that a session makes of data after its greeting, or its error at last,
    and how many of these messages stood for several.
    """
    session = ServerSession(b'Z5', 1000, limit)
    for part in (HELLO[:6], HELLO[6:]):
        session.buffer()[: len(part)] = part
        list(session.received(len(part)))
    session.registered()
    if not together:
        session._frames.run = None
    found, runs, start = [], 0, 0
    try:
        while start < len(data):
            part = data[start : start + (pieces() if pieces else len(data))]
            start += len(part)
            while part:
                buffer = session.buffer()
                count = min(len(part), len(buffer))
                buffer[:count], part = part[:count], part[count:]
                for message in session.received(count):
                    runs += type(message[2]) is Run
                    found += each(message)
    except (ProtocolError, Exception) as error:
        found.append((type(error), str(error)))
    return found, runs


@pytest.mark.parametrize('number', [0, 1, 255, 256, 2**31 - 1])
@pytest.mark.parametrize('data', [b'', b'C', b'x' * 255, b'x' * 256, b'J\1\0\0\0tt.' * 300])
@pytest.mark.parametrize('make', [store, restore])
def test_they_stand_for_what_their_frames_are(number, data, make):
    sent = [make(number, oid, data) for oid in range(3)]
    message, end = read(stream(sent), 0)
    assert list(each(message)) == [CODEC.decode_request(one) for one in sent]
    assert end == len(stream(sent)) and message[2] in (STORES, RESTORES)


def test_the_earlier_transactions_of_what_is_copied():
    sent = [restore(oid=oid, previous=previous) for oid, previous in enumerate((None, p64(7)) * 3)]
    message, _ = read(stream(sent), 0)
    assert list(each(message)) == [CODEC.decode_request(one) for one in sent]


@pytest.mark.parametrize(
    'sent, end',
    [
        ([store()], 0),
        ([store(), store(2)], 0),
        ([store(), restore()], 0),
        ([store(), CODEC.call(7, 'vote', (1,))], 0),
        ([store(), store(), store(2)], 2),
        ([store(), store(), restore(), restore()], 2),
        ([restore(), restore(), CODEC.call(7, 'vote', (1,))], 2),
        ([store()] * (MOST + 5), MOST),
        ([CODEC.call(7, 'ping', ()), store(), store()], 0),
    ],
)
def test_where_they_end(sent, end):
    found = read(stream(sent), 0)
    assert (found[1] if found else 0) == len(stream(sent[:end]))


def test_one_that_has_not_come_whole_waits():
    whole = stream([store(), store(), store()])
    for size in range(len(whole)):
        found = read(whole[:size], 0)
        assert (found is None) == (size < len(stream([store(), store()])))
        if found:
            assert found[1] == len(stream([store(), store()]))


def test_no_changed_byte_is_overlooked():
    """Whatever a client sends, it is what it is without this."""
    for sent in ([store(data=b'ab')] * 3, [restore(data=b'ab', previous=p64(9))] * 3):
        whole = stream(sent)
        for place in range(len(whole)):
            for value in {0, 0xFF, whole[place] ^ 1, ord('C'), ord('B')}:
                data = whole[:place] + bytes([value]) + whole[place + 1 :]
                assert given(data)[0] == given(data, together=False)[0]


@pytest.mark.parametrize('seed', range(20))
def test_whatever_comes_in_whatever_pieces(seed):
    chance = random.Random(seed)

    def one():
        number = chance.choice([1, 1, 1, 2])
        make = chance.choice([store, store, store, restore])
        if chance.random() < 0.1:
            return CODEC.call(chance.randrange(300), 'ping', ())
        size = chance.choice([0, 3, 300, 5000, 300_000 if chance.random() < 0.1 else 1])
        return make(number, chance.randrange(9), chance.randbytes(size))

    data = stream([one() for _ in range(300)])
    plain = given(data, together=False)[0]
    assert len(plain) == 300
    sizes = chance.choice([100, 5000, 200_000])
    found, runs = given(data, pieces=lambda: chance.randrange(1, sizes))
    assert found == plain
    assert runs or sizes == 100


def test_a_frame_past_the_limit_is_refused_among_them():
    data = stream([store(), store(data=b'x' * 2000), store()])
    refused = given(data, limit=1500)
    assert refused[0] == given(data, together=False, limit=1500)[0]
    assert 'at most 1500' in refused[0][-1][1]
