"""copyTransactionsFrom to a server: many transactions are on their way, and none is lost."""

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

from support.databases import build, content_of
from support.processes import wait_until
from support.scripted import oid
from ZEO.wire import extensions


@pytest.fixture
def source(tmp_path):
    """A file with 200 transactions."""
    storage = FileStorage(str(tmp_path / 'source.fs'))
    serials = {}
    for number in range(200):
        transaction = TransactionMetaData('user', f'transaction {number}')
        storage.tpc_begin(transaction)
        for one in (oid(number % 7), oid(100 + number)):
            storage.store(one, serials.get(one, z64), b'data %d' % number, '', transaction)
        storage.tpc_vote(transaction)
        tid = storage.tpc_finish(transaction)
        serials |= {oid(number % 7): tid, oid(100 + number): tid}
    yield storage
    storage.close()


def tids(storage):
    return [transaction.tid for transaction in storage.iterator()]


def calls(monkeypatch, client):
    """Return the names of the calls that a client waits for, from now on."""
    names = []
    connection = client._server.connection
    call, vote, finish = connection.call, connection.vote, connection.finish

    def noted(name, *args):
        names.append(name)
        return call(name, *args)

    def of(name, method):
        return lambda *args: names.append(name) or method(*args)

    monkeypatch.setattr(connection, 'call', noted)
    monkeypatch.setattr(connection, 'vote', of('vote', vote))
    monkeypatch.setattr(connection, 'finish', of('tpc_finish', finish))
    return names


def test_a_copy_has_the_bytes_of_the_source_and_no_round_trip_per_transaction(
    source, serving, clients, tmp_path, monkeypatch
):
    server = serving(FileStorage(str(tmp_path / 'target.fs')))
    client = clients(server.addr)
    names = calls(monkeypatch, client)
    client.copyTransactionsFrom(source)
    assert 'vote' not in names and 'tpc_finish' not in names
    assert (tmp_path / 'target.fs').read_bytes() == (tmp_path / 'source.fs').read_bytes()
    assert client.lastTransaction() == source.lastTransaction()
    assert client.load(oid(3))[0] == source.load(oid(3))[0]


def test_blobs_come_along(serving, clients, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build('a.fs', 'a.blobs')
    server = serving(FileStorage('b.fs', blob_dir='b.blobs'))
    client = clients(server.addr, blob_dir=str(tmp_path / 'cache'))
    source = FileStorage('a.fs', blob_dir='a.blobs', read_only=True)
    client.copyTransactionsFrom(source)
    source.close()
    client.close()
    server.close()
    assert content_of('a.fs', 'a.blobs') == content_of('b.fs', 'b.blobs')


def test_the_error_of_the_server_is_raised_and_nothing_behind_it_is_copied(
    source, serving, clients, tmp_path
):
    target = FileStorage(str(tmp_path / 'target.fs'))
    restore = target.restore

    def refuse(one, *args):
        if one == oid(150):
            raise OSError(28, 'No space left on device')
        return restore(one, *args)

    target.restore = refuse
    client = clients(serving(target).addr)
    with pytest.raises(Exception, match='No space left'):
        client.copyTransactionsFrom(source)
    assert tids(target) == tids(source)[:50]
    assert client.server_status()['active_txns'] == 0


class Broken(Exception):
    pass


def test_an_error_of_the_source_leaves_what_was_whole(source, serving, clients, tmp_path):
    class Half:
        def iterator(self):
            for number, transaction in enumerate(source.iterator()):
                if number == 120:
                    raise Broken
                yield transaction

    target = FileStorage(str(tmp_path / 'target.fs'))
    client = clients(serving(target).addr)
    with pytest.raises(Broken):
        client.copyTransactionsFrom(Half())
    assert tids(target) == tids(source)[:120]


def test_a_server_that_cannot_do_it_gets_one_after_the_other(
    source, serving, clients, tmp_path, monkeypatch
):
    able = tuple(one for one in extensions.ALL if one != extensions.COMMIT_AFTER)
    monkeypatch.setattr(extensions, 'ALL', able)
    target = FileStorage(str(tmp_path / 'target.fs'))
    client = clients(serving(target).addr)
    names = calls(monkeypatch, client)
    client.copyTransactionsFrom(source)
    assert names.count('vote') == 200
    assert tids(target) == tids(source)


def test_a_connection_that_is_lost_ends_the_copy_without_a_hole(source, serving, clients, tmp_path):
    target = FileStorage(str(tmp_path / 'target.fs'))
    server = serving(target)
    client = clients(server.addr, wait_timeout=1)

    class Cut:
        def iterator(self):
            for number, transaction in enumerate(source.iterator()):
                if number == 130:
                    client._server.connection.lose('the test says so')
                yield transaction

    with pytest.raises(Exception, match='the test says so'):
        client.copyTransactionsFrom(Cut())
    there = tids(target)
    assert there == tids(source)[: len(there)]


def test_what_another_server_was_sent_is_settled_before_more_is_sent(
    source, serving, clients, tmp_path
):
    target = FileStorage(str(tmp_path / 'target.fs'))
    client = clients(serving(target).addr)
    connection = client._server.connection

    sent = tids(source)[:130]

    class Reconnecting:
        def iterator(self):
            for number, transaction in enumerate(source.iterator()):
                if number == 130:
                    wait_until(lambda: target.lastTransaction() == sent[-1])
                    client.ping()  # everything was answered, and the next comes elsewhere
                    connection.lose('the test says so')
                    client._server.wait()
                yield transaction

    client.copyTransactionsFrom(Reconnecting())
    assert client._server.connection is not connection
    assert tids(target) == tids(source)
