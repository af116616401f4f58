"""What is read as a template is what the pickler reads, and nothing else is."""

import random

import pytest

from ZEO.Exceptions import ProtocolError
from ZEO.wire import pickles
from ZEO.wire.message import EchoedId, requested
from ZEO.wire.messages import PickleCodec
from ZEO.wire.transaction_templates import read_begin, read_end

CODEC = PickleCodec()
NUMBERS = [0, 1, 255, 256, 65535, 65536, 2**31 - 1]


def plainly(data):
    """Return a message as it is read without templates."""
    pickles.check(data, 1000)
    return requested(pickles.loads(data))


def by_template(data):
    """Return a message as templates read it, with the id as it was; None for all others."""
    begin, end = read_begin(data), read_end(data)
    assert begin is None or end is None
    if end is None:
        return None if begin is None else (0, True, 'tpc_begin', begin)
    message_id, name, args = end
    return pickles.loads(b'\x80\x03%b.' % message_id), False, name, args


@pytest.mark.parametrize('message_id', NUMBERS)
@pytest.mark.parametrize('number', NUMBERS)
@pytest.mark.parametrize('name', ['vote', 'tpc_finish', 'tpc_abort'])
def test_the_end_of_a_transaction(name, number, message_id):
    data = CODEC.call(message_id, name, (number,))
    assert by_template(data) == plainly(data) == (message_id, False, name, (number,))


@pytest.mark.parametrize('number', NUMBERS)
@pytest.mark.parametrize('sizes', [(0, 0, 0), (1, 2, 3), (255, 255, 255), (0, 255, 1)], ids=str)
def test_the_beginning_of_a_transaction(number, sizes):
    args = (number, *(b'C' * size for size in sizes), None, ' ')
    data = CODEC.send('tpc_begin', args)
    assert by_template(data) == plainly(data) == (0, True, 'tpc_begin', args)


@pytest.mark.parametrize(
    'args',
    [
        (2**31, b'', b'', b'', None, ' '),
        (-1, b'', b'', b'', None, ' '),
        ('1', b'', b'', b'', None, ' '),
        (1, b'u' * 256, b'', b'', None, ' '),
        (1, 'user', b'', b'', None, ' '),
        (1, b'', b'', {}, None, ' '),
        (1, b'', b'', b'', b'12345678', ' '),
        (1, b'', b'', b'', None, 'p'),
        (1, b'', b'', b'', None),
        (1, b'', b'', b''),
        (1, b'', b'', b'', None, ' ', 1),
    ],
    ids=str,
)
def test_other_beginnings_are_left_to_the_pickler(args):
    data = CODEC.send('tpc_begin', args)
    assert by_template(data) is None
    assert CODEC.decode_request(data) == (0, True, 'tpc_begin', args)


@pytest.mark.parametrize(
    'data',
    [
        CODEC.send('vote', (1,)),
        CODEC.call(1, 'tpc_begin', (1, b'', b'', b'', None, ' ')),
        CODEC.call(1, 'vote', ()),
        CODEC.call(1, 'vote', (1, 2)),
        CODEC.call(1, 'vote', [1]),
        CODEC.call(1, 'tpc_vote', (1,)),
        CODEC.call('1', 'vote', (1,)),
        CODEC.call(2**31, 'vote', (1,)),
        b'',
    ],
)
def test_other_messages_are_left_to_the_pickler(data):
    assert by_template(data) is None


def test_whatever_is_changed_or_cut_is_read_as_the_pickler_reads_it_or_not_at_all():
    choice = random.Random(5)
    messages = [
        CODEC.send('tpc_begin', (7, b'user', b'what', b'ext', None, ' ')),
        CODEC.send('tpc_begin', (70000, b'', b'C\0', b'', None, ' ')),
        CODEC.call(300, 'tpc_finish', (7,)),
    ]
    read_ones = 0
    for _ in range(30_000):
        data = bytearray(choice.choice(messages))
        for _ in range(choice.randrange(1, 3)):
            data[choice.randrange(len(data))] = choice.choice(b'CKMJN.t\0\1\x03\x85 ')
        data = bytes(data[: choice.choice((len(data), choice.randrange(len(data) + 1)))])
        if by_template(data) is not None:
            read_ones += 1
            try:
                assert by_template(data) == plainly(data)
            except ProtocolError as error:
                raise AssertionError(data) from error
    assert read_ones > 1000


def test_a_codec_echoes_the_id_of_what_a_template_has_read():
    message_id, one_way, name, args = CODEC.decode_request(CODEC.call(5, 'vote', (7,)))
    assert (type(message_id), one_way, name, args) == (EchoedId, False, 'vote', (7,))
    assert CODEC.decode(CODEC.reply(message_id, [])) == (5, 0, '.reply', [])


def test_a_codec_reads_the_beginning_of_a_transaction_by_the_template(monkeypatch):
    monkeypatch.setattr(pickles, 'loads', None)
    args = (7, b'user', b'', b'', None, ' ')
    _, one_way, name, found = CODEC.decode_request(CODEC.send('tpc_begin', args))
    assert (one_way, name, found) == (True, 'tpc_begin', args)
