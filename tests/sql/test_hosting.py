"""A RelStorage that a server hosts does all that a FileStorage does, for any client."""

import shutil
import time
from contextlib import contextmanager

import pytest
import transaction
import ZODB
from BTrees.Length import Length
from ZODB.blob import Blob
from ZODB.config import storageFromString
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSKeyError, ReadConflictError
from ZODB.tests.MinPO import MinPO
from ZODB.utils import p64, u64, z64

from ZEO.Exceptions import ServerException


@pytest.fixture
def opened():
    """A function that opens a database on a client, with a transaction manager of its own."""
    databases = []

    def open_database(client):
        database = ZODB.DB(client)
        databases.append(database)
        return database.open(transaction.TransactionManager())

    yield open_database
    for database in databases:
        database.close()


@pytest.fixture
def two(sql, serving, clients, opened):
    """Two connections, each of a client of its own, to one server."""
    server = serving(sql.open())
    return opened(clients(server.addr)), opened(clients(server.addr))


def in_time(condition, seconds=20):
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it never became true'
        time.sleep(0.01)


@contextmanager
def committing(connection):
    """Change something and commit."""
    with connection.transaction_manager:
        yield connection.root()


def test_an_empty_database_opens_and_keeps_what_is_stored(two):
    one, other = two
    with committing(one) as root:
        root['one'] = MinPO(1)
    other.sync()
    assert other.root()['one'].value == 1


def test_a_missing_object_is_what_it_is_elsewhere_and_shows_nothing_of_the_storage(
    sql, serving, clients
):
    client = clients(serving(sql.open()).addr)
    with pytest.raises(POSKeyError) as caught:
        client.load(p64(77))
    assert caught.value.args == (p64(77),)


def test_a_conflict_is_resolved(two):
    one, other = two
    with committing(one) as root:
        root['length'] = Length(0)
    other.sync()
    one.root()['length'].change(1)
    other.root()['length'].change(10)
    one.transaction_manager.commit()
    other.transaction_manager.commit()
    one.sync()
    assert (one.root()['length'](), other.root()['length']()) == (11, 11)


def test_several_conflicts_of_one_transaction_are_resolved(two):
    one, other = two
    with committing(one) as root:
        for name in 'abc':
            root[name] = Length(0)
        root['plain'] = MinPO(0)
    other.sync()
    for connection, change in ((one, 1), (other, 10)):
        for name in 'abc':
            connection.root()[name].change(change)
    other.root()['plain'].value = 'other'
    one.transaction_manager.commit()
    other.transaction_manager.commit()
    one.sync()
    assert [one.root()[name]() for name in 'abc'] == [11, 11, 11]
    assert one.root()['plain'].value == 'other'


def test_a_conflict_that_nothing_resolves_fails_and_changes_nothing(two):
    one, other = two
    with committing(one) as root:
        root['one'] = MinPO(0)
    other.sync()
    one.root()['one'].value = 1
    other.root()['one'].value = 2
    one.transaction_manager.commit()
    with pytest.raises(ConflictError):
        other.transaction_manager.commit()
    other.transaction_manager.abort()
    other.sync()
    assert other.root()['one'].value == 1
    with committing(other) as root:
        root['one'].value = 3
    one.sync()
    assert one.root()['one'].value == 3


def test_what_was_read_must_be_current_where_that_is_wanted(two):
    one, other = two
    with committing(one) as root:
        root['read'], root['written'] = MinPO(0), MinPO(0)
    other.sync()
    assert other.root()['read'].value == 0
    other.readCurrent(other.root()['read'])
    other.root()['written'].value = 1
    with committing(one) as root:
        root['read'].value = 1
    with pytest.raises(ReadConflictError):
        other.transaction_manager.commit()
    other.transaction_manager.abort()


def test_an_undo_reaches_the_other_client(two, sql):
    if not sql.keeps_history:
        pytest.skip('there is nothing to undo without a history')
    one, other = two
    for value in (1, 2):
        with committing(one) as root:
            root['one'] = value
    other.sync()
    assert other.root()['one'] == 2
    with one.transaction_manager:
        one.db().undo(one.db().undoLog(0, 1)[0]['id'], one.transaction_manager.get())
    in_time(lambda: other.sync() or other.root()['one'] == 1)


def test_history_and_iteration_know_what_was_committed(two, sql):
    one, other = two
    for value in (1, 2):
        with committing(one) as root:
            root['one'] = value
    transactions = [
        (each.tid, [record.oid for record in each]) for each in other.db().storage.iterator()
    ]
    assert transactions[-1] == (one.db().lastTransaction(), [z64])
    assert len(transactions) == (3 if sql.keeps_history else 1)
    assert len(other.db().history(z64, size=10)) == len(transactions)


def test_records_are_iterated(two):
    one, _ = two
    with committing(one) as root:
        for number in range(3):
            root[number] = MinPO(number)
    storage, oids, cursor = one.db().storage, [], None
    while True:
        oid, _, _, cursor = storage.record_iternext(cursor)
        oids.append(oid)
        if cursor is None:
            break
    assert len(oids) == len(set(oids)) == 4


def test_a_database_is_copied_in_and_out(sql, serving, clients, tmp_path):
    source = FileStorage(str(tmp_path / 'source.fs'))
    database = ZODB.DB(source)
    with database.transaction() as connection:
        connection.root()['one'] = MinPO(1)
    with database.transaction() as connection:
        connection.root()['one'].value = 2
    client = clients(serving(sql.open()).addr)
    client.copyTransactionsFrom(source)
    back = FileStorage(str(tmp_path / 'back.fs'))
    back.copyTransactionsFrom(client)
    for oid, tid in ((record.oid, record.tid) for each in back.iterator() for record in each):
        assert back.loadSerial(oid, tid) == source.loadSerial(oid, tid)
    assert back.lastTransaction() == source.lastTransaction() == client.lastTransaction()
    database.close()
    back.close()


def test_a_pack_removes_old_revisions_while_others_are_served(two, sql):
    one, other = two
    for value in range(5):
        with committing(one) as root:
            root['one'] = MinPO(value)
    one.db().pack()
    other.sync()
    assert other.root()['one'].value == 4
    assert len({each.tid for each in one.db().storage.iterator()}) == 1 or sql.keeps_history
    with pytest.raises((POSKeyError, KeyError)):
        other.db().storage.load(p64(2))


@pytest.mark.parametrize('shared', [True, False], ids=['shared', 'transferred'])
def test_blobs_are_stored_and_read(sql, serving, clients, opened, tmp_path, shared):
    directory = tmp_path / 'blobs'
    storage = storageFromString(
        sql.section(f'blob-dir {directory}\n shared-blob-dir {str(shared).lower()}')
    )
    server = serving(storage)
    one, other = (
        opened(
            clients(
                server.addr,
                blob_dir=str(directory if shared else tmp_path / name),
                shared_blob_dir=shared,
            )
        )
        for name in ('one', 'other')
    )
    with committing(one) as root:
        root['blob'], root['length'] = Blob(b'some bytes'), Length(0)
    other.sync()
    with other.root()['blob'].open() as file:
        assert file.read() == b'some bytes'
    # with a conflict that is resolved: everything is given to the database twice
    other.root()['length'].change(1)
    with other.root()['blob'].open('w') as file:
        file.write(b'other bytes')
    with committing(one) as root:
        root['length'].change(1)
    other.transaction_manager.commit()
    one.sync()
    with one.root()['blob'].open() as file:
        assert file.read() == b'other bytes'
    assert one.root()['length']() == 2


def test_records_are_compressed_by_a_wrapper(sql, serving, clients, opened):
    storage = storageFromString(
        '%import zc.zlibstorage\n<zlibstorage>\n' + sql.section() + '</zlibstorage>\n'
    )
    server = serving(storage)
    one, other = opened(clients(server.addr)), opened(clients(server.addr))
    with committing(one) as root:
        root['text'], root['length'] = 'x' * 5000, Length(0)
    other.sync()
    assert other.root()['text'] == 'x' * 5000
    assert max(size for (size,) in sql.execute('select state_size from object_state')) < 1000
    one.root()['length'].change(1)
    other.root()['length'].change(1)
    one.transaction_manager.commit()
    other.transaction_manager.commit()
    assert other.root()['length']() == 2


def test_many_objects_come_in_one_answer(two):
    one, other = two
    with committing(one) as root:
        for number in range(30):
            root[number] = MinPO(number)
    other.sync()
    objects = [other.root()[number] for number in range(30)]
    other.cacheMinimize()
    other.prefetch(objects)
    assert [each.value for each in objects] == list(range(30))


def test_a_second_pack_at_a_time_is_refused_and_the_first_goes_on(sql, serving, clients):
    client = clients(serving(sql.open()).addr)
    ZODB.DB(client).close  # noqa: B018  (makes the root)
    holder = sql.cluster.connect(sql.name)
    if sql.keeps_history:
        holder.cursor().execute('select pg_advisory_lock(-2)')
    try:
        if sql.keeps_history:
            with pytest.raises((Exception, ServerException)):
                client.pack(time.time())
    finally:
        holder.close()
    client.pack(time.time())


def test_sizes_are_those_of_the_database(two):
    one, _ = two
    assert one.db().getSize() > 100_000


def test_sqlite_is_hosted(sqlite, serving, clients, opened):
    server = serving(storageFromString(sqlite))
    one, other = opened(clients(server.addr)), opened(clients(server.addr))
    with committing(one) as root:
        root['length'] = Length(0)
    other.sync()
    one.root()['length'].change(1)
    other.root()['length'].change(1)
    one.transaction_manager.commit()
    other.transaction_manager.commit()
    assert other.root()['length']() == 2


def test_nothing_stays_open_in_the_database_when_nothing_is_done(two, sql):
    one, _ = two
    with committing(one) as root:
        root['one'] = 1

    def open_transactions():
        return sql.execute(
            "select count(*) from pg_stat_activity where datname = %s and state like 'idle in%%'",
            sql.name,
        )[0][0]

    in_time(lambda: open_transactions() == 0)


def test_a_transaction_that_changes_nothing_is_answered(sql, serving, clients):
    client = clients(serving(sql.open()).addr)
    meta = TransactionMetaData()
    client.tpc_begin(meta)
    client.tpc_vote(meta)
    tid = client.tpc_finish(meta)
    assert client.lastTransaction() == tid


def test_a_blob_that_the_database_does_not_keep_is_not_there(
    sql, serving, clients, opened, tmp_path
):
    section = f'blob-dir {tmp_path}/server\n shared-blob-dir false'
    server = serving(storageFromString(sql.section(section)))
    one = opened(clients(server.addr, blob_dir=str(tmp_path / 'client')))
    serials = []
    for content in b'first', b'second':
        with committing(one) as root:
            root['blob'] = root.get('blob') or Blob()
            with root['blob'].open('w') as file:
                file.write(content)
        oid = one.root()['blob']._p_oid
        serials.append(one.db().storage.load(oid)[1])
    old = serials[0]
    other = clients(server.addr, blob_dir=str(tmp_path / 'other'))
    for directory in (tmp_path / 'server').iterdir():  # what is left there would be found
        if directory.is_dir():
            shutil.rmtree(directory)
            directory.mkdir()
    missing = p64(u64(old) - 1)
    with pytest.raises((POSKeyError, ReadConflictError)):
        other.loadBlob(oid, missing)
    if sql.keeps_history:
        with open(other.loadBlob(oid, old), 'rb') as file:
            assert file.read() == b'first'
    else:
        with pytest.raises(ReadConflictError):
            other.loadBlob(oid, old)
