"""A tpc_abort that fails in its caller: what the database connection reads from then on."""

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError

from support.inside import link_of
from ZEO.serving.database import Database

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


@pytest.mark.parametrize('keeps', [True, False])
def test_a_server_in_front_of_another_has_no_objects_to_forget(
    serving, clients, monkeypatch, metadata, database, keeps
):
    """Its clients would lose their caches."""
    client, told = clients(serving(MappingStorage()).addr), database()
    if not keeps:
        told.keeps_objects = Database.keeps_objects
    client.registerDB(told)

    def fail(*args, **named):
        raise MemoryError

    monkeypatch.setattr(link_of(client).connection, 'call', fail)
    client.tpc_begin(metadata)
    told.log.clear()
    with pytest.raises(MemoryError):
        client.tpc_abort(metadata)
    assert bool(told.log) is keeps
