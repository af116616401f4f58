"""The phases of a commit: what each allows, and that every way out gives the lock back."""

from contextlib import contextmanager

import pytest
from transaction.interfaces import TransientError
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import StorageError, StorageTransactionError
from ZODB.utils import maxtid, p64, z64

from support.clock import Clock
from ZEO.net.loop import Loop
from ZEO.serving.account import Account, Budget
from ZEO.serving.backends.remote import RemoteBackend
from ZEO.serving.commit import Commit
from ZEO.serving.commit.operations import Store
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.limits import Limits
from ZEO.serving.options import ServingOptions
from ZEO.serving.workers import Workers

OID = p64(1)


class Committer:
    """Whoever commits."""

    def __init__(self):
        self.account = Account(Limits(), Budget(10**9))

    def report(self, *line):
        """Take note of nothing."""


@pytest.fixture
def hosted():
    loop = Loop(Clock())
    yield HostedStorage('1', MappingStorage(), loop, Workers(loop), ServingOptions())
    loop.close()


def collecting(hosted):
    commit = Commit(hosted, Committer(), TransactionMetaData(), None, ' ', False)
    commit.phase.add(commit, Store(OID, z64, b'data'))
    return commit


def waiting(hosted):
    hosted.lock.acquire('other', lambda: None)
    commit = collecting(hosted)
    commit.phase.vote(commit)
    return commit


def voted(hosted):
    commit = collecting(hosted)
    commit.phase.vote(commit)
    return commit


def ended(hosted):
    commit = voted(hosted)
    commit.phase.abort(commit)
    return commit


def finished(hosted):
    commit = voted(hosted)
    commit.phase.finish(commit)
    return commit


def preparing(hosted):
    """The storage takes its time, so that others have their turn."""
    commit = collecting(hosted)
    for number in (2, 3):
        commit.phase.add(commit, Store(p64(number), z64, b'data'))
    with slow_stores(hosted, 1):
        commit.phase.vote(commit)
    return commit


@contextmanager
def slow_stores(hosted, seconds):
    """Each store takes a number of seconds."""
    store = hosted.storage.store

    def slow(*args):
        hosted.loop.system.time += seconds
        return store(*args)

    hosted.storage.store = slow
    yield
    hosted.storage.store = store


def stopping(hosted):
    commit = preparing(hosted)
    commit.phase.abort(commit)
    return commit


def failing(hosted):
    commit = collecting(hosted)
    commit.phase.fail(commit, OSError(28, 'No space left on device'))
    return commit


ALLOWED = {
    collecting: {'add', 'vote'},
    failing: {'add', 'vote'},
    waiting: set(),
    preparing: set(),
    stopping: set(),
    voted: {'finish'},
    ended: {'add'},
    finished: {'add'},
}
CALLS = {'add': (Store(OID, z64, b'data'),), 'vote': (), 'finish': ()}


@pytest.mark.parametrize(
    'phase, call',
    [(phase, call) for phase in ALLOWED for call in CALLS if call not in ALLOWED[phase]],
    ids=lambda value: getattr(value, '__name__', value),
)
def test_calls_that_do_not_go_with_a_phase(hosted, phase, call):
    commit = phase(hosted)
    with pytest.raises(StorageTransactionError, match='client called .* for a transaction that is'):
        getattr(commit.phase, call)(commit, *CALLS[call])


@pytest.mark.parametrize('phase', ALLOWED, ids=lambda phase: phase.__name__)
def test_aborting_in_each_phase(hosted, phase):
    commit = phase(hosted)
    commit.phase.abort(commit)
    commit.phase.abort(commit)
    hosted.lock.release('other')
    for _ in range(3):  # what is under way stops
        hosted.loop.run_once(0)
    assert hosted.lock.holder is None and hosted.lock.waiting == 0
    assert hosted.stats.active_txns == 0
    assert hosted.stats.lock_since is None
    assert hosted.storage.tpc_transaction() is None  # nor is the storage within a transaction
    if phase is not finished:
        finished(hosted)


def test_an_error_in_aborting_keeps_the_lock_from_nobody(hosted, monkeypatch):
    commit = voted(hosted)

    def fail(transaction):
        raise OSError(5, 'Input/output error')

    monkeypatch.setattr(hosted.storage, 'tpc_abort', fail)
    commit.phase.abort(commit)
    assert hosted.lock.holder is None


def test_the_timeout_counts_from_holding_the_lock(hosted):
    clock = hosted.loop.system
    commit = waiting(hosted)
    clock.time += 29
    hosted.lock.release('other')
    hosted.loop.run_once(0)  # it has voted
    clock.time += 29
    hosted.loop.run_once(0)
    assert hosted.lock.holder is commit
    clock.time += 2
    hosted.loop.run_once(0)
    assert hosted.lock.holder is None
    for call in ('vote', 'finish'):
        with pytest.raises(TransientError, match='transaction-timeout'):
            getattr(commit.phase, call)(commit)


def test_a_transaction_that_a_storage_takes_long_to_prepare_is_not_late(hosted):
    commit, told = preparing(hosted), []
    commit.answer.then(told.append, told.append)
    with slow_stores(hosted, 31):
        for _ in range(3):
            hosted.loop.run_once(0)
    assert told == [[]] and hosted.lock.holder is commit
    commit.phase.finish(commit)
    assert hosted.lock.holder is None


def test_one_that_a_storage_on_a_network_goes_on_with_no_more_is_over(hosted, monkeypatch):
    monkeypatch.setattr(hosted.backend, 'votes_end', False)
    commit, told = preparing(hosted), []
    commit.progress = 1000  # objects, which it does not come to
    commit.answer.then(told.append, told.append)
    with slow_stores(hosted, 31):
        for _ in range(3):
            hosted.loop.run_once(0)
    assert 'transaction-timeout' in str(told[0]) and len(told) == 1
    assert hosted.lock.holder is None and hosted.storage.tpc_transaction() is None
    finished(hosted)


def test_an_operation_that_fails_while_others_commit_ends_its_transaction(hosted):
    commit, told = waiting(hosted), []
    commit.answer.then(told.append, told.append)
    commit.phase.fail(commit, OSError(28, 'No space left on device'))
    assert 'No space left' in str(told[0])
    hosted.lock.release('other')
    hosted.loop.run_once(0)
    assert hosted.lock.holder is None and hosted.stats.active_txns == 0


def test_an_operation_that_fails_during_the_vote_fails_the_vote(hosted):
    commit, told = preparing(hosted), []
    commit.answer.then(told.append, told.append)
    commit.phase.fail(commit, OSError(28, 'No space left on device'))
    for _ in range(3):
        hosted.loop.run_once(0)
    assert 'No space left' in str(told[0])
    assert hosted.lock.holder is None and hosted.storage.tpc_transaction() is None


def test_no_timeout_after_the_end(hosted):
    finished(hosted)
    hosted.loop.system.time += 100
    hosted.loop.run_once(0)
    assert hosted.stats.aborts == 0 and hosted.stats.commits == 1


def test_an_error_of_a_one_way_call_is_told_by_the_vote(hosted):
    commit = collecting(hosted)
    commit.phase.fail(commit, OSError(28, 'No space left on device'))
    commit.phase.fail(commit, ValueError('a later one'))
    commit.phase.add(commit, Store(OID, z64, b'more'))
    with pytest.raises(OSError, match='No space left'):
        commit.phase.vote(commit)
    assert hosted.lock.holder is None and hosted.stats.active_txns == 0


def test_temporary_files_are_removed(hosted, tmp_path):
    path = tmp_path / 'blob'
    path.write_bytes(b'blob')
    commit = collecting(hosted)
    commit.phase.keep_file(commit, str(path), 0)
    commit.phase.abort(commit)
    assert not path.exists()


def test_what_a_storage_that_fails_to_finish_has_written_is_read_from_it(tmp_path, monkeypatch):
    storage, loop = FileStorage(str(tmp_path / 'd')), Loop(Clock())
    hosted = HostedStorage('1', storage, loop, Workers(loop), ServingOptions())
    finished(hosted)
    assert hosted.backend.load_now(OID, maxtid)[0] == b'data'
    commit = Commit(hosted, Committer(), TransactionMetaData(), None, ' ', False)
    commit.phase.add(commit, Store(OID, storage.lastTransaction(), b'more'))
    commit.phase.vote(commit)
    original = storage.tpc_finish

    def finish(*args):
        original(*args)
        raise OSError('the disk is on fire')

    monkeypatch.setattr(storage, 'tpc_finish', finish)
    assert commit.phase.finish(commit) == storage.lastTransaction()  # it is permanent
    assert hosted.backend.load_now(OID, maxtid)[0] == b'more'
    storage.close()
    loop.close()


def test_what_others_have_written_before_a_commit_is_read(tmp_path):
    """Such as by way of a second name for the same storage; its own commit must not hide that."""
    storage, loop = FileStorage(str(tmp_path / 'd')), Loop(Clock())
    one, other = (
        HostedStorage(name, storage, loop, Workers(loop), ServingOptions()) for name in '12'
    )
    finished(one)
    assert one.backend.load_now(OID, maxtid)[0] == b'data'
    for hosted, oid, serial, data in (
        (other, OID, storage.lastTransaction(), b'theirs'),
        (one, p64(2), z64, b'ours'),
    ):
        commit = Commit(hosted, Committer(), TransactionMetaData(), None, ' ', False)
        commit.phase.add(commit, Store(oid, serial, data))
        commit.phase.vote(commit)
        commit.phase.finish(commit)
    assert one.backend.load_now(OID, maxtid)[0] == b'theirs'
    storage.close()
    loop.close()


class NoThreads(Clock):
    """A machine that starts no threads."""

    def spawn(self, name, target, *args):
        raise RuntimeError("can't start new thread")


@pytest.mark.parametrize('call', ['vote', 'finish'])
def test_a_transaction_that_needs_a_thread_and_gets_none_is_over(call):
    loop = Loop(NoThreads())
    hosted = HostedStorage('1', MappingStorage(), loop, Workers(loop), ServingOptions())
    commit = voted(hosted) if call == 'finish' else collecting(hosted)
    local, told = hosted.backend, []
    hosted.backend = RemoteBackend('1', hosted.storage, loop, Workers(loop), lambda: None)
    if call == 'finish':
        with pytest.raises(StorageError, match='cannot start a thread'):
            commit.phase.finish(commit)
    else:
        commit.phase.vote(commit).then(told.append, told.append)
        assert 'cannot start a thread' in str(told[0])
    assert (
        hosted.lock.holder is None
        and hosted.stats.active_txns == 0
        and hosted.stats.lock_since is None
    )
    assert hosted.storage.tpc_transaction() is None
    hosted.backend = local
    finished(hosted)
    loop.close()
