"""Those who have not registered keep out neither clients nor newcomers, and a flood of them writes
few lines.
"""

import logging
import socket
import threading
import time

import pytest
from ZODB.MappingStorage import MappingStorage

from support.inside import connections_of
from support.scripted import Conversation, Ended, framed, message
from ZEO.ClientStorage import ClientStorage
from ZEO.serving.limits import Limits
from ZEO.serving.strangers import Strangers
from ZEO.StorageServer import StorageServer


class One:
    """A connection."""

    is_registered = False


def strangers(**limits):
    return Strangers(Limits(**limits))


def test_the_oldest_of_a_source_with_too_many_goes():
    some = strangers(strangers_from_one=3)
    ones = [One() for _ in range(3)]
    for one in ones:
        assert some.one_too_many('10.0.0.1', False, False) is None
        some.add(one, '10.0.0.1')
    assert some.one_too_many('10.0.0.1', False, False) is ones[0]
    assert some.one_too_many('10.0.0.2', False, False) is None
    assert some.one_too_many('10.0.0.1', True, False) is None  # of this machine
    ones[1].is_registered = True
    assert some.one_too_many('10.0.0.1', False, False) is None
    some.discard(ones[0], '10.0.0.1')
    some.discard(ones[0], '10.0.0.1')  # harmless
    assert some.one_too_many('10.0.0.2', False, True) is ones[2]


def test_of_all_the_oldest_of_the_source_with_most_goes():
    some = strangers(strangers=10)
    many, few = [One() for _ in range(9)], One()
    some.add(few, '10.0.0.2')
    for one in many:
        some.add(one, '10.0.0.1')
    assert some.one_too_many('10.0.0.3', False, False) is many[0]
    for one in many:
        one.is_registered = True
    assert some.one_too_many('10.0.0.3', False, False) is None


def test_where_all_are_clients_none_goes():
    some = strangers()
    one = One()
    some.add(one, '10.0.0.1')
    one.is_registered = True
    assert some.one_too_many('10.0.0.3', False, True) is None


@pytest.fixture
def serve():
    """A function that starts a server on the loopback interface."""
    started = []

    def start(**limits):
        server = StorageServer(('127.0.0.1', 0), {'1': MappingStorage()}, limits=Limits(**limits))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.stop()
        thread.join(20)
        server.close()


def silent(server, number, host='127.0.0.1'):
    """Return some connections that say nothing."""
    return [
        Conversation(socket.create_connection(server.addr, 20, (host, 0))) for _ in range(number)
    ]


def has_ended(conversation):
    with pytest.raises((Ended, ConnectionError)):
        while True:
            conversation.frame()
    return True


def greeted(conversation):
    assert conversation.frame() == b'Z5'
    return conversation


def test_silent_connections_keep_no_one_out(serve):
    server = serve(strangers=20, connections=30)
    clients = [ClientStorage(server.addr, wait_timeout=20) for _ in range(10)]
    crowd = silent(server, 100)
    newcomer = ClientStorage(server.addr, wait_timeout=20)
    newcomer.ping()
    for client in clients:
        client.ping()
    assert len(connections_of(server)) <= 30
    assert has_ended(crowd[0])  # the oldest of them have gone
    for one in crowd:
        one.close()
    for client in [*clients, newcomer]:
        client.close()


def test_clients_beyond_the_bound_are_refused_and_silent_ones_make_place(serve):
    server = serve(connections=5)
    clients = [ClientStorage(server.addr, wait_timeout=20) for _ in range(4)]
    crowd = silent(server, 1)
    greeted(crowd[0])
    clients.append(ClientStorage(server.addr, wait_timeout=20))
    for client in clients:
        client.ping()
    (late,) = silent(server, 1)
    with pytest.raises((Ended, ConnectionError)):
        late.frame()
    for client in clients:
        client.close()


def test_one_address_has_a_share(serve, monkeypatch):
    monkeypatch.setattr('ZEO.serving.reception.is_local', lambda address: False)
    server = serve(strangers_from_one=5)
    crowd = silent(server, 20, '127.0.0.2')
    others = [greeted(one) for one in silent(server, 3, '127.0.0.3')]
    deadline = time.monotonic() + 20
    while len(connections_of(server)) > 8:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for one in others:
        one.send(framed(b'Z5'), message(1, False, 'register', ('1', False)))
        assert one.next()[1] == 0
    for one in crowd:
        one.close()


@pytest.mark.parametrize(
    'says',
    [
        framed(b'Z4'),
        framed(b'Z5') + framed(b'\x80\x03cos\nsystem\n.'),
        b'GET / HTTP/1.1\r\n\r\n',
        b'',
    ],
)
def test_a_flood_of_strangers_writes_few_lines(serve, caplog, says):
    server = serve(strangers=20)
    good = ClientStorage(server.addr, wait_timeout=20)
    caplog.clear()
    caplog.set_level(logging.INFO, 'ZEO.StorageServer')
    for _ in range(300):
        (one,) = silent(server, 1)
        one.send(says)
        one.close()
    good.ping()
    assert len(caplog.records) < 30
    assert (
        max(len(record.getMessage()) for record in caplog.records or [logging.makeLogRecord({})])
        < 500
    )
    good.close()
