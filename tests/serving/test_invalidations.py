"""What a client that comes back is told: exactly what changed, or that nobody knows."""

import time

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import p64, z64

from support.clock import Clock
from support.history import committed
from ZEO.net.loop import Loop
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.invalidations import Invalidations
from ZEO.serving.options import ServingOptions
from ZEO.serving.workers import Workers

A, B, C = p64(1), p64(2), p64(3)


class Bare:
    """A storage that can't be iterated."""

    last = p64(100)

    def lastTransaction(self):
        return self.last


def queue(storage, size=3, age=None, now=time.time):
    return Invalidations(storage, size, age, now)


def since(recent, tid):
    """Ask as a peer does."""
    last = recent._storage.lastTransaction()
    return recent.since(tid, last) if recent.knows(tid, last) else recent.from_storage(tid, last)


def fill(recent, storage, *changes):
    for number, oids in enumerate(changes):
        storage.last = p64(101 + number)
        recent.add(storage.last, oids)


def test_nothing_has_changed():
    assert since(queue(Bare()), p64(100)) == (p64(100), [])


def test_what_changed_since():
    storage = Bare()
    recent = queue(storage)
    fill(recent, storage, [A], [B, A], [C])
    last, oids = since(recent, p64(100))
    assert (last, sorted(oids)) == (p64(103), [A, B, C])
    assert since(recent, p64(102)) == (p64(103), [C])
    last, oids = since(recent, p64(101))
    assert sorted(oids) == [A, B, C]


def test_only_so_many_are_remembered():
    storage = Bare()
    recent = queue(storage, size=3)
    fill(recent, storage, [A], [B], [C], [A], [B])
    assert since(recent, p64(101)) is None
    assert sorted(since(recent, p64(102))[1]) == [A, B, C]


@pytest.mark.parametrize('limits', [{'size': 2}, {'size': 9, 'most': 2}])
def test_one_that_is_told_late_does_not_make_it_remember_more(limits):
    storage = Bare()
    recent = Invalidations(storage, age=None, wall_clock=time.time, **limits)
    for number, oids in ((104, [A]), (105, [B]), (103, [C]), (106, [C]), (107, [C])):
        recent.add(p64(number), oids)
    assert recent.since(p64(103), p64(107)) is None  # 104 and 105 are not known any more


def test_before_the_servers_start_nobody_knows():
    storage = Bare()
    recent = queue(storage)
    fill(recent, storage, [A])
    assert since(recent, p64(99)) is None


def test_when_the_storage_has_lost_track_nobody_knows_until_the_next_transaction():
    storage = Bare()
    recent = queue(storage)
    fill(recent, storage, [A], [B])
    recent.clear()
    assert since(recent, p64(101)) is None
    assert since(recent, storage.last) == (storage.last, [])
    storage.last = p64(200)
    recent.add(storage.last, [C])  # which may have changed more than it says
    assert since(recent, p64(102)) is None
    storage.last = p64(201)
    recent.add(storage.last, [A])
    assert since(recent, p64(200)) == (p64(201), [A])


def test_a_transaction_that_was_not_told_of_yet_is_left_out():
    """A remote storage has it already; its invalidation comes a moment later."""
    storage = Bare()
    recent = queue(storage)
    fill(recent, storage, [A])
    last, storage.last = storage.last, p64(102)
    assert recent.since(p64(100), last) == (last, [A])


def test_a_transaction_that_never_was_tells_of_another_history():
    """What it has changed as well, and what was changed before it, is not known here: a backup was
    restored.
    """
    storage = Bare()
    recent = queue(storage)
    fill(recent, storage, [A])
    storage.last = p64(110)
    recent.add(storage.last, [B])
    assert since(recent, p64(105)) is None
    stored = MappingStorage()
    tids = committed(stored, [A], [B], [C])
    between = p64(int.from_bytes(tids[0], 'big') + 1)
    assert since(queue(stored), between) is None
    assert since(queue(stored, size=1, age=3600), between) is None


def test_after_a_restart_the_storage_is_asked():
    storage = MappingStorage()
    tids = committed(storage, [A], [B], [C, A], [B])
    recent = queue(storage, size=3)
    last, oids = since(recent, tids[1])
    assert (last, sorted(oids)) == (tids[3], [A, B, C])
    assert since(recent, tids[0]) is None
    assert since(recent, tids[3]) == (tids[3], [])


def test_younger_than_the_age_are_found_in_the_storage():
    storage = MappingStorage()
    tids = committed(storage, [A], [B], [C], [A], [B])
    last, oids = since(queue(storage, size=1, age=3600), tids[0])
    assert (last, sorted(oids)) == (tids[4], [A, B, C])
    assert since(queue(storage, size=1, age=3600, now=lambda: time.time() + 7200), tids[0]) is None


@pytest.mark.parametrize('age', [None, 3600])
def test_a_storage_that_can_not_be_iterated(age):
    storage = Bare()
    recent = queue(storage, size=1, age=age)
    fill(recent, storage, [A], [B])
    assert since(recent, p64(100)) is None


def test_a_new_storage():
    storage = MappingStorage()
    recent = queue(storage)
    assert storage.lastTransaction() in (None, z64)
    assert since(recent, z64) in (None, (z64, []))


class Upstream(MappingStorage):
    """A storage on a network: another client commits while its transactions are listed."""

    database = None

    def is_connected(self):
        return True

    def registerDB(self, database):
        self.database = database

    def iterator(self, start=None, stop=None):
        listed = list(super().iterator(start, stop))
        (tid,) = committed(self, [C])
        if self.database is not None:
            self.database.invalidate(tid, [C])
        return iter(listed)


def test_what_is_committed_while_a_server_starts_is_known_to_those_who_come_back():
    """Behind another server: they took it for unchanged, as long as nothing else changed it."""
    storage = Upstream()
    before = committed(storage, [A], [B])
    loop = Loop(Clock())
    hosted = HostedStorage('1', storage, loop, Workers(loop), ServingOptions())
    loop.run_posted()
    changes = since(hosted.invalidations, before[-1])
    assert changes is None or C in changes[1]
    tid = committed(storage, [A])[0]
    hosted.committed(None, tid, [A])
    assert sorted(since(hosted.invalidations, before[-1])[1]) == [A, C]
    loop.close()


def test_a_transaction_that_is_listed_though_the_storage_does_not_say_yet_that_it_is_the_last():
    """A client applies a change before it says so."""
    storage = MappingStorage()
    tids = committed(storage, [A], [B], [C])
    storage.lastTransaction = lambda: tids[1]
    recent = queue(storage)
    del storage.lastTransaction
    assert since(recent, tids[1]) == (tids[2], [C])
