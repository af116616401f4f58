"""The life of a link: what it is at each moment, and what calls see of that."""

import time

import pytest
from ZODB.POSException import ReadOnlyError

from support.scripted import GREETING, Running, ScriptedServer, tid
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected, ProtocolError
from ZEO.link import held
from ZEO.link.link_state import LinkState

PATIENCE = 20


@pytest.fixture
def scripted(tmp_path_factory):
    """A function that starts a scripted server."""
    directory, servers = tmp_path_factory.mktemp('s'), []

    def start(**options):
        servers.append(ScriptedServer(f'{directory}/{len(servers)}', **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def client():
    """A function that opens a client."""
    opened = []

    def start(*servers, **options):
        options = {'wait': False, 'wait_timeout': PATIENCE, 'disconnect_poll': 0.02, **options}
        opened.append(ClientStorage([server.address for server in servers], **options))
        return opened[-1]

    yield start
    for storage in opened:
        storage.close()


def wait_for(link, state):
    until = time.monotonic() + PATIENCE
    while link.state is not state:
        assert time.monotonic() < until, link.state
        time.sleep(0.002)


def test_from_the_first_connection_to_the_last(scripted, client):
    server = scripted()
    link = client(server)._server
    talk = server.client()
    assert link.state is LinkState.STARTING
    talk.register(tid(1))
    wait_for(link, LinkState.READY)
    talk.close()
    wait_for(link, LinkState.OFFLINE)
    server.client().register(tid(1))
    wait_for(link, LinkState.READY)
    link.close()
    assert link.state is LinkState.CLOSED
    with pytest.raises(ClientDisconnected, match='was closed'):
        link.wait()


def test_calls_fail_with_a_refusal_before_the_first_connection_and_wait_after_it(scripted, client):
    server = scripted()
    link = client(server)._server

    def refuse():
        talk = server.client()
        talk.send(talk.expect('register').fault('ZODB.POSException.ReadOnlyError', ()))

    refuse()
    wait_for(link, LinkState.REFUSED)
    with pytest.raises(ReadOnlyError):
        link.wait()
    talk = server.client()
    talk.register(tid(1))
    wait_for(link, LinkState.READY)
    talk.close()
    refuse()
    assert link.state is LinkState.OFFLINE
    calling = Running(lambda: link.wait(PATIENCE))
    server.client().register(tid(1))
    assert calling.result() is link.connection


def test_a_client_that_is_closed_while_it_connects_registers_with_no_server(scripted, client):
    server = scripted(greets=False)
    link = client(server)._server
    talk = server.client(greeted=False)
    link.close()
    talk.send(GREETING)
    assert 'register' not in talk.ended()


def test_a_server_that_sends_without_end_before_it_answers_is_refused(
    scripted, client, monkeypatch
):
    monkeypatch.setattr(held, 'MOST', 10_000)
    server = scripted()
    link = client(server)._server
    talk = server.client()
    talk.expect('register')
    with pytest.raises(OSError):  # the client has ended the connection
        while True:
            talk.tell('invalidateTransaction', tid(2), [tid(3)] * 10)
    wait_for(link, LinkState.REFUSED)
    with pytest.raises(ClientDisconnected, match='while this client registered') as caught:
        link.wait()
    assert isinstance(caught.value.__cause__, ProtocolError)
