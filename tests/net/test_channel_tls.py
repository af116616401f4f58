"""A channel that speaks TLS, over a socketpair."""

import socket
import ssl
import threading

import pytest
import trustme

from ZEO.net.channel import Channel
from ZEO.net.loop import Loop
from ZEO.net.sending import push_to_all
from ZEO.net.tls import TlsCodec
from ZEO.net.tls_socket import TlsSocket
from ZEO.wire.frames import FrameReader, frame

LIMIT = 1_000_000

#: Less than a TLS record holds, so that plaintext stays behind which no selector sees.
SMALL = memoryview(bytearray(1000))


def to_many(channel, data):
    """Send what goes to many to this one."""
    push_to_all([channel], None, data, lambda channel, error: pytest.fail(str(error)))


class Echo:
    """An owner that sends back what comes, and ends the loop at the end."""

    def __init__(self):
        self.loop, self.reasons, self.channel = Loop(), [], None

    def handle(self, messages):
        for message in messages:
            self.channel.send(frame(message))

    def closed(self, reason):
        self.reasons.append(reason)
        self.loop.stop()


@pytest.fixture(scope='module')
def contexts():
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost').configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.fixture
def served(contexts):
    """The plain end of a socketpair whose other end is a channel with TLS, and its owner, in a
    thread.
    """
    owner = Echo()
    here, there = socket.socketpair()
    here.setblocking(False)
    there.settimeout(20)
    owner.channel = Channel(
        owner.loop,
        TlsSocket(here, TlsCodec(contexts[0], True)),
        FrameReader(LIMIT, SMALL),
        owner,
        LIMIT,
    )
    owner.channel.send(frame(b'greeting'))  # waits for the handshake
    thread = threading.Thread(target=owner.loop.run, daemon=True)
    thread.start()
    owner.ended = lambda: thread.join(20)
    yield there, owner
    there.close()
    owner.loop.stop()
    thread.join(20)
    owner.loop.close()


def exactly(stream, size):
    data = b''
    while len(data) < size:
        data += stream.recv(size - len(data))
    return data


@pytest.mark.parametrize('size', [1, 16_385, 700_000])
def test_there_and_back(served, contexts, size):
    there, owner = served
    with contexts[1].wrap_socket(there, server_hostname='localhost') as client:
        assert exactly(client, 12) == frame(b'greeting')
        message = frame(b'm' * size)
        threading.Thread(target=client.sendall, args=(message,), daemon=True).start()
        assert exactly(client, len(message)) == message
    owner.ended()
    assert len(owner.reasons) == 1


def test_many_small_messages(served, contexts):
    """Several come in one TLS record: those that the selector does not see must not wait."""
    there, _ = served
    with contexts[1].wrap_socket(there, server_hostname='localhost') as client:
        messages = b''.join(frame(b'%d' % number) for number in range(2000))
        client.sendall(messages)
        assert exactly(client, 12 + len(messages)) == frame(b'greeting') + messages


def test_messages_that_are_kept_for_another_turn(served, contexts):
    """What was read with them goes on as well when their turn has come."""
    there, owner = served

    def one_at_a_time(messages):
        for message in messages:
            owner.channel.send(frame(message))
            return False
        return True

    session = owner.channel._session
    received, session.received = session.received, lambda count: iter(received(count))
    owner.handle = one_at_a_time
    with contexts[1].wrap_socket(there, server_hostname='localhost') as client:
        messages = b''.join(frame(b'%d' % number) for number in range(500))
        client.sendall(messages)
        assert exactly(client, 12 + len(messages)) == frame(b'greeting') + messages


def test_what_is_no_tls(served):
    there, owner = served
    there.sendall(frame(b'Z5'))
    owner.ended()
    assert owner.reasons[0].startswith('closed by this server:')


def test_gone_in_the_middle_of_the_handshake(served):
    there, owner = served
    there.sendall(b'\x16\x03\x01')
    there.close()
    owner.ended()
    assert len(owner.reasons) == 1


@pytest.mark.parametrize('how', [Channel.answer, to_many])
def test_ciphertext_that_the_socket_does_not_take_waits_for_it(served, contexts, how):
    """It is sent as soon as the client reads, with nothing else to wake the channel."""
    there, owner = served
    owner.channel._socket._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    data = frame(bytes(range(256)) * 400)  # taken at once, and then more than the socket takes

    def send(messages):
        for _ in messages:
            # not while it reads, which looks for what waits by itself
            owner.loop.next_turn(lambda: how(owner.channel, data))

    owner.handle = send
    with contexts[1].wrap_socket(there, server_hostname='localhost') as client:
        assert exactly(client, 12) == frame(b'greeting')
        client.sendall(frame(b'x'))
        assert exactly(client, len(data)) == data
        client.sendall(frame(b'x') * 2)
        assert exactly(client, 2 * len(data)) == 2 * data
