"""A client proves its password to a server, and the server to the client; nothing else does."""

import logging
import os
import traceback
from contextlib import suppress

import pytest
import ZODB.config
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ReadOnlyError

import ZEO
import ZEO.StorageServer
from support.clock import Clock, let_pass
from support.scripted import Answering, tid
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import (
    AuthError,
    ClientDisconnected,
    ClientStorageError,
    ConfigurationError,
    ProtocolError,
)
from ZEO.link import credentials
from ZEO.net import proofs
from ZEO.net.unix_peers import UnixPeer
from ZEO.serving.access import attempts, proving
from ZEO.serving.access.access import Access
from ZEO.wire import scram
from ZEO.wire.scram import Challenge, ServerExchange

SECRET = 'correct horse battery'
NAMES = {'username': 'app', 'password': SECRET}

PROTOCOLS = [b'Z5', b'M5']


@pytest.fixture
def at_once(monkeypatch):
    """Failures are answered at once."""
    monkeypatch.setattr(attempts, 'FIRST_DELAY', 0)
    monkeypatch.setattr(proving, 'LONGEST_DELAY', 0)


@pytest.fixture
def no_time_passes(server):
    """No failure is forgotten, however long the next one takes to come."""
    server._service.passwords.attempts._now = lambda: 1000.0


# A client storage.


@pytest.mark.parametrize('msgpack', [False, True])
def test_a_password_makes_a_client_a_user(serving, set_password, path, clients, msgpack):
    set_password('app')
    server = serving(MappingStorage(), password_file=path, msgpack=msgpack)
    client = clients(server.addr, **NAMES)
    client.ping()
    (peer,) = server._peers
    assert peer.identity.user == 'app'


def test_a_server_with_passwords_and_no_rules_lets_in_who_proves_one(
    serving, set_password, path, clients
):
    set_password('app')
    server = serving(MappingStorage(), password_file=path)
    with pytest.raises(AuthError, match='there is no storage'):
        clients(server.addr)
    clients(server.addr, **NAMES).ping()
    server.post(lambda: server.allow(None, True))
    with pytest.raises(AuthError, match='there is no storage'):
        clients(server.addr)


def test_rules_tell_users_from_each_other(serving, set_password, path, clients):
    set_password('app')
    set_password('guest')
    access = Access.of(['user app write', 'user * read'])
    server = serving(MappingStorage(), password_file=path, access=access)
    clients(server.addr, **NAMES).new_oid()
    with pytest.raises(ReadOnlyError):
        clients(server.addr, username='guest', password=SECRET)
    assert clients(server.addr, username='guest', password=SECRET, read_only=True).isReadOnly()


def test_a_password_with_an_accent_can_be_typed_in_two_ways(server, set_password, clients, user_of):
    set_password('app', 'pässword')
    server.post(server.reload_passwords)
    clients(server.addr, username='app', password='pa\u0308ssword').ping()
    assert user_of() == ['app']


def test_a_wrong_password_and_an_unknown_user_are_one_error_at_once(server, clients):
    said = []
    for names in ({**NAMES, 'password': 'wrong'}, {**NAMES, 'username': 'nobody'}):
        with pytest.raises(AuthError, match='does not accept the user name with this') as caught:
            clients(server.addr, **names)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_server_without_passwords_says_so(serving, clients):
    server = serving(MappingStorage())
    with pytest.raises(AuthError, match='the server has no passwords'):
        clients(server.addr, **NAMES)


def test_a_client_that_reconnects_hashes_once(server, clients, monkeypatch):
    hashes = []
    real = scram.salted
    monkeypatch.setattr(scram, 'salted', lambda *args: hashes.append(1) or real(*args))
    client = clients(server.addr, **NAMES)
    for _ in range(3):
        client._server.connection.lose('for a test')
        client.ping()
    assert len(hashes) == 1


def test_a_server_that_has_not_accepted_a_password_is_asked_again_after_a_while_only(
    server, clients, at_once, monkeypatch, set_password
):
    monkeypatch.setattr(credentials, 'FIRST_PAUSE', 1000.0)
    guesses, failures, rounds = server._service.passwords.attempts, [], []
    monkeypatch.setattr(guesses, 'failed', lambda *args: failures.append(args) or 0)
    client = clients(server.addr, username='app', password='a new one', wait=False)
    proof = client._server._wanted.credentials
    real = proof.prove
    monkeypatch.setattr(proof, 'prove', lambda *args: rounds.append(args) or real(*args))
    while len(rounds) < 5:
        with pytest.raises(AuthError, match='does not accept the user name with this password'):
            client.ping()
    assert len(failures) == 1
    set_password('app', 'a new one')
    server.post(server.reload_passwords)
    server.post(lambda: [denial.__setattr__('until', 0.0) for denial in proof._denials.values()])
    while not client.is_connected():
        with suppress(AuthError):
            client.ping()


def test_the_pauses_grow_up_to_a_bound():
    proof, now, asked = credentials.Credentials('app', SECRET), 0.0, []

    class Connection:
        where = 'somewhere'

    def exchange(connection):
        asked.append(now)
        raise AuthError('no')

    proof._exchange = exchange
    for second in range(500):
        now = float(second)
        with pytest.raises(AuthError, match='no'):
            proof.prove(Connection, now)
    assert asked[:6] == [0, 2, 6, 14, 30, 62]
    assert [asked[-1] - asked[-2]] == [credentials.LAST_PAUSE]


def test_a_read_only_fallback_proves_its_password_too(serving, set_password, path, clients):
    set_password('app')
    server = serving(MappingStorage(), password_file=path, read_only=True)
    client = clients(server.addr, read_only_fallback=True, **NAMES)
    assert client.isReadOnly()
    assert {peer.identity.user for peer in server._peers if peer.is_registered} == {'app'}


def test_all_front_doors_take_a_password(server, user_of):
    opened = [
        ZEO.client(server.addr, **NAMES),
        ZEO.DB(server.addr, **NAMES),
        ZEO.connection(server.addr, **NAMES),
        ZODB.config.storageFromString(
            f'%import ZEO\n<clientstorage>\nserver {server.addr}\nusername app\n'
            f'password {SECRET}\n</clientstorage>'
        ),
        ZODB.config.storageFromString(
            f'<zeoclient>\nserver {server.addr}\nusername app\npassword {SECRET}\n</zeoclient>'
        ),
    ]
    assert user_of() == ['app'] * 5
    for one in opened:
        one.close()


def test_a_server_that_is_a_client_of_another_one_proves_its_password(
    server, serving, clients, user_of
):
    upstream = ZODB.config.storageFromString(
        f'%import ZEO\n<clientstorage>\nserver {server.addr}\nusername app\n'
        f'password {SECRET}\n</clientstorage>'
    )
    clients(serving(upstream).addr).ping()
    assert user_of() == ['app']


@pytest.mark.parametrize(
    'names, words',
    [
        ({'username': 'app'}, 'username is given without password'),
        ({'password': SECRET}, 'password is given without username'),
        ({'username': 'app', 'password': ''}, 'username is given without password'),
        ({'username': 'a:b', 'password': SECRET}, "username is 'a:b'"),
        ({'username': 5, 'password': SECRET}, 'username is 5'),
        ({'username': 'app', 'password': SECRET.encode()}, 'password is a bytes: give a text'),
        ({'username': 'app', 'password': SECRET + '\a'}, 'the password cannot be used'),
    ],
)
def test_arguments_that_make_no_sense(names, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        ClientStorage('/no/such', **names)
    assert 'horse' not in str(caught.value)


def test_a_password_is_shown_nowhere(server, clients, caplog):
    caplog.set_level(logging.DEBUG)
    shown = []
    client = clients(server.addr, **NAMES)
    shown.append(repr(client._server._wanted))
    shown.append(repr(client.server_status()))
    wrong = 'stolen horse battery'
    try:
        clients(server.addr, username='app', password=wrong)
    except AuthError:
        shown.append(traceback.format_exc())
    shown.append(caplog.text)
    assert not any('horse' in text for text in shown)
    assert "denied: the password of user 'app' was not proved" in caplog.text


# Files that change.


def test_a_changed_password_ends_the_connections_of_its_user(server, set_password, clients):
    set_password('other')
    other = clients(server.addr)
    client = clients(server.addr, wait_timeout=20, **NAMES)
    kept = other._server.connection
    set_password('app', 'a new password')
    server.post(server.reload_passwords)
    with pytest.raises((AuthError, ClientDisconnected)):
        while True:
            client.ping()
    assert other._server.connection is kept
    other.ping()


def test_a_password_that_changes_between_the_two_steps_is_not_accepted(
    server, stranger, set_password, at_once
):
    client = stranger()
    exchange, challenge = client.begin()
    set_password('app', 'a new password')
    server.reload_passwords()
    proof = exchange.final(scram.salted(SECRET, challenge))
    assert client.call('scram_final', proof)[0] == 'ZEO.Exceptions.AuthError'


def test_a_broken_file_keeps_what_was(server, path, clients):
    with open(path, 'w') as file:
        file.write('nonsense')
    with pytest.raises(ConfigurationError):
        server.reload_passwords()
    clients(server.addr, **NAMES).ping()


def test_a_server_does_not_start_with_a_broken_file(serving, path):
    with pytest.raises(ConfigurationError, match='does not exist'):
        serving(MappingStorage(), password_file=path)


# Servers that are none.


def answering(scripted, **answers):
    server = scripted()
    Answering(server, tid(0), answers)
    return server.address


def hang_up(client, request):
    client.close()


def test_a_server_that_cannot_check_passwords_is_named_in_one_error(scripted, clients):
    address = answering(scripted, scram_first=hang_up)
    with pytest.raises(AuthError, match='remove username and password') as caught:
        clients(address, **NAMES)
    assert str(address) in str(caught.value)


def test_nothing_is_sent_to_it_but_the_first_text(scripted, clients):
    server, heard = scripted(), []
    talk = Answering(server, tid(0), {'scram_first': hang_up})
    talk.heard = heard.append
    with pytest.raises(AuthError):
        clients(server.address, **NAMES)
    assert set(heard) == {'scram_first'}


@pytest.mark.parametrize(
    'answer, error, words',
    [
        (None, ClientStorageError, 'which is not an answer to it'),
        (b'bytes', ClientStorageError, 'which is not an answer to it'),
        ('x' * 2000, ClientStorageError, 'which is not an answer to it'),
        ('', ProtocolError, 'not a challenge'),
        ('r=,s=,i=1', ProtocolError, 'not a challenge'),
        ('r=short,s=AAAAAAAAAAAA,i=50000', ProtocolError, 'a nonce that is not accepted'),
    ],
)
def test_a_faulty_server_is_refused(scripted, clients, answer, error, words):
    with pytest.raises(error, match=words):
        clients(answering(scripted, scram_first=answer), **NAMES)


def challenging(verifier, confirmation=None):
    """Return the answers of a server that has this verifier, if any is true."""
    exchanges = {}

    def first(client, request):
        exchange = exchanges[client] = ServerExchange(request.args[0], 's' * 24, None)
        client.send(request.reply(exchange.challenge(verifier)))

    def final(client, request):
        answer = exchanges[client].confirm(request.args[0])[1]
        client.send(request.reply(answer if confirmation is None else confirmation))

    return {'scram_first': first, 'scram_final': final}


GOOD = scram.verifier(SECRET, Challenge(b'salt of the sea.', scram.LEAST_ITERATIONS))


@pytest.mark.parametrize('iterations', [1, 2**31])
def test_a_server_that_demands_too_much_or_too_little_is_refused_before_any_work(
    scripted, clients, monkeypatch, iterations
):
    monkeypatch.setattr(scram, 'salted', None)
    answers = challenging(GOOD._replace(iterations=iterations))
    with pytest.raises(AuthError, match=f'asks for {iterations} iterations'):
        clients(answering(scripted, **answers), **NAMES)


@pytest.mark.parametrize(
    'verifier, confirmation, words',
    [
        (GOOD, None, None),
        (GOOD._replace(server_key=bytes(32)), None, 'without a proof'),
        (GOOD, 'v=' + 'A' * 43 + '=', 'without a proof'),
        (GOOD, 'v=AAAA', 'without a proof'),
        (GOOD, '', 'not a proof'),
        (GOOD, 'e=unknown-user', 'not a proof'),
        (GOOD, 5, 'not an answer'),
    ],
)
def test_a_server_has_to_prove_that_it_knows_the_password(
    scripted, clients, verifier, confirmation, words
):
    server, heard = scripted(), []
    talk = Answering(server, tid(0), challenging(verifier, confirmation))
    talk.heard = heard.append
    if words is None:
        clients(server.address, **NAMES)
        assert heard[:3] == ['scram_first', 'scram_final', 'register']
    else:
        with pytest.raises((AuthError, ProtocolError), match=words):
            clients(server.address, **NAMES)
        assert 'register' not in heard


def test_a_server_that_is_silent_does_not_hold_a_client(scripted, monkeypatch):
    monkeypatch.setattr('ZEO.link.credentials._PATIENCE', 0.2)
    address = answering(scripted, scram_first=lambda client, request: None)
    with pytest.raises((AuthError, ClientDisconnected)):
        ClientStorage(address, wait_timeout=5, disconnect_poll=0.02, **NAMES)


# Attacks on the server.


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_the_steps_by_hand(serving, set_password, path, anyone, stranger, protocol):
    set_password('app')
    server = serving(MappingStorage(), password_file=path, access=anyone, msgpack=protocol == b'M5')
    client = stranger(server, protocol=protocol)
    exchange, challenge = client.begin()
    exchange.confirm(client.call('scram_final', exchange.final(scram.salted(SECRET, challenge))))
    assert client.call('register', '1', False) == bytes(8)


def test_a_replay_proves_nothing(stranger, at_once):
    client = stranger()
    exchange, challenge = client.begin()
    proof = exchange.final(scram.salted(SECRET, challenge))
    exchange.confirm(client.call('scram_final', proof))
    again = stranger()
    again.begin()
    assert again.call('scram_final', proof)[0] == 'ZEO.Exceptions.AuthError'
    again.ask(2, 'register', '1', False)
    assert again.ended() == []


def test_an_unknown_user_gets_the_same_answers(stranger, server, at_once):
    said = []
    for name in ('app', 'nobody'):
        client = stranger()
        exchange, challenge = client.begin(name)
        said.append(
            (
                len(challenge.salt),
                challenge.iterations,
                client.call('scram_final', exchange.final(bytes(32))),
            )
        )
        again, same = stranger().begin(name)
        assert same == challenge
    assert said[0] == said[1]


def test_even_a_proof_with_what_is_made_up_for_an_unknown_user_fails(stranger, server, at_once):
    secrets = server._service.passwords.secrets
    client = stranger()
    exchange, challenge = client.begin('nobody')
    hashed = bytes(32)
    made_up = secrets.of('nobody')[1]._replace(
        stored_key=scram._hash(scram._mac(hashed, b'Client Key'))
    )
    secrets._of_nobody = lambda name: made_up
    client = stranger()
    exchange, challenge = client.begin('nobody')
    assert client.call('scram_final', exchange.final(hashed))[0] == 'ZEO.Exceptions.AuthError'


def first_of(name='app', nonce='n' * 24):
    return scram.ClientExchange(name, nonce, None).first


BREACHES = {
    'register between the two steps': [
        ('scram_first', first_of()),
        ('register', '1', False),
    ],
    'the first step twice': [('scram_first', first_of()), ('scram_first', first_of())],
    'the second step first': [('scram_final', 'c=biws,r=x,p=AAAA')],
    'an empty nonce': [('scram_first', 'n,,n=app,r=')],
    'no text': [('scram_first', '')],
    'a name that no user can have': [('scram_first', 'n,,n=a:b,r=' + 'n' * 24)],
    'half a proof': [('scram_first', first_of()), ('scram_final', 'c=biws')],
    'the first step after register': [('register', '1', False), ('scram_first', first_of())],
    'the second step after register': [('register', '1', False), ('scram_final', '')],
    'get_info between the two steps': [('scram_first', first_of()), ('get_info',)],
}


@pytest.mark.parametrize('calls', BREACHES.values(), ids=list(BREACHES))
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_breach_of_the_order_ends_the_connection(
    serving, set_password, path, anyone, stranger, calls, protocol
):
    set_password('app')
    server = serving(MappingStorage(), password_file=path, access=anyone, msgpack=protocol == b'M5')
    *before, last = calls
    client, eager = (stranger(server, protocol=protocol) for _ in range(2))
    for call in before:
        client.call(*call)
    client.ask(1, *last)
    assert client.ended() == []
    eager.send(*(eager.encoded(1, *call) for call in calls))
    eager.ended()
    assert stranger(server, protocol=protocol).call('register', '1', False) == bytes(8)


def test_the_proof_counts_once(stranger, server):
    client = stranger()
    exchange, challenge = client.begin()
    proof = exchange.final(scram.salted(SECRET, challenge))
    exchange.confirm(client.call('scram_final', proof))
    client.ask(2, 'scram_final', proof)
    assert client.ended() == []


def test_after_a_failure_nothing_else_is_accepted(stranger, at_once):
    for name in ('register', 'scram_first', 'scram_final'):
        client = stranger()
        exchange, _ = client.begin()
        assert client.call('scram_final', exchange.final(bytes(32)))[0].endswith('AuthError')
        client.ask(2, name, *(('1', False) if name == 'register' else ('',)))
        assert client.ended() == []


def test_who_does_not_wait_for_the_answer_to_a_wrong_proof_is_not_registered(stranger):
    client = stranger()
    exchange, _ = client.begin()
    client.ask(2, 'scram_final', exchange.final(bytes(32)))
    client.ask(3, 'register', '1', False)
    assert client.ended() == []


@pytest.mark.parametrize(
    'args', [(), ('a', 'b'), (b'bytes',), (5,), (None,), ('x' * 1001,), (['x'],)]
)
@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('name', ['scram_first', 'scram_final'])
def test_wrong_arguments_are_answered(
    serving, set_password, path, anyone, stranger, name, args, protocol
):
    set_password('app')
    server = serving(MappingStorage(), password_file=path, access=anyone, msgpack=protocol == b'M5')
    client = stranger(server, protocol=protocol)
    assert client.call(name, *args)[0] == 'builtins.ValueError'


def test_one_way_steps_end_the_connection(stranger):
    client = stranger()
    client.ask(1, 'scram_first', first_of(), one_way=True)
    assert client.ended() == []


def test_a_truncated_exchange_ends_by_the_deadline(serving, set_password, path, stranger):
    set_password('app')
    clock, limits = Clock(), ZEO.StorageServer.Limits(handshake_time=10)
    server = serving(MappingStorage(), password_file=path, limits=limits, system=clock)
    client = stranger(server)
    client.begin()
    let_pass(clock, server, 11)
    assert client.ended() == []


def test_who_guesses_too_often_is_not_looked_at_for_a_while(
    stranger, at_once, no_time_passes, monkeypatch
):
    for _ in range(attempts.BY_BOTH[0]):
        client = stranger()
        exchange, _ = client.begin()
        assert client.call('scram_final', exchange.final(bytes(32)))[0].endswith('AuthError')
    monkeypatch.setattr(ServerExchange, 'confirm', None)
    client = stranger()
    exchange, challenge = client.begin()
    name, args = client.call('scram_final', exchange.final(scram.salted(SECRET, challenge)))
    assert name == 'ZEO.Exceptions.ClientDisconnected' and 'too many wrong ones' in args[0]


def test_another_user_of_the_machine_who_guesses_keeps_no_one_out(
    stranger, at_once, no_time_passes, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(proofs, 'unix_peer', lambda stream: UnixPeer(os.getuid() + 1, ()))
        for _ in range(attempts.BY_BOTH[0] + 1):
            client = stranger()
            exchange, _ = client.begin()
            name, _ = client.call('scram_final', exchange.final(bytes(32)))
    assert name == 'ZEO.Exceptions.ClientDisconnected'
    client = stranger()
    exchange, challenge = client.begin()
    exchange.confirm(client.call('scram_final', exchange.final(scram.salted(SECRET, challenge))))


def test_a_client_tries_again_until_it_is_looked_at(server, clients, at_once):
    guesses = server._service.passwords.attempts
    now = [1000.0]
    guesses._now = lambda: now[0]
    for _ in range(attempts.BY_BOTH[0]):
        guesses.failed(f'a Unix socket, user {os.getuid()}', 'app')
    real, waits = guesses.wait, []

    def wait(source, user):
        waits.append(real(source, user))
        now[0] += 2.0
        return waits[-1]

    guesses.wait = wait
    clients(server.addr, **NAMES).ping()
    assert waits[0] > 0 and waits[-1] == 0


def test_a_failure_is_answered_late_without_holding_the_loop(stranger, server, monkeypatch):
    """The other client is answered while this one waits."""
    monkeypatch.setattr(attempts, 'FIRST_DELAY', 2.0)
    client, other = stranger(), stranger()
    exchange, _ = client.begin()
    client.ask(2, 'scram_final', exchange.final(bytes(32)))
    assert other.call('register', '1', False) == bytes(8)
    client.stream.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.frame()
    client.stream.settimeout(20)
    assert client.next()[3][0] == 'ZEO.Exceptions.AuthError'


def test_the_server_never_computes_the_costly_hash(stranger, server, monkeypatch):
    client = stranger()
    exchange, challenge = client.begin()
    hashed = scram.salted(SECRET, challenge)
    monkeypatch.setattr(scram.hashlib, 'pbkdf2_hmac', None)
    exchange.confirm(client.call('scram_final', exchange.final(hashed)))
