"""Whoever has not registered can do nothing, costs little, and is gone after a while."""

import json
import logging
import struct

import pytest

from support.clock import Clock, let_pass
from support.scripted import Ended, Unexpected, framed, message
from ZEO.StorageServer import Limits

REGISTER = message(1, False, 'register', ('1', False))


def ends(conversation):
    """Show that the server closes, having said nothing but its greeting."""
    assert conversation.frame() == b'Z5'
    with pytest.raises((Ended, ConnectionResetError)):
        conversation.frame()


@pytest.mark.parametrize(
    'data',
    [
        b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n',
        b'\xff' * 100,
        b'\x16\x03\x01\x02\0\x01\0\x01',
        framed(b''),
        framed(b'Z4'),
        framed(b'M5'),
        framed(b'Z5') + framed(b''),
        framed(b'Z5') + framed(b'garbage'),
        framed(b'Z5') + framed(b'\x80\x03]2a.'),
        framed(b'Z5') + message(1, False, 'register'),
        framed(b'Z5') + framed(b'\x80\x03N.'),
    ],
)
def test_garbage(service, data):
    stranger = service.connect()
    stranger.send(data)
    ends(stranger)


def test_a_frame_too_large_for_a_stranger(service):
    stranger = service.connect()
    stranger.send(framed(b'Z5'), struct.pack('>I', 64 * 1024 + 1), b'x' * 100)
    ends(stranger)


def test_a_frame_of_4_gib_announced_by_a_client(service):
    client = service.client()
    client.send(struct.pack('>I', 2**32 - 1))
    assert client.ended() == []


RAN = []


def run_me(*args):
    """What no pickle may ever call."""
    RAN.append(args)


NAME = b'c%b\nrun_me\n' % __name__.encode()


@pytest.mark.parametrize(
    'bomb',
    [
        NAME + b')R.',
        b'(i%b\nrun_me\n.' % __name__.encode(),
        NAME + b')\x81.',
        b'cbuiltins\neval\n(X\4\0\0\0quittR.',
        b'cposix\n_exit\n(K\1tR.',
        b'czodbpickle\nbinary\n}X\4\0\0\0evilK\1sb.',
        b'czodbpickle\nbinary\nJ\xff\xff\xff\x7f\x85R.',
        b'Nr\xff\xff\xff\x7f.',
        b'})' + b'\x85' * 60_000 + b'Ns.',
        b']' + b'2' * 1000 + b'.',
        b'\x82\x01.',
        b'Pid\n.',
    ],
)
@pytest.mark.parametrize('registered', [False, True])
def test_pickle_bombs(service, bomb, registered, caplog):
    if registered:
        client = service.client()
        client.send(framed(b'\x80\x03' + bomb))
        assert client.ended() == []
    else:
        stranger = service.connect()
        stranger.send(framed(b'Z5'), framed(b'\x80\x03' + bomb))
        ends(stranger)
    assert not RAN
    service.good.ping()  # by then it is in the log
    warnings = [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
    assert len(warnings) == 1 and 'closed by this server' in warnings[0]


@pytest.mark.parametrize(
    'name, args',
    [
        ('get_info', ()),
        ('loadBefore', (b'\0' * 8, b'\x7f' * 8)),
        ('lastTransaction', ()),
        ('tpc_begin', (1, b'', b'', {})),
        ('server_status', ()),
        ('ping', ()),
        ('pack', (0.0, True)),
        ('undoLog', (0, 20)),
        ('close', ('x',)),
        ('hosted', ()),
        ('__init__', ()),
    ],
)
@pytest.mark.parametrize('one_way', [False, True])
def test_calls_before_register(service, name, args, one_way):
    stranger = service.connect()
    stranger.send(framed(b'Z5'), message(0 if one_way else 1, one_way, name, args))
    ends(stranger)


@pytest.fixture
def late(serve):
    """A service for which a client has to register within ten seconds, and its clock."""
    clock = Clock()
    return serve(limits=Limits(handshake_time=10), system=clock), clock


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'\0\0',
        framed(b'Z5'),
        framed(b'Z5') + REGISTER[:20],
        framed(b'Z5') + message(-1, 0, '.reply', None),
    ],
)
def test_silence_ends_at_the_handshake_deadline(late, data):
    service, clock = late
    registered, stranger = service.client(), service.connect()
    stranger.send(data)
    assert stranger.frame() == b'Z5'  # it has been accepted
    let_pass(clock, service.server, 11)
    with pytest.raises((Ended, ConnectionResetError)):
        stranger.frame()
    registered.call('ping')  # who has registered may take his time


def test_trickling_does_not_put_the_deadline_off(late):
    service, clock = late
    stranger = service.connect()
    assert stranger.frame() == b'Z5'
    for byte in (framed(b'Z5') + REGISTER)[:10]:
        stranger.send(bytes([byte]))
        let_pass(clock, service.server, 1)
    assert stranger.ended() == []


def test_a_failed_register_does_not_put_the_deadline_off(late):
    service, clock = late
    stranger = service.connect()
    stranger.send(framed(b'Z5'), message(1, False, 'register', ('no such', False)))
    stranger.frame()
    assert stranger.next()[1] == 2
    let_pass(clock, service.server, 11)
    assert stranger.ended() == []


def test_one_byte_at_a_time(service):
    slow = service.connect()
    load = message(3, False, 'loadBefore', (b'\0' * 8, b'\x7f' * 8))
    for byte in framed(b'Z5') + REGISTER + message(2, False, 'ping', ()) + load:
        slow.send(bytes([byte]))
    assert slow.frame() == b'Z5'
    assert slow.next()[:3] == (1, 0, '.reply')
    assert slow.next() == (2, 0, '.reply', None)
    assert slow.next()[:2] == (3, 2)  # there is no such object


def test_a_probe(service):
    stranger = service.connect()
    stranger.send(framed(b'ruok'))
    stranger.frame()
    status = json.loads(stranger.frame())
    assert status['1']['connections'] == 1
    assert {
        'loads',
        'stores',
        'commits',
        'aborts',
        'active_txns',
        'lock_time',
        'conflicts',
        'waiting',
        'start',
        'timeout-thread-is-alive',
        'last-transaction',
    } <= set(status['1'])
    with pytest.raises(Ended):
        stranger.frame()


def test_a_wrong_storage_name(service):
    stranger = service.connect()
    stranger.send(
        framed(b'Z5'),
        message(1, False, 'register', ('wrong', False)),
        message(2, False, 'register', (['x'], False)),
    )
    stranger.frame()
    for number in (1, 2):
        message_id, flags, _, (name, args) = stranger.next()
        assert (message_id, flags, name) == (number, 2, 'builtins.ValueError')
    stranger.send(REGISTER)  # it may try again
    assert stranger.next()[1] == 0


def test_registering_twice(service):
    client = service.client()
    client.send(REGISTER)
    assert client.ended() == []


@pytest.mark.parametrize(
    'data',
    [
        message(9, False, 'no_such_call', ()),
        message(0, True, 'no_such_call', ()),
        message(9, False, '_commit', (1,)),
        message(9, False, 'handle', ([],)),
        message(9, False, 'invalidateTransaction', (b'', [])),
    ],
)
def test_calls_that_do_not_exist(service, data):
    client = service.client()
    client.send(data)
    assert client.ended() == []


def test_replies_are_ignored(service):
    client = service.client()
    client.send(message(-1, 0, '.reply', None), message(5, 2, '.reply', ('x', ())))
    client.call('ping')


@pytest.mark.parametrize(
    'message_id',
    [{}, [], {'a': [1]}, (1, (2, (3,))), None, 2.5, 'text', b'bytes', [[[[]]]], 2**80, -5],
)
def test_any_plain_id_comes_back(service, message_id):
    client = service.client()
    for name, args, flags in (('ping', (), 0), ('loadBefore', (b'\0' * 7 + b'\5', b'\x7f' * 8), 2)):
        client.send(message(message_id, False, name, args))
        assert client.next()[:2] == (message_id, flags)


def test_ids_that_can_not_be_sent_back(service):
    for deep in (b']' * 900 + b'a' * 899, b')' + b'\x85' * 900):
        for name in ('ping', 'loadBefore'):
            client = service.client()
            client.send(
                framed(
                    b'\x80\x03('
                    + deep
                    + b'\x89X'
                    + struct.pack('<I', len(name))
                    + name.encode()
                    + b')t.'
                )
            )
            assert client.ended() == []


def test_too_many_connections(serve):
    service = serve(limits=Limits(connections=3))
    others = [service.client(), service.client()]
    stranger = service.connect()
    with pytest.raises((Unexpected, ConnectionResetError)):
        stranger.frame()
    for other in others:
        other.call('ping')


def test_connecting_and_leaving_at_once(service):
    for _ in range(200):
        service.connect().close()
