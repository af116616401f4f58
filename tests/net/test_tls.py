"""TLS in memory: a server's codec and a client's against each other, and files that are wrong."""

from __future__ import annotations

import datetime
import ssl
import subprocess
import sys

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from support.key_updates import KeyChanger
from ZEO.Exceptions import ConfigurationError
from ZEO.net import tls
from ZEO.net.tls import TlsCodec, client_context, server_context
from ZEO.net.tls_errors import TlsError, explain


class Files:
    """Certificates as files: an authority, a server's and a client's, and a stranger's."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = trustme.CA()
        self.stranger = trustme.CA()
        self.ca = self.write('ca', self.authority.cert_pem)
        self.stranger_ca = self.write('stranger-ca', self.stranger.cert_pem)
        self.issued = self.authority.issue_cert('server.example', '127.0.0.1')
        self.server = self.both('server', self.issued)
        self.certificate = self.write('server-cert', self.issued.cert_chain_pems[0])
        self.key = self.write('server-key', self.issued.private_key_pem)
        self.client = self.both('client', self.authority.issue_cert('client@example.org'))
        self.other_client = self.both('other', self.stranger.issue_cert('client@example.org'))

    def write(self, name, blob):
        path = str(self.folder / f'{name}.pem')
        blob.write_to_path(path)
        return path

    def both(self, name, issued):
        return self.write(name, issued.private_key_and_cert_chain_pem)

    def encrypted_key(self, password):
        key = serialization.load_pem_private_key(self.issued.private_key_pem.bytes(), None)
        path = self.folder / 'encrypted.pem'
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password),
            )
        )
        return str(path)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp('certificates'))


def pair(server, client, hostname='server.example'):
    return TlsCodec(server, True), TlsCodec(client, False, hostname)


def carry(one, other, step=None):
    """Carry what `one` has for `other`, in pieces of `step` bytes; return the plaintext."""
    data = one.take()
    step = step or len(data) or 1
    return b''.join(other.receive(data[at : at + step]) for at in range(0, len(data), step))


def shake(server, client, step=None):
    """Carry bytes both ways until both are content; return what each has read."""
    read = {server: b'', client: b''}
    for _ in range(6):
        read[server] += carry(client, server, step)
        read[client] += carry(server, client, step)
    return read[server], read[client]


def failures(server_ctx, client_ctx, hostname='server.example'):
    """Return what the server and the client say about a handshake, None if nothing."""
    said = [None, None]
    try:
        server, client = pair(server_ctx, client_ctx, hostname)
    except ConfigurationError as error:
        return None, str(error)
    for _ in range(6):
        for index, (one, other) in enumerate([(client, server), (server, client)]):
            if said[index] is None:
                try:
                    data = one.take()
                    if data:
                        other.receive(data)
                except TlsError as error:
                    said[index] = str(error)
    return tuple(said)


# -- Talking


@pytest.mark.parametrize('step', [None, 1, 7])
def test_both_ways_in_any_split(files, step):
    server, client = pair(server_context(files.server), client_context(authenticate=files.ca))
    server.send(b'Z5')  # before the handshake, as a server's greeting is
    client.send(memoryview(b'hello'))
    assert shake(server, client, step) == (b'hello', b'Z5')
    assert server.handshaken and client.handshaken


def test_large_messages_in_many_records(files):
    server, client = pair(server_context(files.server), client_context(authenticate=files.ca))
    shake(server, client)
    data = bytes(range(256)) * 1024
    server.send(data)
    assert carry(server, client) == data
    client.send(b'')
    assert carry(client, server) == b''


@pytest.fixture
def changer():
    try:
        made = KeyChanger()
    except OSError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def test_a_stranger_that_does_nothing_but_change_keys_is_refused_early(files, changer):
    """What takes 27 bytes takes as much time as many records, and has an answer."""
    server = TlsCodec(server_context(files.server), True)
    changer.shake(server)
    for _ in range(5000):
        changer.change_keys()
    flood, done = changer.take(), 0
    with pytest.raises(TlsError, match='messages of TLS itself without end'):
        for done in range(0, len(flood), 1000):
            server.receive(flood[done : done + 1000])
    assert done < 5000 and len(server.take()) < 6000
    with pytest.raises(TlsError):
        server.receive(flood)


def test_a_large_piece_of_such_changes_is_given_up_within(files, changer):
    server = TlsCodec(server_context(files.server), True)
    changer.shake(server)
    for _ in range(5000):
        changer.change_keys()
    with pytest.raises(TlsError, match='without end'):
        server.receive(changer.take())
    assert len(server.take()) < 6000  # of 135,000


def test_keys_may_be_changed_now_and_then(files, changer):
    """With records of all sizes between the changes, in any split."""
    server = TlsCodec(server_context(files.server), True)
    changer.shake(server)
    sent = [b'x' * size for size in (1, 20, 100, 20_000, 1_000_000) for _ in range(50)]
    sent += [b'y'] * 5000
    for number, data in enumerate(sent):
        if number % 60 == 0:
            changer.change_keys()
        changer.write(data)
    data, got = changer.take(), b''
    for step, size in (1, 3000), (7, 20_000), (1000, 3_000_000), (100_000, 20_000_000):
        part, data = data[:size], data[size:]
        got += b''.join(server.receive(part[at : at + step]) for at in range(0, len(part), step))
    assert got + server.receive(data) == b''.join(sent)


def test_keys_may_be_changed_again_after_very_many_records(files, changer, monkeypatch):
    monkeypatch.setattr(tls, '_PLAIN_FOR_ONE', 10)
    server = TlsCodec(server_context(files.server), True)
    changer.shake(server)
    got = b''
    for _ in range(300):
        changer.change_keys()
        for _ in range(12):
            changer.write(b'x')
        got += server.receive(changer.take())
    assert got == b'x' * 300 * 12


def test_a_server_that_sends_tickets_without_end_is_left(files):
    context = server_context(files.server)
    context.options &= ~ssl.OP_NO_TICKET
    context.num_tickets = 1000
    server, client = pair(context, client_context(authenticate=files.ca))
    with pytest.raises(TlsError, match='messages of TLS itself without end'):
        shake(server, client)


def test_a_tls_1_2_peer_is_spoken_to(files):
    context = client_context(authenticate=files.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server, client = pair(server_context(files.server), context)
    client.send(b'hello')
    assert shake(server, client)[0] == b'hello'


def test_older_tls_is_not_offered(files):
    for context in server_context(files.server), client_context(authenticate=files.ca):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_goodbye(files):
    server, client = pair(server_context(files.server), client_context(authenticate=files.ca))
    shake(server, client)
    client.send(b'last')
    client.close()
    assert carry(client, server) == b'last'
    assert server.closed
    assert server.receive(b'more') == b''


def test_end_of_stream_without_goodbye(files):
    server, client = pair(server_context(files.server), client_context(authenticate=files.ca))
    server.send(b'Z5')
    shake(server, client)
    for codec in client, server:
        assert codec.receive(b'') == b''
        assert codec.closed


def test_end_of_stream_right_after_the_handshake(files):
    server, client = pair(server_context(files.server), client_context(authenticate=files.ca))
    shake(server, client)
    with pytest.raises(TlsError, match='may not accept the certificate of this client, or'):
        client.receive(b'')


def test_end_of_stream_within_the_handshake(files):
    server, client = pair(server_context(files.server), client_context(authenticate=files.ca))
    carry(client, server)
    with pytest.raises(TlsError, match='closed the connection during the TLS handshake'):
        client.receive(b'')
    client.close()  # harmless


def test_tampered_data_is_refused(files):
    server, client = pair(server_context(files.server), client_context(authenticate=files.ca))
    shake(server, client)
    server.send(b'secret')
    data = bytearray(server.take())
    data[-1] ^= 1
    with pytest.raises(TlsError):
        client.receive(bytes(data))


# -- Who is accepted


def test_a_client_without_certificate_where_none_is_needed(files):
    assert failures(server_context(files.server), client_context(authenticate=files.ca)) == (
        None,
        None,
    )


@pytest.mark.parametrize('as_directory', [False, True])
def test_client_certificates(files, as_directory, tmp_path):
    authenticate = files.ca
    if as_directory:
        (tmp_path / f'{subject_hash(files.ca)}.0').write_bytes(files.authority.cert_pem.bytes())
        authenticate = str(tmp_path)
    server = server_context(files.certificate, files.key, authenticate=authenticate)
    known = client_context(files.client, authenticate=files.ca)
    assert failures(server, known) == (None, None)

    unknown = client_context(files.other_client, authenticate=files.ca)
    by_server, by_client = failures(server, unknown)
    assert 'certificate of the client is signed by an unknown issuer' in by_server
    assert 'server does not know the issuer of the certificate of this client' in by_client

    by_server, by_client = failures(server, client_context(authenticate=files.ca))
    assert by_server == 'the client sent no certificate, and one is required'
    assert 'the server requires a certificate from this client' in by_client


def subject_hash(path):
    result = subprocess.run(
        ['openssl', 'x509', '-noout', '-hash', '-in', path],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return result.stdout.strip()


def test_signed_is_what_the_system_trusts(files, monkeypatch):
    monkeypatch.setenv('SSL_CERT_FILE', files.ca)
    server = server_context(files.server, authenticate='SIGNED')
    assert failures(server, client_context(files.client, authenticate='SIGNED')) == (None, None)
    assert failures(server, client_context(files.other_client))[0]
    assert failures(server, client_context())[0]  # SIGNED is no invitation to have none


def test_without_authenticate_a_client_trusts_what_the_system_trusts(files, monkeypatch):
    monkeypatch.setenv('SSL_CERT_FILE', files.stranger_ca)
    by_server, by_client = failures(server_context(files.server), client_context())
    assert 'certificate of the server is signed by an unknown issuer' in by_client


def test_dynamic_trusts_nobody_until_it_is_told(files):
    server = server_context(files.server, authenticate='DYNAMIC')
    client = client_context(files.client, authenticate=files.ca)
    assert failures(server, client)[0]
    server.load_verify_locations(files.ca)
    assert failures(server, client) == (None, None)


def test_a_server_that_is_not_the_one_expected(files):
    server = server_context(files.server)
    by_server, by_client = failures(server, client_context(authenticate=files.ca), 'other.example')
    assert "not for the name 'other.example'" in by_client
    by_server, by_client = failures(server, client_context(authenticate=files.ca), '127.0.0.2')
    assert "not for the name '127.0.0.2'" in by_client
    relaxed = client_context(authenticate=files.ca, check_hostname=False)
    assert failures(server, relaxed, 'other.example') == (None, None)
    assert failures(server, relaxed, None) == (None, None)


def test_a_name_is_needed_to_check_it(files):
    with pytest.raises(ConfigurationError, match='server-hostname'):
        TlsCodec(client_context(authenticate=files.ca), False)


def issued(files, **when):
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    times = {name: now + days * day for name, days in when.items()}
    return files.authority.issue_cert('server.example', **times)


def test_expired_and_not_yet_valid(files):
    client = client_context(authenticate=files.ca)
    old = files.both('old', issued(files, not_before=-3, not_after=-2))
    by_server, by_client = failures(server_context(old), client)
    assert by_client == 'the certificate of the server has expired'
    assert by_server == 'the client says that the certificate of this server has expired'
    early = files.both('early', issued(files, not_before=2, not_after=3))
    assert 'is not valid yet' in failures(server_context(early), client)[1]


def test_not_tls_at_all(files):
    server = TlsCodec(server_context(files.server), True)
    with pytest.raises(TlsError, match='the client does not speak TLS'):
        server.receive(b'\0\0\0\2Z5' + bytes(100))
    server = TlsCodec(server_context(files.server), True)
    with pytest.raises(TlsError, match='HTTP request'):
        server.receive(b'GET / HTTP/1.0\r\n\r\n')
    client = TlsCodec(client_context(authenticate=files.ca), False, 'server.example')
    with pytest.raises(TlsError, match='the server does not speak TLS'):
        client.receive(b'\0\0\0\2Z5')


def test_explain_passes_on_what_it_does_not_know():
    assert explain(ValueError('some text')) == 'some text'
    assert explain(ValueError()) == 'ValueError'
    assert 'TLS with the client failed' in explain(ssl.SSLError('odd'), True)


# -- Files that are wrong


def test_missing_files(files, tmp_path):
    missing = str(tmp_path / 'missing.pem')
    for make in (
        lambda: server_context(missing),
        lambda: server_context(files.server, missing),
        lambda: server_context(files.server, authenticate=missing),
        lambda: client_context(authenticate=missing),
    ):
        with pytest.raises(ConfigurationError, match='missing.pem cannot be read: No such file'):
            make()


def test_files_that_hold_something_else(files, tmp_path):
    junk = tmp_path / 'junk.pem'
    junk.write_text('junk')
    with pytest.raises(ConfigurationError, match='junk.pem: no certificate'):
        server_context(str(junk))
    with pytest.raises(ConfigurationError, match='junk.pem: no certificates'):
        server_context(files.server, authenticate=str(junk))
    with pytest.raises(ConfigurationError, match='no certificate with its private key'):
        server_context(files.certificate)  # without its key


def test_a_key_of_another_certificate(files):
    with pytest.raises(ConfigurationError, match='does not belong to the certificate'):
        server_context(files.certificate, files.client)


def test_a_key_without_certificate(files):
    with pytest.raises(ConfigurationError, match='no certificate'):
        client_context(key=files.key)


def test_encrypted_keys(files, monkeypatch):
    key = files.encrypted_key(b'open sesame')
    helper = type(sys)('zeo_test_passwords')
    helper.right = lambda: 'open sesame'
    helper.wrong = lambda: 'open barley'
    helper.broken = lambda: 1 / 0
    helper.number = 5
    monkeypatch.setitem(sys.modules, helper.__name__, helper)
    server_context(files.certificate, key, helper.right)
    server_context(files.certificate, key, 'zeo_test_passwords.right')
    for name, words in [
        ('zeo_test_passwords.wrong', 'cannot be decrypted'),
        ('zeo_test_passwords.broken', 'ZeroDivisionError'),
        ('zeo_test_passwords.number', 'is not a function'),
        ('zeo_test_passwords.missing', 'cannot be imported'),
        ('zeo_no_such_module.f', 'cannot be imported'),
        ('plain', 'not a dotted name'),
        (None, 'name a password-function'),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            server_context(files.certificate, key, name)
