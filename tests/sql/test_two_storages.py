"""Two storages of one server on one database: each is told of what the other has committed."""

import threading

import pytest
import transaction
import ZODB
from ZODB.POSException import ConflictError
from ZODB.tests.MinPO import MinPO

from ZEO.commands import zeo
from ZEO.StorageServer import StorageServer


@pytest.fixture
def address(sql, sockets):
    """Where a server has the database twice, as a and b."""
    server = StorageServer(sockets(), {'a': sql.open(), 'b': sql.open()})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.addr
    server.close()


def test_commits_of_both_are_seen_and_none_is_lost(address, clients):
    databases = [ZODB.DB(clients(address, storage=name)) for name in 'ab']
    with databases[0].transaction() as connection:
        connection.root()['number'] = MinPO(0)

    def count(database):
        manager = transaction.TransactionManager()
        connection = database.open(manager)
        done = 0
        while done < 10:
            try:
                with manager:
                    connection.root()['number'].value += 1
                done += 1
            except (ConflictError, KeyError):  # the other was first, or is not seen yet
                pass
        connection.close()

    threads = [threading.Thread(target=count, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    databases[0].pack()
    fresh = ZODB.DB(clients(address, storage='b'))
    with fresh.transaction() as connection:
        assert connection.root()['number'].value == 20
    assert zeo.main(['verify', f'{address}/b']) == 0
    for database in (*databases, fresh):
        database.close()
