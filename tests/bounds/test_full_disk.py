"""The disk of a FileStorage is full: what failed is never served, and leaves nothing behind."""

import os
import resource

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.utils import maxtid, z64

from support.scripted import oid

pytestmark = pytest.mark.smoke

#: Records of one size, so that a transaction lies exactly where the one before it failed.
SIZE = 3000

#: Bytes after which the system lets the file grow no more: in the header, in the record, just
#: before the end.
SPACES = [10, 200, SIZE]


@pytest.fixture
def full(server):
    """A function that has a commit fail halfway; the server keeps no records in memory."""
    server.serve(limits={'record_memory': 0}, invalidation_age=3600)
    path = server.directory / 'data.fs'

    def fail(client, txn, space, *stores):
        before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(
            server.pid, resource.RLIMIT_FSIZE, (path.stat().st_size + space, before[1])
        )
        try:
            with pytest.raises(LookupError, match='File too large'):
                client.commit(txn, *stores)
            for number in range(1, 4):  # their buffers go beyond the last record
                client.call('loadBefore', oid(number), maxtid)
        finally:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)

    return fail


@pytest.mark.parametrize('space', SPACES)
def test_data_of_a_transaction_that_failed_are_never_served(server, full, space):
    """They were in the buffers that reads come from, in the place of what was committed later."""
    client = server.client()
    tids = [
        client.commit(number, (oid(number), z64, b'before%d' % number * 50)) for number in (1, 2, 3)
    ]
    for attempt in range(3):
        full(client, 10 + attempt, space, (oid(2), tids[1], b'D' * SIZE))
        tids[1] = client.commit(20 + attempt, (oid(2), tids[1], b'C' * SIZE))
        assert client.call('loadBefore', oid(2), maxtid) == (b'C' * SIZE, tids[1], None)
        assert client.call('loadBefore', oid(3), maxtid)[0] == b'before3' * 50


@pytest.mark.parametrize('space', SPACES)
def test_nothing_of_a_transaction_that_failed_stays_in_the_file(server, full, space):
    """A shorter one that is written over it would leave a tail, which the next start takes for
    damage.
    """
    client = server.client()
    tids = [client.commit(number, (oid(number), z64, b'before' * 50)) for number in (1, 2, 3)]
    full(client, 10, space, (oid(2), tids[1], b'D' * SIZE))
    tids[0] = client.commit(11, (oid(1), tids[0], b'short'))
    server.kill()
    path = str(server.directory / 'data.fs')
    size = os.path.getsize(path)
    storage = FileStorage(path)
    assert storage.getSize() == size == os.path.getsize(path)
    assert storage.lastTransaction() == tids[0]
    storage.close()


def test_a_client_that_was_away_is_answered_while_half_a_transaction_lies_at_the_end(server):
    """In a file that is too large to be looked through from its beginning: what has changed is not
    known.
    """
    server.serve(invalidation_queue_size=1, invalidation_age=3600)
    client = server.client()
    tids = [client.commit(number, (oid(number), z64, b'x' * 2**20)) for number in (1, 2, 3, 4)]
    assert client.call('getInvalidations', tids[1])[0] == tids[3]
    with open(server.directory / 'data.fs', 'ab') as file:
        file.write(b'half' * 100)
    assert client.call('getInvalidations', tids[1]) is None
