"""A client that reads from a follower and writes to the primary."""

import shutil
import tempfile
import threading
import time

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError, ReadConflictError, ReadOnlyError
from ZODB.utils import maxtid, p64, u64

from support.followed import PATIENCE, Followed, commit, serial_of, until
from support.inside import cache_of, link_of, primary_link_of, state_of
from ZEO.Exceptions import ClientDisconnected, StaleServerError

A, B = map(p64, (101, 102))


@pytest.fixture
def servers():
    directory = tempfile.mkdtemp(prefix='zeo-', dir='/tmp')
    followed = Followed(directory)
    try:
        commit(followed.writer(), A, B, data=b'first')
        followed.copy()
        yield followed
    finally:
        followed.close()
        shutil.rmtree(directory)


def reads_from(client, server):
    connection = link_of(client).connection
    return connection is not None and connection.where == server.address


def again(function):
    """Call it once more, as an application does whose transaction has lost its connection."""
    try:
        return function()
    except ClientDisconnected:
        return function()


# Which server.


def test_a_client_reads_from_a_follower_and_writes_to_the_primary(servers):
    servers.follow()
    client = servers.open()
    assert reads_from(client, servers.follower)
    assert primary_link_of(client).connection is None  # until it is needed
    tid = commit(client, A, data=b'second')
    assert primary_link_of(client).connection.where == servers.primary.address
    assert client.loadBefore(A, maxtid) == (b'second', tid, None)
    assert client.lastTransaction() == tid == servers.primary.storage.lastTransaction()
    assert reads_from(client, servers.follower)
    assert not client.isReadOnly()


def test_the_primary_is_read_from_while_there_is_no_follower(servers, monkeypatch):
    monkeypatch.setattr('ZEO.link.link.LOOK_FOR_BETTER', 0.05)
    servers.follower.close()
    client = servers.open()
    assert reads_from(client, servers.primary)
    tid = commit(client, A, data=b'second')
    assert client.load(A) == (b'second', tid)
    servers.follower.start()
    servers.copy()
    until(lambda: reads_from(client, servers.follower))
    assert client.load(A) == (b'second', tid)


def test_a_follower_that_is_behind_is_not_used_until_it_has_what_the_client_has_seen(
    servers, monkeypatch
):
    monkeypatch.setattr('ZEO.link.link.LOOK_FOR_BETTER', 0.02)
    servers.follower.close()
    client = servers.open()
    tid = commit(client, A, data=b'second')
    servers.follower.start()
    time.sleep(0.2)  # several looks
    assert reads_from(client, servers.primary)
    assert client.lastTransaction() == tid
    servers.copy()
    until(lambda: reads_from(client, servers.follower))
    assert client.load(A) == (b'second', tid)


def test_one_that_has_lost_its_primary_is_left_for_the_primary_and_used_without_one(
    servers, monkeypatch
):
    monkeypatch.setattr('ZEO.link.link.LOOK_FOR_BETTER', 0.02)
    client = servers.open()
    servers.says('disconnected')
    until(lambda: reads_from(client, servers.primary))
    servers.primary.close()
    until(lambda: reads_from(client, servers.follower))
    assert client.load(A)[0] == b'first'
    servers.primary.start()
    until(lambda: reads_from(client, servers.primary))
    servers.says('following')
    until(lambda: reads_from(client, servers.follower))


def test_one_that_is_still_copying_is_not_read_from(servers):
    servers.follower.storage.state = 'copying'
    client = servers.open()
    assert reads_from(client, servers.primary)
    servers.primary.close()
    with pytest.raises(ClientDisconnected, match='has not copied everything'):
        servers.open(wait_timeout=0.3)


def test_nearest_takes_the_first_that_answers_and_any_of_them_will_do(servers):
    client = servers.open('nearest')
    where = link_of(client).connection.where
    assert where in servers.addresses
    servers.follow()
    tid = commit(client, A)
    assert client.load(A)[1] == tid
    assert link_of(client).connection.where == where


def test_primary_reads_from_a_follower_while_there_is_no_primary_only(servers, monkeypatch):
    monkeypatch.setattr('ZEO.link.link.LOOK_FOR_BETTER', 0.02)
    client = servers.open('primary')
    assert reads_from(client, servers.primary)
    assert primary_link_of(client) is link_of(client)
    servers.primary.close()
    until(lambda: reads_from(client, servers.follower))
    assert client.isReadOnly()
    with pytest.raises(ReadOnlyError):
        commit(client, A)
    servers.promote()
    until(lambda: not client.isReadOnly())
    commit(client, A)


# The own commits of a client.


def test_a_commit_waits_for_the_follower(servers):
    client = servers.open(prefer_wait=10)
    done = []
    thread = threading.Thread(target=lambda: done.append(commit(client, A, data=b'second')))
    before = servers.primary.storage.lastTransaction()
    thread.start()
    until(lambda: servers.primary.storage.lastTransaction() != before)
    assert client.lastTransaction() == before  # another thread sees what the follower has
    assert client.load(A)[0] == b'first'
    assert not done
    servers.copy()
    thread.join(20)
    assert client.load(A) == (b'second', done[0])
    assert reads_from(client, servers.follower)


def test_reads_move_to_the_primary_where_the_follower_takes_too_long(servers, monkeypatch):
    monkeypatch.setattr('ZEO.link.link.LOOK_FOR_BETTER', 0.02)
    monkeypatch.setattr('ZEO.link.read_link.AVOID', 0.5)
    client = servers.open(prefer_wait=0.1)
    tid = commit(client, A, data=b'second')
    assert client.lastTransaction() == tid  # where the primary was slow, this waits for it
    assert reads_from(client, servers.primary)
    assert client.load(A) == (b'second', tid)
    servers.follow()
    until(lambda: reads_from(client, servers.follower))
    assert client.load(A) == (b'second', tid)


@pytest.mark.parametrize('ahead', [False, True])
def test_the_callback_of_a_commit_is_called_once_before_other_threads_see_it(servers, ahead):
    client = servers.open(prefer_wait=10)
    seen, before = [], client.lastTransaction()
    metadata = TransactionMetaData()
    client.tpc_begin(metadata)
    client.store(A, serial_of(client, A), b'second', '', metadata)
    client.tpc_vote(metadata)
    if ahead:
        finish = servers.primary.hosted.committed

        def committed(committer, tid, oids, *big):
            copied = threading.Thread(target=servers.copy)
            copied.start()
            copied.join(20)
            until(lambda: client._state.last_tid == tid)
            finish(committer, tid, oids, *big)

        servers.primary.hosted.committed = committed
    else:
        servers.follow(0.05)
    tid = client.tpc_finish(metadata, lambda tid: seen.append((tid, client._state.last_tid)))
    assert seen == [(tid, tid if ahead else before)]
    assert client.load(A) == (b'second', tid)


def test_what_a_client_commits_is_in_its_cache_as_current(servers):
    """Where the primary's answer is there before the follower has the transaction."""
    client, tids = servers.open(prefer_wait=PATIENCE), []
    thread = threading.Thread(target=lambda: tids.append(commit(client, A, data=b'second')))
    thread.start()
    until(lambda: state_of(client)._own)
    servers.follow()
    thread.join(PATIENCE)
    assert cache_of(client).load(A) == (b'second', *tids)


def test_a_record_that_the_server_has_merged_is_not_kept_as_it_was_stored(servers):
    """The vote says that it is another."""
    servers.primary.storage.tryToResolveConflict = lambda *conflict: b'merged'
    servers.follow(0.01)
    client, other = servers.open(prefer_wait=10), servers.writer()
    old = serial_of(client, A)
    commit(other, A, data=b'theirs')
    servers.lag()
    tid = None
    metadata = TransactionMetaData()
    client.tpc_begin(metadata)
    client.store(A, old, b'mine', '', metadata)
    changed = client.tpc_vote(metadata)
    servers.follow(0.05)
    tid = client.tpc_finish(metadata)
    assert list(changed) == [A]
    assert client.load(A) == (b'merged', tid)
    assert servers.primary.storage.load(A)[0] == b'merged'


def test_after_a_conflict_the_next_transaction_sees_what_it_was_with(servers):
    client, other = servers.open(prefer_wait=10), servers.writer()
    old = serial_of(client, A)
    tid = commit(other, A, data=b'theirs')
    threading.Timer(0.1, servers.copy).start()
    with pytest.raises(ConflictError):
        commit(client, A, data=b'mine', serials={A: old})
    assert client.lastTransaction() == tid
    assert client.load(A) == (b'theirs', tid)


def test_a_read_conflict_as_well(servers):
    client, other = servers.open(prefer_wait=0.1), servers.writer()
    old = serial_of(client, B)
    tid = commit(other, B, data=b'theirs')
    metadata = TransactionMetaData()
    client.tpc_begin(metadata)
    client.checkCurrentSerialInTransaction(B, old, metadata)
    client.store(A, serial_of(client, A), b'mine', '', metadata)
    with pytest.raises(ReadConflictError):
        client.tpc_vote(metadata)
    client.tpc_abort(metadata)
    assert client.lastTransaction() == tid
    assert client.load(B) == (b'theirs', tid)
    assert reads_from(client, servers.primary)


def test_undo_is_read_where_it_was_done(servers):
    servers.follow()
    client = servers.open(prefer_wait=10)
    commit(client, A, data=b'a mistake')
    (latest, *_) = client.undoLog(0, 1)
    metadata = TransactionMetaData()
    client.tpc_begin(metadata)
    client.undo(latest['id'], metadata)
    client.tpc_vote(metadata)
    tid = client.tpc_finish(metadata)
    assert client.load(A) == (b'first', tid)
    assert [one['tid'] for one in client.history(A, 3)][0] == tid
    assert [one.tid for one in client.iterator()][-1] == tid


def test_server_sync_shows_what_others_have_committed(servers):
    client = servers.open(server_sync=True, prefer_wait=0.2, wait_timeout=2)
    other = servers.writer()
    tid = commit(other, A, data=b'second')
    client.sync()
    assert client.lastTransaction() == tid and client.load(A) == (b'second', tid)
    servers.primary.close()
    client.sync()  # there is nothing newer


# Servers that are gone.


def test_reading_goes_on_when_the_follower_is_gone(servers):
    client = servers.open()
    servers.follower.close()
    assert client.loadBefore(B, maxtid)[0] == b'first'
    assert client.history(B)[0]['size'] == 5
    assert reads_from(client, servers.primary)


def test_reading_goes_on_while_there_is_no_primary_and_writing_after_a_promotion(servers):
    servers.follow()
    client = servers.open(wait_timeout=0.3)
    tid = commit(client, A, data=b'second')
    servers.primary.close()
    until(lambda: primary_link_of(client).connection is None)
    assert client.load(A) == (b'second', tid)
    with pytest.raises(ClientDisconnected, match='takes no writes'):
        commit(client, A)
    servers.promote()
    until(lambda: primary_link_of(client).connection is not None)
    tid = commit(client, A, data=b'third')
    assert client.load(A) == (b'third', tid)
    assert u64(client.new_oid())


def test_with_read_only_fallback_a_write_without_a_primary_fails_at_once(servers):
    servers.primary.close()
    client = servers.open(read_only_fallback=True)
    with pytest.raises(ReadOnlyError, match='no primary was found'):
        client.tpc_begin(TransactionMetaData())
    assert client.isReadOnly()
    with pytest.raises(ReadOnlyError):
        client.new_oid()
    servers.promote()
    until(lambda: not client.isReadOnly())
    commit(client, A)


def test_both_gone_and_back(servers):
    client = servers.open()
    servers.follow()
    tid = commit(client, A, data=b'second')
    servers.lag()
    servers.follower.cut()
    servers.primary.cut()
    assert client.load(A) == (b'second', tid)
    servers.follow()
    tid = again(lambda: commit(client, A, data=b'third'))
    assert client.load(A) == (b'third', tid)


@pytest.mark.parametrize('phase', ['begun', 'stored', 'voted'])
def test_a_lost_primary_fails_the_transaction_and_no_read(servers, phase):
    servers.follow()
    client = servers.open()
    metadata = TransactionMetaData()
    client.tpc_begin(metadata)
    if phase != 'begun':
        client.store(A, serial_of(client, A), b'lost', '', metadata)
    if phase == 'voted':
        client.tpc_vote(metadata)
    servers.primary.cut()
    with pytest.raises(ClientDisconnected):
        client.tpc_vote(metadata)
        client.tpc_finish(metadata)
    client.tpc_abort(metadata)
    assert client.load(A)[0] == b'first'
    assert reads_from(client, servers.follower)
    tid = commit(client, A, data=b'second')
    assert client.load(A) == (b'second', tid)


def test_a_commit_whose_answer_was_lost_is_seen_after_the_next_connection(servers):
    client = servers.open(prefer_wait=0.2)
    metadata = TransactionMetaData()
    client.tpc_begin(metadata)
    client.store(A, serial_of(client, A), b'second', '', metadata)
    client.tpc_vote(metadata)
    committed = servers.primary.hosted.committed

    def gone(committer, tid, oids, *big):
        committed(committer, tid, oids, *big)
        servers.primary.hosted.peers.close_all('a test')

    servers.primary.hosted.committed = gone
    with pytest.raises(ClientDisconnected):
        client.tpc_finish(metadata)
    servers.primary.hosted.committed = committed
    primary_link_of(client).wait()
    tid = client.lastTransaction()
    assert tid == servers.primary.storage.lastTransaction()
    assert client.load(A) == (b'second', tid)


def test_a_primary_that_is_older_than_what_was_read_takes_no_writes(servers):
    """It was only away: both take writes now."""
    cache = f'{servers.directory}/cache.zec'
    client = servers.open(cache=cache)
    servers.promote()
    newer = commit(servers.client_of(servers.follower), A, data=b'newer')
    until(lambda: client.lastTransaction() == newer)
    tid = commit(client, A, data=b'mine')
    assert primary_link_of(client).connection.where == servers.follower.address
    assert client.load(A) == (b'mine', tid)
    assert servers.primary.storage.load(A)[0] == b'first'
    servers.follower.close()
    client.close()
    with pytest.raises((ClientDisconnected, StaleServerError), match='is older than this client'):
        servers.open(cache=cache, wait_timeout=2)


# The database.


@pytest.fixture
def database(servers):
    servers.follow(0.003)
    database = ZODB.DB(servers.open(prefer_wait=10, blob_dir=f'{servers.directory}/blobs'))
    yield database
    database.close()


def test_connections_of_one_database_see_each_others_commits(servers, database):
    with database.transaction() as connection:
        connection.root()['counter'] = PersistentMapping(n=0)
    failures = []

    def count():
        manager = transaction.TransactionManager()
        connection = database.open(manager)
        for _ in range(25):
            while True:
                try:
                    manager.begin()
                    counter = connection.root()['counter']
                    before = counter['n']
                    manager.savepoint(optimistic=True)
                    counter['n'] = before + 1
                    manager.commit()
                except ConflictError:
                    manager.abort()
                    continue
                break
            manager.begin()
            if connection.root()['counter']['n'] <= before:
                failures.append(before)
            manager.abort()
        connection.close()

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    with database.transaction() as connection:
        assert connection.root()['counter']['n'] == 75


def test_blobs_are_written_to_one_and_read_from_the_other(servers, database):
    from ZODB.blob import Blob

    with database.transaction() as connection:
        connection.root()['blob'] = Blob(b'content')
    other = ZODB.DB(servers.open(blob_dir=f'{servers.directory}/others'))
    with other.transaction() as connection, connection.root()['blob'].open() as file:
        assert file.read() == b'content'
    assert reads_from(other.storage, servers.follower)
    other.close()


def test_the_size_is_that_of_the_primary_after_a_commit(servers, database):
    with database.transaction() as connection:
        connection.root()['x'] = PersistentMapping()
    assert len(database.storage) == len(servers.primary.storage)
    assert database.storage.getSize() == servers.primary.storage.getSize()


# Options.


def test_a_cache_file_is_kept_when_reads_move(servers):
    client = servers.open(cache=f'{servers.directory}/cache.zec')
    client.loadBefore(B, maxtid)
    servers.follower.close()
    until(lambda: reads_from(client, servers.primary))
    assert cache_of(client).load(B) is not None


def test_without_prefer_there_is_one_link_and_no_other_class(servers):
    client = servers.writer()
    assert primary_link_of(client) is link_of(client)
    assert {type(part).__name__ for part in (client._server, client._state, client._commits)} == {
        'Link',
        'ClientState',
        'Commits',
    }


def test_a_client_that_only_reads_needs_no_right_to_write(servers):
    client = servers.open(read_only=True, server_sync=True)
    tid = commit(servers.writer(), A, data=b'second')
    servers.copy()
    client.sync()
    assert client.load(A) == (b'second', tid)
    with pytest.raises(ReadOnlyError):
        client.new_oid()


@pytest.mark.parametrize('has_come', [False, True])
def test_a_commit_that_is_interrupted_behind_the_primarys_answer_is_read_afterwards(
    servers, database, monkeypatch, has_come
):
    """Whether the follower has it yet or not."""
    manager = transaction.TransactionManager(explicit=True)
    connection = database.open(manager)
    with manager:
        connection.root()['n'] = 0

    reads = database.storage._commits._reads
    reach = reads.reach

    def interrupt(*args):
        if has_come:
            reach(*args)
        raise KeyboardInterrupt

    manager.begin()
    connection.root()['n'] = 1
    if not has_come:
        servers.lag()
    with monkeypatch.context() as patch:
        patch.setattr(reads, 'reach', interrupt)
        with pytest.raises(KeyboardInterrupt):
            manager.commit()
    assert connection.root()['n'] == 0  # in the snapshot of before
    manager.abort()
    if not has_come:
        servers.follow(0.1)
    manager.begin()  # which waits for it
    assert connection.root()['n'] == 1
    manager.abort()
    connection.close()
