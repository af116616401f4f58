"""What a server does while its database is away, slow, or not the one that it was."""

import threading
import time

import pytest
from transaction.interfaces import TransientError
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

from support.history import committed
from ZEO.Exceptions import ClientDisconnected
from ZEO.serving.backends.recent import Records
from ZEO.serving.backends.view import View
from ZEO.serving.invalidations import Invalidations
from ZEO.StorageServer import StorageServer


@pytest.fixture
def sql_and_file(sql, sockets, tmp_path):
    """A server of a FileStorage and a RelStorage."""
    files = FileStorage(str(tmp_path / 'Data.fs'))
    server = StorageServer(sockets(), {'files': files, 'sql': sql.open()})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.close()


def in_time(condition, seconds=20):
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it never became true'
        time.sleep(0.01)


def begun(storage, oid, serial, data=b'more'):
    """Begin a transaction and store a record."""
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.store(oid, serial, data, '', meta)
    return meta


def test_other_storages_are_served_while_a_database_hangs(sql_and_file, sql, clients):
    files = clients(sql_and_file.addr, storage='files', cache_size=0)
    client = clients(sql_and_file.addr, storage='sql', cache_size=0)
    for storage in (files, client):
        committed(storage, [p64(number) for number in range(50)])
    answers = []

    def load():
        try:
            answers.append(client.load(p64(7)))
        except ClientDisconnected as error:
            answers.append(error)

    sql_and_file.hosted['sql'].backend.forget_records()
    with sql.cluster.hung():
        thread = threading.Thread(target=load)
        thread.start()
        for number in range(2000):
            files._server.call('loadBefore', p64(number % 50), b'\x7f' + 7 * b'\xff')
        committed(files, [p64(99)])
        assert not any(type(answer) is tuple for answer in answers)
    thread.join(20)
    assert len(answers) == 1
    in_time(lambda: sql_and_file.hosted['sql'].backend.trouble is None)
    assert client.load(p64(7))[0] == b'data'


def test_a_database_that_hangs_is_in_the_status_and_refuses_quickly(sql_and_file, sql, clients):
    hosted = sql_and_file.hosted['sql']
    client = clients(sql_and_file.addr, storage='sql')
    committed(client, [z64], [p64(1)])
    with sql.cluster.hung():
        in_time(lambda: hosted.backend.trouble is not None)
        assert 'does not answer' in hosted.status()['error']
        with pytest.raises(ClientDisconnected, match='database'):
            client.load(p64(5))
        with pytest.raises(ClientDisconnected, match='database'):
            client.ping()
        meta = begun(client, p64(1), client.lastTransaction())
        with pytest.raises(TransientError):
            client.tpc_vote(meta)
        client.tpc_abort(meta)
    in_time(lambda: hosted.backend.trouble is None)
    assert 'error' not in hosted.status()
    assert client.load(p64(1))[0] == b'data'
    committed(client, [p64(2)])


def test_a_database_that_was_stopped_comes_back_by_itself(sql_and_file, sql, clients):
    client = clients(sql_and_file.addr, storage='sql')
    committed(client, [p64(1)])
    sql_and_file.hosted['sql'].backend.forget_records()
    sql.cluster.stop()
    try:
        with pytest.raises(ClientDisconnected, match='database'):
            client.load(p64(5))
    finally:
        sql.cluster.start()
    in_time(lambda: sql_and_file.hosted['sql'].backend.trouble is None)
    assert client.load(p64(1))[0] == b'data'
    for number in range(6):  # each writer has a connection that is lost
        assert _commits(client, p64(1)), number


def test_loads_and_commits_go_on_when_connections_are_lost(sql_and_file, sql, clients):
    client = clients(sql_and_file.addr, storage='sql', cache_size=0)
    committed(client, [p64(number) for number in range(30)])
    for number in range(10):
        sql_and_file.hosted['sql'].backend.forget_records()
        sql.cluster.end_connections(sql.name)
        in_time(lambda number=number: _loads(client, p64(number)))
        in_time(lambda number=number: _commits(client, p64(number)))


def _loads(client, oid):
    try:
        return bool(client.load(oid))
    except TransientError:
        return False


def _commits(client, oid):
    meta = begun(client, oid, client.getTid(oid))
    try:
        client.tpc_vote(meta)
    except TransientError:
        client.tpc_abort(meta)
        return False
    client.tpc_finish(meta)
    return True


def test_a_vote_whose_connection_is_lost_frees_its_locks(sql_and_file, sql, clients):
    one, other = (clients(sql_and_file.addr, storage='sql') for _ in range(2))
    (tid,) = committed(one, [p64(1)])
    meta = begun(one, p64(1), tid)
    one.tpc_vote(meta)  # which locks the object in the database
    sql.cluster.end_connections(sql.name)
    with pytest.raises(TransientError):
        one.tpc_finish(meta)
    one.tpc_abort(meta)
    in_time(lambda: _commits(other, p64(1)))


def test_clients_drop_their_caches_when_the_database_has_lost_what_they_saw(
    sql_and_file, sql, clients, caplog
):
    client = clients(sql_and_file.addr, storage='sql', drop_cache_if_older=True)
    if not sql.keeps_history:
        pytest.skip('its tables do not hold the state that is returned to')
    first, last = committed(client, [p64(1)], [p64(1)])
    assert client.load(p64(1))[1] == last
    number = int.from_bytes(last, 'big')
    sql.execute('update current_object set tid = %s', int.from_bytes(first, 'big'))
    sql.execute('delete from object_state where tid = %s', number)
    sql.execute('delete from transaction where tid = %s', number)
    sql.cluster.end_connections(sql.name)  # as after a standby has taken over
    in_time(lambda: 'lost transactions' in caplog.text)
    in_time(lambda: _loads(client, p64(1)) and client.load(p64(1))[1] == first)


def test_nothing_waits_for_a_database_that_hangs_when_the_server_ends(sql, sockets, clients):
    if not sql.keeps_history:
        pytest.skip('it is the same, and takes seconds')
    server = StorageServer(sockets(), {'sql': sql.open()})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = clients(server.addr, storage='sql')
    committed(client, [z64])
    with sql.cluster.hung():
        in_time(lambda: server.hosted['sql'].backend.trouble is not None)
        closed = threading.Thread(target=server.close, daemon=True)
        closed.start()
        closed.join(30)
        assert not closed.is_alive()


@pytest.mark.parametrize(
    'place',
    [(Invalidations, 'add'), (View, 'advance'), (Records, 'changed')],
    ids=lambda place: place[0].__name__,
)
def test_what_is_not_noted_for_want_of_memory_is_read_anew(sql_and_file, sql, clients, place):
    one, other = (clients(sql_and_file.addr, storage='sql', cache_size=0) for _ in range(2))
    committed(one, [p64(1)])
    in_time(lambda: _loads(other, p64(1)))  # the record is kept, and a reader has a snapshot
    for number in range(3):

        def fails(*args):
            raise MemoryError

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(*place, fails)
            (tid,) = committed(one, [p64(1)], data=b'%d' % number)
        in_time(lambda tid=tid: other.lastTransaction() == tid)
        assert other.load(p64(1)) == (b'%d' % number, tid)
