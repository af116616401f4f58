"""A GroupedFileStorage after crashes and kills at every change of the disk.

Of the transactions since the last sync some first ones are there, whole, or none; everything before
is there.
"""

import logging
import pickle
import random
from types import SimpleNamespace

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

from simulation.test_disk_filestorage import PATH, OneThread
from support.simulation.crash_runs import crashes, kills
from ZEO.config.storages import open_file
from ZEO.incoming import IncomingFile
from ZEO.net.system import System
from ZEO.serving import blob_syncs, torn_commit
from ZEO.serving.filestorage import Files

#: Groups of each run, and objects.
GROUPS, OBJECTS = 4, 6


@pytest.fixture(autouse=True)
def quiet():
    """ZODB logs what it cuts off."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def opened():
    """Open the storage as a server does."""
    storage = open_file(PATH, grouped=True)
    Files('1', storage, SimpleNamespace(system=OneThread())).settle(False)
    return storage


class Groups:
    """Transactions that are written, and some of them synced, again and again.

    :param pack_at: the number of the group after which the storage is packed, unsynced as it is.
    """

    def __init__(self, seed=0, pack_at=None, sizes=(10, 300, 3000, 9000)):
        self.random = random.Random(seed)
        self.pack_at, self.sizes = pack_at, sizes
        #: tid and records after each transaction, from the last one that was acknowledged on.
        self.states = [(z64, {})]
        self.serials = {}

    def __call__(self):
        storage = opened()
        for number in range(GROUPS):
            for _ in range(self.random.randint(1, 5)):
                self.write(storage)
            if number == self.pack_at:
                storage.pack(2e9, lambda data: [], gc=False)
            last = storage.sync()
            # what is written while the disk is at work
            for _ in range(self.random.randint(0, 2)):
                self.write(storage)
            self.states = [one for one in self.states if one[0] >= last]
        storage.close()
        self.states = self.states[-1:]

    def write(self, storage):
        """Have a transaction written."""
        meta = TransactionMetaData('user', 'd' * self.random.randrange(40))
        storage.tpc_begin(meta)
        records = dict(self.states[-1][1])
        for oid in map(p64, self.random.sample(range(OBJECTS), self.random.randint(1, 3))):
            size = self.random.choice(self.sizes)
            records[oid] = pickle.dumps([self.random.getrandbits(60) for _ in range(size // 9 + 1)])
            storage.store(oid, self.serials.get(oid, z64), records[oid], '', meta)
            self.serials[oid] = storage._tid
        storage.tpc_vote(meta)
        storage.postpone_sync(meta)
        self.states.append((storage._tid, records))
        storage.tpc_finish(meta)


def check(stop):
    """See that there is one of the states that there may be."""
    storage = opened()
    try:
        list(storage.iterator())
        last = storage.lastTransaction()
        found = {oid: storage.load(oid)[0] for oid in storage._index}
    finally:
        storage.close()
    assert (last, found) in stop.program.states, stop


@pytest.mark.parametrize('pack_at', [None, 2], ids=['commits', 'pack'])
def test_a_kill_loses_nothing(pack_at):
    for stop in kills(lambda: Groups(1, pack_at), step=5):
        check(stop)


@pytest.mark.parametrize('pack_at', [None, 2], ids=['commits', 'pack'])
def test_a_crash_loses_only_the_end_of_what_was_not_acknowledged(pack_at):
    for stop in crashes(lambda: Groups(2, pack_at), variants=2):
        check(stop)


def test_without_a_look_at_all_of_the_group_it_would_leave_torn_transactions(monkeypatch):
    """So that these tests can fail."""
    monkeypatch.setattr(torn_commit, 'MOST_TRANSACTIONS', 1)
    with pytest.raises(Exception):  # noqa: B017 a file that does not open, or a wrong state
        for stop in crashes(lambda: Groups(2), variants=10):
            check(stop)


class AtOnce(System):
    """Has what a thread does done when it is started."""

    def spawn(self, name, target, *args):
        target(*args)


class Blobs:
    """Transactions with blobs, most of which share a sync.

    :param system: for the threads of the syncs.
    """

    COUNT = 3  # blobs of a transaction

    def __init__(self, system=None, transactions=4):
        self.system, self.transactions = system, transactions
        self.acknowledged = {}  # the content of blobs, by oid and tid

    def __call__(self):
        storage = open_file(PATH, '/data/blobs', grouped=True)
        Files('1', storage, SimpleNamespace(system=OneThread())).settle(False)
        storage.system = self.system
        written = {}
        for number in range(self.transactions):
            meta = TransactionMetaData()
            storage.tpc_begin(meta)
            for oid in map(p64, range(number * 1000, number * 1000 + self.COUNT)):
                content = bytes([number]) * 3000
                file = IncomingFile(storage.temporaryDirectory(), 'blob')
                file.write(content)
                file.close()
                storage.storeBlob(oid, z64, b'record', file.path, '', meta)
                written[oid, storage._tid] = content
            storage.tpc_vote(meta)
            if number != 1:
                storage.postpone_sync(meta)
            storage.tpc_finish(meta)
            if number % 2:
                storage.sync()
                self.acknowledged |= written
        storage.close()


def check_blobs(stop):
    """See that all blobs are whole whose transactions were acknowledged."""
    storage = open_file(PATH, '/data/blobs', grouped=True)
    try:
        for (oid, tid), content in stop.program.acknowledged.items():
            assert storage.loadSerial(oid, tid) == b'record', stop
            with storage.openCommittedBlobFile(oid, tid) as file:
                assert file.read() == content, stop
    finally:
        storage.close()


@pytest.mark.parametrize('step', [11, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize('system', [None, AtOnce()], ids=['one by one', 'together'])
def test_blobs_of_what_was_acknowledged_are_whole_after_a_crash(system, step):
    for stop in crashes(lambda: Blobs(system), variants=2, step=step):
        check_blobs(stop)


def test_without_a_sync_of_their_files_they_would_not_be(monkeypatch):
    monkeypatch.setattr(blob_syncs, '_sync_file', lambda path: None)
    with pytest.raises(AssertionError):
        for stop in crashes(lambda: Blobs(), variants=3, step=11):
            check_blobs(stop)


def test_a_crash_while_the_directory_of_blobs_is_made_keeps_no_server_from_its_start():
    for stop in crashes(lambda: Blobs(transactions=0), variants=3):
        storage = open_file(PATH, '/data/blobs', grouped=True)
        assert storage.fshelper.layout_name == 'bushy', stop
        storage.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize('seed', range(4))
def test_many_crashes_and_kills(seed):
    for pack_at in (None, 1, 2):
        for stop in kills(lambda pack_at=pack_at: Groups(seed, pack_at)):
            check(stop)
        for stop in crashes(lambda pack_at=pack_at: Groups(seed, pack_at), 10):
            check(stop)
