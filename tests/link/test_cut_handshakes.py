"""A connection cut within the TLS handshake is made again; a refusal is reported at once."""

import socket
import ssl
import struct
import threading
from contextlib import contextmanager

import pytest
import trustme
from ZODB.MappingStorage import MappingStorage

from support.proxy import Proxy
from ZEO.Exceptions import ClientDisconnected
from ZEO.net.tls_errors import TlsCut, TlsError

pytestmark = pytest.mark.smoke

AUTHORITY, OTHER = trustme.CA(), trustme.CA()

#: SO_LINGER: close() resets the connection.
RESET = struct.pack('ii', 1, 0)


def of_a_server(authority=AUTHORITY):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('127.0.0.1').configure_cert(context)
    return context


def of_a_client():
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@contextmanager
def ends_connections(options=b''):
    """Yield the address of a listener that hears what a client says first and ends its connection,
    and the semaphore that counts these.
    """
    ended = threading.Semaphore(0)

    def serve():
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            one.recv(65536)
            if options:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, options)
            one.close()
            ended.release()

    with socket.create_server(('127.0.0.1', 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname(), ended
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(30)


@pytest.mark.parametrize('count', [1, 300, 900, 2000])
def test_a_client_gets_in_after_a_cut_handshake(count, serving, clients):
    """After that number of bytes, counted both ways."""
    server = serving(MappingStorage(), ('127.0.0.1', 0), ssl=of_a_server())
    wire = Proxy(server.addr)
    try:
        wire.cut_after(count)
        client = clients(wire.address, ssl=of_a_client())
        client.ping()
        assert wire._left is None  # it was cut
    finally:
        wire.close()


@pytest.mark.parametrize('options', [b'', RESET], ids=['closed', 'reset'])
def test_a_client_waits_for_a_server_that_ends_its_connections(options, serving, clients):
    """Until there is one that does not, at the same address."""
    with ends_connections(options) as (address, ended):
        opened = []
        opening = threading.Thread(
            target=lambda: opened.append(clients(address, ssl=of_a_client(), wait_timeout=60))
        )
        opening.start()
        assert ended.acquire(timeout=30) and ended.acquire(timeout=30)
    serving(MappingStorage(), address, ssl=of_a_server())
    opening.join(60)
    assert opened[0].is_connected()


@pytest.mark.parametrize(
    'options, words',
    [
        (b'', 'the server closed the connection during the TLS handshake: it does not speak TLS'),
        (RESET, 'reset by peer. Is a ZEO server listening there, and is TLS on'),
    ],
    ids=['closed', 'reset'],
)
def test_what_may_be_wrong_is_said_when_the_wait_is_over(options, words, clients):
    with (
        ends_connections(options) as (address, ended),
        pytest.raises(ClientDisconnected, match=f'127.0.0.1:{address[1]}: .*{words}'),
    ):
        clients(address, ssl=of_a_client(), wait_timeout=0.5)


@pytest.mark.parametrize(
    'context, words',
    [
        (lambda: of_a_server(OTHER), 'unknown issuer|self-signed'),
        (lambda: None, 'the server does not speak TLS'),
    ],
    ids=['unknown authority', 'plain server'],
)
def test_a_refusal_ends_the_wait_at_once(context, words, serving, clients):
    server = serving(MappingStorage(), ('127.0.0.1', 0), ssl=context())
    with pytest.raises(TlsError, match=words) as caught:
        clients(server.addr, ssl=of_a_client(), wait_timeout=600)
    assert not isinstance(caught.value, TlsCut)


def test_an_alert_ends_the_wait_at_once(serving, clients):
    """The server requires a certificate, and says so."""
    context = of_a_server()
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    server = serving(MappingStorage(), ('127.0.0.1', 0), ssl=context)
    with pytest.raises(TlsError, match='the server requires a certificate from this client'):
        clients(server.addr, ssl=of_a_client(), wait_timeout=600)
