"""A FileStorage as a server has it, after crashes and kills at every change of the disk.

A transaction that was acknowledged is there; of the one that was being committed there is all or
nothing.
"""

import logging
import pickle
import random
from types import SimpleNamespace

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage.FileStorage import FileStorageError
from ZODB.utils import p64, z64

from support.simulation.crash_runs import crashes, kills
from ZEO.config.storages import open_file
from ZEO.Exceptions import ConfigurationError
from ZEO.net.system import System
from ZEO.serving.filestorage import Files

#: Transactions of each run, and objects: an index of many takes several sectors.
COUNT, FEW, MANY = 8, 6, 400
PATH = '/data/Data.fs'


@pytest.fixture(autouse=True)
def quiet():
    """ZODB logs what it cuts off."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


class OneThread(System):
    """Starts no threads: a simulated disk is for one."""

    def spawn(self, name, target, *args):
        raise RuntimeError("can't start new thread")


def opened():
    """Open the FileStorage as a server does."""
    storage = open_file(PATH)
    Files('1', storage, SimpleNamespace(system=OneThread())).settle(False)
    return storage


class Commits:
    """Commits to a FileStorage, with some that are aborted after their vote.

    :param pack_at: the number of the transaction after which it is packed.
    :param sizes: bytes of records.
    :param aborts: the share of transactions that are aborted after their vote.
    """

    def __init__(self, seed=0, pack_at=None, sizes=(10, 300, 3000, 20_000), aborts=0.2):
        self.random = random.Random(seed)
        self.pack_at, self.sizes, self.aborts = pack_at, sizes, aborts
        self.objects = MANY if max(sizes) < 100 else FEW
        self.acknowledged = {}  # oid: data
        self.tried = {}  # the same with the transaction that was being committed
        self.last = z64
        self.serials = {}

    def __call__(self):
        storage = opened()
        for number in range(COUNT):
            self.transaction(storage, number)
            if number == self.pack_at:
                storage.pack(2e9, lambda data: [], gc=False)
        storage.close()

    def transaction(self, storage, number):
        """Commit one, or abort it."""
        meta = TransactionMetaData('user', 'd' * self.random.randrange(40))
        storage.tpc_begin(meta)
        records = {}
        count = self.random.randint(1, 3) * self.objects // FEW
        for oid in map(p64, self.random.sample(range(self.objects), count)):
            size = self.random.choice(self.sizes)
            records[oid] = pickle.dumps([self.random.getrandbits(60) for _ in range(size // 9 + 1)])
            storage.store(oid, self.serials.get(oid, z64), records[oid], '', meta)
        storage.tpc_vote(meta)
        if number and self.random.random() < self.aborts:
            storage.tpc_abort(meta)
            return
        tid = storage._tid
        self.tried = {**self.acknowledged, **records}
        storage.tpc_finish(meta)
        self.acknowledged, self.last = self.tried, tid
        self.serials.update(dict.fromkeys(records, tid))


def contents():
    """Open the FileStorage again, and return its last tid and its current records."""
    storage = opened()
    try:
        list(storage.iterator())
        return storage.lastTransaction(), {oid: storage.load(oid)[0] for oid in storage._index}
    finally:
        storage.close()


def check(stop):
    """See that nothing is lost or torn."""
    last, found = contents()
    program = stop.program
    assert found in (program.acknowledged, program.tried), stop
    assert last >= program.last, stop
    assert last == program.last or found == program.tried, stop


@pytest.mark.parametrize('pack_at', [None, 4], ids=['commits', 'pack'])
def test_a_kill_loses_nothing(pack_at):
    for stop in kills(lambda: Commits(1, pack_at), step=3):
        check(stop)


@pytest.mark.parametrize('pack_at', [None, 4], ids=['commits', 'pack'])
def test_a_crash_loses_nothing_that_was_acknowledged(pack_at):
    for stop in crashes(lambda: Commits(2, pack_at, aborts=0.0), variants=2):
        check(stop)


def test_nor_does_it_where_the_index_takes_several_sectors():
    for stop in crashes(lambda: Commits(2, 4, sizes=(10,), aborts=0.0), variants=1, step=3):
        check(stop)


def test_nor_does_it_where_a_new_name_is_lost_unless_its_directory_was_synced():
    for stop in crashes(lambda: Commits(3, aborts=0.0), variants=2, step=2, strict=True):
        check(stop)


def test_after_an_abort_a_crash_may_leave_a_file_that_does_not_open_but_no_other():
    """What the aborted transaction has written may be there again, in the place of the next one."""
    refused = 0
    for stop in crashes(lambda: Commits(4, aborts=0.5), variants=2):
        try:
            check(stop)
        except ConfigurationError:
            refused += 1
    assert refused <= 3


@pytest.mark.parametrize('repair', ['make_safe', 'mend'])
def test_without_the_repairs_it_would(monkeypatch, repair):
    """So that these tests can fail."""
    places = {'make_safe': 'ZEO.serving.filestorage', 'mend': 'ZEO.config.storages'}
    monkeypatch.setattr(f'{places[repair]}.{repair}', lambda *_: None)
    with pytest.raises((AssertionError, ConfigurationError, FileStorageError)):
        for stop in crashes(lambda: Commits(2, 4, aborts=0.0), variants=10):
            check(stop)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize('seed', range(3))
def test_many_crashes_and_kills(seed):
    for pack_at in (None, 2, 5):
        for stop in kills(lambda pack_at=pack_at: Commits(seed, pack_at)):
            check(stop)
        for stop in crashes(lambda pack_at=pack_at: Commits(seed, pack_at, aborts=0.0), 10):
            check(stop)
