"""Each kind of storage is asked in its own way, which is chosen once."""

import os

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.FileStorage import FileIterator
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError
from ZODB.tests.hexstorage import HexStorage
from ZODB.utils import maxtid, p64, z64

from support.history import committed
from ZEO.net.loop import Loop
from ZEO.net.system import System
from ZEO.serving.backends import backend_for
from ZEO.serving.backends.local import FileBackend, LocalBackend
from ZEO.serving.backends.remote import RemoteBackend
from ZEO.serving.later import Later
from ZEO.serving.options import ServingOptions
from ZEO.serving.workers import Workers


class Remote(MappingStorage):
    """A storage that may wait for a network."""

    def is_connected(self):
        return True


class Threadless(System):
    """Makes at once what threads are started for."""

    def spawn(self, name, target, *args):
        target(*args)

    def lower_priority(self, by):
        """Not that of the thread that runs all tests."""


class Reader:
    """A client that loads."""

    loads = 0

    def outstanding(self, calls):
        pass


@pytest.fixture
def loop():
    loop = Loop(Threadless())
    yield loop
    loop.close()


def ask(storage, loop):
    return backend_for('1', storage, loop, Workers(loop), ServingOptions(), lambda: None)


def filled(storage):
    """A storage with the objects 1 to 3."""
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    for number in (1, 2, 3):
        storage.store(p64(number), z64, b'record %d' % number, '', transaction)
    storage.tpc_vote(transaction)
    storage.tpc_finish(transaction)
    return storage


@pytest.mark.parametrize(
    'make, kind',
    [
        (lambda path: MappingStorage(), LocalBackend),
        (lambda path: FileStorage(path), FileBackend),
        (lambda path: HexStorage(FileStorage(path)), LocalBackend),
        (lambda path: DemoStorage(base=FileStorage(path)), LocalBackend),
        (lambda path: Remote(), RemoteBackend),
        (lambda path: DemoStorage(base=Remote()), RemoteBackend),
        (lambda path: HexStorage(Remote()), RemoteBackend),
    ],
    ids=['mapping', 'file', 'hex file', 'demo file', 'remote', 'demo remote', 'hex remote'],
)
def test_the_backend_of_a_storage(make, kind, tmp_path, loop):
    storage = make(str(tmp_path / 'd'))
    backend = ask(storage, loop)
    assert type(backend) is kind
    assert (backend.load_now is None) == (backend.waiting_threads is not None)
    storage.close()


def outcome(answer, loop):
    """What a call answers, at once or later."""
    if not isinstance(answer, Later):
        return answer
    found = []
    answer.then(found.append, found.append)
    loop.run_posted()
    return found[0]


@pytest.mark.parametrize('kind', [MappingStorage, Remote])
def test_each_object_that_a_client_loads_is_counted_once(kind, loop):
    storage, reader = filled(kind()), Reader()
    backend = ask(storage, loop)
    record = storage.loadBefore(p64(1), maxtid)
    assert outcome(backend.load(p64(1), maxtid, reader), loop) == record
    assert reader.loads == 1
    found = outcome(backend.load_many([p64(1), p64(9)], maxtid, reader), loop)
    assert found == [record, None][: len(found)]
    assert reader.loads == 1 + len(found)
    assert backend.load_serial(p64(1), record[1], reader) == record[0]
    assert reader.loads == 2 + len(found)


@pytest.mark.parametrize('kind', [MappingStorage, Remote])
def test_an_object_that_is_not_there_is_an_error_of_its_load(kind, loop):
    backend, reader = ask(filled(kind()), loop), Reader()
    if kind is Remote:
        assert isinstance(outcome(backend.load(p64(9), maxtid, reader), loop), POSKeyError)
    else:
        with pytest.raises(POSKeyError):
            backend.load(p64(9), maxtid, reader)


@pytest.mark.parametrize('kind', [MappingStorage, Remote])
@pytest.mark.parametrize('start', [None, z64])
def test_transactions_are_iterated_from_wherever_a_client_wants(kind, start, loop):
    backend = ask(filled(kind()), loop)
    (transaction,) = outcome(backend.iterate(start, None, Reader()), loop)
    assert [record.oid for record in transaction] == [p64(1), p64(2), p64(3)]


@pytest.mark.parametrize('ends', ['aborted', 'cut in half', 'written'])
def test_a_commit_that_ends_while_the_start_is_looked_for_fails_no_iteration(
    ends, tmp_path, loop, monkeypatch
):
    """FileStorage looks from the end of its file, which the loop cuts off then."""
    storage = FileStorage(str(tmp_path / 'data.fs'))
    tids = committed(storage, *[[p64(number)] for number in range(30)])
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    storage.store(p64(100), z64, b'x' * 10_000, '', transaction)
    storage.tpc_vote(transaction)
    look = FileIterator._skip_to_start

    def look_late(iterator, start):
        if ends == 'aborted':
            storage.tpc_abort(transaction)
        elif ends == 'cut in half':
            os.truncate(storage._file_name, storage._pos + 100)
        look(iterator, start)

    monkeypatch.setattr(FileIterator, '_skip_to_start', look_late)
    backend = ask(storage, loop)
    found = [each.tid for each in outcome(backend.iterate(tids[3], None, Reader()), loop)]
    assert found == tids[3:]
    storage.tpc_abort(transaction)
    storage.close()


class Phase:
    """Takes note of what becomes of a transaction."""

    def __init__(self):
        self.events = []

    def finished(self, commit, tid):
        self.events.append(('finished', tid))

    def failed(self, commit, error):
        self.events.append(('failed', str(error)))


class Committing:
    """A transaction that is ready to finish."""

    def __init__(self, storage):
        self.transaction, self.phase = TransactionMetaData(), Phase()
        storage.tpc_begin(self.transaction)
        storage.tpc_vote(self.transaction)


@pytest.mark.parametrize('kind', [MappingStorage, Remote])
@pytest.mark.parametrize('when', ['never', 'before', 'behind'])
def test_a_transaction_is_finished_or_failed_but_never_both(kind, when, loop, monkeypatch):
    """A storage that fails behind a permanent transaction has made it permanent all the same."""
    storage = kind()
    backend, commit = ask(storage, loop), Committing(storage)
    original = storage.tpc_finish

    def finish(*args):
        if when == 'before':
            raise ValueError('it is broken')
        tid = original(*args)
        if when == 'behind':
            raise ValueError('it is broken')
        return tid

    monkeypatch.setattr(storage, 'tpc_finish', finish)
    if when == 'before':
        expected = [('failed', 'it is broken')]
        if kind is Remote:
            assert str(outcome(backend.finish(commit), loop)) == 'it is broken'
        else:
            with pytest.raises(ValueError, match='it is broken'):
                backend.finish(commit)
    else:
        tid = outcome(backend.finish(commit), loop)
        expected = [('finished', storage.lastTransaction())]
        assert tid == storage.lastTransaction()
    assert commit.phase.events == expected


def test_an_iteration_from_near_the_end_of_a_file_begins_at_once(tmp_path, loop):
    """One from further away looks for its place in a thread."""
    storage = FileStorage(str(tmp_path / 'd'))
    tids = committed(storage, *[[p64(number)] for number in range(30)])
    backend, reader = ask(storage, loop), Reader()
    near = backend.iterate(tids[-3], None, reader)
    assert isinstance(near, FileIterator)
    assert [one.tid for one in near] == tids[-3:]
    far = backend.iterate(tids[2], tids[4], reader)
    assert isinstance(far, Later)
    assert [one.tid for one in outcome(far, loop)] == tids[2:5]
    storage.close()
