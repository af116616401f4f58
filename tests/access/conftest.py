"""A file of passwords, a server that has it, and clients of which each step is a test's own."""

import socket
from contextlib import closing

import pytest
from ZODB.MappingStorage import MappingStorage

from support.scripted import Conversation, framed, message, packed
from ZEO.serving.access import secrets_file
from ZEO.serving.access.access import Access
from ZEO.serving.access.secrets import set_secret
from ZEO.wire import scram
from ZEO.wire.scram import ClientExchange

#: The password of the user app.
SECRET = 'correct horse battery'
NONCE = 'n' * 24
ANYONE = Access.of(['anyone admin'])


@pytest.fixture(autouse=True)
def little_work(monkeypatch):
    monkeypatch.setattr('ZEO.serving.access.secrets.ITERATIONS', scram.LEAST_ITERATIONS)


@pytest.fixture
def path(tmp_path):
    """The path of the file."""
    return str(tmp_path / 'passwords')


@pytest.fixture
def set_password(path):
    """A function that does what zeo passwd does."""

    def change(name, secret=SECRET):
        with secrets_file.change(path, may_create=True) as kept:
            if secret is None:
                del kept.verifiers[name]
            else:
                set_secret(kept, name, secret)

    return change


@pytest.fixture
def anyone():
    """The access that lets everyone in."""
    return ANYONE


@pytest.fixture
def server(serving, set_password, path):
    """A server with the user app, which lets others in, too."""
    set_password('app')
    return serving(MappingStorage(), password_file=path, access=ANYONE)


@pytest.fixture
def user_of(server):
    """A function that returns whom the server takes its clients for."""
    return lambda: sorted(
        (peer.identity.user for peer in server._peers if peer.is_registered), key=str
    )


class Stranger(Conversation):
    """A client that has said hello and nothing else."""

    def __init__(self, server, protocol=b'Z5'):
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(server.addr)
        super().__init__(stream)
        assert self.frame() == protocol
        self.send(framed(protocol))
        self._protocol = protocol

    def encoded(self, number, name, *args, one_way=False):
        """Return the message of a call."""
        encode = message if self._protocol == b'Z5' else packed
        return encode(number, one_way, name, args)

    def ask(self, number, name, *args, one_way=False):
        """Call, and do not wait."""
        self.send(self.encoded(number, name, *args, one_way=one_way))

    def next(self):
        if self._protocol == b'Z5':
            return super().next()
        import msgpack

        return tuple(msgpack.unpackb(self.frame(), use_list=False))

    def call(self, name, *args):
        """Call; return the result, or the class and the arguments of a fault."""
        self.ask(1, name, *args)
        _, flags, _, result = self.next()
        return result

    def begin(self, name='app', nonce=NONCE, binding=None):
        """Make the first step; return the exchange and what to hash with."""
        exchange = ClientExchange(name, nonce, binding)
        return exchange, exchange.challenge(self.call('scram_first', exchange.first))


@pytest.fixture
def stranger(server):
    """A function that connects one."""
    with closing(_Closing()) as all_of_them:

        def connect(to=server, **options):
            all_of_them.append(Stranger(to, **options))
            return all_of_them[-1]

        yield connect


class _Closing(list):
    def close(self):
        for one in self:
            one.close()
