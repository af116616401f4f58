"""What clients get for the errors of a database."""

import pytest
from transaction.interfaces import TransientError
from ZODB.POSException import ConflictError, StorageError

from ZEO.Exceptions import ClientDisconnected
from ZEO.net.loop import Loop
from ZEO.serving.backends.instances import Instances
from ZEO.serving.resolve import ConflictPolicy
from ZEO.wire.faults import describe, restore

psycopg2 = pytest.importorskip('psycopg2')
locks = pytest.importorskip('relstorage.adapters.interfaces')
caches = pytest.importorskip('relstorage.cache.interfaces')


@pytest.fixture
def instances(cluster):
    """Those of a database with history."""
    name = cluster.create_for(True)
    storage = cluster.open(name, True)
    yield Instances('main', storage, ConflictPolicy(), Loop())
    storage.close()
    cluster.drop(name)


def raised(error, *later):
    """Return the last of some errors, each of which is raised while the one before is handled."""
    for one in later:
        one.__context__, error = error, one
    return error


@pytest.mark.parametrize(
    'errors',
    [
        (psycopg2.OperationalError('terminating connection'),),
        (psycopg2.InterfaceError('connection already closed'),),
        (psycopg2.DatabaseError('server closed the connection unexpectedly'),),
        (OSError('reset'),),
        (psycopg2.DatabaseError('server closed it'), Exception('the cleaning up failed')),
        (Exception('Failed to close one or more resources: [DatabaseError()]'),),
    ],
)
def test_a_connection_that_is_lost_is_known_whatever_says_so(instances, errors):
    assert isinstance(instances.disconnected(raised(*errors)), ClientDisconnected)


@pytest.mark.parametrize(
    'errors',
    [
        (psycopg2.IntegrityError('duplicate key'),),
        (psycopg2.OperationalError('terminating connection'), ConflictError('lost')),
        (ValueError('wrong'),),
    ],
)
def test_what_the_database_says_itself_is_not_a_lost_connection(instances, errors):
    error = raised(*errors)
    assert instances.disconnected(error) is error


def test_what_may_be_tried_again_is_so_at_the_client(instances):
    error = caches.CacheConsistencyError('the cache is behind')
    assert isinstance(error, StorageError)
    received = at_client(instances.disconnected(error))
    assert isinstance(received, TransientError) and 'the cache is behind' in str(received)
    locked = locks.UnableToLockRowsToModifyError('row')
    assert isinstance(at_client(instances.disconnected(locked)), ConflictError)


def at_client(error):
    """Return what becomes of an error."""
    return restore(describe(error), 'the server')
