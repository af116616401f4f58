"""The exchange that proves a secret: the published example, and everything that must not pass."""

import base64
import hashlib

import pytest

from ZEO.Exceptions import AuthError, ProtocolError
from ZEO.wire import scram
from ZEO.wire.saslprep import prepared
from ZEO.wire.scram import Challenge, ClientExchange, ServerExchange, Verifier

WORK = Challenge(b'0123456789abcdef', scram.LEAST_ITERATIONS)
VERIFIER = scram.verifier('pencil', WORK)
HASHED = scram.salted('pencil', WORK)
CLIENT_NONCE, SERVER_NONCE = 'c' * 24, 's' * 24


@pytest.fixture
def example(monkeypatch):
    """The numbers of RFC 7677, which are smaller than what is accepted today."""
    monkeypatch.setattr(scram, 'LEAST_ITERATIONS', 4096)


def test_the_example_of_rfc_7677(example):
    salt = base64.b64decode('W22ZaJ0SNY7soEsUEjb6gQ==')
    kept = scram.verifier('pencil', Challenge(salt, 4096))
    client = ClientExchange('user', 'rOprNGfwEbeRWgbNEkqO', None)
    assert client.first == 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO'
    server = ServerExchange(client.first, '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0', None)
    challenge = server.challenge(kept)
    assert challenge == (
        'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096'
    )
    final = client.final(scram.salted('pencil', client.challenge(challenge)))
    assert final == (
        'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,'
        'p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ='
    )
    assert server.confirm(final) == (True, 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')
    client.confirm('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')


def test_the_example_of_rfc_5802_with_its_hash(monkeypatch, example):
    """Its numbers are for SHA-1: the same steps with another function."""
    monkeypatch.setattr(scram, '_hash', lambda data: hashlib.sha1(data).digest())
    monkeypatch.setattr(scram, '_mac', lambda key, data: scram.hmac.digest(key, data, 'sha1'))
    client = ClientExchange('user', 'fyko+d2lbbFgONRv9qkxdawL', None)
    monkeypatch.setattr(scram, 'LEAST_NONCE', 16)
    work = client.challenge(
        'r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096'
    )
    hashed = hashlib.pbkdf2_hmac('sha1', b'pencil', *work)
    assert client.final(hashed) == (
        'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts='
    )
    client.confirm('v=rmF9pqV8S7suAoZWja4dJRkFsKQ=')


def exchange(name='app', binding=None, verifier=VERIFIER, nonces=(CLIENT_NONCE, SERVER_NONCE)):
    client = ClientExchange(name, nonces[0], binding)
    server = ServerExchange(client.first, nonces[1], binding)
    client.challenge(server.challenge(verifier))
    return client, server


@pytest.mark.parametrize('name', ['app', 'a,b', 'a=b', 'a=2Cb', 'Jürgen', '=3D,', 'x' * 100])
@pytest.mark.parametrize('binding', [None, b'finished'])
def test_both_sides_prove_what_they_know(name, binding):
    client, server = exchange(name, binding)
    assert server.name == name
    good, answer = server.confirm(client.final(HASHED))
    assert good
    client.confirm(answer)


def test_another_secret_is_not_accepted_and_takes_the_same_work(monkeypatch):
    calls = []
    for function in ('_mac', '_hash', '_xor'):
        real = getattr(scram, function)
        monkeypatch.setattr(
            scram,
            function,
            lambda *args, real=real, name=function: calls.append(name) or real(*args),
        )
    work = []
    for hashed in (HASHED, bytes(32)):
        client, server = exchange()
        final = client.final(hashed)
        calls.clear()
        good, _ = server.confirm(final)
        work.append((good, [*calls]))
    assert [good for good, _ in work] == [True, False]
    assert work[0][1] == work[1][1]


def test_a_server_that_does_not_know_the_verifier_is_found_out():
    client, server = exchange(verifier=VERIFIER._replace(server_key=bytes(32)))
    good, answer = server.confirm(client.final(HASHED))
    assert good
    with pytest.raises(AuthError, match='without a proof'):
        client.confirm(answer)


def test_a_verifier_is_not_enough_to_log_in():
    client, server = exchange()
    client.final(HASHED)
    stolen = ClientExchange('app', CLIENT_NONCE, None)
    stolen.challenge(f'r={CLIENT_NONCE}{SERVER_NONCE},s=MDEyMzQ1Njc4OWFiY2RlZg==,i=50000')
    for key in (VERIFIER.stored_key, VERIFIER.server_key):
        assert not server.confirm(stolen.final(key))[0]


def test_a_proof_is_worth_nothing_on_another_connection():
    """A replay: another nonce of the server's; and another client's nonce."""
    client, server = exchange()
    final = client.final(HASHED)
    assert server.confirm(final)[0]
    for nonces in [(CLIENT_NONCE, 'z' * 24), ('z' * 24, SERVER_NONCE)]:
        _, other = exchange(nonces=nonces)
        assert not other.confirm(final)[0]


def test_the_last_text_has_to_hold_the_nonces_that_were_agreed_upon():
    client, server = exchange()
    client._both = CLIENT_NONCE + 'z' * 24  # what the proof covers is right, too
    assert not server.confirm(client.final(HASHED))[0]


def test_a_proof_is_bound_to_the_tls_connection():
    client = ClientExchange('app', CLIENT_NONCE, b'to the relay')
    server = ServerExchange(client.first, SERVER_NONCE, b'to the server')
    client.challenge(server.challenge(VERIFIER))
    assert not server.confirm(client.final(HASHED))[0]


@pytest.mark.parametrize(
    'of_client, of_server, words',
    [(None, b'tls', 'sees TLS'), (b'tls', None, 'sees no TLS')],
)
def test_both_sides_have_to_see_tls_or_none(of_client, of_server, words):
    client = ClientExchange('app', CLIENT_NONCE, of_client)
    with pytest.raises(AuthError, match=words):
        ServerExchange(client.first, SERVER_NONCE, of_server)


@pytest.mark.parametrize(
    'of_client, of_server', [(None, b'tls'), (b'tls', None), (b'tls', b'other')]
)
def test_a_relay_cannot_hide_what_a_client_sees(of_client, of_server):
    """It changes the first message so that the server believes the client."""
    client = ClientExchange('app', CLIENT_NONCE, of_client)
    forged = ClientExchange('app', CLIENT_NONCE, of_server).first
    server = ServerExchange(forged, SERVER_NONCE, of_server)
    client.challenge(server.challenge(VERIFIER))
    final = client.final(HASHED)
    assert not server.confirm(final)[0]
    bound = final.partition(',')[2]
    believed = 'c=' + scram._bound(of_server) + ',' + bound
    assert not server.confirm(believed)[0]


def test_a_servers_proof_is_not_one_of_a_client():
    client, server = exchange()
    final = client.final(HASHED)
    answer = server.confirm(final)[1]
    reflected = final.rpartition(',p=')[0] + ',p=' + answer.removeprefix('v=')
    assert not server.confirm(reflected)[0]
    with pytest.raises(AuthError):
        client.confirm('v=' + final.rpartition(',p=')[2])


GOOD = f'r={CLIENT_NONCE}{SERVER_NONCE},s=MDEyMzQ1Njc4OWFiY2RlZg==,i=200000'


@pytest.mark.parametrize(
    'text',
    [
        '',
        'r=',
        GOOD + ',x=y',
        GOOD.replace(SERVER_NONCE, ''),
        GOOD.replace(SERVER_NONCE, 's' * 15),
        GOOD.replace(SERVER_NONCE, 's' * 1000),
        GOOD.replace(CLIENT_NONCE, 'd' * 24),
        GOOD.replace('s=MDEy', 's=*DEy'),
        'm=ext,' + GOOD,
        GOOD.replace('MDEyMzQ1Njc4OWFiY2RlZg==', 'MDEy'),
        GOOD.replace('MDEyMzQ1Njc4OWFiY2RlZg==', 'MDEy' * 100),
        GOOD.replace('MDEyMzQ1Njc4OWFiY2RlZg==', 'MDEyM'),
        GOOD.replace('200000', '0'),
        GOOD.replace('200000', '-1'),
        GOOD.replace('200000', '9' * 50),
        GOOD + '\n',
    ],
)
def test_a_malformed_challenge_is_refused_before_any_work(text):
    with pytest.raises(ProtocolError):
        ClientExchange('app', CLIENT_NONCE, None).challenge(text)


@pytest.mark.parametrize('iterations', [1, 4096, 2**31, 2**32])
def test_a_server_cannot_demand_too_much_work_or_too_little(iterations):
    with pytest.raises(AuthError, match='iterations'):
        ClientExchange('app', CLIENT_NONCE, None).challenge(GOOD.replace('200000', str(iterations)))


@pytest.mark.parametrize(
    'text',
    [
        '',
        'n,,',
        f'n,,n=,r={CLIENT_NONCE}',
        'n,,n=app,r=',
        'n,,n=app,r=short',
        f'n,,n=app,r={"c" * 1000}',
        f'y,,n=app,r={CLIENT_NONCE}',
        f'n,a=other,n=app,r={CLIENT_NONCE}',
        f'n,,m=x,n=app,r={CLIENT_NONCE}',
        f'n,,n=a=p,r={CLIENT_NONCE}',
        f'n,,n={"x" * 101},r={CLIENT_NONCE}',
        f'n,,n={"=3D" * 200},r={CLIENT_NONCE}',
        f'n,,n=a\nb,r={CLIENT_NONCE}',
        f'n,,n=a:b,r={CLIENT_NONCE}',
        f'n,,n=a\u0308,r={CLIENT_NONCE}',
        f'n,,n=\udc80,r={CLIENT_NONCE}',
        f'n,,n=app,r={CLIENT_NONCE}\n',
        f'n,,n=app,r={CLIENT_NONCE},extension=1',
    ],
)
def test_a_malformed_beginning_is_refused(text):
    with pytest.raises(ProtocolError):
        ServerExchange(text, SERVER_NONCE, None)


def test_another_kind_of_binding_is_refused():
    with pytest.raises(AuthError, match='not known'):
        ServerExchange(f'p=tls-unique,,n=app,r={CLIENT_NONCE}', SERVER_NONCE, b'tls')


@pytest.mark.parametrize(
    'text',
    ['', 'c=biws', 'c=biws,r=x,p=', 'c=biws,r=x,p=AAAA', 'c=biws,r=x,p=A' + 'A' * 10, 'p=' * 400],
)
def test_a_malformed_proof_is_refused(text):
    _, server = exchange()
    with pytest.raises(ProtocolError):
        server.confirm(text)


@pytest.mark.parametrize('text', ['', 'v=', 'e=other-error', 'v=*', 'v=AAAA '])
def test_a_malformed_confirmation_is_refused(text):
    client, _ = exchange()
    client.final(HASHED)
    with pytest.raises(ProtocolError):
        client.confirm(text)


def test_an_empty_confirmation_of_a_server_proves_nothing():
    client, _ = exchange()
    client.final(HASHED)
    with pytest.raises(AuthError):
        client.confirm('v=AAAA')


def test_a_verifier_does_not_show_itself():
    assert repr(Verifier(1, b'salt', b'stored', b'server')) == '<a verifier>'


@pytest.mark.parametrize(
    'typed, form',
    [
        ('I\u00adX', 'IX'),  # the examples of RFC 4013
        ('user', 'user'),
        ('USER', 'USER'),
        ('\u00aa', 'a'),
        ('\u2168', 'IX'),
        ('u\u0308', 'ü'),
        ('a\u00a0b', 'a b'),
        ('\U0001f600', '\U0001f600'),  # newer than Unicode 3.2
        ('\u0627\u0628', '\u0627\u0628'),
    ],
)
def test_texts_that_were_typed_differently_have_one_form(typed, form):
    assert prepared(typed) == form
    assert prepared(form) == form


@pytest.mark.parametrize(
    'text', ['\x07', 'a\nb', '\u0627\u0031', '\u0627a\u0628', '\ud800', '\u200e']
)
def test_texts_with_unusable_characters_are_refused(text):
    with pytest.raises(ValueError):
        prepared(text)


@pytest.mark.parametrize('name', ['', 'a b', 'a:b', 'x' * 101, 'a\u00a0b', '\u00ad'])
def test_what_cannot_be_a_name(name):
    with pytest.raises(ValueError):
        scram.checked_name(name)
