"""Names in certificates have one form, in which nothing passes for another name."""

import datetime

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ZEO.net.tls import TlsCodec, client_context, server_context
from ZEO.net.tls_names import names_in, normal

DAY = datetime.timedelta(days=1)


def subject(*parts):
    return {'subject': tuple(((part),) for part in parts)}


@pytest.mark.parametrize(
    ['written', 'form'],
    [
        ('CN=app1', 'CN=app1'),
        ('cn = app1', 'CN=app1'),
        ('commonName=app1', 'CN=app1'),
        ('O=Site, CN=app1', 'CN=app1,O=Site'),
        ('C = DE,O = Big  Site,CN = My App', 'CN=My App,O=Big  Site,C=DE'),
        ('CN=a\\,b', 'CN=a\\,b'),
        ('CN=a\\2Cb', 'CN=a\\,b'),
        ('CN=a=b+c', 'CN=a=b+c'),
        ('CN=\\ a\\ ', 'CN=\\ a\\ '),
        ('CN=a\\00', 'CN=a\\00'),
        ('CN=J\\C3\\BCrgen', 'CN=Jürgen'),
        ('CN=Jürgen', 'CN=Jürgen'),
        ('1.2.3=x', '1.2.3=x'),
        ('emailAddress=a@b', 'emailAddress=a@b'),
        ('OU=b,OU=a', 'OU=a,OU=b'),
        ('dns:App1.Example.org', 'DNS:app1.example.org'),
        ('EMAIL:Ops@Site', 'email:Ops@Site'),
        ('URI:spiffe://site/app=1,2', 'URI:spiffe://site/app=1,2'),
    ],
)
def test_what_operators_write_has_one_form(written, form):
    assert normal(written) == normal(form) == form


@pytest.mark.parametrize(
    'written',
    ['app1', '', 'CN=', '=app1', 'CN=a,', 'CN=a,,O=b', 'CN=a\\', 'DNS:', '/O=Site/CN=app1', 'CN='],
)
def test_what_is_not_a_name_is_an_error_that_says_what_is_one(written):
    with pytest.raises(ValueError, match='write CN=NAME'):
        normal(written)


def test_the_common_name_stands_alone_where_there_is_one():
    found = names_in(subject(('organizationName', 'Site'), ('commonName', 'app1')))
    assert found == ('CN=app1,O=Site', 'CN=app1')
    assert names_in(subject(('commonName', 'app1'))) == ('CN=app1',)
    two = names_in(subject(('commonName', 'app1'), ('commonName', 'ops')))
    assert two == ('CN=app1,CN=ops',)


def test_alternative_names_say_of_which_kind_they_are():
    found = names_in(
        {
            'subject': (),
            'subjectAltName': (
                ('DNS', 'Host'),
                ('email', 'CN=ops'),
                ('URI', 'DNS:host'),
                ('IP Address', '10.0.0.1'),
                ('DirName', ((('commonName', 'ops'),),)),
            ),
        }
    )
    assert found == ('DNS:host', 'email:CN=ops', 'URI:DNS:host')


def test_a_certificate_that_was_not_verified_has_no_names():
    assert names_in({}) == ()


VALUES = st.text(st.characters(exclude_categories=['Cs']), min_size=1, max_size=12)
PARTS = st.lists(
    st.tuples(st.sampled_from(['CN', 'O', 'OU', '1.2.3']), VALUES), min_size=1, max_size=4
)


@given(PARTS, PARTS)
def test_different_subjects_have_different_forms(one, other):
    forms = [names_in(subject(*parts))[0] for parts in (one, other)]
    assert (forms[0] == forms[1]) == (sorted(one) == sorted(other))


@given(PARTS)
def test_a_form_is_read_as_itself(parts):
    form = names_in(subject(*parts))[0]
    assert normal(form) == form and form.isprintable()


# Certificates on connections.


def issued(ca, *parts, alternatives=()):
    """Return a certificate of an authority (of its own without one), as a PEM text with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    if ca is None:
        certificate = builder.issuer_name(name).sign(key, hashes.SHA256())
    else:
        above = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
        signer = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
        certificate = builder.issuer_name(above.subject).sign(signer, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def names_seen(tmp_path, pem, authenticate):
    """Return the names that a server sees of a client with this certificate."""
    ca = trustme.CA()
    server_files = ca.issue_cert('server.example')
    files = {
        'server': server_files.private_key_and_cert_chain_pem.bytes(),
        'ca': ca.cert_pem.bytes(),
        'client': pem,
        'clients': authenticate,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content or b'')
    at = {name: str(tmp_path / name) for name in files}
    server_side = server_context(at['server'], authenticate=authenticate and at['clients'])
    client_side = client_context(at['client'], authenticate=at['ca'])
    server = TlsCodec(server_side, True)
    client = TlsCodec(client_side, False, 'server.example')
    for _ in range(4):
        for one, other in (client, server), (server, client):
            data = one.take()
            if data:
                other.receive(data)
    assert server.handshaken
    return server.names()


@pytest.fixture(scope='module')
def authority():
    return trustme.CA()


def test_a_server_sees_the_names_of_a_verified_certificate(authority, tmp_path):
    pem = issued(
        authority,
        (NameOID.ORGANIZATION_NAME, 'Site'),
        (NameOID.COMMON_NAME, 'app1'),
        alternatives=[
            x509.DNSName('app1.example.org'),
            x509.RFC822Name('ops@example.org'),
            x509.UniformResourceIdentifier('spiffe://site/app1'),
        ],
    )
    assert names_seen(tmp_path, pem, authority.cert_pem.bytes()) == (
        'CN=app1,O=Site',
        'CN=app1',
        'DNS:app1.example.org',
        'email:ops@example.org',
        'URI:spiffe://site/app1',
    )


@pytest.mark.parametrize(
    ['common', 'form'],
    [
        ('ops,O=Site', 'CN=ops\\,O=Site'),
        ('ops\0.evil', 'CN=ops\\00.evil'),
        (' ops', 'CN=\\ ops'),
        ('ops\n', 'CN=ops\\0A'),
        ('оps', 'CN=оps'),  # with a letter that looks the same
    ],
)
def test_an_odd_common_name_is_not_another_one(authority, tmp_path, common, form):
    pem = issued(authority, (NameOID.COMMON_NAME, common))
    assert names_seen(tmp_path, pem, authority.cert_pem.bytes()) == (form,)
    assert form not in (normal('CN=ops'), normal('CN=ops,O=Site'))


def test_a_certificate_that_nobody_verified_yields_no_names(authority, tmp_path):
    """A server that does not ask for certificates is not sent any, and would not believe it."""
    for pem in (
        issued(None, (NameOID.COMMON_NAME, 'ops')),
        issued(authority, (NameOID.COMMON_NAME, 'ops')),
    ):
        assert names_seen(tmp_path, pem, None) == ()
