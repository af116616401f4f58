"""Clients of a follower, while it is behind, ahead, cut off, and made a primary: never a wrong
object.

Each transaction moves an amount between accounts, so that their sum is the same in every state of
the database; a counter in each process's own object says what it has committed itself.
"""

import contextlib
import random
import shutil
import tempfile
import threading
import time

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.POSException import ConflictError, ReadConflictError, ReadOnlyError
from ZODB.utils import maxtid

from support.followed import Followed
from support.inside import cache_of
from ZEO.Exceptions import ClientDisconnected

ACCOUNTS, TOTAL = 8, 800


@pytest.fixture
def servers(monkeypatch):
    monkeypatch.setattr('ZEO.link.link.LOOK_FOR_BETTER', 0.05)
    monkeypatch.setattr('ZEO.link.read_link.AVOID', 0.1)
    directory = tempfile.mkdtemp(prefix='zeo-', dir='/tmp')
    followed = Followed(directory)
    database = ZODB.DB(followed.writer())
    with database.transaction() as connection:
        connection.root()['accounts'] = [
            PersistentMapping(amount=TOTAL // ACCOUNTS) for _ in range(ACCOUNTS)
        ]
        connection.root()['own'] = PersistentMapping(
            {number: PersistentMapping(n=0) for number in range(8)}
        )
    followed.copy()
    try:
        yield followed
    finally:
        followed.close()
        shutil.rmtree(directory)


class Process:
    """One process of an application: a database with several threads."""

    def __init__(self, servers, number, **options):
        options = {'prefer_wait': 0.2, 'wait_timeout': 5, 'disconnect_poll': 0.01, **options}
        self.client = servers.open(**options)
        self.database = ZODB.DB(self.client)
        self.number = number
        self.errors = []
        self.committed = self.unknown = self.refused = 0
        self.least = 0  # what its own counter must have at least
        self._lock = threading.Lock()

    def run(self, chooser, until):
        manager = transaction.TransactionManager()
        connection = self.database.open(manager)
        try:
            while time.monotonic() < until:
                self._step(chooser, manager, connection)
        except BaseException as error:
            self.errors.append(error)
        finally:
            with contextlib.suppress(Exception):
                manager.abort()
                connection.close()

    def _step(self, chooser, manager, connection):
        finishing = False
        try:
            least = self.least
            manager.begin()
            root = connection.root()
            accounts = list(root['accounts'])
            chooser.shuffle(accounts)
            amounts = [account['amount'] for account in accounts]
            assert sum(amounts) == TOTAL, (amounts, connection._storage._start)
            own = root['own'][self.number]
            assert own['n'] >= least, f'own commit {least} is not seen: {own["n"]}'
            if chooser.random() < 0.6:
                if chooser.random() < 0.3:
                    connection.cacheMinimize()
                amount = chooser.randrange(10)
                accounts[0]['amount'] -= amount
                if chooser.random() < 0.3:
                    manager.savepoint(optimistic=True)
                accounts[1]['amount'] += amount
                own['n'] += 1
                mine = own['n']
                finishing = True
                manager.commit()
                self.committed += 1
                with self._lock:
                    self.least = max(self.least, mine)
        except (ConflictError, ReadConflictError):
            manager.abort()
        except (ClientDisconnected, ReadOnlyError):
            manager.abort()
            if finishing:
                self.unknown += 1
            else:
                self.refused += 1


def check(servers, primary, processes):
    """In the end all see what is in the primary's database."""
    for process in processes:
        until = time.monotonic() + 20
        while process.client.lastTransaction() < primary.lastTransaction():
            assert time.monotonic() < until
            process.client.sync()
            time.sleep(0.01)
        with process.database.transaction() as connection:
            for account in connection.root()['accounts']:
                account._p_deactivate()
                account['amount']
                data, tid = primary.load(account._p_oid)
                assert (account._p_serial, process.client.load(account._p_oid)) == (
                    tid,
                    (data, tid),
                )
            own = connection.root()['own'][process.number]
            assert process.least <= own['n'] <= process.committed + process.unknown
        for oid, tid, end in cache_of(process.client).contents():
            if end is None:
                assert primary.loadBefore(oid, maxtid)[1] == tid


def chaos(servers, chooser, until):
    """Something happens all the time."""
    while time.monotonic() < until:
        what = chooser.choice(['slow', 'fast', 'lag', 'cut', 'primary', 'lost', 'both', 'wait'])
        if what in ('slow', 'fast', 'lag'):
            servers.lag()
        if what in ('slow', 'fast'):
            servers.follow(0.05 if what == 'slow' else 0.0005)
        elif what in ('cut', 'both'):
            servers.follower.cut()
        if what in ('primary', 'both'):
            servers.primary.cut()
        if what == 'lost':
            servers.says('disconnected')
            time.sleep(0.1)
            servers.says('following')
        time.sleep(chooser.random() * 0.2)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    'seed, seconds',
    [(1, 3), *[pytest.param(seed, 12, marks=pytest.mark.slow) for seed in range(2, 12)]],
)
def test_no_client_sees_a_wrong_object(servers, seed, seconds):
    chooser = random.Random(seed)
    processes = [
        Process(servers, 0),
        Process(servers, 1, prefer='nearest', cache=f'{servers.directory}/one.zec'),
        Process(servers, 2, server_sync=True),
    ]
    servers.follow()
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=process.run, args=(random.Random(seed * 100 + number), until))
        for process in processes
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    chaos(servers, chooser, until)
    servers.lag()
    servers.follow()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for process in processes:
        print(process.number, process.committed, process.unknown, process.refused)
        assert not process.errors, process.errors
    assert all(process.committed for process in processes)
    check(servers, servers.primary.storage, processes)


@pytest.mark.timeout(120)
def test_a_promotion_in_the_middle_of_it(servers):
    """The primary is gone when the follower has all; writing goes on there."""
    processes = [Process(servers, number, wait_timeout=20) for number in range(2)]
    servers.follow()
    until = time.monotonic() + 3
    threads = [
        threading.Thread(target=process.run, args=(random.Random(process.number), until))
        for process in processes
    ]
    for thread in threads:
        thread.start()
    time.sleep(1)
    servers.lag()
    servers.primary.stop_writing()
    servers.copy()
    before = servers.follower.storage.lastTransaction()
    servers.primary.close()
    servers.promote()
    for thread in threads:
        thread.join(60)
    for process in processes:
        assert not process.errors, process.errors
    assert servers.follower.storage.lastTransaction() > before
    check(servers, servers.follower.storage, processes)
