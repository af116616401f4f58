"""What a client's open transactions may hold: the rest goes to disk, or fails at its vote, and all
of it is given back.
"""

import pytest
from ZODB.utils import maxtid, z64

from support.bounded import eventually
from support.scripted import message, oid

MB = 2**20


def others_go_on(server):
    """Show that another client commits and reads, and that nothing is open any more but its
    connection.
    """
    good = server.client()
    good_oid = oid(10**6 + len(server.clients))
    tid = good.commit(1, (good_oid, z64, b'good'))
    assert good.call('loadBefore', good_oid, maxtid) == (b'good', tid, None)
    return good


def all_is_over(server, good, connections=1):
    """Wait until the server has seen the end of the other connections; show that nothing is left of
    them.
    """
    eventually(lambda: good.call('server_status')['connections'] == connections)
    status = good.call('server_status')
    assert (status['active_txns'], status['waiting'], status['lock_time']) == (0, 0, None)
    assert server.files() == []
    assert not [name for name in server.open_files() if 'zeo-commit' in name]


def test_many_transactions_of_one_client_share_its_memory(server):
    """Thirty with 9 MB each, none of which would go to disk by itself."""
    server.serve()
    client, before = server.client(), server.memory()
    record = b'x' * (3 * MB)
    for txn in range(30):
        client.begin(txn, *((oid(txn * 10 + number), z64, record) for number in range(3)))
    client.call('ping')
    assert server.memory() < before + 50 * MB
    good = others_go_on(server)
    tids = [client.call('vote', 7), client.call('tpc_finish', 7)]
    assert good.call('loadBefore', oid(71), maxtid) == (record, tids[1], None)
    client.close()
    all_is_over(server, good)


def test_many_clients_share_the_servers_memory(server):
    server.serve(limits={'shared_memory': 20 * MB})
    before = server.memory()
    clients = [server.client() for _ in range(20)]
    for client in clients:
        client.begin(1, *((oid(number), z64, b'x' * MB) for number in range(8)))
        client.call('ping')
    assert server.memory() < before + 60 * MB
    others_go_on(server)
    assert clients[-1].call('vote', 1) == []
    clients[-1].call('tpc_finish', 1)


def test_one_transaction_too_many_fails_at_its_vote(server):
    server.serve(limits={'transactions': 10})
    client = server.client()
    for txn in range(15):
        client.begin(txn, (oid(txn), z64, b'x'))
    with pytest.raises(LookupError, match='has 10 transactions open already.*max-transactions'):
        client.call('vote', 12)
    for txn in range(10):
        client.call('vote', txn)
        client.call('tpc_finish', txn)
    for txn in range(10, 15):
        client.call('tpc_abort', txn)
    client.commit(1, (oid(100), z64, b'x'))  # as ever


def test_a_client_that_begins_transactions_without_end_is_closed(server):
    server.serve()
    client, before = server.client(), server.memory()
    try:
        for txn in range(200_000):
            client.begin(txn)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert client.ended() == []
    assert server.memory() < before + 10 * MB
    all_is_over(server, others_go_on(server))
    assert 'max-transactions' in server.log()


@pytest.mark.parametrize('field', ['user', 'description', 'extension'])
def test_what_transactions_say_about_themselves_is_bounded(server, field):
    server.serve()
    client, before = server.client(), server.memory()
    user, description = (b'x' * MB if field == name else b'' for name in ('user', 'description'))
    extension = (
        {f'key {number}': b'x' * 10_000 for number in range(100)} if field == 'extension' else {}
    )
    for txn in range(100):
        client.tell('tpc_begin', txn, user, description, extension, None, ' ')
    with pytest.raises(LookupError, match='descriptions and extensions'):
        client.call('vote', 50)
    assert server.memory() < before + 40 * MB
    good = others_go_on(server)
    client.close()
    all_is_over(server, good)


OPERATIONS = {
    'checkCurrentSerialInTransaction': lambda number: (oid(number), z64),
    'deleteObject': lambda number: (oid(number), z64),
    'undoa': lambda number: (b'%08d' % number * 100,),
    'restorea': lambda number: (oid(number), z64, None, z64),
}


@pytest.mark.parametrize('call', OPERATIONS)
def test_operations_without_records_cost_memory_too(server, call):
    server.serve()
    client, before = server.client(), server.memory()
    client.begin(1)
    client.send(
        *(message(0, True, call, (*OPERATIONS[call](number), 1)) for number in range(60_000))
    )
    client.call('ping')
    assert server.memory() < before + 25 * MB
    good = others_go_on(server)
    client.close()
    all_is_over(server, good)


@pytest.mark.parametrize(
    'call, args',
    [
        ('undoa', (b'x' * 10_000,)),
        ('undoa', (['id'],)),
        ('storea', (oid(1), 'x' * 10_000, b'data')),
        ('restorea', (oid(1), z64, b'data', ('not', 'a tid'))),
        ('restorea', (oid(1), z64, b'data', b'x' * 10_000)),
        ('checkCurrentSerialInTransaction', (oid(1), 5)),
    ],
)
def test_what_is_not_kept_for_any_storage(server, call, args):
    server.serve()
    client = server.client()
    client.begin(1)
    client.tell(call, *args, 1)
    assert client.ended() == []
    all_is_over(server, others_go_on(server))


@pytest.mark.parametrize('txn_id', [b'x' * 101, 'x' * 101, 1 << 2000, None, (1,)])
def test_what_is_not_the_id_of_a_transaction(server, txn_id):
    server.serve()
    client = server.client()
    client.begin(txn_id)
    assert client.ended() == []
    all_is_over(server, others_go_on(server))


def test_a_transaction_too_large_for_the_disk_fails_at_its_vote(server):
    server.serve(limits={'commit_memory': MB, 'transaction_disk': 20 * MB})
    client = server.client()
    client.begin(1)
    for number in range(100):
        client.tell('storea', oid(number), z64, b'x' * MB, 1)
    client.begin(2, (oid(500), z64, b'small'))
    with pytest.raises(LookupError, match=f'more than {20 * MB} bytes.*max-transaction-size'):
        client.call('vote', 1)
    client.call('vote', 2)
    client.call('tpc_finish', 2)
    client.call('tpc_abort', 1)
    good = others_go_on(server)
    # there is space again
    client.begin(3, *((oid(number), z64, b'x' * MB) for number in range(15)))
    assert client.call('vote', 3) == []
    client.call('tpc_finish', 3)
    client.close()
    all_is_over(server, good)
