"""Whom TLS lets in: certificates that are named themselves, those of authorities, and those that
were revoked.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ZEO.Exceptions import ConfigurationError
from ZEO.net.tls import TlsCodec, client_context, server_context
from ZEO.net.tls_errors import TlsError

DAY = datetime.timedelta(days=1)
REVOKED = 'the certificate of the {} has been revoked'


def said_by(server_ctx, client_ctx):
    """Return what server and client say about a handshake, None if nothing."""
    server, client = TlsCodec(server_ctx, True), TlsCodec(client_ctx, False, 'server.example')
    said = [None, None]
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


class Site:
    """Files of two authorities, of an intermediate one, a server and clients."""

    def __init__(self, folder):
        self.folder = folder
        self.authority, self.stranger = trustme.CA(), trustme.CA()
        self.intermediate = self.authority.create_child_ca()
        self.ca = self.write('ca', self.authority.cert_pem.bytes())
        self.middle = self.write('middle', self.intermediate.cert_pem.bytes())
        self.issued = {
            'server': self.authority.issue_cert('server.example'),
            'client': self.authority.issue_cert('client@example'),
            'second': self.authority.issue_cert('second@example'),
            'below': self.intermediate.issue_cert('below@example'),
            'stranger': self.stranger.issue_cert('client@example'),
        }
        self.both = {
            name: self.write(name, issued.private_key_and_cert_chain_pem.bytes())
            for name, issued in self.issued.items()
        }
        self.leaf = {
            name: self.write(f'{name}-leaf', issued.cert_chain_pems[0].bytes())
            for name, issued in self.issued.items()
        }

    def write(self, name, data):
        path = self.folder / f'{name}.pem'
        path.write_bytes(data)
        return str(path)

    def crl(self, name, *revoked, authority=None, since=2 * DAY, until=DAY):
        """Write the list of an authority in which some certificates are."""
        authority = authority or self.authority
        key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
        issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(now - since)
            .next_update(now + until)
        )
        for who in revoked:
            certificate = x509.load_pem_x509_certificate(
                self.issued[who].cert_chain_pems[0].bytes()
            )
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(now - DAY)
                .build()
            )
        return self.write(
            name, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )

    def join(self, name, *paths):
        return self.write(name, b''.join(Path(path).read_bytes() for path in paths))

    def meeting(self, who, **options):
        """Return what is said when a client comes to a server with these options."""
        return said_by(
            server_context(self.both['server'], **options),
            client_context(self.both[who], authenticate=self.ca),
        )


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    return Site(tmp_path_factory.mktemp('site'))


def rehashed(site, name, *paths):
    """Return a directory of files with the names that openssl finds them by."""
    folder = site.folder / name
    folder.mkdir()
    for number, path in enumerate(paths):
        (folder / f'{number}.pem').write_bytes(Path(path).read_bytes())
    done = subprocess.run(['openssl', 'rehash', str(folder)], capture_output=True)
    assert done.returncode == 0, done.stderr
    return str(folder)


# --- whom authenticate names ---


@pytest.mark.parametrize('as_directory', [False, True])
def test_the_certificate_of_the_very_client_that_an_authority_has_signed_is_enough(
    site, as_directory
):
    trusted = (
        rehashed(site, 'very-client', site.leaf['client']) if as_directory else site.leaf['client']
    )
    assert site.meeting('client', authenticate=trusted) == (None, None)
    assert site.meeting('second', authenticate=trusted)[0] is not None
    assert site.meeting('stranger', authenticate=trusted)[0] is not None


def test_several_certificates_of_clients_and_authorities_in_one_file(site):
    trusted = site.join('mixed', site.leaf['client'], site.leaf['stranger'], site.middle)
    for who in 'client', 'stranger', 'below':
        assert site.meeting(who, authenticate=trusted) == (None, None)
    assert site.meeting('second', authenticate=trusted)[0] is not None


def test_an_intermediate_authority_is_enough(site):
    assert site.meeting('below', authenticate=site.middle) == (None, None)
    assert site.meeting('client', authenticate=site.middle)[0] is not None


def test_a_client_may_name_the_very_server(site):
    server = server_context(site.both['server'])
    assert said_by(server, client_context(authenticate=site.leaf['server'])) == (None, None)


def test_a_certificate_that_is_named_signs_no_others(site, tmp_path):
    """A client cannot let its friends in."""
    key, certificate = tmp_path / 'friend.key', tmp_path / 'friend.pem'
    done = subprocess.run(
        [
            'openssl',
            'req',
            '-x509',
            '-newkey',
            'rsa:2048',
            '-noenc',
            '-days',
            '2',
            '-subj',
            '/CN=friend',
            '-addext',
            'basicConstraints=critical,CA:FALSE',
            '-CA',
            site.leaf['client'],
            '-CAkey',
            site.both['client'],
            '-keyout',
            str(key),
            '-out',
            str(certificate),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip('needs OpenSSL 3')
    (tmp_path / 'both.pem').write_bytes(key.read_bytes() + certificate.read_bytes())
    client = client_context(str(tmp_path / 'both.pem'), authenticate=site.ca)
    server = server_context(site.both['server'], authenticate=site.leaf['client'])
    assert said_by(server, client)[0] is not None


# --- what crl names ---


@pytest.mark.parametrize('as_directory', [False, True])
def test_a_revoked_client_is_refused_and_both_sides_say_why(site, as_directory):
    crl = site.crl('one', 'client')
    crl = rehashed(site, 'lists', crl) if as_directory else crl
    server, client = site.meeting('client', authenticate=site.ca, crl=crl)
    assert server == REVOKED.format('client')
    assert client == 'the server says that the certificate of this client has been revoked'
    assert site.meeting('second', authenticate=site.ca, crl=crl) == (None, None)


def test_a_revoked_client_is_refused_though_its_certificate_is_named(site):
    trusted = site.join('named', site.ca, site.leaf['client'])
    server, _ = site.meeting('client', authenticate=trusted, crl=site.crl('again', 'client'))
    assert server == REVOKED.format('client')


def test_a_revoked_server_is_refused_by_a_client(site):
    client = client_context(authenticate=site.ca, crl=site.crl('servers', 'server'))
    assert said_by(server_context(site.both['server']), client)[1] == REVOKED.format('server')
    client = client_context(authenticate=site.ca, crl=site.crl('nobody'))
    assert said_by(server_context(site.both['server']), client) == (None, None)


def test_a_list_that_has_expired_refuses_everyone_and_says_so(site):
    server, _ = site.meeting('second', authenticate=site.ca, crl=site.crl('old', until=-DAY))
    assert (
        server
        == 'the list of revoked certificates that crl names has expired: get a new one from the '
        'authority'
    )


def test_an_authority_without_a_list_is_refused(site):
    crl = site.crl('other-authority', authority=site.stranger)
    server, _ = site.meeting('client', authenticate=site.ca, crl=crl)
    assert 'crl has no list of revoked certificates from the authority' in server


def test_lists_of_several_authorities_in_one_file(site):
    crl = site.join(
        'lists-of-two', site.crl('a', 'client'), site.crl('b', authority=site.intermediate)
    )
    trusted = site.join('two', site.ca, site.middle)
    assert site.meeting('below', authenticate=trusted, crl=crl) == (None, None)
    assert site.meeting('client', authenticate=trusted, crl=crl)[0] == REVOKED.format('client')


def test_a_new_list_in_a_directory_counts_without_a_restart(site):
    folder = rehashed(site, 'renewed', site.crl('before'))
    context = server_context(site.both['server'], authenticate=site.ca, crl=folder)
    client = client_context(site.both['client'], authenticate=site.ca)
    assert said_by(context, client) == (None, None)
    (name,) = [name for name in os.listdir(folder) if name.endswith('.r0')]
    os.symlink(
        site.crl('after', 'client', since=DAY), os.path.join(folder, name.replace('.r0', '.r1'))
    )
    assert said_by(context, client)[0] == REVOKED.format('client')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'no lists of revoked certificates'),
        (b'nothing', 'no lists of revoked certificates'),
        (
            b'-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n',
            'no lists of revoked certificates',
        ),
    ],
)
def test_a_file_without_lists_is_told_at_the_start(site, content, words):
    with pytest.raises(ConfigurationError, match=words):
        server_context(site.both['server'], authenticate=site.ca, crl=site.write('wrong', content))


def test_certificates_among_the_lists_would_be_trusted_and_are_refused(site):
    crl = site.join('with-certificate', site.crl('c'), site.leaf['stranger'])
    with pytest.raises(ConfigurationError, match='which would be trusted'):
        server_context(site.both['server'], authenticate=site.ca, crl=crl)
    folder = rehashed(site, 'with-certificates', site.crl('d'), site.leaf['stranger'])
    with pytest.raises(ConfigurationError, match='which would be trusted'):
        server_context(site.both['server'], authenticate=site.ca, crl=folder)
    server_context(site.both['server'], authenticate=folder, crl=folder)


def test_a_directory_without_lists_is_told_at_the_start(site, tmp_path):
    with pytest.raises(ConfigurationError, match='openssl rehash'):
        server_context(site.both['server'], authenticate=site.ca, crl=str(tmp_path))


def test_lists_without_authenticate_make_no_sense_on_a_server(site):
    with pytest.raises(ConfigurationError, match='add authenticate'):
        server_context(site.both['server'], crl=site.crl('e'))


def test_a_list_that_is_not_there(site):
    with pytest.raises(ConfigurationError, match='No such file'):
        server_context(site.both['server'], authenticate=site.ca, crl='/nosuch/crl.pem')


def tls_connection(server_ctx, client_ctx, session=None):
    """Return a server's end and a client's after the handshake, of which the client may continue
    an earlier session; the client's has Python's own interface.
    """
    server, incoming, outgoing = TlsCodec(server_ctx, True), ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_ctx.wrap_bio(
        incoming, outgoing, server_hostname='server.example', session=session
    )
    for _ in range(4):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        if data := outgoing.read():
            server.receive(data)
        incoming.write(server.take())
    with contextlib.suppress(ssl.SSLWantReadError):
        client.read()  # where TLS 1.3 has the tickets
    return server, client


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_client_gets_in_by_a_session_from_before_its_certificate_was_revoked(site, version):
    client_ctx = client_context(site.both['client'], authenticate=site.ca)
    client_ctx.maximum_version = version
    ours = server_context(site.both['server'], authenticate=site.ca)
    server, client = tls_connection(ours, client_ctx)
    assert server.handshaken and not (client.session and client.session.has_ticket)
    an_applications = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # which gives tickets
    an_applications.load_cert_chain(site.both['server'])
    an_applications.load_verify_locations(site.ca)
    an_applications.verify_mode = ssl.CERT_REQUIRED
    _, client = tls_connection(an_applications, client_ctx)
    assert client.session.has_ticket
    with pytest.raises(TlsError, match='continues an earlier TLS session'):
        tls_connection(an_applications, client_ctx, client.session)
