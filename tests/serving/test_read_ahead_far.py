"""Read-ahead where a server has to ask for its records itself: of a database, in threads, or of
another server, in front of which it has a cache.
"""

import random
import threading
import time

import pytest
import transaction
import ZODB
from BTrees.IOBTree import IOBTree
from persistent.mapping import PersistentMapping
from ZODB.MappingStorage import MappingStorage
from ZODB.tests.MVCCMappingStorage import MVCCMappingStorage
from ZODB.utils import maxtid, p64, z64

from support.inside import state_of
from support.processes import wait_until
from support.scripted import RawClient
from ZEO.net.loop import Loop
from ZEO.net.system import System
from ZEO.serving.backends.cached import CachedSource, can_show_cache
from ZEO.serving.backends.guesses import Guesses
from ZEO.serving.backends.view import View

PAGES = 120
A, B = p64(1), p64(2)
T5, T9, T10, T12 = (p64(number) for number in (5, 9, 10, 12))


def fill(storage):
    """Make pages in a BTree, each of which has an object of its own; leave it open."""
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        connection.root.pages = pages = IOBTree()
        for number in range(PAGES):
            pages[number] = page = PersistentMapping(text='x' * 300)
            page['more'] = PersistentMapping(number=number)


def walk(client):
    """Look at every page; return how many there are."""
    db = ZODB.DB(client)
    with db.transaction() as connection:
        return sum(page['more']['number'] == n for n, page in connection.root.pages.items())


@pytest.fixture(params=['database', 'other server'])
def far(request, serving, clients):
    """A function that returns a server of either kind, with what it is in front of."""

    def open_server(**options):
        if request.param == 'database':
            storage = MVCCMappingStorage()
            fill(storage)
            return serving(storage, poll_interval=0.05, **options), None
        storage = MappingStorage()
        fill(storage)
        first = serving(storage, read_ahead='always')
        between = clients(first.addr)
        return serving(between, **options), between

    return open_server


def figures(server):
    return server.hosted['1'].status()['read-ahead']


def test_a_walk_takes_fewer_loads_over_a_unix_socket_as_well(far, clients):
    server, between = far()
    client = clients(server.addr)
    assert walk(client) == PAGES
    assert figures(server)['used'] > PAGES / 3
    assert server.hosted['1'].status()['loads'] < 2 * PAGES - figures(server)['used'] / 2
    found = client.read_ahead_status()
    assert found['used'] > PAGES / 3
    assert found['came'] == found['used'] + found['wasted'] + found['waiting']


def test_nothing_is_sent_where_it_is_switched_off(far, clients):
    server, _ = far(read_ahead='off')
    client = clients(server.addr)
    assert walk(client) == PAGES
    assert figures(server)['sent'] == 0
    assert client.read_ahead_status() == {'came': 0, 'used': 0, 'wasted': 0, 'waiting': 0}


def test_a_client_that_reads_while_others_commit_sees_every_change(far, clients):
    server, _ = far()
    client = clients(server.addr)
    db = ZODB.DB(client)
    other = ZODB.DB(clients(server.addr))
    choose = random.Random(5)
    for turn in range(6):
        with other.transaction() as connection:
            page = connection.root.pages[choose.randrange(PAGES)]
            page['more']['number'] = page['text'] = f'turn {turn}'
        db.cacheMinimize()
        client._cache.clear()
        transaction.begin()
        client.ping()
        connection = db.open()
        pages = list(connection.root.pages.values())
        assert [page['more']['number'] for page in pages if page['text'] == f'turn {turn}'] == [
            f'turn {turn}'
        ]
        connection.close()


def test_iterating_and_walking_at_once_find_the_same(far, clients):
    server, _ = far()
    client = clients(server.addr)
    walked = []
    walking = threading.Thread(target=lambda: walked.append(walk(client)))
    walking.start()
    iterated = {record.oid: record.data for txn in client.iterator() for record in txn}
    walking.join(30)
    assert walked == [PAGES]
    for oid, data in iterated.items():
        assert client.loadBefore(oid, maxtid)[0] == data


def test_a_second_server_pushes_what_is_in_its_cache_without_asking_the_first(serving, clients):
    storage = MappingStorage()
    fill(storage)
    first = serving(storage)
    server = serving(clients(first.addr))
    assert walk(clients(server.addr)) == PAGES
    before = first.hosted['1'].status()['loads']
    client = clients(server.addr)
    assert walk(client) == PAGES
    assert client.read_ahead_status()['used'] > PAGES / 3
    assert first.hosted['1'].status()['loads'] == before


def test_a_second_server_asks_the_first_less_often_with_what_that_sends(serving, clients):
    storage = MappingStorage()
    fill(storage)
    first = serving(storage, read_ahead='always')
    between = clients(first.addr)
    server = serving(between)
    assert walk(clients(server.addr)) == PAGES
    assert between.read_ahead_status()['used'] > PAGES / 2
    assert first.hosted['1'].status()['loads'] < 2 * PAGES - PAGES / 2


def named_and_sent(raw, oid):
    """Load an object; return what is named behind that, and what has come when all has."""
    end, named, came = raw.ask('loadBefore', oid, maxtid), set(), {}
    is_answered = False
    while True:
        message_id, _, name, args = raw.next()
        if name == 'readAhead':
            came |= {record[0]: record[1] for record in args[0]}
            named.update(args[1])
        elif message_id == end:
            if is_answered and named <= set(came):
                return named, came
            is_answered = True
            end = raw.ask('ping')
        else:
            assert name in ('info', 'invalidateTransaction')


@pytest.fixture
def raw(far):
    made = []

    def connect():
        server, between = far()
        made.append(RawClient(server.addr))
        made[-1].tell('set_client_label', 'reader\nrecords_ahead')
        return made[-1], server.hosted['1'], between

    yield connect
    for one in made:
        one.close()


def test_what_is_not_fetched_in_time_is_followed_up_with_nothing(raw, monkeypatch):
    for source in (CachedSource, Guesses):
        monkeypatch.setattr(
            source, 'fetch' if source is CachedSource else 'add', lambda *args: None
        )
    one, hosted, between = raw()
    named, came = named_and_sent(one, z64)
    assert set(came) == named and not any(came.values())
    assert named or between is not None  # the other server may not have sent anything yet


def test_it_stops_where_too_little_is_used(raw):
    one, hosted, _ = raw()
    oids = sorted({record.oid for txn in hosted.storage.iterator() for record in txn})
    for oid in oids * 2:
        named_and_sent(one, oid)
    found = hosted.status()['read-ahead']
    assert found['used'] == 0
    assert not found['sent'] or found['sent'] < len(oids) or found['stopped']


def test_a_wrapper_of_a_client_storage_shows_no_cache():
    class Wrapper:
        def __getattr__(self, name):
            return lambda *args: None

    assert not can_show_cache(Wrapper())


# Guesses at what a database is asked for.


class Client:
    """It is not counted."""

    def outstanding(self, calls):
        raise AssertionError('a guess is no call of a client')


class Database:
    """What instances read from; `meanwhile` is called behind each read."""

    def __init__(self, last, serials, meanwhile=lambda: None):
        self.last, self.serials, self.meanwhile = last, serials, meanwhile

    def new_reader(self):
        return Instance(self)

    def is_lost(self, error):
        return False

    def disconnected(self, error):
        return error


class Instance:
    """A snapshot."""

    def __init__(self, database):
        self.database = database

    def poll_invalidations(self):
        self.last, self.serials = self.database.last, dict(self.database.serials)

    def lastTransaction(self):
        return self.last

    def load(self, oid):
        found = b'of ' + self.serials[oid], self.serials[oid]
        self.database.meanwhile()
        return found


@pytest.fixture
def loop():
    loop = Loop(System())
    yield loop
    loop.close()


def guessed(loop, view, database, oids):
    """Have objects read; return what is kept then."""
    kept, over = {}, []
    guesses = Guesses(database, view, loop, kept.__setitem__, 1_000_000)
    try:
        guesses.add(oids, Client(), lambda: over.append(dict(kept)))
        until = time.monotonic() + 20
        while not over:
            assert time.monotonic() < until, 'it was never over'
            loop.run_posted()
    finally:
        guesses.reader.thread.end()
        guesses.reader.thread.join(5)
    return over[0]


def test_what_is_read_is_kept_but_for_what_is_not_there(loop):
    database = Database(T10, {A: T5})
    assert guessed(loop, View(T10), database, [B, A]) == {A: (b'of ' + T5, T5, None)}


def test_what_changes_meanwhile_is_not_kept(loop):
    view = View(T10)
    database = Database(T10, {A: T5, B: T5}, lambda: view.advance(T12, [A]))
    assert guessed(loop, view, database, [A, B]) == {B: (b'of ' + T5, T5, None)}


def test_what_clients_were_not_sent_yet_is_not_kept(loop):
    database = Database(T12, {A: T12, B: T9})
    assert guessed(loop, View(T10), database, [A, B]) == {B: (b'of ' + T9, T9, None)}


def test_what_was_read_of_another_database_is_not_kept(loop):
    view = View(T10)
    database = Database(T10, {A: T5}, lambda: view.reset(T9))
    assert guessed(loop, view, database, [A]) == {}


def test_one_client_has_one_guess_that_waits(loop):
    database = Database(T10, {A: T5, B: T5})
    guesses = Guesses(database, View(T10), loop, lambda oid, found: None, 1_000_000)
    client, over = Client(), []
    try:
        for number in range(5):
            guesses.add([A], client, lambda number=number: over.append(number))
        assert over == [1, 2, 3]  # the first is being read, the last one waits
        until = time.monotonic() + 20
        while len(over) < 5:
            assert time.monotonic() < until
            loop.run_posted()
    finally:
        guesses.reader.thread.end()
        guesses.reader.thread.join(5)


# The client in the middle.


def test_what_clients_of_a_second_server_were_not_sent_yet_is_not_shown():
    class Storage:
        def cached(self, oid):
            return b'data', T10, None

    told = [T9]
    source = CachedSource(Storage(), None, Client(), lambda: told[0])
    assert source.at_hand(A) is None
    told[0] = T10
    assert source.at_hand(A) == (b'data', T10, None)


def test_what_is_brought_for_others_counts_when_they_use_it(serving, clients):
    storage = MappingStorage()
    fill(storage)
    first = serving(storage, read_ahead='always')
    client = clients(first.addr)
    client.loadBefore(z64, maxtid)
    wait_until(lambda: state_of(client).ahead.staged)
    oid = next(iter(state_of(client).ahead.staged))
    assert client.comes_ahead(oid) and client.cached(oid) is None
    client.bring_ahead([oid, p64(10**9)])
    assert client.cached(oid)[2] is None and not client.comes_ahead(oid)
    assert client.read_ahead_status()['used'] == 0
    client.used_ahead([oid, oid, p64(10**9)])
    assert client.read_ahead_status()['used'] == 1
