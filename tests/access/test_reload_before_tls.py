"""The passwords are read again while a client is between connecting and its TLS handshake."""

import threading

import pytest
import trustme
from ZODB.MappingStorage import MappingStorage

from support.scripted import GREETING, Conversation, message
from ZEO.net import connecting
from ZEO.net.tls import client_context, server_context
from ZEO.serving.access.access import Access

RULES = ['certificate CN=app write', 'certificate CN=banned nothing', 'anyone read']


@pytest.fixture
def contexts(tmp_path):
    """The context of the server, and a function that returns that of a client."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / 'ca'))

    def both(name, **options):
        path = str(tmp_path / name)
        issued = authority.issue_cert('localhost', **options)
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        return path

    return (
        server_context(both('server'), authenticate=str(tmp_path / 'ca')),
        lambda name: client_context(
            both(name, common_name=name), authenticate=str(tmp_path / 'ca')
        ),
    )


@pytest.mark.parametrize(('name', 'is_let_in'), [('app', True), ('banned', False)])
def test_a_client_is_still_known_by_its_certificate(
    serving, contexts, set_password, path, name, is_let_in
):
    set_password('someone')
    ours, of_client = contexts
    server = serving(
        MappingStorage(),
        ('127.0.0.1', 0),
        ssl=ours,
        access=Access.of(RULES),
        password_file=path,
    )
    raw = connecting.connect(server.addresses[0], 20)
    done = threading.Event()

    def reload():
        server.reload_passwords()
        done.set()

    while not server._peers:  # until the connection is accepted
        done.clear()
        server.post(reload)
        assert done.wait(20)
    server.post(reload)
    client = Conversation(of_client(name).wrap_socket(raw, server_hostname='localhost'))
    try:
        assert client.frame() == b'Z5'
        client.send(GREETING, message(1, False, 'register', ('1', not is_let_in)))
        _, _, _, answer = client.next()
        assert isinstance(answer, bytes) is is_let_in, answer
    finally:
        client.close()
