"""Which calls a client has once it has registered, and that each is bound once."""

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ReadOnlyError

from support.in_memory import Client
from ZEO.Exceptions import ProtocolError
from ZEO.serving.calls.registered import FAMILY_OF
from ZEO.StorageServer import StorageServer
from ZEO.wire.calls import OF_CLIENT, Does

WRITES = [name for name, method in OF_CLIENT.items() if method.does is Does.WRITES]


@pytest.fixture
def server(socket_path):
    server = StorageServer(socket_path, {'1': MappingStorage()})
    yield server
    server.close()


@pytest.mark.parametrize('name', OF_CLIENT)
def test_a_call_is_bound_to_the_family_that_has_it(server, name):
    call = Client(server).peer.bind(name)
    assert call.method is OF_CLIENT[name]
    assert type(call.run.__self__) is FAMILY_OF[name]
    assert call.run.__name__ == name


@pytest.mark.parametrize('name', WRITES)
def test_a_reader_has_the_right_to_no_call_that_writes(server, name):
    call = Client(server, read_only=True).peer.bind(name)
    for refused in call.check, call.run:
        with pytest.raises(ReadOnlyError, match=f"{name}: the storage '1' was opened read-only"):
            refused(())


def test_calls_of_one_family_share_what_it_holds(server):
    peer = Client(server).peer
    first, second = peer.bind('iterator_start'), peer.bind('iterator_next')
    assert first.run.__self__ is second.run.__self__


def test_a_call_is_bound_when_it_is_made_first(server):
    client = Client(server)
    assert client.peer.calls == {}
    client.give(client.call('ping') + client.call('ping'))
    assert list(client.peer.calls) == ['ping']


@pytest.mark.parametrize('name', ['nosuch', 'close', '__init__', 'bind', '', '.reply2'])
def test_nothing_else_can_be_called(server, name):
    client = Client(server)
    with pytest.raises(ProtocolError, match='client called unknown method'):
        client.give(client.call(name))
    assert name not in client.peer.calls


def test_a_second_register_breaks_the_protocol(server):
    client = Client(server)
    with pytest.raises(ProtocolError, match='client registered twice'):
        client.give(client.call('register', '1', False))
