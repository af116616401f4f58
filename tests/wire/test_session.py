"""The states of a connection, from either end and between the two."""

import json

import pytest

from ZEO.Exceptions import ProtocolError
from ZEO.wire.frames import FrameTooLarge, frame
from ZEO.wire.pickles import ForbiddenPickle, dumps
from ZEO.wire.session import ClientSession, Probed, ServerSession, status_report

REGISTER = frame(dumps((1, False, 'register', ('1', False))))


def server(protocol=b'Z5', handshake=100, message=10_000):
    return ServerSession(protocol, handshake, message)


def give(session, data, piece=None):
    """Give a session bytes, in pieces of some size; return the messages that came."""
    found = []
    piece = piece or len(data) or 1
    for start in range(0, len(data), piece):
        part = data[start : start + piece]
        session.buffer()[: len(part)] = part
        found += session.received(len(part))
    return found


@pytest.mark.parametrize('piece', [None, 1, 3])
def test_hello_and_a_message(piece):
    session = server()
    assert session.greeting == b'\0\0\0\2Z5'
    assert give(session, frame(b'Z5') + REGISTER, piece) == [(1, False, 'register', ('1', False))]
    assert session.codec.name == b'Z5'


@pytest.mark.parametrize(
    'hello', [b'', b'Z4', b'Z', b'M5', b'Z55', b'z5', b'GET / HTTP/1.1', b'ruokk', b'\x16\x03\x01']
)
def test_other_hellos(hello):
    with pytest.raises(ProtocolError):
        give(server(), frame(hello))


def test_a_protocol_is_answered_by_itself():
    pytest.importorskip('msgpack')
    with pytest.raises(ProtocolError, match="answered b'Z5' to the greeting b'M5'"):
        give(server(b'M5'), frame(b'Z5'))
    session = server(b'M5')
    give(session, frame(b'M5'))
    assert session.codec.name == b'M5'


def test_a_probe():
    with pytest.raises(Probed):
        give(server(), frame(b'ruok'))
    report = status_report({'1': {'loads': 5, 'odd': b'bytes'}})
    assert int.from_bytes(report[:4], 'big') == len(report) - 4
    assert json.loads(report[4:])['1']['loads'] == 5


def test_a_probe_is_no_call():
    session = server()
    give(session, frame(b'Z5'))
    with pytest.raises(ProtocolError):
        give(session, frame(b'ruok'))


def test_frames_are_small_before_register_and_large_after():
    session = server(handshake=100, message=200)
    give(session, frame(b'Z5'))
    with pytest.raises(FrameTooLarge, match='at most 100'):
        give(session, (101).to_bytes(4, 'big'))
    session = server(handshake=100, message=200)
    give(session, frame(b'Z5'))
    session.registered()
    assert give(session, frame(dumps((1, False, 'x' * 150, ())))) == [(1, False, 'x' * 150, ())]
    with pytest.raises(FrameTooLarge, match='at most 200'):
        give(session, (201).to_bytes(4, 'big'))


def test_the_hello_is_bounded_too():
    with pytest.raises(FrameTooLarge):
        give(server(), b'GET ')  # as a length that is 1.1 GB


def test_a_server_takes_no_globals():
    session = server()
    give(session, frame(b'Z5'))
    with pytest.raises(ForbiddenPickle, match='posix.system'):
        give(session, frame(b'cposix\nsystem\n(X\4\0\0\0truetR.'))


def test_a_client_takes_no_globals():
    session = ClientSession(1000)
    give(session, frame(b'Z5'))
    with pytest.raises(ForbiddenPickle):
        give(session, frame(b'cposix\nsystem\n(X\4\0\0\0truetR.'))


@pytest.mark.parametrize('piece', [None, 1])
def test_a_client_is_greeted(piece):
    session = ClientSession(1000)
    assert not session.is_greeted and session.answer == b''
    assert give(session, frame(b'Z5'), piece) == []
    assert session.is_greeted and session.answer == frame(b'Z5')
    assert give(session, frame(dumps((1, 0, '.reply', b'tid'))), piece) == [
        (1, 0, '.reply', b'tid')
    ]


@pytest.mark.parametrize(
    'greeting',
    [
        b'SSH-2.0-OpenSSH_9.2\r\n',
        b'HTTP/1.1 400 Bad Request\r\n',
        b'\0\0\0\2Z6',
        b'\0\0\0\0',
        b'\0\0\0\x41' + b'Z' * 65,
        b'\x15\x03\x01\0\2',
        frame(b'Z5') + frame(b'x'),
    ],
)
def test_what_is_no_zeo_server(greeting):
    with pytest.raises(ProtocolError):
        give(ClientSession(1000), greeting)


def test_a_clients_limit():
    session = ClientSession(100)
    give(session, frame(b'Z5'))
    with pytest.raises(FrameTooLarge):
        give(session, (101).to_bytes(4, 'big'))


@pytest.mark.parametrize('protocol', [b'Z5', b'M5'])
@pytest.mark.parametrize('piece', [None, 1])
def test_the_two_ends_understand_each_other(protocol, piece):
    if protocol == b'M5':
        pytest.importorskip('msgpack')
    there, here = server(protocol), ClientSession(10_000)
    give(here, there.greeting, piece)
    give(there, here.answer, piece)
    asked = give(there, frame(here.codec.call(1, 'register', ('1', False))), piece)
    assert asked == [(1, False, 'register', ('1', False))]
    there.registered()
    told = give(
        here,
        frame(there.codec.reply(1, b'12345678')) + frame(there.codec.send('info', ({'size': 1},))),
        piece,
    )
    assert told == [(1, 0, '.reply', b'12345678'), (0, True, 'info', ({'size': 1},))]
