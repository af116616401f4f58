"""A password is proved to the other end of the TLS connection, not to who relays it."""

import socket
import ssl
import threading
from contextlib import contextmanager

import pytest
import trustme
from ZODB.MappingStorage import MappingStorage

from ZEO.Exceptions import AuthError
from ZEO.net.tls import TlsCodec
from ZEO.net.tls_errors import TlsError

NAMES = {'username': 'app', 'password': 'correct horse battery'}

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

AUTHORITY = trustme.CA()


def of_a_server():
    """A new certificate for this machine; all of them are valid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert('127.0.0.1').configure_cert(context)
    return context


def of_a_client(version=None):
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


@pytest.fixture
def served(serving, set_password, path, anyone):
    """A function that serves with TLS, or without."""
    set_password('app')

    def serve(context):
        return serving(
            MappingStorage(), ('127.0.0.1', 0), ssl=context, password_file=path, access=anyone
        ).addr

    return serve


@contextmanager
def relaying(target, near, far):
    """Listen with the context `near`, and connect to `target` with the context `far`; None is
    without TLS.
    """
    listener = socket.create_server(('127.0.0.1', 0))
    ends = []

    def accept():
        while True:
            try:
                client, server = listener.accept()[0], socket.create_connection(target)
                ends.extend((client, server))
                if near is not None:
                    client = near.wrap_socket(client, server_side=True)
                if far is not None:
                    server = far.wrap_socket(server, server_hostname='127.0.0.1')
            except OSError:
                return
            ends.extend((client, server))
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=pump, args=(one, other), daemon=True).start()

    def pump(source, to):
        try:
            while data := source.recv(1 << 16):
                to.sendall(data)
        except OSError:
            pass
        for end in (source, to):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for end in ends:
            end.close()
        thread.join(20)


@pytest.mark.parametrize('version', VERSIONS)
def test_a_password_over_tls(served, clients, version):
    client = clients(served(of_a_server()), ssl=of_a_client(version), **NAMES)
    client.ping()
    client._server.connection.lose('for a test')
    client.ping()


@pytest.mark.parametrize('version', VERSIONS)
def test_a_relay_with_another_valid_certificate_is_found_out(served, clients, version):
    address = served(of_a_server())
    with relaying(address, of_a_server(), of_a_client(version)) as relay:
        clients(relay, ssl=of_a_client(version)).ping()  # it does relay
        with pytest.raises(AuthError, match='does not accept the user name with this password'):
            clients(relay, ssl=of_a_client(version), **NAMES)


def test_even_one_that_has_the_servers_own_certificate_is(served, clients):
    own = of_a_server()
    with relaying(served(own), own, of_a_client()) as relay:
        with pytest.raises(AuthError):
            clients(relay, ssl=of_a_client(), **NAMES)


def test_a_relay_that_takes_tls_away_is_found_out(served, clients):
    with relaying(served(None), of_a_server(), None) as relay:
        clients(relay, ssl=of_a_client()).ping()
        with pytest.raises(AuthError, match='the server sees no TLS'):
            clients(relay, ssl=of_a_client(), **NAMES)


def test_a_relay_that_adds_tls_is_found_out(served, clients):
    with relaying(served(of_a_server()), None, of_a_client()) as relay:
        clients(relay).ping()
        with pytest.raises(AuthError, match='the server sees TLS'):
            clients(relay, **NAMES)


def test_a_relay_of_bytes_changes_nothing(served, clients):
    with relaying(served(of_a_server()), None, None) as relay:
        clients(relay, ssl=of_a_client(), **NAMES).ping()


class Resuming:
    """A context whose connections continue a session."""

    check_hostname = False

    def __init__(self, context, session):
        self._context, self._session = context, session

    def wrap_bio(self, *args, **options):
        return self._context.wrap_bio(*args, session=self._session, **options)


def ends(client_context, server_context):
    """Return both ends of a connection, after the handshake and some data."""
    client = TlsCodec(client_context, False, '127.0.0.1')
    server = TlsCodec(server_context, True)
    said = []
    server.send(b'hello')
    while said != [b'hello']:
        if data := client.take():
            server.receive(data)
        if data := server.take():
            said += [plain for plain in [client.receive(data)] if plain]
    return client, server


@pytest.mark.parametrize('version', VERSIONS)
def test_both_ends_of_a_connection_know_the_same_and_no_two_connections_do(version):
    one, other = of_a_client(version), of_a_server()
    seen = []
    for _ in range(3):
        client, server = ends(one, other)
        assert client.binding() == server.binding()
        assert client.binding().startswith({'2': b'TLSv1.2 ', '3': b'TLSv1.3 '}[version.name[-1]])
        seen.append(client.binding())
    assert len(set(seen)) == 3
    assert min(map(len, seen)) >= len('TLSv1.2 ') + 12


@pytest.mark.parametrize('version', VERSIONS)
def test_nothing_is_bound_to_a_session_that_is_continued(version):
    one, other = of_a_client(version), of_a_server()
    first, _ = ends(one, other)
    client, server = ends(Resuming(one, first._tls.session), other)
    assert client._tls.session_reused
    for end in (client, server):
        with pytest.raises(TlsError, match='a handshake of its own'):
            end.binding()


def test_nothing_is_bound_before_the_handshake():
    with pytest.raises(TlsError):
        TlsCodec(of_a_client(), False, '127.0.0.1').binding()
