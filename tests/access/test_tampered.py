"""A man in the middle who changes, repeats, reorders or cuts bytes gets nowhere.

Over TLS every answer stays right. Without it, the bytes until a client is registered are looked at:
none of them lets a client in without its password, and no client takes a server without a proof.
"""

from __future__ import annotations

import random
import socket
import ssl

import pytest
import trustme
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSError
from ZODB.utils import p64

from support.proxy import Proxy
from ZEO.net.tls_errors import TlsError
from ZEO.serving.access.access import Access

NAMES = {'username': 'app', 'password': 'correct horse battery'}
KINDS = ('flip', 'drop', 'repeat', 'swap', 'cut', 'add')
OIDS = [p64(number) for number in range(1, 9)]
AUTHORITY = trustme.CA()

#: What a client may raise: never anything else.
ERRORS = (POSError, TlsError)


class Tampering(Proxy):
    """Does one thing to one place of the bytes that go one way, in the first connection."""

    def __init__(self, target):
        self.kind = None  # one of KINDS, once
        self.offset = 0
        self.to_server = True
        self.counts = {True: 0, False: 0}  # bytes that went to the server, and from it
        self._port = target[1]
        super().__init__(target)

    def arm(self, kind, to_server, offset):
        self.counts = {True: 0, False: 0}
        self.kind, self.to_server, self.offset = kind, to_server, offset

    def _relay(self, source, target):
        to_server = target.getpeername()[1] == self._port
        try:
            while data := source.recv(self.piece):
                before = self.counts[to_server]
                self.counts[to_server] += len(data)
                if self.kind and to_server == self.to_server and before + len(data) > self.offset:
                    kind, self.kind = self.kind, None
                    data = tampered(data, kind, max(0, self.offset - before))
                    target.sendall(data)
                    if kind == 'cut':
                        break
                else:
                    target.sendall(data)
        except OSError:
            pass
        for end in source, target:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def tampered(data, kind, place):
    """Return what goes on instead of some bytes."""
    before, rest = data[:place], data[place:]
    if kind == 'flip':
        return before + bytes([rest[0] ^ 1]) + rest[1:]
    if kind == 'drop':
        return before + rest[1:]
    if kind == 'repeat':
        return before + rest + rest
    if kind == 'swap':
        return before + rest[1:2] + rest[:1] + rest[2:]
    if kind == 'add':
        return before + b'\0' + rest
    return before


def stored():
    """Return a storage with known records."""
    storage, meta = MappingStorage(), TransactionMetaData()
    storage.tpc_begin(meta)
    for oid in OIDS:
        storage.store(oid, p64(0), record(oid), '', meta)
    storage.tpc_vote(meta)
    storage.tpc_finish(meta)
    return storage


def record(oid):
    return oid * 50


@pytest.fixture(params=['tls', 'plain'])
def site(request, serving, set_password, path):
    """A server that has a password file, and lets users alone in; the options of its clients, and
    the wire between.
    """
    set_password('app')
    options, own = dict(NAMES), None
    if request.param == 'tls':
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        AUTHORITY.issue_cert('127.0.0.1').configure_cert(own)
        options['ssl'] = ssl.create_default_context()
        AUTHORITY.configure_trust(options['ssl'])
    server = serving(
        stored(),
        ('127.0.0.1', 0),
        ssl=own,
        password_file=path,
        access=Access.of(['user app write']),
    )
    wire = Tampering(server.addr)
    yield wire, options, request.param
    wire.close()


def use(clients, wire, options):
    """Connect and load; return whether that worked.

    :raises AssertionError: for a wrong record.
    """
    try:
        client = clients(wire.address, wait_timeout=5, timeout=4, **options)
        for oid in OIDS:
            data, _ = client.load(oid)
            assert data == record(oid)
        client.close()
    except ERRORS:
        return False
    return True


def lengths(site, clients):
    """Return how many bytes are to be tampered with, each way."""
    wire, options, kind = site
    if kind == 'tls':
        assert use(clients, wire, options)
    else:  # what follows without TLS has no protection, and is not claimed to have any
        clients(wire.address, **options).close()
    return dict(wire.counts)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('count', [2, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_nothing_that_is_done_to_the_bytes_gives_a_wrong_answer(site, clients, seed, kind, count):
    chooser, counts = random.Random(f'{seed} {kind}'), lengths(site, clients)
    wire, options, _ = site
    worked = 0
    for _ in range(count):
        to_server = chooser.random() < 0.5
        wire.arm(kind, to_server, chooser.randrange(counts[to_server]))
        worked += use(clients, wire, options)
    wire.arm(None, True, 0)  # where fewer bytes went than before, the last place was not reached
    assert use(clients, wire, options)
    print(f'{kind}: {worked} of {count} worked')
