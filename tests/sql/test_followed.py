"""A replica of a server that hosts a RelStorage."""

import time

import ZODB
from ZODB.config import storageFromString

from support.databases import content, fill
from ZEO.replica.storage import Replica


def test_it_follows_where_history_is_kept_and_says_so_where_it_is_not(
    sql, serving, clients, tmp_path
):
    more = f'blob-dir {tmp_path}/sql\n shared-blob-dir false'
    server = serving(storageFromString(sql.section(more)))
    client = clients(server.addr, blob_dir=str(tmp_path / 'client'))
    commit(client)
    last = client.lastTransaction()
    replica = Replica([server.addr], str(tmp_path / 'r.fs'), blob_dir=str(tmp_path / 'blobs'))
    try:
        in_time(lambda: replica.lastTransaction() == last or replica.replica_status()['error'])
        if not sql.keeps_history:
            error = replica.replica_status()['error']
            assert replica.replica_status()['state'] == 'refused'
            assert 'keeps no history (keep-history false) and cannot be followed' in error
            assert replica.lastTransaction() < last
            return
        fill(client, 2, True)
        last = client.lastTransaction()
        in_time(lambda: replica.lastTransaction() == last)
        assert in_order(replica) == in_order(client)
    finally:
        replica.close()


def test_a_server_in_front_of_one_without_history_cannot_be_followed_either(
    sql, serving, clients, tmp_path
):
    upstream = serving(sql.open())
    commit(clients(upstream.addr))
    between = serving(clients(upstream.addr))
    replica = Replica([between.addr], str(tmp_path / 'r.fs'))
    try:
        last = upstream.hosted['1'].last_transaction()
        in_time(lambda: replica.lastTransaction() == last or replica.replica_status()['error'])
        assert (replica.replica_status()['state'] == 'refused') is not sql.keeps_history
        assert (replica.lastTransaction() == last) is sql.keeps_history
    finally:
        replica.close()


def commit(client):
    """Commit something."""
    database = ZODB.DB(client)
    with database.transaction() as connection:
        connection.root()['one'] = 1


def in_order(storage):
    """Return what it has; a table has the records of a transaction in no order."""
    return [(*texts, sorted(records)) for *texts, records in content(storage)]


def in_time(condition):
    """Wait until a condition holds."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, 'it never became true'
        time.sleep(0.01)
