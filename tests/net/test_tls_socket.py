"""A socket that speaks TLS, over a pair of real sockets."""

from __future__ import annotations

import socket
import threading

import pytest
import trustme

from ZEO.net.stream import Stream
from ZEO.net.tls import TlsCodec, client_context, server_context
from ZEO.net.tls_errors import TlsError
from ZEO.net.tls_socket import TlsSocket


@pytest.fixture(scope='module')
def contexts(tmp_path_factory):
    """Return the contexts of a server and of a client."""
    folder = tmp_path_factory.mktemp('certificates')
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / 'ca.pem'))
    blob = authority.issue_cert('localhost').private_key_and_cert_chain_pem
    blob.write_to_path(str(folder / 'server.pem'))
    return (
        server_context(str(folder / 'server.pem')),
        client_context(authenticate=str(folder / 'ca.pem')),
    )


@pytest.fixture
def streams():
    """Return two connected sockets, with a timeout that a test never needs."""
    one, other = socket.socketpair()
    with one, other:
        for stream in one, other:
            stream.settimeout(20)
        yield one, other


def read(stream, count):
    """Return the next `count` bytes."""
    data = memoryview(bytearray(count))
    done = 0
    while done < count:
        got = stream.recv_into(data[done:])
        assert got
        done += got
    return bytes(data)


def take(stream, buffer):
    """Wait a moment for bytes, as a client does; return how many have come."""
    if not (stream.is_at_hand() or stream.wait(1)):
        return 0
    try:
        return stream.recv_into(buffer)
    except BlockingIOError:
        return 0


def at_once(*functions):
    """Run functions, each in a thread of its own; return their results."""
    results = [None] * len(functions)

    def run(index):
        results[index] = functions[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


@pytest.mark.timeout(30)
def test_much_that_is_sent_before_the_handshake(contexts):
    """The reader sends it, a little at a time, since the sender believes it gone."""
    data = bytes(600_000)
    raw = socket.socketpair()
    server = Stream(raw[0], TlsCodec(contexts[0], True))
    client = Stream(raw[1], TlsCodec(contexts[1], False, 'localhost'))
    ended = threading.Event()

    def read_all():
        found, buffer = 0, memoryview(bytearray(65536))
        while found < len(data):
            found += take(server, buffer)
        server.send(b'Z5')  # so that the other reader wakes
        ended.set()
        return found

    def keep_reading():
        buffer = memoryview(bytearray(65536))
        while not ended.is_set():
            take(client, buffer)

    try:
        client.send(data)
        assert at_once(read_all, keep_reading)[0] == len(data)
    finally:
        server.close()
        client.close()


@pytest.mark.timeout(15)
def test_reading_goes_on_while_the_socket_takes_nothing(contexts):
    """What another thread has encrypted and not sent yet must not keep the reader."""
    one, other = socket.socketpair()
    with one, other:
        codec = TlsCodec(contexts[1], False, 'localhost')
        server, client = TlsSocket(one, TlsCodec(contexts[0], True)), TlsSocket(other, codec)
        client.send(b'x')
        server.send(b'Z5')
        at_once(lambda: read(client, 2), lambda: read(server, 1))
        server.send(b'hello')
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.send(bytes(65536))  # nobody reads it
        other.setblocking(True)
        codec.send(b'more')
        assert read(client, 5) == b'hello'


@pytest.mark.timeout(30)
def test_both_ways_at_once(contexts):
    """Each side has a thread that sends and one that reads, and the kernel's buffers are small."""
    data = bytes(range(256)) * 8192
    raw = socket.socketpair()
    server = Stream(raw[0], TlsCodec(contexts[0], True))
    client = Stream(raw[1], TlsCodec(contexts[1], False, 'localhost'))

    def received(stream, size=8192 * 256):
        found, buffer = bytearray(), memoryview(bytearray(65536))
        while len(found) < size:
            found += buffer[: take(stream, buffer)]
        return bytes(found)

    try:
        server.send(b'Z5')
        client.send(b'x')
        at_once(lambda: received(client, 2), lambda: received(server, 1))  # shakes hands
        results = at_once(
            lambda: received(client),
            lambda: received(server),
            lambda: server.send(data),
            lambda: client.send(data),
        )
        assert results[:2] == [data, data]
    finally:
        server.shut()
        client.shut()
        server.close()
        client.close()


def test_what_is_read_in_small_pieces(contexts, streams):
    server = TlsSocket(streams[0], TlsCodec(contexts[0], True))
    client = TlsSocket(streams[1], TlsCodec(contexts[1], False, 'localhost'))
    server.send(b'hello')
    first, _ = at_once(lambda: read(client, 1), lambda: read(server, 1) if client.send(b'x') else 0)
    assert first == b'h' and client.has_input
    assert read(client, 4) == b'ello' and not client.has_input


def test_an_end_within_the_handshake_is_told(contexts, streams):
    client = TlsSocket(streams[1], TlsCodec(contexts[1], False, 'localhost'))
    streams[0].shutdown(socket.SHUT_WR)
    with pytest.raises(TlsError, match='during the TLS handshake'):
        client.recv_into(memoryview(bytearray(10)))


def test_an_end_after_the_handshake_is_an_end(contexts, streams):
    server = TlsSocket(streams[0], TlsCodec(contexts[0], True))
    client = TlsSocket(streams[1], TlsCodec(contexts[1], False, 'localhost'))
    server.send(b'Z5')
    client.send(b'x')
    at_once(lambda: read(client, 2), lambda: read(server, 1))
    streams[0].shutdown(socket.SHUT_WR)
    assert client.recv_into(memoryview(bytearray(10))) == 0


def test_why_the_other_side_is_refused_reaches_it(contexts, streams):
    server = TlsSocket(streams[0], TlsCodec(contexts[0], True))
    client = TlsSocket(streams[1], TlsCodec(contexts[1], False, 'elsewhere'))

    def refusal(stream):
        with pytest.raises(TlsError) as caught:
            read(stream, 1)
        return str(caught.value)

    by_server, by_client = at_once(lambda: refusal(server), lambda: refusal(client))
    assert "not for the name 'elsewhere'" in by_client
    assert 'did not accept the certificate of this server' in by_server


@pytest.mark.parametrize('busy', [True, False], ids=['while another thread writes', 'alone'])
def test_what_the_end_of_the_handshake_adds_is_not_forgotten(contexts, streams, busy):
    """A reader does not wait for a thread that is writing: what it leaves is known to wait."""
    server = TlsSocket(streams[0], TlsCodec(contexts[0], True))
    client = TlsSocket(streams[1], TlsCodec(contexts[1], False, 'localhost'))
    client.send(b'early')  # waits for the handshake
    for stream in streams:
        stream.setblocking(False)
    with pytest.raises(BlockingIOError):
        read(server, 5)
    lock = client._output_lock
    if busy:
        lock.acquire()
    with pytest.raises(BlockingIOError):
        read(client, 1)
    if busy:
        lock.release()
        assert client.has_output  # so that whoever waits for the stream sends it
        client.flush()
    assert not client.has_output
    assert read(server, 5) == b'early'


@pytest.mark.parametrize('sizes', [(1, 16_384, 16_385, 70_000), (16_384, 16_384), (3,)])
def test_all_that_has_come_is_read(contexts, streams, sizes):
    """Records of every size, several at a time, and the end behind them."""
    server = TlsSocket(streams[0], TlsCodec(contexts[0], True))
    client = TlsSocket(streams[1], TlsCodec(contexts[1], False, 'localhost'))
    server.send(b'Z5')
    client.send(b'x')
    at_once(lambda: read(client, 2), lambda: read(server, 1))
    sent = [bytes([number]) * size for number, size in enumerate(sizes)]

    def send():
        for data in sent:
            assert server.send(data) == len(data)
        streams[0].shutdown(socket.SHUT_WR)

    whole, _ = at_once(lambda: read(client, sum(sizes)), send)
    assert whole == b''.join(sent)
    assert client.recv_into(memoryview(bytearray(10))) == 0


def test_flushing_waits_for_a_thread_that_has_what_was_encrypted(contexts, streams):
    """Until it has sent that, nothing of it can be seen anywhere."""
    client = TlsSocket(streams[1], TlsCodec(contexts[1], False, 'localhost'))
    waited = []

    class Lock:
        def locked(self):
            return True

        def __enter__(self):
            waited.append(True)

        def __exit__(self, *args):
            pass

    client._output_lock = Lock()
    client.flush()
    assert waited
    client.flush(wait=False)
    assert len(waited) == 1
