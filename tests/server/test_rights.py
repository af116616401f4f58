"""What rules allow: which storages a client may see, write to and pack, and what it is answered."""

import json
import logging
import os
import socket
import threading
import time

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ReadOnlyError

import ZEO
from support.processes import wait_until
from support.scripted import GREETING, Conversation, framed, message, tid
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import (
    AuthError,
    ClientDisconnected,
    ClientStorageError,
    ConfigurationError,
)
from ZEO.StorageServer import Access, StorageServer
from ZEO.wire.calls import OF_CLIENT, Does

#: The user that runs the tests, as rules name it.
ME = f'unix-user {os.getuid()}'

#: A storage for each right, with the rules for it.
RULES = {
    'hidden': ['anyone nothing'],
    'readable': [f'{ME} read', f'{ME} admin'],
    'writable': [f'{ME} write'],
    'owned': [f'{ME} admin', 'anyone nothing'],
    'forgotten': [],
}


class Restricted:
    """A server of these storages, in a thread."""

    def __init__(self, path, rules, **options):
        self.storages = {name: MappingStorage(name) for name in RULES}
        access = None if rules is None else Access.of(rules)
        self.server = StorageServer(path, self.storages, access=access, **options)
        self.address = path
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()
        self._opened = []

    def open(self, name, **options):
        client = ClientStorage(self.address, name, **{'wait_timeout': 20, **options})
        self._opened.append(client)
        return client

    def raw(self):
        """Return a connection on which nothing was said yet but the greetings."""
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(self.address)
        conversation = Conversation(stream)
        self._opened.append(conversation)
        assert conversation.frame() == b'Z5'
        return conversation

    def registering(self, *args):
        """Return a connection and what it was answered to a registration with these arguments."""
        client = self.raw()
        client.send(GREETING, message(1, False, 'register', args))
        return client, client.next()

    def denied(self):
        """Return how often something was denied, by kind."""
        return self.server.hosted['owned'].status()['denied']

    def allow(self, rules):
        """Have other rules."""
        done = threading.Event()
        access = None if rules is None else Access.of(rules)

        def change():
            self.server.allow(access)
            done.set()

        self.server.post(change)
        assert done.wait(20)

    def close(self):
        for opened in self._opened:
            opened.close()
        self.server.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def serve(sockets):
    servers = []

    def start(rules=RULES, **options):
        servers.append(Restricted(sockets(), rules, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def served(serve):
    return serve()


def denial(answer):
    """Return the class and the text of an answer that is an error."""
    message_id, flags, _, (name, args) = answer
    assert (message_id, flags) == (1, 2)
    return name.rpartition('.')[2], args[0]


# Registering.


@pytest.mark.parametrize('read_only', [False, True])
@pytest.mark.parametrize('name', ['hidden', 'forgotten', 'nosuch', ''])
def test_what_a_client_may_not_see_is_as_if_it_were_not_there(served, name, read_only):
    """The answers differ by the name that was asked for alone."""
    answers = {
        asked: denial(served.registering(asked, read_only)[1]) for asked in ('another', name)
    }
    kind, text = answers[name]
    assert kind == 'AuthError'
    assert text.startswith(f'there is no storage {name!r} on this server that this client may use')
    assert f'Unix user {os.getuid()}' in text
    assert 'it may use owned, readable, writable: ' in text
    assert not [other for other in ('hidden', 'forgotten') if other != name and other in text]
    assert answers['another'] == (kind, text.replace(repr(name), repr('another')))
    assert served.denied() == {'storage': 2}


@pytest.mark.parametrize(
    'name', [None, 7, b'owned', ['owned'], ('owned',), 'owned\0', 'OWNED', 'own\ned']
)
def test_odd_names_are_those_of_no_storage(served, name):
    assert denial(served.registering(name, True)[1])[0] == 'AuthError'


def test_a_reader_may_not_register_for_writing(served):
    client, answer = served.registering('readable', False)
    kind, text = denial(answer)
    assert (kind, text) == (
        'ReadOnlyError',
        f"this client may only read the storage 'readable' as Unix user {os.getuid()}: open it "
        'with read_only=True',
    )
    assert served.denied() == {'write': 1}
    client.send(message(2, False, 'register', ('readable', True)))  # as a fallback does
    assert client.next()[:2] == (2, 0)


@pytest.mark.parametrize('name', ['hidden', 'readable', 'nosuch'])
def test_a_client_that_was_denied_may_not_call_anything(served, name):
    client, _ = served.registering(name, False)
    client.send(message(2, False, 'lastTransaction', ()))
    assert client.ended() == []


@pytest.mark.parametrize('first', [['owned', False], ['hidden', True]])
def test_a_client_registers_once(served, first):
    client, answer = served.registering(*first)
    client.send(message(2, False, 'register', ('owned', False)))
    if first[0] == 'hidden':  # it may ask again, for what it may use
        assert client.next()[:2] == (2, 0)
        client.send(message(3, False, 'register', ('readable', True)))
    assert client.ended() == []


def test_a_client_that_guesses_names_is_let_go(served, caplog):
    client, _ = served.registering('guess', True)
    for number in range(2, 6):
        client.send(message(number, False, 'register', (f'guess{number}', True)))
        assert client.next()[:2] == (number, 2)
    client.send(message(6, False, 'register', ('owned', True)), message(7, False, 'ping', ()))
    assert [client.next()[:2], client.next()[:2]] == [(6, 0), (7, 0)]
    client, _ = served.registering('guess', True)
    # in one go: it may be closed at any of them
    client.send(*(message(n, False, 'register', (f'guess{n}', True)) for n in range(2, 8)))
    assert set(client.ended()) <= {'.reply'}
    reason = 'client asks again and again for storages that it may not use'
    wait_until(lambda: reason in caplog.text, 5)


@pytest.mark.parametrize('name', ['lastTransaction', 'pack', 'server_status', 'sendBlob', 'vote'])
def test_nothing_can_be_called_before_register(served, name):
    client = served.raw()
    client.send(GREETING, message(1, False, name, ()))
    assert client.ended() == []


# Calls.


@pytest.mark.parametrize('method', OF_CLIENT.values(), ids=lambda method: method.name)
@pytest.mark.parametrize(
    ['name', 'read_only'],
    [('readable', True), ('writable', True), ('writable', False), ('owned', True)],
)
def test_every_call_needs_its_right(served, method, name, read_only):
    """Whatever a call is given, who has no right to it changes nothing."""
    client, answer = served.registering(name, read_only)
    assert answer[1] == 0
    client.send(message(2, not method.answered, method.name, ()))
    refused = method.does is Does.WRITES and read_only
    denied = method.does is Does.ADMINISTERS and name != 'owned'
    if not (refused or denied):
        return  # the call is looked at, as without rules
    if not method.answered:
        assert client.ended() == []
    else:
        message_id, flags, _, (kind, args) = client.next()
        assert (message_id, flags) == (2, 2)
        assert kind.endswith('AuthError' if denied else 'ReadOnlyError')
        assert args[0].startswith(f'{method.name}')
    assert served.denied() == ({'call': 1} if denied else {})


def test_pack_needs_admin(served):
    client = served.open('writable')
    with pytest.raises(AuthError, match="pack of the storage 'writable' needs the right admin"):
        client.pack(0)
    with pytest.raises(AuthError, match='has the right write as Unix user'):
        client.pack(0)
    assert served.denied() == {'call': 2}
    assert client.new_oid()


def test_an_administrator_may_pack_through_a_client_that_only_reads(served):
    client = served.open('owned', read_only=True)
    client.pack(time.time(), wait=True)
    with pytest.raises(ReadOnlyError):
        client.new_oid()


def test_an_administrator_may_pack_a_storage_that_is_served_read_only(serve):
    served = serve(read_only=True)
    served.open('owned', read_only=True).pack(time.time(), wait=True)
    with pytest.raises(AuthError):
        served.open('writable', read_only=True).pack(time.time())
    with pytest.raises(ReadOnlyError, match='served read-only'):
        served.open('owned')


def test_without_rules_every_client_may_do_everything(serve):
    served = serve(None)
    served.open('hidden').pack(time.time(), wait=True)
    served.open('forgotten', read_only=True).pack(time.time(), wait=True)
    kind, text = denial(served.registering('nosuch', True)[1])
    assert kind == 'ValueError' and 'it serves forgotten, hidden, owned' in text
    assert served.denied() == {}


# What else shows names.


def test_a_probe_shows_what_the_asking_client_may_read(served):
    client = served.raw()
    client.send(framed(b'ruok'))
    assert set(json.loads(client.frame())) == {'readable', 'writable', 'owned'}


def test_a_probe_of_a_stranger_shows_nothing(serve):
    client = serve([]).raw()
    client.send(framed(b'ruok'))
    assert json.loads(client.frame()) == {}


def test_server_status_shows_the_clients_own_storage(served):
    served.open('owned')
    found = served.open('readable', read_only=True).server_status()
    assert len(found['clients']) == 1
    assert not any(other in str(found) for other in RULES if other != 'readable')


def test_an_administrator_sees_who_the_clients_are_and_others_do_not(served):
    served.open('owned', read_only=True)
    for name, shown in ('owned', f'Unix user {os.getuid()}'), ('writable', None):
        client = served.open(name)
        assert {one.get('who') for one in client.server_status()['clients']} == {shown}


# Servers of other kinds.


def test_a_server_behind_another_one_passes_its_denials_on(served, serving):
    """Its own clients may do what both servers allow."""
    upstream = served.open('writable')
    second = serving(upstream, access=Access.of([f'{ME} admin']))
    client = ClientStorage(second.addr, wait_timeout=20)
    assert client.new_oid()
    with pytest.raises(AuthError, match="pack of the storage 'writable' needs the right admin"):
        client.pack(time.time(), wait=True)
    served.allow({'writable': [f'{ME} admin']})
    client.pack(time.time(), wait=True)
    client.close()


def test_a_server_whose_upstream_denies_it_starts_with_one_line_or_not(served):
    with pytest.raises(ConfigurationError) as caught:
        ZEO.server(
            storage_conf=f'<clientstorage>\nserver {served.address}\nstorage hidden\n'
            '</clientstorage>'
        )
    assert "there is no storage 'hidden' on this server that this client may" in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize('threaded', [True, False])
def test_a_server_of_a_program_takes_rules(threaded, sockets):
    rules = {'1': [f'{ME} read'], '': ['anyone nothing']}
    address, stop = ZEO.server(port=sockets(), threaded=threaded, access=rules)
    try:
        with pytest.raises(ReadOnlyError):
            ClientStorage(address, wait_timeout=20)
        ClientStorage(address, read_only=True, wait_timeout=20).close()
    finally:
        stop()


@pytest.mark.parametrize(
    'zeo_conf', [None, {'read_only': True}, 'read-only on', '<zeo>\nread-only on\n</zeo>']
)
def test_rules_stand_beside_a_configuration(zeo_conf, sockets):
    address, stop = ZEO.server(port=sockets(), zeo_conf=zeo_conf, access=['anyone nothing'])
    try:
        with pytest.raises(AuthError):
            ClientStorage(address, read_only=True, wait_timeout=20)
    finally:
        stop()


@pytest.mark.parametrize(
    ['rules', 'said'],
    [
        (['anyone'], 'is not a rule'),
        (['anyone read\nrule anyone admin'], 'does not fit on one line'),
        ({'second': ['anyone read']}, "there is no storage 'second'"),
        ({'1>\n<x': ['anyone read']}, ''),
        ([], "'rule'"),
    ],
)
def test_wrong_rules_of_a_program_are_an_error(rules, said):
    with pytest.raises(ConfigurationError) as caught:
        ZEO.server(access=rules)
    assert said in str(caught.value)


# The client's side.


def test_a_denial_is_raised_at_once(served):
    began = time.monotonic()
    with pytest.raises(AuthError, match="there is no storage 'hidden' on this server that this"):
        served.open('hidden', wait_timeout=300)
    assert time.monotonic() - began < 100


def test_calls_raise_a_denial_where_the_constructor_does_not_wait(served):
    client = served.open('hidden', wait=False, wait_timeout=300)
    with pytest.raises(AuthError):
        client.lastTransaction()
        client.new_oid()


def test_of_several_servers_one_that_accepts_the_client_is_used(serve):
    """Wherever it is in the list."""
    servers = [serve(), serve({'hidden': [f'{ME} read']})]
    for addresses in servers, servers[::-1]:
        client = ClientStorage([one.address for one in addresses], 'hidden', read_only=True)
        assert client.is_connected()
        client.close()


def test_a_client_whose_server_is_down_waits_though_another_denies_it(serve, sockets):
    with pytest.raises((ClientDisconnected, ClientStorageError)) as caught:
        ClientStorage([serve().address, sockets()], 'hidden', wait_timeout=0.5)
    assert "there is no storage 'hidden'" in str(caught.value)


def test_a_reader_falls_back(served):
    client = served.open('readable', read_only_fallback=True)
    assert client.isReadOnly() and client.is_connected()
    with pytest.raises(ReadOnlyError):
        client.new_oid()


def test_a_reader_that_wants_to_write_is_told_at_once(served):
    with pytest.raises(ReadOnlyError, match="may only read the storage 'readable'"):
        served.open('readable', wait_timeout=300)


# Rules that change.


def test_a_client_that_loses_its_right_gets_the_denial_at_its_next_call(served):
    client = served.open('owned', wait_timeout=300)
    assert client.new_oid()
    served.allow({'owned': ['anyone nothing']})
    with pytest.raises(AuthError, match="there is no storage 'owned'"):
        while True:  # what it has in hand may serve the first ones
            try:
                client.new_oid()
                client.ping()
            except ClientDisconnected:  # the call that was under way
                pass
    with pytest.raises(AuthError):
        client.ping()
    served.allow(RULES)
    while True:
        try:
            client.ping()
            break
        except AuthError:  # until it has tried again
            client.new_addr(served.address)
    assert client.lastTransaction() == client.lastTransaction()


def test_a_client_whose_right_became_less_is_closed_and_others_are_not(served, caplog):
    caplog.set_level(logging.INFO)
    reader, _ = served.registering('readable', True)
    writer, _ = served.registering('writable', False)
    owner, _ = served.registering('owned', False)
    served.allow({'readable': [f'{ME} read'], 'writable': [f'{ME} read'], 'owned': [f'{ME} admin']})
    assert writer.ended() == []
    for client in reader, owner:
        client.send(message(2, False, 'ping', ()))
        assert client.next()[:2] == (2, 0)
    closed = [line for line in caplog.messages if 'right' in line and 'disconnected' in line]
    assert len(closed) == 1
    assert closed[0].endswith('closed by this server: its right is now read, and was write')


def test_a_transaction_of_a_client_that_loses_its_right_is_aborted(served):
    client, _ = served.registering('writable', False)
    client.send(
        message(0, True, 'tpc_begin', (1, b'', b'', {}, None, ' ')),
        message(0, True, 'storea', (tid(1), tid(0), b'data', 1)),
        message(3, False, 'vote', (1,)),
    )
    assert client.next()[:2] == (3, 0)
    served.allow({'writable': [f'{ME} read']})
    assert client.ended() == []
    assert served.server.hosted['writable'].lock.holder is None
    assert len(served.storages['writable']) == 0


def test_a_client_that_may_do_more_does_it_without_a_new_connection(served):
    client = served.open('writable')
    with pytest.raises(AuthError):
        client.pack(time.time())
    served.allow({'writable': [f'{ME} admin']})
    client.pack(time.time(), wait=True)


def test_rules_may_begin_while_clients_are_connected(serve):
    served = serve(None)
    hidden, _ = served.registering('hidden', True)
    owned, _ = served.registering('owned', False)
    served.allow(RULES)
    assert hidden.ended() == []
    owned.send(message(2, False, 'ping', ()))
    assert owned.next()[:2] == (2, 0)


# What operators see.


def test_a_denial_is_one_line_and_is_counted_past_a_few(served, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(20):
        served.registering('hidden\x1b[2J\nforged line', False)
    lines = [line for line in caplog.messages if 'denied' in line]
    assert 1 <= len(lines) <= 5
    assert all('\n' not in line and '\x1b' not in line for line in lines)
    assert f'as Unix user {os.getuid()}' in lines[0]
    assert served.denied() == {'storage': 20}


def test_the_line_about_a_client_says_its_right_and_why(served, caplog):
    caplog.set_level(logging.INFO)
    served.open('owned', client_label='app').ping()
    (line,) = [line for line in caplog.messages if 'connected to storage owned' in line]
    assert line.endswith(f'protocol Z5, with the right admin as Unix user {os.getuid()}')
