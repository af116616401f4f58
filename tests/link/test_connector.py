"""Several addresses are tried at once, and one server at a time has the client."""

import select

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ReadOnlyError

from support.inside import link_of
from support.processes import wait_until
from support.scripted import GREETING, PATIENCE, Answering, Running, tid

pytestmark = pytest.mark.smoke


def test_of_two_servers_that_greet_only_one_is_registered_with(scripted, clients):
    """Both have accepted and greeted before either is asked for anything; the other one is let go
    in silence.
    """
    servers = [scripted(), scripted()]
    opening = Running(lambda: clients([server.address for server in servers]))
    talks = [server.client(greeted=False) for server in servers]
    chosen, other = _first_to_hear(talks)
    chosen.send(chosen.expect('register').reply(tid(1)))
    chosen.send(chosen.expect('get_info').reply({'interfaces': (), 'extensions': ()}))
    opening.result()
    assert other.ended() == []


def test_a_slow_server_is_let_go_when_another_has_the_client(scripted, clients):
    """It greets only after the registration elsewhere is complete."""
    quick, slow = scripted(), scripted(greets=False)
    opening = Running(lambda: clients([slow.address, quick.address]))
    late = slow.client(greeted=False)
    talk = quick.client()
    talk.register(tid(1))
    assert opening.result().lastTransaction() == tid(1)
    late.stream.setblocking(False)
    with pytest.raises(BlockingIOError):  # it was not given up, and still the client is ready
        late.stream.recv(1)
    late.stream.settimeout(PATIENCE)
    late.send(GREETING)
    assert late.ended() == []


def test_the_next_server_is_asked_only_after_the_first_one_has_refused(scripted, clients):
    """The register that fails and the register that succeeds follow each other."""
    servers = [scripted(), scripted()]
    opening = Running(lambda: clients([server.address for server in servers]))
    talks = [server.client(greeted=False) for server in servers]
    first, second = _first_to_hear(talks)
    first.send(first.expect('register').fault('ZODB.POSException.ReadOnlyError', ()))
    assert second.frame() == b'Z5'
    second.register(tid(5))
    assert opening.result().lastTransaction() == tid(5)
    assert first.ended() == []


def test_a_fallback_client_leaves_the_read_only_server_before_it_joins_the_writable_one(
    serving, sockets, clients
):
    """One connection in all, once a writable server has come up."""
    readable, writable = MappingStorage(), MappingStorage()
    address = sockets()
    first = serving(readable, read_only=True)
    client = clients([first.addr, address], read_only_fallback=True)
    assert client.isReadOnly()
    with pytest.raises(ReadOnlyError):
        client.new_oid()
    second = serving(writable, address)
    client.new_addr([first.addr, address])  # has it look at once
    while client.isReadOnly():
        client.sync()
    assert client.new_oid()
    while first.hosted['1'].peers:
        pass
    assert len(second.hosted['1'].peers) == 1


def refuses_writers(client, request):
    """Answer register as a server that can only be read."""
    client.send(
        request.reply(tid(5))
        if request.args[1]
        else request.fault('ZODB.POSException.ReadOnlyError', ())
    )


def test_a_fallback_client_stays_where_it_is_when_the_writable_server_is_older(
    scripted, clients, caplog
):
    """One that was restored from a backup, say: it would be left at once, and what was being read
    meanwhile be lost, again and again.
    """
    readable, writable = scripted(), scripted()
    Answering(readable, tid(5), {'register': refuses_writers})
    client = clients(readable.address, read_only_fallback=True)
    connection = link_of(client).connection
    client.new_addr([readable.address, writable.address])
    found = writable.client()
    found.send(found.expect('register').reply(tid(3)))
    assert found.ended() == []
    client.ping()
    assert link_of(client).connection is connection and client.isReadOnly()
    wait_until(lambda: 'the connected server is kept' in caplog.text)


def _first_to_hear(talks):
    """Return the conversation in which the client speaks first, and the other one."""
    ready = select.select([talk.stream for talk in talks], [], [], 30)[0]
    chosen = next(talk for talk in talks if talk.stream is ready[0])
    assert chosen.frame() == b'Z5'
    return chosen, next(talk for talk in talks if talk is not chosen)
