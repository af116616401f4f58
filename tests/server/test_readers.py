"""Clients that do not read, clients that may only read, and calls with arguments that make no
sense.
"""

import pytest
from ZODB.utils import maxtid, z64

from support.inside import channel_of, connections_of, unsent
from support.scripted import Ended, message, oid
from ZEO.StorageServer import Limits
from ZEO.wire.calls import OF_CLIENT, Does

SMALL = Limits(output_buffer=100_000)


def channels(service):
    return [channel_of(peer) for peer in connections_of(service.server)]


def test_a_client_that_never_reads_its_invalidations(serve):
    """It is let go when too much waits for it; the others hear everything."""
    service = serve(limits=SMALL)
    stalled, listener = service.client(receive_buffer=4096), service.client()
    oids = [oid(1_000_000 + number) for number in range(500)]
    serials = dict.fromkeys(oids, z64)
    committer, tids = service.client(), []
    for number in range(150):
        tids.append(committer.commit(number + 1, *[(one, serials[one], b'd') for one in oids]))
        serials = dict.fromkeys(oids, tids[-1])
        name, args = listener.next()[2:]
        assert (name, args[0]) == ('invalidateTransaction', tids[-1])
        assert sum(unsent(channel) for channel in channels(service)) < 300_000
    listener.call('ping')
    assert len(service.hosted.peers) == 3  # the good client, the committer and the listener
    heard = stalled.ended()
    assert set(heard) == {'invalidateTransaction'} and len(heard) < 150


def test_a_client_that_asks_and_never_reads(serve):
    service = serve(limits=SMALL)
    loader = service.client(receive_buffer=4096)
    loader.commit(1, (oid(1_000_001), z64, b'd' * 50_000))
    asked = 0
    loader.stream.settimeout(0.5)
    try:
        for number in range(100_000):
            loader.stream.send(message(number, False, 'loadBefore', (oid(1_000_001), maxtid)))
            asked += 1
            if number % 500 == 0:
                service.good.ping()
    except TimeoutError:  # the server has stopped reading
        pass
    assert asked < 100_000
    service.works()
    assert service.hosted.status()['loads'] < asked  # what it did not read was not even looked for
    loader.stream.settimeout(30)
    number = 0
    while number < 20:
        message_id, flags, name, args = loader.next()
        if name == '.reply':
            assert (message_id, len(args[0])) == (number, 50_000)
            number += 1


WRITES = [method for method in OF_CLIENT.values() if method.does is Does.WRITES]


def reader(service):
    client = service.connect()
    client.send(b'\0\0\0\2Z5', message(1, False, 'register', ('1', True)))
    client.frame()
    assert client.next()[1] == 0
    return client


@pytest.mark.parametrize('method', WRITES, ids=lambda method: method.name)
def test_nothing_is_written_on_a_read_only_connection(service, method):
    client = reader(service)
    client.send(message(5, not method.answered, method.name, ()))
    if method.answered:
        _, flags, _, (name, _) = client.next()
        assert (flags, name) == (2, 'ZODB.POSException.ReadOnlyError')
        client.send(message(6, False, 'ping', ()))
        assert client.next()[0] == 6
    else:
        assert client.ended() == []


def test_a_read_only_server(serve):
    service = serve(read_only=True)
    client = service.connect()
    client.send(b'\0\0\0\2Z5', message(1, False, 'register', ('1', False)))
    client.frame()
    assert client.next()[1:3] == (2, '.reply')
    client.send(message(2, False, 'register', ('1', True)), message(3, False, 'new_oids', ()))
    assert client.next()[1] == 0
    _, flags, _, (name, _) = client.next()
    assert (flags, name) == (2, 'ZODB.POSException.ReadOnlyError')


ODD = [
    (),
    (None,),
    (5,),
    (-1, -1),
    ([],),
    ({},),
    ('text', 'text'),
    (b'', b''),
    (b'\0' * 8,),
    (b'\xff' * 8, b'\0' * 8),
    ([[]], [[]]),
    (2**70, 2**70),
    (1.5, None, True),
    ((), (), (), ()),
    (b'\0' * 8, z64, b'd', 1),
    (1, b'', b'', {}, None, ' '),
]


@pytest.mark.parametrize('name', [name for name in OF_CLIENT if name != 'register'])
def test_odd_arguments(service, name):
    """Each is answered, or ends the connection of who sent it; nobody else notices."""
    for args in ODD:
        client = service.client()
        client.send(
            message(77, not OF_CLIENT[name].answered, name, args), message(78, False, 'ping', ())
        )
        try:
            while client.next()[0] != 78:
                pass
        except (Ended, ConnectionResetError):
            pass
        client.close()
    service.good.ping()


@pytest.mark.parametrize('args', [None, 5, 'text', b'bytes', {'a': 1}, [], 2.5])
def test_arguments_that_are_no_tuple(service, args):
    client = service.client()
    client.send(message(77, False, 'ping', args), message(78, False, 'ping', ()))
    try:
        while client.next()[0] != 78:
            pass
    except (Ended, ConnectionResetError):
        pass
