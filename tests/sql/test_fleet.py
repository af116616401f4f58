"""Several servers in front of one PostgreSQL, and a client that uses it without a server."""

import contextlib
import socket
import threading
import time

import pytest
import transaction
import ZODB
from transaction.interfaces import TransientError
from ZODB.tests.MinPO import MinPO
from ZODB.utils import p64, z64

from support.history import committed
from ZEO.commands import zeo, zeo_notify
from ZEO.serving.backends import follow, listen


@pytest.fixture
def opened():
    """A function that opens a connection with a transaction manager of its own."""
    databases = []

    def open_database(storage):
        database = ZODB.DB(storage)
        databases.append(database)
        return database.open(transaction.TransactionManager())

    yield open_database
    for database in databases:
        database.close()


def in_time(condition, seconds=20):
    """Wait until a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it never became true'
        time.sleep(0.005)


def seen(connection, value):
    """Whether a connection's root has that value by now."""
    connection.sync()
    try:
        return connection.root().get('value') == value
    except TransientError:  # the database keeps no old records
        return False


def test_what_one_commits_the_clients_of_the_others_see(sql, serving, clients, opened):
    direct = opened(sql.open())
    one, other = (opened(clients(serving(sql.open()).addr)) for _ in range(2))
    everyone = [direct, one, other]
    for connection in everyone:
        value = id(connection)

        def change(connection=connection, value=value):
            try:
                with connection.transaction_manager:
                    connection.root()['value'] = value
            except TransientError:
                connection.transaction_manager.abort()
                return False
            return True

        in_time(change)
        for each in everyone:
            in_time(lambda each=each, value=value: seen(each, value))


def test_a_client_reports_the_changes_of_others_in_their_order(sql, serving, clients, database):
    direct = sql.open()
    server = serving(sql.open(), poll_interval=0.02)
    client, told = clients(server.addr), database()
    client.registerDB(told)
    delays = server.hosted['1'].stats.delays  # which the metrics show
    before = delays.count
    tids = [tid for n in range(1, 6) for tid in committed(direct, [p64(n), p64(9)])]
    in_time(lambda: client.ping() or client.lastTransaction() == tids[-1])
    expected = [(tid, [p64(n), p64(9)]) for n, tid in enumerate(tids, 1)]
    if sql.keeps_history:
        assert [entry[:2] for entry in told.log] == expected
    else:  # it is not known what was changed again meanwhile: it is reported too early
        found = [(tid, oids) for tid, oids in expected if tid in {entry[0] for entry in told.log}]
        assert [entry[0] for entry in told.log] == [tid for tid, _ in found]
        assert p64(9) in told.log[0][1] and p64(9) in told.log[-1][1]
        assert all(oids[0] in entry[1] for (_, oids), entry in zip(found, told.log, strict=True))
    in_time(lambda: delays.count - before == len(told.log))
    assert 0 <= delays.sum < 60
    direct.close()


@pytest.mark.parametrize('is_behind_another', [False, True])
def test_a_read_of_the_past_finds_what_was_there_between_two_polls(
    sql, serving, clients, is_behind_another
):
    """Or nothing, of a database that does not keep it; as when it is opened at that time."""
    direct = sql.open()
    committed(direct, [p64(1), p64(2)])
    server = serving(sql.open(), poll_interval=3600)
    if is_behind_another:
        server = serving(clients(server.addr))
    client = clients(server.addr)
    one = [client.load(p64(number)) for number in (1, 2)][0]
    two, three, four = committed(direct, [p64(1)], [p64(1)], [p64(2)])
    in_time(lambda: client.ping() or client.lastTransaction() == four)
    assert client.changes_are_exact is sql.keeps_history
    for before, tid, end in ((three, two, three), (two, one[1], two)):
        found = client.loadBefore(p64(1), before)
        if sql.keeps_history or found is not None:
            assert found is not None and found[1] == tid and found[2] in (None, end)
    assert client.load(p64(1))[1] == three and client.load(p64(2))[1] == four
    direct.close()


def test_a_client_that_registers_is_not_behind_any_other_server(sql, serving, clients):
    one, other = (serving(sql.open(), poll_interval=60) for _ in range(2))
    tid = committed(clients(one.addr), [z64])[0]
    late = clients(other.addr)
    assert late.lastTransaction() == tid
    assert late.load(z64)[1] == tid


def test_a_client_that_asks_the_server_sees_what_was_committed_elsewhere(sql, serving, clients):
    one, other = (serving(sql.open(), poll_interval=60) for _ in range(2))
    writer, reader = clients(one.addr), clients(other.addr, server_sync=True)
    tid = committed(writer, [z64])[0]
    reader.sync()
    assert reader.lastTransaction() == tid


def test_a_client_moves_when_its_server_goes_and_keeps_its_cache(sql, serving, clients):
    servers = [serving(sql.open()), serving(sql.open())]
    client = clients([server.addr for server in servers])
    tids = committed(client, [p64(1), p64(2)], [p64(2)])
    assert client.load(p64(1))[1] == tids[0]
    gone, left = sorted(servers, key=lambda server: not server.hosted['1'].peers)
    changed = committed(clients(left.addr), [p64(2)])[0]
    gone.close()
    in_time(lambda: client.is_connected() and client.lastTransaction() == changed)
    loads = left.hosted['1'].peers.loads
    assert client.load(p64(1))[1] == tids[0]
    assert left.hosted['1'].peers.loads == loads
    assert client.load(p64(2))[1] == changed


def test_own_and_foreign_commits_come_in_one_order(sql, serving, clients, opened):
    """Each of three increments a counter, of which no increment is lost."""
    direct = opened(sql.open())
    with direct.transaction_manager:
        direct.root()['counter'] = MinPO(0)
    everyone = [direct, *(opened(clients(serving(sql.open()).addr)) for _ in range(2))]
    errors = []

    def increment(connection):
        done = 0
        try:
            while done < 10:
                try:
                    connection.sync()
                    connection.root()['counter'].value += 1
                    connection.transaction_manager.commit()
                    done += 1
                except TransientError:
                    connection.transaction_manager.abort()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=increment, args=(each,)) for each in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not errors
    direct.sync()
    assert direct.root()['counter'].value == 30


def test_a_server_that_listens_hears_of_commits_at_once(
    sql, serving, clients, database, capsys, caplog, monkeypatch
):
    monkeypatch.setattr(follow, 'BACKSTOP', 0.5)  # after that it finds that its connection is lost
    monkeypatch.setattr(listen, 'AGAIN', 0.2)
    caplog.set_level('INFO')
    server = serving(sql.open(), poll_interval=0.05, notify=True)
    client, told = clients(server.addr), database()
    client.registerDB(told)
    in_time(lambda: 'there is no trigger for it' in caplog.text)
    with contextlib.closing(sql.cluster.connect(sql.name)) as other:
        other.cursor().execute('begin; lock table object_state in share mode')
        monkeypatch.setattr(zeo_notify, 'LOCK_TIME', 100)
        assert zeo.main(['notify', sql.cluster.dsn(sql.name)]) == 2
        assert 'lock timeout' in capsys.readouterr().err
    assert zeo.main(['notify', sql.cluster.dsn(sql.name)]) == 0
    in_time(lambda: 'listening to its database' in caplog.text)
    follower = server.hosted['1'].backend._follower
    in_time(lambda: follower._pause() == follow.BACKSTOP)
    direct = sql.open()
    sql.cluster.end_connections(sql.name)  # it listens again
    in_time(lambda: caplog.text.count('listening to its database') == 2)
    tids = committed(direct, *([p64(number)] for number in range(5)))
    in_time(lambda: told.log and told.log[-1][0] == tids[-1])
    assert [entry[0] for entry in told.log] == tids
    direct.close()
    assert zeo.main(['notify', '--remove', sql.cluster.dsn(sql.name)]) == 0
    assert sql.execute("select count(*) from pg_trigger where tgname = 'zeo_notify'") == [(0,)]


def test_the_command_prints_its_statements_or_says_what_is_wrong(capsys):
    assert zeo.main(['notify']) == 0
    assert 'create trigger zeo_notify' in capsys.readouterr().out
    assert zeo.main(['notify', 'host=/nowhere']) == 2
    assert capsys.readouterr().err.startswith('zeo notify: the database refuses: ')


def test_the_command_does_not_wait_for_a_database_that_does_not_answer(capsys, monkeypatch):
    monkeypatch.setattr(zeo_notify, 'CONNECT_TIME', 2)  # the shortest that libpq takes
    with socket.create_server(('127.0.0.1', 0)) as silent:
        host, port = silent.getsockname()
        assert zeo.main(['notify', f'host={host} port={port} user=nobody']) == 2
    assert 'timeout expired' in capsys.readouterr().err
