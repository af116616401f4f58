"""A storage whose changes come from its own threads, as a client of another server is: reads and
news of changes cross.
"""

import threading
import time
from contextlib import contextmanager

import pytest
import transaction
import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, z64

from support.inside import link_of, loop_of
from support.proxy import Proxy
from support.scripted import Running, oid, tid
from ZEO.Exceptions import ClientDisconnected

pytestmark = pytest.mark.smoke


class Upstream(MappingStorage):
    """Tells of a change, t2 of the object 7, in the middle of something else."""

    last = tid(1)
    # called after the result was found, and before it is returned
    meanwhile = staticmethod(lambda: None)

    def registerDB(self, database):
        self.database = database

    def tell(self):
        """What a reading thread does: the database first, then the last transaction."""
        telling = threading.Thread(target=self.database.invalidate, args=(tid(2), [oid(7)]))
        telling.start()
        telling.join()
        self.last = tid(2)

    def loadBefore(self, oid, before):
        found = b'%d' % self.last[-1], self.last, None
        self.meanwhile()
        return found

    def lastTransaction(self):
        self.meanwhile()
        return self.last


class Remote(Upstream):
    """Its calls run in the server's worker threads."""

    def is_connected(self):
        return True


class Wrapper(Upstream):
    """A storage wrapper that says nothing of its own about what it wraps."""

    def __init__(self):
        super().__init__()
        self.base = Remote()


def _once(upstream):
    """Have the change come during the next call."""

    def tell():
        del upstream.meanwhile
        upstream.tell()

    upstream.meanwhile = tell


@pytest.mark.parametrize('kind', [Upstream, Remote])
def test_an_answer_that_was_read_before_a_change_does_not_leave_behind_its_invalidation(
    serving, raw, kind
):
    """A client would take it for current, for ever."""
    upstream = kind()
    client = raw(serving(upstream))
    _once(upstream)
    number = client.ask('loadBefore', oid(7), maxtid)
    read = client.answer(number)
    before = bool(client.told)
    client.call('ping')
    assert [args[0] for name, args in client.told] == [tid(2)]
    assert tuple(read) == ((b'2', tid(2), None) if before else (b'1', tid(1), None))


@pytest.mark.parametrize('kind', [Remote, Wrapper])
def test_an_answer_that_waits_while_a_change_is_told_is_read_again(serving, raw, kind):
    """The worker has read, the change is told to all, and only then the worker's answer comes to
    the loop.
    """
    upstream = kind()
    server = serving(upstream)
    client = raw(server)
    told, read = threading.Event(), threading.Event()

    def tell_and_wait():
        del upstream.meanwhile
        upstream.tell()
        server.post(told.set)
        assert told.wait(20)
        read.set()

    upstream.meanwhile = tell_and_wait
    assert tuple(client.call('loadBefore', oid(7), maxtid)) == (b'2', tid(2), None)
    assert read.is_set()


def test_an_answer_that_the_loop_has_not_taken_yet_leaves_before_a_change_that_came_after_it(
    serving, raw
):
    """Both wait at the loop's door, the answer first."""
    upstream = Remote()
    server = serving(upstream)
    client = raw(server)
    loop, gate, shut = loop_of(server), threading.Event(), threading.Event()

    def wait():
        shut.set()
        gate.wait(20)

    def close_gate():
        del upstream.meanwhile
        loop.from_thread(wait)
        assert shut.wait(20)

    upstream.meanwhile = close_gate
    number = client.ask('loadBefore', oid(7), maxtid)
    assert shut.wait(20)
    while not loop.has_posts:
        pass
    upstream.tell()
    gate.set()
    assert tuple(client.answer(number)) == (b'1', tid(1), None)
    assert client.told == []
    client.call('ping')
    assert [args[0] for name, args in client.told] == [tid(2)]


def test_a_commit_is_answered_before_a_later_one_is_told(serving, raw):
    """The storage's thread tells of t2 when our commit, t1, is done and the worker that made it has
    not returned yet.
    """

    class Committing(Remote):
        def tpc_finish(self, transaction, callback):
            callback(tid(1))
            self.tell()
            return tid(1)

    upstream = Committing()
    server = serving(upstream)
    client, other = raw(server), raw(server)
    assert client.commit(1, (oid(7), tid(0), b'mine')) == tid(1)
    assert [name for name, args in client.told] == ['info']
    while upstream.last != tid(2):
        pass
    for each, tids in ((client, [2]), (other, [1, 2])):
        each.call('ping')
        assert [args[0] for name, args in each.told if name == 'invalidateTransaction'] == [
            tid(number) for number in tids
        ]


def test_a_commit_that_the_other_server_has_made_permanent_is_reported_as_committed(serving, raw):
    """Whatever goes wrong in the storage behind that; the others are told, and the lock is free."""

    class Failing(Remote):
        def tpc_finish(self, transaction, callback):
            super().tpc_finish(transaction, callback)
            raise OSError('a cache file, for one')

    server = serving(Failing())
    client, other = raw(server), raw(server)
    for number in (1, 2):
        committed = client.commit(number, (oid(number), z64, b'mine'))
        other.call('ping')
        assert [args[0] for name, args in other.told if name == 'invalidateTransaction'][
            -1
        ] == committed


def test_a_cache_check_does_not_forget_a_change_that_is_about_to_be_told(serving, raw):
    """The storage is at t2 already, and the loop has not yet taken the news of it."""
    upstream = Upstream()
    client = raw(serving(upstream))
    _once(upstream)
    last, changed = client.call('getInvalidations', tid(1))
    assert (last, changed) in ((tid(2), [oid(7)]), (tid(1), [])), client.told


@pytest.mark.parametrize('kind', [Upstream, Remote])
def test_a_client_that_comes_between_the_report_of_a_change_and_its_tid_learns_of_it(
    serving, raw, kind
):
    """It would take itself for up to date: the storage said t1, and the change was sent already."""
    upstream = kind()
    server = serving(upstream)
    before = raw(server)
    upstream.database.invalidate(tid(2), [oid(7)])  # and the thread goes on later
    before.call('ping')
    if kind is Upstream:
        assert before.told, 'the others know'
    client = raw(server)
    assert client.last == client.call('lastTransaction') == tid(2)
    assert client.call('getInvalidations', tid(1)) == (tid(2), [oid(7)])


@pytest.mark.parametrize('kind', [Upstream, Remote])
def test_nothing_goes_in_front_of_the_answer_to_register(serving, raw, kind):
    """A client would take it for all that it has missed, and never ask."""
    upstream = kind()
    server = serving(upstream)
    _once(upstream)
    client = raw(server)
    assert client.told == [] and client.last in (tid(1), tid(2))
    client.call('ping')
    assert [args[0] for name, args in client.told] == [tid(2)]


def test_a_client_checks_its_cache_again_when_the_storage_has_lost_track(serving, clients, sockets):
    """Two servers in a row; the first is away for more changes than it remembers, and the second
    can't tell what changed.
    """
    storage = MappingStorage()
    storage.close = lambda: None
    with ZODB.DB(storage).transaction() as other:
        other.root()['x'] = 0
    address = sockets()
    first = serving(storage, address, invalidation_queue_size=1)
    middle = serving(clients(address))
    reader = ZODB.DB(clients(middle.addr))
    reading = reader.open()
    assert reading.root()['x'] == 0
    first.close()
    for value in (1, 2):
        with ZODB.DB(storage).transaction() as other:
            other.root()['x'] = value
    serving(storage, address, invalidation_queue_size=1)
    while reading.root()['x'] != 2:
        try:
            reader.storage.ping()
        except ClientDisconnected:
            pass
        reading.sync()


@pytest.fixture
def relayed(serving, clients):
    """A server on a storage, a wire to it that can be cut, and a second server behind that; the
    direct client's address first.
    """
    proxies = []

    def relay(storage):
        first = serving(storage)
        proxies.append(Proxy(first.addr))
        return first, proxies[0], serving(clients(proxies[0].address))

    yield relay
    for proxy in proxies:
        proxy.close()


@contextmanager
def apart(proxy, second):
    """In here the second server has no connection to the first; after it there is one, and its news
    have been taken.
    """
    client = second.storages['1']
    proxy.cut()
    _until(lambda: not client.is_connected())
    yield
    proxy.mend()
    _until(client.is_connected)
    taken = threading.Event()
    second.post(taken.set)
    assert taken.wait(20)


def _until(condition):
    while not condition():
        time.sleep(0.005)


def test_a_revision_that_ended_while_the_servers_were_apart_ends_when_it_did(relayed, clients, raw):
    """The second server hears of all that it has missed at once, with the last of the tids."""
    first, proxy, second = relayed(MappingStorage())
    writer = raw(first)
    one = writer.commit(1, (oid(1), z64, b'one'))
    reader, other = clients(second.addr), raw(second)
    assert reader.loadBefore(oid(1), maxtid) == (b'one', one, None)
    other.call('ping')  # the first commit is behind it
    with apart(proxy, second):
        two = writer.commit(2, (oid(1), one, b'two'))
        three = writer.commit(3, (oid(2), z64, b'other'))
        four = writer.commit(4, (oid(1), two, b'four'))
    assert other.ended() == []  # it was told of nothing that it could misunderstand
    _until(lambda: reader.sync() or reader.lastTransaction() == four)
    for before, found in (
        (two, (b'one', one, two)),
        (three, (b'two', two, four)),
        (four, (b'two', two, four)),
    ):
        assert reader.loadBefore(oid(1), before) == found
    assert reader.loadBefore(oid(1), maxtid) == (b'four', four, None)


def test_unused_oids_are_forgotten_when_the_connection_between_the_servers_is_a_new_one(
    relayed, clients
):
    """A server of ZEO 6 that was killed gives them out again."""
    storage = MappingStorage()
    first, proxy, second = relayed(storage)
    client = clients(second.addr)
    client.new_oid()
    before = link_of(client).connection
    with apart(proxy, second):
        storage._oid = 0
    _until(lambda: link_of(client).connection not in (before, None))
    given = [
        raw_oid
        for other in (clients(second.addr), clients(first.addr), client)
        for raw_oid in (other.new_oid() for _ in range(60))
    ]
    assert len(set(given)) == 180


def test_a_sync_with_the_server_reaches_the_server_behind_it(relayed, clients, raw):
    """What was committed there before is seen after it, every time."""
    first, proxy, second = relayed(MappingStorage())
    writer = raw(first)
    reader = clients(second.addr, server_sync=True)
    last = z64
    for number in range(100):
        last = writer.commit(number, (oid(1), last, b'%d' % number))
        reader.sync()
        assert reader.lastTransaction() == last
        assert reader.loadBefore(oid(1), maxtid) == (b'%d' % number, last, None)


def test_a_sync_does_not_wait_for_a_server_that_is_away(relayed, clients, raw):
    """There is nothing newer to be had."""
    first, proxy, second = relayed(MappingStorage())
    reader = clients(second.addr, server_sync=True)
    last = raw(first).commit(1, (oid(1), z64, b'data'))
    reader.sync()
    proxy.cut()
    _until(lambda: not second.storages['1'].is_connected())
    for _ in range(3):
        reader.sync()
    assert reader.lastTransaction() == last


def test_a_new_oid_is_there_when_the_server_is_again(relayed, clients):
    """The thread that waits for it does not keep the connection from being made."""
    first, proxy, second = relayed(MappingStorage())
    client = clients(proxy.address)
    proxy.cut()
    _until(lambda: not client.is_connected())
    taking = Running(client.new_oid)
    time.sleep(0.05)  # it waits, most likely
    proxy.mend()
    assert len(taking.result()) == 8


def test_what_an_undo_has_changed_is_told_though_the_storage_says_so_at_its_vote(
    relayed, clients, tmp_path
):
    """As one does that is itself a client: before that it does not know."""
    first, proxy, second = relayed(FileStorage(str(tmp_path / 'data.fs')))
    writer, reader = ZODB.DB(clients(second.addr)), ZODB.DB(clients(second.addr))
    for value in (1, 2):
        with writer.transaction() as connection:
            connection.root()['x'] = value
    reading = reader.open()
    _until(lambda: reading.sync() or reading.root().get('x') == 2)
    manager = transaction.TransactionManager()
    writer.undo(writer.undoInfo()[0]['id'], manager.get())
    manager.commit()
    _until(lambda: reading.sync() or reading.root()['x'] == 1)
    reader.close()
    writer.close()
