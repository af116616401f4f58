"""The server behind a server hangs: who does not need it is served all the time, whatever others
ask for.
"""

import os
import signal
import threading

import pytest
from ZODB.utils import maxtid, p64, z64

from support.commands import ServerCommand
from support.scripted import RawClient, oid
from support.sides import OURS
from ZEO.ClientStorage import ClientStorage
from ZEO.StorageServer import StorageServer
from ZEO.wire.calls import OF_CLIENT

pytestmark = pytest.mark.smoke

#: A number for each transaction.
TXN = 7


class Chain:
    """Two servers in a row, the first a process that can be stopped."""

    def __init__(self, directory):
        self.directory = directory
        self.first = ServerCommand(
            OURS,
            directory / 'first',
            storage=(
                f'<filestorage 1>\n path {directory}/data.fs\n blob-dir {directory}/blobs\n'
                '</filestorage>'
            ),
        ).start()
        upstream = ClientStorage(
            self.first.address, wait_timeout=20, blob_dir=str(directory / 'cached-blobs')
        )
        self.second = StorageServer(
            f'{self.first.address}2',
            {'1': upstream},
            invalidation_age=3600,
            invalidation_queue_size=1,
            transaction_timeout=None,
        )
        self.thread = threading.Thread(target=self.second.serve_forever, daemon=True)
        self.thread.start()
        self.clients = []

    def client(self):
        self.clients.append(RawClient(self.second.addr))
        return self.clients[-1]

    def signal(self, number):
        os.kill(self.first._process.pid, number)

    def stop(self):
        self.signal(signal.SIGSTOP)

    def go_on(self):
        self.signal(signal.SIGCONT)

    def close(self):
        self.go_on()
        for client in self.clients:
            client.close()
        self.second.close()
        self.first.close()


@pytest.fixture(scope='module')
def chain(tmp_path_factory):
    chain = Chain(tmp_path_factory.mktemp('chain'))
    client = chain.client()
    chain.tids = [client.commit(number, (oid(number), z64, b'data')) for number in (1, 2, 3)]
    client.tell('tpc_begin', 4, b'', b'', {}, None, ' ')
    client.tell('storeBlobStart')
    client.tell('storeBlobChunk', b'blob')
    client.tell('storeBlobEnd', oid(4), z64, b'blob record', 4)
    client.call('vote', 4)
    chain.blob = client.call('tpc_finish', 4)
    yield chain
    chain.close()


@pytest.fixture
def bystander(chain):
    """A client that wants nothing of the first server; that goes on after the test."""
    yield chain.client()
    chain.go_on()


def iterating(chain, client):
    return client.call('iterator_start', None, None)


def following(chain, client):
    client.call('follow', 'a follower')


def at_first(chain, client):
    number = iterating(chain, client)
    return number, client.call('iterator_next', number)[0]


def over_records(chain, client):
    return client.call('iterator_record_start', *at_first(chain, client))


def begun(chain, client):
    client.begin(TXN, (p64(1000 + len(chain.clients)), z64, b'new'))


def uploading(chain, client):
    begun(chain, client)
    client.tell('storeBlobStart')


def voted(chain, client):
    begun(chain, client)
    client.call('vote', TXN)


def nowhere_else(chain, client):
    """The second server has kept the blob that it has passed on."""
    for path in chain.directory.glob('cached-blobs/**/*.blob'):
        path.unlink()


#: What each call is made with, and what is done before the first server hangs, whose result
#: `before` is.
CALLS = {
    'get_info': (),
    'server_status': (),
    'ping': (),
    'lastTransaction': (),
    'set_client_label': ('label',),
    'getInvalidations': lambda chain, before: (chain.tids[0],),
    'loadBefore': lambda chain, before: (oid(2), chain.tids[1]),
    'load_many': lambda chain, before: ([oid(1), oid(3)], chain.tids[1]),
    'loadSerial': lambda chain, before: (oid(2), chain.tids[1]),
    'getTid': (oid(1),),
    'history': (oid(1), 1),
    'undoLog': (0, 5),
    'undoInfo': (0, 5),
    'record_iternext': (None,),
    'iterator_start': (None, None),
    'iterator_next': (iterating, lambda chain, before: (before,)),
    'iterator_batch': (iterating, lambda chain, before: (before,)),
    'iterator_record_start': (at_first, lambda chain, before: before),
    'iterator_record_next': (over_records, lambda chain, before: (before,)),
    'used_ahead': ([oid(1)],),
    'iterator_gc': (iterating, lambda chain, before: ([before],)),
    'sendBlob': (nowhere_else, lambda chain, before: (oid(4), chain.blob)),
    'follow': ('a follower',),
    'replicated': (following, lambda chain, before: (chain.tids[-1],)),
    'promote': (),
    'kick': ('a client',),
    'pack': (1.0, True),
    'new_oids': (100,),
    'vote': (begun, lambda chain, before: (TXN,)),
    'tpc_finish': (voted, lambda chain, before: (TXN,)),
    'tpc_abort': (voted, lambda chain, before: (TXN,)),
    'commit_after': (begun, lambda chain, before: (TXN, None)),
    'tpc_begin': (TXN, b'', b'', {}, None, ' '),
    'storea': (begun, lambda chain, before: (oid(50), z64, b'data', TXN)),
    'restorea': (begun, lambda chain, before: (oid(50), z64, b'data', None, TXN)),
    'checkCurrentSerialInTransaction': (begun, lambda chain, before: (oid(1), chain.tids[0], TXN)),
    'deleteObject': (begun, lambda chain, before: (oid(1), chain.tids[0], TXN)),
    'undoa': (begun, lambda chain, before: (b'AAAAAAAAAAA=', TXN)),
    'storeBlobStart': (begun, lambda chain, before: ()),
    'storeBlobChunk': (uploading, lambda chain, before: (b'chunk',)),
    'storeBlobEnd': (uploading, lambda chain, before: (oid(60), z64, b'data', TXN)),
    'restoreBlobEnd': (uploading, lambda chain, before: (oid(60), z64, b'data', None, TXN)),
    'storeBlobShared': (begun, lambda chain, before: (oid(60), z64, b'data', 'name', TXN)),
    'restoreBlobShared': (begun, lambda chain, before: (oid(60), z64, b'data', None, 'name', TXN)),
    'register': ('1', False),
    'scram_first': ('n,,n=ada,r=0123456789abcdef0123',),
    'scram_final': ('c=biws,r=0123456789abcdef0123,p=AAAA',),
}

#: Calls that a client makes before all others; later, one of them breaks the protocol.
ONLY_FIRST = ('register', 'scram_first', 'scram_final')


def asked(chain, client, name):
    """Make a call of this name when the first server hangs; returns its number."""
    entry = CALLS[name]
    before, args = (
        entry
        if isinstance(entry, tuple) and len(entry) == 2 and callable(entry[0])
        else (None, entry)
    )
    before = before(chain, client) if before else None
    client.call('get_info')  # all of that has arrived
    chain.stop()
    args = args(chain, before) if callable(args) else args
    if OF_CLIENT[name].answered:
        return client.ask(name, *args)
    client.tell(name, *args)
    return None


@pytest.mark.parametrize('name', OF_CLIENT)
def test_a_call_that_waits_for_the_other_server_keeps_nobody_else_waiting(chain, bystander, name):
    """While it hangs the bystander is answered; when it goes on, so is the caller."""
    client = chain.client()
    number = asked(chain, client, name)
    for _ in range(2):
        bystander.call('ping')
        assert bystander.call('get_info')['name']
    chain.go_on()
    if name == 'promote':
        with pytest.raises(LookupError, match='is not a replica'):
            client.answer(number)
    elif number is not None and name not in ONLY_FIRST:
        client.answer(number)
    client.close()


def test_a_client_that_goes_away_in_the_middle_keeps_nobody_waiting(chain, bystander):
    """With a transaction that was voted, an iterator and a load under way."""
    client = chain.client()
    iterating(chain, client)
    voted(chain, client)
    chain.stop()
    client.ask('loadBefore', oid(1), chain.tids[1])
    before = len(chain.second.hosted['1'].peers)
    client.close()
    while len(chain.second.hosted['1'].peers) == before:
        pass
    bystander.call('ping')
    chain.go_on()
    bystander.commit(1, (p64(5000), z64, b'the lock is free'))


def test_a_transaction_that_times_out_keeps_nobody_waiting(tmp_path):
    chain = Chain(tmp_path)
    try:
        chain.second.hosted['1'].transaction_timeout = 0.2
        late, other = chain.client(), chain.client()
        voted(chain, late)
        chain.stop()
        while not chain.second.hosted['1'].stats.aborts:
            other.call('ping')
        chain.second.hosted['1'].transaction_timeout = None  # the other one has all time
        chain.go_on()
        other.commit(1, (p64(5000), z64, b'the lock is free'))
        with pytest.raises(LookupError, match='transaction-timeout'):
            late.call('tpc_finish', TXN)
    finally:
        chain.close()


def test_a_stranger_is_told_while_the_other_server_hangs(chain, bystander):
    """A new client registers, too."""
    chain.stop()
    client = chain.client()
    assert client.last == client.call('lastTransaction') == bystander.call('lastTransaction')
    chain.go_on()
    assert client.call('loadBefore', oid(1), maxtid)[0] == b'data'
