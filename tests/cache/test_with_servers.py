"""A persistent cache between a client and a real server: starting without one, cache checks, full
disks, damaged files.
"""

import random
import resource

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.utils import maxtid

from support.children import RemoteError
from support.counters import Counter
from support.inside import cache_of
from ZEO.Exceptions import ClientDisconnected, ClientStorageError
from ZEO.interfaces import StaleCache

#: Options of a client whose server is away: as long as anybody may wait for it.
ALONE = {'wait': False, 'wait_timeout': 0.3}


def change(client, **values):
    """Set values of counters in the root, each in a transaction of its own."""
    database = ZODB.DB(client)
    for name, value in values.items():
        with database.transaction() as connection:
            connection.root().setdefault(name, Counter()).value = value


def oid_of(client, name):
    """Return the oid of what the root has under a name."""
    with ZODB.DB(client).transaction() as connection:
        return connection.root()[name]._p_oid


def wrong_records(cache, judge):
    """Return what a cache holds and the server has not.

    :param judge: a client without a cache.
    """
    return [
        entry
        for entry in list(cache.contents())
        if cache.loadBefore(entry[0], entry[2] or maxtid)
        not in (None, judge.loadBefore(entry[0], entry[2] or maxtid))
    ]


def disconnected(process, command, **arguments):
    """Make sure that a command fails for want of a server."""
    with pytest.raises(RemoteError) as caught:
        process.call(command, **arguments)
    assert caught.value.is_a('ClientDisconnected')


# Starting without a server.


@pytest.mark.parametrize('ended', ['closed', 'killed'])
def test_an_application_starts_from_its_cache_and_goes_on_when_the_server_comes(
    serve, processes, clients, var, ended
):
    """It reads what was cached, does not write, and then sees what others did meanwhile."""
    address = serve()
    change(clients(address), x=1, y=1, unread=1)
    before, app = processes(), processes()
    before.call('open', address=address, client='app', var=var)
    assert [before.call('counted', key=key) for key in 'xy'] == [1, 1]
    if ended == 'closed':
        before.call('close')
    before.kill()
    serve.stop()
    app.call('open', address=address, client='app', var=var, disconnect_poll=0.02, **ALONE)
    assert [app.call('counted', key=key) for key in 'xy'] == [1, 1]
    disconnected(app, 'counted', key='unread')
    disconnected(app, 'set', z=1)
    assert app.call('get', key='z') is None
    assert [app.call('counted', key=key) for key in 'xy'] == [1, 1]
    serve(address=address)
    other = clients(address)
    change(other, x=2)
    app.call('await_connected')
    app.call('await_synced')
    assert [app.call('counted', key=key) for key in ('x', 'y', 'unread')] == [2, 1, 1]
    app.call('set', z=2)
    with ZODB.DB(other).transaction() as connection:
        assert connection.root()['z'] == 2


# The cache check.


class App:
    """An application with a persistent cache that has loaded two objects, its wire to the server,
    and another client.
    """

    def __init__(self, address, wire, clients, reach, var, **options):
        self.other = clients(address, cache_size=0)
        with ZODB.DB(self.other).transaction() as connection:
            for name in 'xy':
                connection.root()[name] = PersistentMapping(value=0)
        self._wire, self._reach = wire(address), reach
        self.client = clients(self._wire.address, client='app', var=var, **options)
        self.connection = ZODB.DB(self.client).open(
            transaction_manager=transaction.TransactionManager()
        )
        self.x, self.y = (self.connection.root()[name] for name in 'xy')
        assert self.seen() == [0, 0]

    def seen(self):
        """Return the values in the connection's snapshot."""
        return [self.x['value'], self.y['value']]

    def held(self):
        """Return what is in the client cache."""
        return set(cache_of(self.client).contents())

    def outage(self, *values):
        """Lose the server while another client sets x; return when it is there again."""
        self._wire.cut()
        for value in values:
            with ZODB.DB(self.other).transaction() as connection:
                connection.root()['x']['value'] = value
        self._wire.mend()
        self._reach(self.client)
        assert (
            self.client.lastTransaction()
            == cache_of(self.client).getLastTid()
            == self.other.lastTransaction()
        )

    def fresh(self):
        """Return which objects still have their state at the next transaction."""
        self.connection.sync()
        return [name for name in 'xy' if getattr(self, name)._p_changed is not None]


@pytest.fixture
def app(serve, wire, clients, reach, var):
    """A function that makes an application; its server remembers two transactions."""
    return lambda **options: App(
        serve(invalidation_queue_size=2), wire, clients, reach, var, **options
    )


@pytest.fixture
def dropped(monkeypatch):
    """The storages whose cache was dropped, as subscribers of events are told."""
    events = []
    # which is zope.event's, where that is installed
    monkeypatch.setattr('ZODB.event.notify', events.append)
    return lambda: [event.storage for event in events if isinstance(event, StaleCache)]


def test_nothing_is_touched_when_nothing_has_changed(app, dropped):
    """The server's last transaction is the cache's."""
    app = app()
    held = app.held()
    assert held
    app.outage()
    assert app.held() == held
    assert app.fresh() == ['x', 'y']
    assert dropped() == []


def test_exactly_what_has_changed_is_invalidated(app, dropped):
    """In the client cache at once, in the object cache at the next transaction."""
    app = app()
    held = app.held()
    app.outage(1)
    assert app.held() == {entry for entry in held if entry[0] != app.x._p_oid} != held
    assert app.seen() == [0, 0]
    assert app.fresh() == ['y']
    assert app.seen() == [1, 0]
    assert dropped() == []


def test_all_is_dropped_when_it_is_not_known_what_has_changed(app, dropped):
    """The client cache, and with it the object caches; who wants to know is told."""
    app = app()
    app.outage(1, 2, 3)
    assert app.held() == set()
    assert dropped() == [app.client]
    assert app.fresh() == []
    assert app.seen() == [3, 0]


def test_objects_that_the_cache_file_has_dropped_are_invalidated(app):
    """The object cache keeps what has left the file long ago."""
    app = app(cache_size=20_000)
    change(app.other, **{f'large {number}': 'x' * 3000 for number in range(20)})
    app.client.ping()  # behind the invalidations
    with app.connection.db().transaction() as connection:
        assert all(connection.root()[f'large {number}'].value for number in range(20))
    assert app.x._p_oid not in {oid for oid, _, _ in app.held()}
    app.outage(1)
    assert app.fresh() == ['y']
    assert app.seen() == [1, 0]


@pytest.mark.parametrize(
    'changes', [1, 3], ids=['told what changed', 'told that anything may have changed']
)
def test_what_the_cache_check_has_found_survives_a_kill(serve, processes, clients, var, changes):
    """It is in the file: killed right after the check, and started again without a server, nothing
    is stale.
    """
    address = serve(invalidation_queue_size=2)
    other = clients(address)
    change(other, x=0, y=0)
    x, y = oid_of(other, 'x'), oid_of(other, 'y')
    warm, checking, alone = processes(), processes(), processes()
    warm.call('open', address=address, client='app', var=var, database=False)
    old = [warm.call('call', method='load', args=[oid]) for oid in (x, y)]
    warm.kill()
    for value in range(changes):
        change(other, x=value + 1)
    checking.call('open', address=address, client='app', var=var, database=False)
    checking.kill()
    serve.stop()
    alone.call('open', address=address, client='app', var=var, database=False, **ALONE)
    disconnected(alone, 'call', method='load', args=[x])
    if changes == 1:
        assert alone.call('call', method='load', args=[y]) == old[1]
    else:
        disconnected(alone, 'call', method='load', args=[y])
    assert alone.call('call', method='lastTransaction') == other.lastTransaction()


@pytest.mark.parametrize('ended', ['closed', 'killed'])
def test_a_pack_leaves_what_is_current(serve, processes, clients, var, ended):
    """Old revisions leave the file, as the storage may not have them any more; the rest serves on,
    without a server as well.
    """
    address = serve()
    other = clients(address, cache_size=0)
    change(other, x=0, y=0)
    x = oid_of(other, 'x')
    app, alone = processes(), processes()
    app.call('open', address=address, client='app', var=var)
    app.call('count', key='x', steps=1)
    app.call('commit')
    old = app.call(
        'call', method='loadBefore', args=[x, app.call('call', method='load', args=[x, ''])[1]]
    )
    assert old is not None
    app.call('counted', key='y')
    app.call('pack')
    if ended == 'closed':
        app.call('close')
    app.kill()
    serve.stop()
    alone.call('open', address=address, client='app', var=var, **ALONE)
    assert [alone.call('counted', key=key) for key in 'xy'] == [1, 0]
    disconnected(alone, 'call', method='loadBefore', args=[x, old[2]])


# Full disks.


@pytest.mark.skipif(
    not hasattr(resource, 'prlimit'), reason='only Linux changes the limits of another process'
)
@pytest.mark.parametrize('full', ['before it opens', 'while it stores', 'while it invalidates'])
def test_an_application_goes_on_when_the_disk_of_its_cache_is_full(
    serve, wire, processes, clients, var, full
):
    """One warning, no failure, nothing stale; neither now nor when the cache is opened again."""
    address = serve()
    app, other, proxy = processes(), clients(address, cache_size=0), wire(address)
    if full == 'before it opens':
        _fill_disk(app, 10_000)
    app.call('open', address=proxy.address, client='app', var=var, cache_size=400_000)
    if full == 'while it stores':
        _fill_disk(app, 30_000)
    for number in range(30):
        app.call('set', **{f'k{number % 3}': f'{number}' * 3000})
    if full == 'while it invalidates':
        _fill_disk(app, 30_000)
    app.call('set', k0='mine')
    with ZODB.DB(other).transaction() as connection:
        connection.root()['k1'] = 'changed'
    app.call('await_value', key='k1', value='changed')
    assert [app.call('get', key=key) for key in ('k0', 'k1')] == ['mine', 'changed']
    assert app.errors.seen.count('cannot be written') == 1, app.errors.seen
    app.kill()
    proxy.cut()
    again = clients(proxy.address, client='app', var=var, cache_size=400_000, wait=False)
    assert wrong_records(cache_of(again), other) == []
    change(other, z=1)
    proxy.mend()
    again.ping()
    assert wrong_records(cache_of(again), other) == []


def _fill_disk(process, length):
    """From now on no file of a process may grow beyond a length, nor be written there."""
    limit = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (length, limit[1]))


# Files of others, and damaged ones.


@pytest.mark.parametrize('up', [True, False], ids=['with a server', 'without'])
def test_two_processes_can_not_have_one_client_name(serve, processes, clients, var, up):
    """The second is told which file is meant and what to do, and never waits for a server; after
    the first it may go on.
    """
    address = serve()
    first = processes()
    first.call('open', address=address, client='app', var=var)
    if not up:
        serve.stop()
    for wait in (True, False):
        with pytest.raises(
            ClientStorageError, match=r'app-1\.zec is in use .* client name'
        ) as caught:
            clients(address, client='app', var=var, wait=wait, wait_timeout=10_000)
        assert not isinstance(caught.value, ClientDisconnected)
    first.kill()
    assert len(clients(address, client='app', var=var, wait=up)._cache)


def test_another_database_under_the_same_client_name_starts_empty(serve, clients, var):
    """Both have objects of the same oids; going back, the first one's are gone as well, or
    right.
    """
    addresses = [serve(name) for name in ('one', 'two')]
    judges = [clients(address, cache_size=0) for address in addresses]
    for number, judge in enumerate(judges):
        change(judge, x=number)
    for number in (0, 1, 0):
        client = clients(addresses[number], client='app', var=var)
        assert wrong_records(cache_of(client), judges[number]) == []
        assert len(cache_of(client)) == 0
        with ZODB.DB(client).transaction() as connection:
            assert connection.root()['x'].value == number
        assert len(cache_of(client))
        client.close()


@pytest.mark.parametrize(
    'damage',
    [
        lambda data, chooser: b'',
        lambda data, chooser: data[: len(data) // 2],
        lambda data, chooser: data[:4100],
        lambda data, chooser: data + data,
        lambda data, chooser: data[len(data) // 3 :],
        lambda data, chooser: chooser.randbytes(len(data)),
        lambda data, chooser: bytes(4096) + data[4096:],
        lambda data, chooser: data[:4096] + data[8192:] + bytes(4096),
        lambda data, chooser: b'not a cache\n',
        *[
            lambda data, chooser, count=count: _flipped(data, chooser, count)
            for count in (1, 3, 10, 100, 1000)
        ],
    ],
    ids=[
        'empty',
        'half',
        'nearly all missing',
        'twice',
        'without its start',
        'noise',
        'zeroed start',
        'shifted',
        'text',
        *(f'{count} flipped bits' for count in (1, 3, 10, 100, 1000)),
    ],
)
@pytest.mark.parametrize('closed', [True, False], ids=['closed', 'killed'])
def test_a_damaged_file_answers_nothing_wrong(damaged, damage, closed):
    """Not before there is a server, and not afterwards."""
    damaged(damage, closed)


@pytest.fixture
def damaged(serve, wire, clients, var):
    """A function that makes a warm cache file, damages it, and compares it with the server."""

    def check(damage, closed):
        address = serve()
        judge, proxy, chooser = clients(address, cache_size=0), wire(address), random.Random(4)
        change(judge, **{f'k{number}': 'x' * 50 * number for number in range(60)})
        client = clients(proxy.address, client='app', var=var, cache_size=100_000)
        with ZODB.DB(client).transaction() as connection:
            assert all(
                len(connection.root()[f'k{number}'].value) == 50 * number for number in range(60)
            )
        change(client, k4='y')
        left = _read(cache_of(client).path)
        client.close()
        data = _read(cache_of(client).path) if closed else left
        with open(cache_of(client).path, 'wb') as file:
            file.write(damage(data, chooser))
        proxy.cut()
        again = clients(proxy.address, client='app', var=var, cache_size=100_000, wait=False)
        assert wrong_records(cache_of(again), judge) == []
        proxy.mend()
        with ZODB.DB(again).transaction() as connection:
            root = connection.root()
            assert [len(root[f'k{number}'].value) for number in (3, 4, 5)] == [150, 1, 250]
        assert wrong_records(cache_of(again), judge) == []

    return check


def _read(path):
    with open(path, 'rb') as file:
        return file.read()


def _flipped(data, chooser, count):
    changed = bytearray(data)
    for _ in range(count):
        changed[chooser.randrange(len(changed))] ^= 1 << chooser.randrange(8)
    return bytes(changed)
