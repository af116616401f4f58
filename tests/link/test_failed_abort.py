"""A tpc_abort that fails in its caller: what the database connection reads from then on."""

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError

from support.inside import link_of

pytestmark = pytest.mark.smoke


@pytest.fixture
def open_database(clients):
    """A function that opens a database on a client of a server."""
    opened = []

    def open_database(addr):
        opened.append(ZODB.DB(clients(addr)))
        return opened[-1]

    yield open_database
    for database in opened:
        database.close()


@pytest.mark.parametrize('error', [OSError(5, 'no'), MemoryError('no'), KeyboardInterrupt('no')])
def test_what_was_to_be_taken_back_is_not_read(serving, open_database, monkeypatch, error):
    """ZODB itself does not get to that then."""
    addr = serving(MappingStorage()).addr
    mine, other = open_database(addr), open_database(addr)
    with mine.transaction() as connection:
        connection.root()['other'] = PersistentMapping(n=0)
    manager = transaction.TransactionManager()
    connection = mine.open(manager)
    root = connection.root()
    root['n'] = root['other']['n'] = 1
    manager.savepoint()
    with other.transaction() as changing:
        changing.root()['n'] = 2
    link = link_of(mine.storage).connection
    call = link.call

    def fail(name, *args, **named):
        if name == 'tpc_abort':
            raise error
        return call(name, *args, **named)

    monkeypatch.setattr(link, 'call', fail)
    with pytest.raises((ConflictError, KeyboardInterrupt)):
        manager.commit()
    monkeypatch.undo()
    manager.abort()
    mine.storage.ping()
    manager.begin()
    assert (root['other']['n'], root['n']) == (0, 2)
    connection.close()


@pytest.mark.parametrize('error', [MemoryError(), KeyboardInterrupt()])
def test_the_commit_lock_is_given_back(serving, clients, monkeypatch, error):
    """Also where the server was not asked for it."""
    addr = serving(MappingStorage()).addr
    holder, other = clients(addr), clients(addr, timeout=10)
    first, second = TransactionMetaData(), TransactionMetaData()
    holder.tpc_begin(first)
    holder.tpc_vote(first)

    def fail(*args, **named):
        raise error

    monkeypatch.setattr(link_of(holder).connection, 'call', fail)
    with pytest.raises(type(error)):
        holder.tpc_abort(first)
    other.tpc_begin(second)
    other.tpc_vote(second)
    other.tpc_abort(second)


def test_clients_of_a_server_in_front_of_another_keep_their_caches(
    serving, clients, monkeypatch, metadata
):
    """No objects of ZODB are there."""
    upstream = clients(serving(MappingStorage()).addr)
    client = clients(serving(upstream).addr)
    connection = link_of(client).connection
    real, failed = link_of(upstream).connection.call, []

    def fail(name, *args, **named):
        if name == 'tpc_abort':
            failed.append(name)
            raise MemoryError
        return real(name, *args, **named)

    monkeypatch.setattr(link_of(upstream).connection, 'call', fail)
    client.tpc_begin(metadata)
    client.tpc_vote(metadata)
    client.tpc_abort(metadata)
    client.ping()
    assert failed and link_of(client).connection is connection
