"""The clients of a storage: who has joined is sent what changes, until it has left."""

import pytest

from support.in_memory import Channel
from ZEO.net.loop import Loop
from ZEO.serving.clients import Clients
from ZEO.wire.messages import codec


class Peer:
    """A client that reads what it was sent."""

    loads = 0

    def __init__(self, clients, protocol=b'Z5'):
        self._protocol = protocol
        self.channel = Channel()
        clients.join(self, protocol, self.channel)

    def got(self):
        """Return what it was sent since the last time."""
        messages = [codec(self._protocol).decode(data[4:])[3][0] for data in self.channel.sent]
        self.channel.sent.clear()
        return messages


@pytest.fixture
def clients():
    loop = Loop()
    yield Clients('1', loop)
    loop.close()


def changed(clients, number, but=None, followers=()):
    clients.send_but_followers(but, followers, 'changed', number)


def test_those_who_come_and_go_between_two_messages(clients):
    first = Peer(clients)
    changed(clients, 1)
    second = Peer(clients)
    changed(clients, 2)
    clients.left(first)
    changed(clients, 3)
    third = Peer(clients)
    clients.left(second)
    changed(clients, 4)
    assert (first.got(), second.got(), third.got()) == ([1, 2], [2, 3], [4])


def test_each_is_sent_it_in_its_protocol(clients):
    pytest.importorskip('msgpack')
    peers = [Peer(clients, protocol) for protocol in (b'Z5', b'M5', b'Z5', b'M5')]
    changed(clients, 1)
    changed(clients, 2, but=peers[1])
    assert [peer.got() for peer in peers] == [[1, 2], [1], [1, 2], [1, 2]]


def test_neither_followers_nor_the_committer_are_sent_it(clients):
    peers = [Peer(clients) for _ in range(4)]
    gone = Peer(clients)
    clients.left(gone)
    changed(clients, 1, but=peers[0], followers={peers[1]: None, gone: None})
    changed(clients, 2, but=gone)
    assert [peer.got() for peer in peers] == [[2], [2], [1, 2], [1, 2]]


def test_one_who_is_closed_while_it_is_sent_does_not_keep_it_from_the_others(clients):
    peers = [Peer(clients) for _ in range(3)]

    def close(data):
        clients.left(peers[1])
        raise ValueError

    peers[1].channel.push_now = close
    peers[1].channel.close = lambda reason: clients.left(peers[1])
    changed(clients, 1)
    changed(clients, 2)
    assert (peers[0].got(), peers[2].got(), len(clients)) == ([1, 2], [1, 2], 2)


def test_what_cannot_be_encoded_closes_those_who_would_have_been_sent_it(clients):
    peers = [Peer(clients) for _ in range(2)]
    closed = []
    for peer in peers:
        peer.channel.close = lambda reason, peer=peer: closed.append(peer)
    clients.send(peers[1], 'changed', lambda: None)
    assert closed == peers[:1]


class Scarce(bytes):
    """The name of a protocol for which there is no memory once."""

    refusals = 0

    def __hash__(self):
        if Scarce.refusals:
            Scarce.refusals -= 1
            raise MemoryError
        return super().__hash__()

    __eq__ = bytes.__eq__


def test_lists_that_there_is_no_memory_for_leave_no_client_out(clients, monkeypatch):
    """Who is not sent what changes is closed; nobody is left out of what follows."""
    peers = [Peer(clients), Peer(clients, Scarce(b'Z5')), Peer(clients)]
    closed = []
    for peer in peers:
        peer.close = lambda reason, peer=peer: closed.append(peer)
    monkeypatch.setattr(Scarce, 'refusals', 1)
    changed(clients, 1)
    assert closed == peers
    changed(clients, 2)
    assert [peer.got() for peer in peers] == [[2], [2], [2]]
