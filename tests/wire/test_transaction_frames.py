"""The frames of a transaction say what the pickler's do, and a server reads them as its own."""

from importlib.util import find_spec

import pytest
from ZODB.utils import p64

from ZEO.wire import pickles
from ZEO.wire.frames import LARGE
from ZEO.wire.messages import MsgpackCodec, PickleCodec
from ZEO.wire.small_commits import SMALL_COMMIT, parts, read

CODEC = PickleCodec()
NUMBERS = [1, 255, 256, 65535, 65536, 2**31 - 1]
TOO_LARGE = 2**31


def unframed(pieces):
    """Return the message of a frame in pieces, whose length is right."""
    data = b''.join(pieces)
    assert int.from_bytes(data[:4], 'big') == len(data) - 4
    return data[4:]


def said(message):
    return pickles.loads(bytes(message))


@pytest.mark.parametrize('number', [*NUMBERS, TOO_LARGE])
@pytest.mark.parametrize('sizes', [(0, 0, 0), (1, 2, 3), (255, 255, 255), (256, 0, 0), (0, 0, 256)])
def test_the_beginning_says_what_the_pickler_would_say(number, sizes):
    texts = [b'C' * size for size in sizes]
    message = unframed(CODEC.begin(number, *texts))
    assert said(message) == (0, True, 'tpc_begin', (number, *texts, None, ' '))


def test_the_beginning_may_have_an_extension_for_other_servers():
    message = unframed(CODEC.begin(1, b'user', b'what', {'a': 1}))
    assert said(message) == (0, True, 'tpc_begin', (1, b'user', b'what', {'a': 1}, None, ' '))


@pytest.mark.parametrize('number', [*NUMBERS, TOO_LARGE])
@pytest.mark.parametrize('size', [0, 1, 255, 256, LARGE - 1, LARGE, 100_000])
def test_a_store_says_what_the_pickler_would_say(number, size):
    pieces = CODEC.store(p64(5), p64(6), b'd' * size, number)
    assert said(unframed(pieces)) == (0, True, 'storea', (p64(5), p64(6), b'd' * size, number))
    assert (len(pieces) == 1) == (size < LARGE) or number == TOO_LARGE


@pytest.mark.parametrize('oid', [b'', b'1234567', bytearray(8)], ids=repr)
def test_a_store_of_what_is_not_an_oid_is_left_to_the_pickler(oid):
    if type(oid) is bytes:
        message = unframed(CODEC.store(oid, p64(6), b'data', 1))
        assert said(message) == (0, True, 'storea', (oid, p64(6), b'data', 1))
    else:
        plain = CODEC.send('storea', (oid, p64(6), b'data', 1))
        assert unframed(CODEC.store(oid, p64(6), b'data', 1)) == plain


@pytest.mark.parametrize('message_id', [0, *NUMBERS])
@pytest.mark.parametrize('number', [*NUMBERS, TOO_LARGE])
def test_the_end_says_what_the_pickler_would_say(number, message_id):
    for name, made in (('vote', CODEC.vote), ('tpc_finish', CODEC.finish)):
        message = unframed([made(message_id, number)])
        assert said(message) == (message_id, False, name, (number,))
        assert CODEC.decode_request(message)[1:] == (False, name, (number,))


@pytest.mark.parametrize('number', NUMBERS)
@pytest.mark.parametrize('size', [0, 255, 256, 5000])
def test_a_server_reads_all_of_it_as_one_message(number, size):
    data = b''.join(
        (
            *CODEC.begin(number, b'user', b'what', b'more'),
            *CODEC.store(p64(1), p64(2), b'd' * size, number),
            CODEC.vote(9, number),
        )
    )
    found = read(data)
    assert found is not None and found[2] is SMALL_COMMIT
    begin, store, vote = parts(found)
    assert begin[2:] == ('tpc_begin', (number, b'user', b'what', b'more', None, ' '))
    assert store[2:] == ('storea', (p64(1), p64(2), b'd' * size, number))
    assert vote[2:] == ('vote', (number,)) and pickles.loads(b'\x80\x03%b.' % vote[0]) == 9


@pytest.mark.skipif(find_spec('msgpack') is None, reason='needs msgpack')
def test_the_other_protocol_makes_them_the_plain_way():
    codec = MsgpackCodec()
    for made, expected in (
        (codec.begin(1, b'u', b'd', b''), (True, 'tpc_begin', (1, b'u', b'd', b'', None, ' '))),
        (codec.store(p64(1), p64(2), b'd', 1), (True, 'storea', (p64(1), p64(2), b'd', 1))),
        ([codec.vote(9, 1)], (False, 'vote', (1,))),
        ([codec.finish(9, 1)], (False, 'tpc_finish', (1,))),
    ):
        assert codec.decode_request(unframed(made))[1:] == expected
