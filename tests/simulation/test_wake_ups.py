"""No thread sleeps on when what it waits for is there.

A thread that is not woken finds out by itself, within a second, so a lost wake-up is not a hang.
In a simulated world whose network is fast, a call that takes as long as that was forgotten.
"""

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError
from ZODB.utils import maxtid, p64, u64, z64

from support.simulation.roles import ADDRESS, Server
from support.simulation.world import World
from ZEO.ClientStorage import ClientStorage

OIDS = [p64(number) for number in range(1, 7)]

#: Virtual seconds: less than a thread waits that is not woken, and much more than a call takes.
TOO_LONG = 0.2

#: Histories, which take some hundredths of a second each.
HISTORIES = 40


def filled():
    """Return storages with a few objects."""
    storage = MappingStorage()
    commit(storage, OIDS, dict.fromkeys(OIDS, z64))
    return {'1': storage}


def commit(storage, oids, serials):
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    try:
        for oid in oids:
            storage.store(oid, serials[oid], b'x' * 50, '', transaction)
        storage.tpc_vote(transaction)
        storage.tpc_finish(transaction)
    finally:
        storage.tpc_abort(transaction)


class History:
    """Threads of two clients, and how long their calls took."""

    def __init__(self, seed):
        self.world = World(seed, switches=0.2, preempted=0.02 + seed % 5 * 0.07)
        self.random = self.world.random
        self.slow = []
        with self.world as world:
            world.network.latency = (0.00001, 0.0002)
            Server(world, filled)
            for name in ('one', 'two'):
                process = world.process(name)
                process.start(self.client, 'main', process)
            world.run()
            assert world.errors == []

    def client(self, process):
        storage = ClientStorage(ADDRESS, system=process.system, cache_size=700)
        threads = [process.start(self.work, str(number), process, storage) for number in range(4)]
        for thread in threads:
            thread.join()
        storage.close()

    def work(self, process, storage):
        for _ in range(8):
            call = self.random.choice(
                (self.load, self.load, self.prefetch, self.store, storage.ping, storage.sync)
            )
            began = self.world.now
            call(storage) if getattr(call, '__self__', None) is self else call()
            if self.world.now - began > TOO_LONG:
                self.slow.append((process.name, call.__name__, began, self.world.now))

    def load(self, storage):
        storage.loadBefore(self.random.choice(OIDS), maxtid)

    def prefetch(self, storage):
        tid = p64(u64(storage.lastTransaction()) + 1)
        storage.prefetch(OIDS, tid)
        storage.loadBefore(self.random.choice(OIDS), tid)

    def store(self, storage):
        oids = self.random.sample(OIDS, 2)
        serials = {oid: storage.loadBefore(oid, maxtid)[1] for oid in oids}
        try:
            commit(storage, oids, serials)
        except ConflictError:
            pass


@pytest.mark.parametrize('first', [0, pytest.param(100, marks=pytest.mark.slow)])
def test_no_call_waits_for_longer_than_the_network_and_the_others_take(first):
    found = {seed: History(seed).slow for seed in range(first, first + HISTORIES)}

    assert not any(found.values()), found
