"""A small transaction that came whole is read as its messages are, and nothing else is."""

import pytest
from ZODB.utils import p64

from ZEO.wire.frames import frame
from ZEO.wire.messages import PickleCodec
from ZEO.wire.small_commits import MOST_STORES, parts, read

CODEC = PickleCodec()


def messages(number=1, stores=1, user=b'a user', data=b'x' * 300, message_id=7):
    """Return the messages of a transaction."""
    return [
        CODEC.send('tpc_begin', (number, user, b'what', b'', None, ' ')),
        *(CODEC.send('storea', (p64(oid), p64(0), data, number)) for oid in range(1, stores + 1)),
        CODEC.call(message_id, 'vote', (number,)),
    ]


def framed(found):
    return b''.join(map(frame, found))


@pytest.mark.parametrize('number', [1, 255, 256, 70_000, 2**31 - 1])
@pytest.mark.parametrize('stores', [1, 2, MOST_STORES])
@pytest.mark.parametrize('data', [b'', b'C', b'x' * 255, b'x' * 256, b'tt.' * 300])
def test_it_stands_for_what_its_frames_are(number, stores, data):
    sent = messages(number, stores, data=data, message_id=number)
    found = read(framed(sent))
    assert list(parts(found)) == [CODEC.decode_request(message) for message in sent]


@pytest.mark.parametrize(
    'sent',
    [
        messages()[:-1],
        messages()[1:],
        messages(stores=0),
        messages(stores=MOST_STORES + 1),
        messages(user=b'x' * 256),
        [*messages(), CODEC.call(8, 'ping', ())],
        [*messages()[:-1], messages(2)[-1]],
        [messages(2)[0], *messages()[1:]],
        [messages()[0], messages(2)[1], messages()[-1]],
        [CODEC.send('tpc_begin', (1, b'', b'', b'', p64(9), ' ')), *messages()[1:]],
        [CODEC.send('tpc_begin', (1, b'', b'', {}, None, ' ')), *messages()[1:]],
        messages(data=b'x' * 40_000),
    ],
)
def test_other_messages_go_their_own_way(sent):
    assert read(framed(sent)) is None


def test_no_changed_byte_of_its_form_is_overlooked():
    sent = messages(data=b'')
    whole = framed(sent)
    for place in range(len(whole)):
        for value in {0, 0xFF, whole[place] ^ 1}:
            data = whole[:place] + bytes([value]) + whole[place + 1 :]
            found = read(data)
            if found is not None:
                again = framed(_frames(data))
                assert again == data
                assert list(parts(found)) == [CODEC.decode_request(one) for one in _frames(data)]


@pytest.mark.parametrize('end', range(1, 60))
def test_a_part_of_it_is_not_taken_for_all(end):
    whole = framed(messages())
    assert read(whole[:-end]) is None and read(whole[:end]) is None


def _frames(data):
    found = []
    while data:
        size = int.from_bytes(data[:4], 'big')
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found
