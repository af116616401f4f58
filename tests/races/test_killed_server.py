"""A server is killed with kill -9 and starts again: what it says of its storage is what happened,
and nothing else.
"""

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import maxtid, p64, z64

from support.commands import ServerCommand
from support.scripted import RawClient, oid
from support.sides import OURS

pytestmark = pytest.mark.smoke


@pytest.fixture
def server(tmp_path):
    """A server command on a FileStorage; it was not started yet."""
    server = ServerCommand(OURS, tmp_path / 'server', options=' invalidation-age 3600')
    yield server
    server.close()


def killed_while_voted(server, txn):
    """Commit, let another transaction vote, kill the server; returns the tid of the one that was
    committed.
    """
    client = RawClient(server.address)
    serial = z64 if client.last == z64 else client.call('loadBefore', oid(1), maxtid)[1]
    last = client.commit(txn, (oid(1), serial, b'committed'))
    client.begin(txn + 1, (oid(2), z64, b'voted'))
    client.call('vote', txn + 1)
    server.kill()
    client.close()
    return last


def test_the_tid_of_a_transaction_that_was_cut_off_is_told_by_no_call(server):
    """FileStorage cuts it off and keeps its tid for that of the last transaction."""
    server.start()
    last = killed_while_voted(server, 1)
    server.start()
    client = RawClient(server.address)
    assert client.last == client.call('lastTransaction') == last
    assert client.call('getInvalidations', last) == (last, [])
    assert client.call('server_status')['last-transaction'] == last.hex()
    assert client.call('loadBefore', oid(1), maxtid) == (b'committed', last, None)
    with pytest.raises(LookupError, match='POSKeyError'):
        client.call('loadBefore', oid(2), maxtid)
    assert client.commit(1, (oid(2), z64, b'new')) > last
    client.close()


def test_clients_find_their_server_again_after_two_restarts(server, clients, tmp_path):
    """Each with a cache file; one that is connected all the time, one that is opened between the
    restarts.
    """
    server.start()
    lasting = clients(server.address, client='lasting', var=str(tmp_path))
    last = killed_while_voted(server, 1)
    server.start()
    lasting.ping()
    between = clients(server.address, client='between', var=str(tmp_path))
    assert lasting.lastTransaction() == between.lastTransaction() == last
    server.kill()
    server.start()
    fresh = clients(server.address, client='fresh', var=str(tmp_path))
    for client in (lasting, between, fresh):
        client.ping()
        assert client.lastTransaction() == last
        meta = TransactionMetaData()
        client.tpc_begin(meta)
        client.store(oid(1), client.load(oid(1))[1], b'after', '', meta)
        client.tpc_vote(meta)
        last = client.tpc_finish(meta)
        for other in (lasting, between, fresh):
            other.ping()
    between.close()
    assert clients(server.address, client='between', var=str(tmp_path)).load(oid(1)) == (
        b'after',
        last,
    )


def test_oids_are_not_given_out_again(server):
    """Not those that a client has not used, nor those of objects that were not stored before the
    kill.
    """
    given = []
    for _ in range(3):
        server.start()
        client = RawClient(server.address)
        given += [one for _ in range(30) for one in client.call('new_oids', 100)]
        if len(given) == 3000:
            client.commit(1, (given[5], z64, b'stored'))
        server.kill()
        client.close()
    assert len(set(given)) == 9000 and max(given) < p64(2**63)
