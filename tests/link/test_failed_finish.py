"""A commit whose tpc_finish fails in its caller, though the server has committed it, or will: what
the database connection that has made it reads from then on.
"""

import threading
from functools import partial

import pytest
import transaction
import ZODB
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import z64

from support.followed import until
from support.inside import cache_of, link_of
from support.scripted import Running, oid

pytestmark = pytest.mark.smoke


class Holding(MappingStorage):
    """Finishes a transaction when it is told to."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    def tpc_finish(self, *args):
        assert self.go.wait(20)
        return super().tpc_finish(*args)


class Counter:
    """One object of a database, which one connection changes."""

    def __init__(self, storage):
        self.database = ZODB.DB(storage)
        self.manager = transaction.TransactionManager(explicit=True)
        self.connection = self.database.open(self.manager)
        with self.manager:
            self.connection.root()['n'] = 0

    def commit(self, n):
        self.manager.begin()
        self.connection.root()['n'] = n
        self.manager.commit()

    def read(self):
        """Return it in a new transaction."""
        self.manager.abort()
        self.manager.begin()
        return self.connection.root()['n']

    def close(self):
        self.manager.abort()
        self.connection.close()
        self.database.close()


@pytest.fixture
def storage():
    return Holding()


@pytest.fixture
def counter():
    """A function that opens a database."""
    opened = []

    def open_counter(storage):
        opened.append(Counter(storage))
        return opened[-1]

    yield open_counter
    for counter in opened:
        counter.close()


def fail_a_wait(client, monkeypatch):
    """Have the next tpc_finish of `client` fail while it waits for its answer."""
    connection = link_of(client).connection
    stream, finish = connection._stream, connection.finish
    wait, failures = stream.wait, []

    def failing(*args):
        failures.append((threading.get_ident(), OSError(5, 'no')))
        return finish(*args)

    def fail(seconds):
        if failures and failures[0][0] == threading.get_ident():
            raise failures.pop()[1]
        return wait(seconds)

    monkeypatch.setattr(connection, 'finish', failing)
    monkeypatch.setattr(stream, 'is_at_hand', lambda: False)
    monkeypatch.setattr(stream, 'wait', fail)


def read_meanwhile(counter, storage, client):
    """Read in a transaction that begins before the storage finishes the one of `client`."""
    reading, waiting = Running(counter.read), link_of(client).connection._waiting
    until(lambda: len(waiting) == 2)  # the end of the commit, and the load
    storage.go.set()
    return reading.result()


@pytest.mark.parametrize('cache', ['memory', 'file'])
def test_what_is_answered_later_is_read_by_the_connection_that_has_committed_it(
    storage, serving, clients, counter, monkeypatch, tmp_path, cache
):
    options = {} if cache == 'memory' else {'cache': str(tmp_path / 'cache.zec')}
    client = clients(serving(storage).addr, **options)
    mine = counter(client)
    storage.go.clear()
    fail_a_wait(client, monkeypatch)
    with pytest.raises(OSError, match='no'):
        mine.commit(1)
    assert cache_of(client).load(z64) is None  # nobody knows whether it is current
    assert read_meanwhile(mine, storage, client) == 0
    assert mine.read() == 1


def test_so_it_is_behind_a_server_whose_storage_is_a_client(
    storage, serving, clients, counter, monkeypatch
):
    """No client of that server knows better."""
    upstream = clients(serving(storage).addr)
    second = serving(upstream)
    client = clients(second.addr)
    mine, other = counter(client), ZODB.DB(clients(second.addr))
    with other.transaction() as connection:
        assert connection.root()['n'] == 0
    storage.go.clear()
    fail_a_wait(upstream, monkeypatch)
    with pytest.raises(Exception, match='no'):
        mine.commit(1)
    assert read_meanwhile(mine, storage, upstream) == 0
    client.ping()
    assert mine.read() == 1
    with other.transaction() as connection:
        assert connection.root()['n'] == 1
    other.close()


def test_what_is_interrupted_behind_the_answer_is_read_as_well(
    storage, serving, clients, counter, monkeypatch
):
    """Even where the object was read again before the transaction was aborted."""
    client = clients(serving(storage).addr)
    mine = counter(client)
    connection = link_of(client).connection
    finish = connection.finish

    def interrupted(*args):
        finish(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, 'finish', interrupted)
    with pytest.raises(KeyboardInterrupt):
        mine.commit(1)
    assert mine.connection.root()['n'] == 0  # in the snapshot of before
    client.ping()
    assert mine.read() == 1


def test_so_it_is_where_a_blob_is_put_into_the_cache_then(
    storage, serving, clients, counter, monkeypatch, tmp_path
):
    client = clients(serving(storage).addr, blob_dir=str(tmp_path / 'blobs'))
    mine = counter(client)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(client._blobs, 'committed', interrupt)
    with pytest.raises(KeyboardInterrupt):
        mine.commit(1)
    assert mine.connection.root()['n'] == 0
    monkeypatch.undo()
    assert mine.read() == 1


def test_a_program_that_commits_without_a_database_has_the_database_told(
    storage, serving, clients, database, metadata
):
    """As one that copies into a storage on which a database is open."""
    client = clients(serving(storage).addr)
    told = database()
    client.registerDB(told)
    client.tpc_begin(metadata)
    client.store(oid(1), z64, b'data', '', metadata)
    client.tpc_vote(metadata)
    assert [(client.tpc_finish(metadata), [oid(1)], None)] == told.log


@pytest.mark.parametrize('cache', ['memory', 'file'])
def test_a_commit_that_cannot_be_applied_at_first_is_read_by_who_has_made_it(
    storage, serving, clients, counter, monkeypatch, tmp_path, cache
):
    """Not only when the next connection has said what has changed."""
    options = {} if cache == 'memory' else {'cache': str(tmp_path / 'cache.zec')}
    client = clients(serving(storage).addr, **options)
    mine = counter(client)
    failures = [MemoryError()]

    def fail(original, *args):
        if failures:
            raise failures.pop()
        return original(*args)

    for name in ('_replace', '_end'):
        original = getattr(client._state, name)
        if original is not None:
            monkeypatch.setattr(client._state, name, partial(fail, original))
    mine.commit(1)
    seen = client.lastTransaction()
    assert not failures
    assert seen == storage.lastTransaction()
    with mine.database.transaction() as connection:
        assert connection.root()['n'] == 1
    mine.manager.begin()
    assert mine.read() == 1


def test_a_transaction_whose_end_was_not_asked_for_keeps_no_lock(
    storage, serving, clients, monkeypatch
):
    """Its program has no other way to end it: for the client it is over."""
    addr = serving(storage).addr
    holder, other = clients(addr), clients(addr, timeout=10)
    first, second = TransactionMetaData(), TransactionMetaData()
    holder.tpc_begin(first)
    holder.store(oid(1), z64, b'data', '', first)
    holder.tpc_vote(first)

    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(link_of(holder).connection, '_call', fail)
    with pytest.raises(MemoryError):
        holder.tpc_finish(first)
    holder.tpc_abort(first)
    other.tpc_begin(second)
    other.tpc_vote(second)
    other.tpc_abort(second)
    with pytest.raises(POSKeyError):
        other.load(oid(1))


def test_a_cache_that_fails_then_does_not_hide_the_error(
    storage, serving, clients, counter, monkeypatch
):
    """The connection ends, and the next one checks the cache."""
    client = clients(serving(storage).addr)
    mine, connection = counter(client), link_of(client).connection

    def fail(oids):
        raise OSError(28, 'no space')

    fail_a_wait(client, monkeypatch)
    monkeypatch.setattr(client._state, 'unsure_of', fail)
    with pytest.raises(OSError, match='no$'):
        mine.commit(1)
    assert 'could not be forgotten' in str(connection.lost)
    client.ping()
    assert mine.read() == 1
