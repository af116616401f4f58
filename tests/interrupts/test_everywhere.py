"""An exception strikes a thread at every line that runs while it reads, sends, or applies what has
come.

Whatever was struck, the client is right afterwards, or without a connection and then right: it goes
on within seconds, its other threads do, and what its cache claims to be current is.
"""

import itertools
import threading
import time

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.Connection import TransactionMetaData
from ZODB.utils import maxtid, p64, u64

from support.inside import cache_of, link_of
from support.interrupted import OIDS, PATIENCE, check, patiently
from support.striking import (
    StillWithoutMemory,
    Striker,
    Struck,
    ThreadStriker,
    WithoutMemory,
    everywhere,
    kinds,
    strike,
)

on_both = pytest.mark.parametrize('disk', [False, True], ids=['memory', 'disk'])


class Bystander:
    """Another thread of the application, which uses the same client and is never struck."""

    def __init__(self, client):
        self._client, self._stop = client, False
        self.rounds = 0
        self.error = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), 'the other thread hangs'

    def _run(self):
        while not self._stop:
            patiently(self._client.ping)
            self.rounds += 1
            time.sleep(0.001)

    def goes_on(self):
        before, until = self.rounds, time.monotonic() + PATIENCE
        while self.rounds < before + 2:
            assert time.monotonic() < until, 'the other thread hangs'
            time.sleep(0.001)


@pytest.fixture
def setting(make_setting, disk):
    return make_setting(disk)


def loads(setting, client):
    def load():
        client.loadBefore(OIDS[0], maxtid)
        client.loadBefore(OIDS[1], p64(u64(client.lastTransaction()) + 1))

    return load


def commits(setting, client):
    def commit():
        setting.commit(client)

    return commit


def aborts(setting, client):
    def abort():
        metadata = TransactionMetaData()
        try:
            client.tpc_begin(metadata)
            client.store(OIDS[0], setting.serial(OIDS[0]), b'never', '', metadata)
            client.tpc_vote(metadata)
            client.tpc_abort(metadata)
        finally:
            client.tpc_abort(metadata)  # what the strike came before

    return abort


def invalidations(setting, client):
    def take_in():
        client.sync()
        client.load(OIDS[0])

    return take_in


def prefetches(setting, client):
    def prefetch():
        client.prefetch(OIDS, maxtid)
        client.loadBefore(OIDS[3], maxtid)

    return prefetch


def leavings(setting, client):
    def leave():
        setting.send_away()
        client.sync()
        setting.commit(client, OIDS[:1])

    return leave


def undos(setting, client):
    def undo():
        metadata = TransactionMetaData()
        try:
            client.tpc_begin(metadata)
            client.undo(client.undoLog(0, 1)[0]['id'], metadata)
            client.tpc_vote(metadata)
            client.tpc_finish(metadata)
        finally:
            client.tpc_abort(metadata)

    return undo


def reconnections(setting, client):
    def reconnect():
        link_of(client).wait().lose('a test')
        client.ping()
        client.load(OIDS[0])

    return reconnect


SCENARIOS = [loads, commits, aborts, invalidations, prefetches, leavings, undos, reconnections]


@everywhere
@kinds
@on_both
@pytest.mark.parametrize('scenario', SCENARIOS)
def test_a_struck_client_is_right_afterwards(setting, scenario, step, striker):
    """Strike by strike one and the same client, while another thread uses it and another client
    commits.
    """
    client = setting.open()
    act = scenario(setting, client)

    def verify():
        check(setting, client)
        bystander.goes_on()
        before_each()

    def before_each():
        if scenario is not commits:
            setting.commit(setting.other, OIDS[:3])
        if scenario in (loads, prefetches):  # what is not in the cache
            client.sync()
            for oid in OIDS:
                cache_of(client).invalidate(oid, None)

    with Bystander(client) as bystander:
        before_each()
        strike(step, act, verify, striker)


@everywhere
@kinds
@pytest.mark.parametrize('disk', [True], ids=['disk'])
@pytest.mark.parametrize('scenario', [commits, invalidations])
def test_a_cache_file_opened_again_after_a_strike_is_right(setting, scenario, step, striker):
    opened = []

    def act():
        scenario(setting, opened[-1])()

    def reopen():
        if opened:
            opened[-1].close()
        opened.append(setting.open())
        for oid in OIDS:
            opened[-1].load(oid)
        if scenario is invalidations:
            setting.commit(setting.other)

    def verify():
        opened[-1].close()
        opened.append(setting.open())
        check(setting, opened[-1])
        reopen()

    act.__name__ = scenario.__name__
    reopen()
    strike(step, act, verify, striker)


@everywhere
@kinds
@pytest.mark.parametrize('disk', [True], ids=['disk'])
def test_a_close_that_was_struck_can_be_done_again(setting, step, striker):
    """Then no thread of the client is left, and its cache file is free."""
    before = set(threading.enumerate())
    clients = []

    def close():
        clients[-1].close()

    def verify():
        clients[-1].close()
        until = time.monotonic() + PATIENCE
        while left := set(threading.enumerate()) - before:
            assert time.monotonic() < until, left
            time.sleep(0.001)
        reopen()

    def reopen():
        clients.append(setting.open())
        check(setting, clients[-1])

    reopen()
    strike(step, close, verify, striker)


@everywhere
@pytest.mark.parametrize('striker', [Striker, WithoutMemory, StillWithoutMemory])
@on_both
def test_the_database_is_right_after_a_strike(setting, step, striker):
    """Objects of ZODB's: those that a connection holds become those that are in the database."""
    client = setting.open()
    other = ZODB.DB(setting.other)
    with other.transaction() as connection:
        connection.root()['counters'] = [PersistentMapping(n=0) for _ in range(4)]
    database = ZODB.DB(client)
    manager = transaction.TransactionManager()
    connection = database.open(manager)

    def count():
        manager.begin()
        for counter in connection.root()['counters']:
            counter['n'] += 1
        manager.commit()

    def verify():
        patiently(client.ping)  # without a connection it may be behind
        until = time.monotonic() + PATIENCE
        while True:
            try:
                manager.abort()
                manager.begin()
                found = [counter['n'] for counter in connection.root()['counters']]
                break
            except ZODB.POSException.StorageError:
                assert time.monotonic() < until
                time.sleep(0.002)
        manager.abort()
        with other.transaction() as seen:
            assert found == [counter['n'] for counter in seen.root()['counters']]
        check(setting, client, [])

    strike(step, count, verify, striker)
    connection.close()
    database.close()
    other.close()


@everywhere
@on_both
@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.parametrize(
    'name', ['ZEO connector', 'ZEO connecting to', 'ZEO watcher', 'ZEO leaving a server']
)
@pytest.mark.parametrize('error', [Struck, MemoryError])
def test_a_client_survives_a_strike_at_a_thread_of_its_own(setting, name, error, step):
    """The one that connects, and the one that reads while no call does."""
    client = setting.open()
    for point in itertools.count(1, step):
        connection = patiently(link_of(client).wait)
        idle(client)
        striking = ThreadStriker(point, name, error)
        with striking:
            if name == 'ZEO leaving a server':
                setting.send_away()
            else:
                connection.lose('a test')
            patiently(client.ping)
            # its own thread of that name may be the one that is struck
            patiently(lambda: setting.commit(setting.other, OIDS[:2]))
            until = time.monotonic() + 0.2
            while striking.where is None and time.monotonic() < until:
                time.sleep(0.002)
        if striking.where is None:
            break
        try:
            check(setting, client)
        except BaseException as error:
            raise AssertionError(f'struck at {point}: {striking.where}') from error
    print(f'{name}: {point // step} points')
    assert point > 1


def idle(client):
    """Wait until no thread is left that began before the test."""
    until = time.monotonic() + PATIENCE
    while link_of(client).connector.is_running:
        assert time.monotonic() < until
        time.sleep(0.001)
