"""Readers of an MVCC storage answer with nothing that is older than what clients were sent."""

import time

import pytest
from ZODB.utils import maxtid, p64

from ZEO.net.loop import Loop
from ZEO.net.system import System
from ZEO.serving.backends.readers import Readers
from ZEO.serving.backends.view import View

A = p64(1)
T5, T9, T10, T12 = (p64(number) for number in (5, 9, 10, 12))


class Client:
    """It waits for its loads."""

    def outstanding(self, calls):
        pass


class Database:
    """What instances read from; `before_leaving` is called once, behind the first read."""

    def __init__(self, last, serial, before_leaving):
        self.last, self.serial, self.before_leaving = last, serial, before_leaving
        self.released = self.made = 0

    def new_reader(self):
        self.made += 1
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
        self.last, self.serial = self.database.last, self.database.serial

    def lastTransaction(self):
        return self.last

    def load(self, oid):
        found = b'of ' + self.serial, self.serial
        change, self.database.before_leaving = self.database.before_leaving, lambda: None
        change()
        return found

    def release(self):
        self.database.released += 1


@pytest.fixture
def loop():
    loop = Loop(System())
    yield loop
    loop.close()


def answered(loop, view, database):
    """Load A; return the answer, and which records are kept."""
    kept, found = {}, []
    readers = Readers(database, view, loop, kept.__setitem__, lambda: None, 1_000_000)
    try:
        readers.load([A], maxtid, Client(), True).then(found.append, found.append)
        until = time.monotonic() + 20
        while not found:
            assert time.monotonic() < until, 'it was never answered'
            loop.run_posted()
    finally:
        readers.close(5)
    return found[0], kept


def test_a_record_that_changes_before_its_answer_leaves_is_read_once_more(loop):
    view = View(T10)

    def change():
        database.last = database.serial = T12
        view.advance(T12, [A])

    database = Database(T10, T5, change)
    found, kept = answered(loop, view, database)
    assert found == (b'of ' + T12, T12, None)
    assert kept == {A: found}


def test_a_record_that_clients_were_not_sent_yet_is_not_kept(loop):
    database = Database(T12, T12, lambda: None)
    found, kept = answered(loop, View(T10), database)
    assert found[1] == T12 and kept == {}


def test_what_was_read_before_clients_have_dropped_their_caches_is_read_once_more(loop):
    view = View(T10)

    def fail_over():  # to a database that has lost the last transaction
        database.last, database.serial = T9, T5
        view.reset(T9)

    database = Database(T10, T10, fail_over)
    found, kept = answered(loop, view, database)
    assert found == (b'of ' + T5, T5, None)
    assert kept == {A: found}
    assert database.made == 2 and database.released >= 1


def test_a_view_forgets_nothing_that_a_snapshot_may_have_missed():
    view = View(T5)
    view.advance(T9, [A])
    view.advance(T10, [p64(2)])
    assert view.is_behind(A, T5) and not view.is_behind(A, T9) and not view.is_behind(A, T12)
    view.reset(T12)
    assert view.is_behind(A, T10)
