"""The server's disk is full, in the middle of a commit: the committer is told, and the service goes
on.
"""

import errno
import os
import resource

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import maxtid, z64

from support.children import Child
from support.scripted import RawClient, oid
from support.sides import OURS
from ZEO.StorageServer import Limits

pytestmark = pytest.mark.smoke


@pytest.fixture
def no_space(monkeypatch):
    """Temporary files of the commit log are on a full disk."""
    monkeypatch.setattr(
        'ZEO.serving.commit.log.tempfile.TemporaryFile',
        lambda *args, buffering=-1, **options: open('/dev/full', 'w+b', buffering),
    )
    return monkeypatch


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='/dev/full is the disk of this test')
@pytest.mark.parametrize(
    'sizes', [[100], [100, 100], [100_000], [100_000, 10], [10] * 2000], ids=str
)
def test_a_commit_log_that_can_not_be_written_fails_the_vote(serving, raw, no_space, sizes):
    """Whether the system says so at once, at the next record or when the file is read back; the
    others commit.
    """
    server = serving(MappingStorage(), limits=Limits(commit_memory=50))
    committer, other = raw(server), raw(server)
    committer.begin(1, *((oid(number), z64, b'x' * size) for number, size in enumerate(sizes, 1)))
    with pytest.raises(LookupError, match='No space left'):
        committer.call('vote', 1)
    other.commit(1, (oid(2), z64, b'small'))
    committer.commit(2, (oid(3), z64, b'small'))
    with pytest.raises(LookupError, match='POSKeyError'):
        committer.call('loadBefore', oid(1), maxtid)
    no_space.undo()
    committer.commit(3, (oid(1), z64, b'x' * 1000))
    assert committer.call('loadBefore', oid(1), maxtid)[0] == b'x' * 1000


@pytest.mark.parametrize('method', ['tpc_begin', 'store', 'tpc_vote', 'tpc_finish'])
def test_a_storage_that_can_not_write_fails_the_commit_and_nothing_else(serving, raw, method):
    """In whichever step it fails."""

    class Full(MappingStorage):
        pass

    def fail(self, *args, **options):
        delattr(Full, method)
        raise OSError(errno.ENOSPC, 'No space left on device')

    setattr(Full, method, fail)
    server = serving(Full())
    committer, other = raw(server), raw(server)
    with pytest.raises(LookupError, match='No space left'):
        committer.commit(1, (oid(1), z64, b'lost'))
    other.commit(1, (oid(2), z64, b'kept'))
    committer.commit(2, (oid(3), z64, b'kept'))
    with pytest.raises(LookupError, match='POSKeyError'):
        committer.call('loadBefore', oid(1), maxtid)


def test_a_transaction_whose_finish_has_failed_is_forgotten(serving, raw, monkeypatch):
    """No abort comes for it, from most clients; one that does come is harmless."""
    server = serving(MappingStorage(), limits=Limits(transactions=3))
    committer = raw(server)

    def fail(self, *args, **options):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(MappingStorage, 'tpc_finish', fail)
    for txn in range(10):
        with pytest.raises(LookupError, match='No space left'):
            committer.commit(txn, (oid(1), z64, b'lost'))
    monkeypatch.undo()
    committer.call('tpc_abort', 5)
    committer.commit(10, (oid(1), z64, b'kept'))
    assert committer.call('server_status')['active_txns'] == 0


@pytest.fixture
def process():
    """A server process, whose limits the test may change."""
    child = Child(OURS, 'support.host', cwd='/tmp')
    yield child
    child.close()


@pytest.mark.skipif(
    not hasattr(resource, 'prlimit'), reason='only Linux changes the limits of another process'
)
def test_a_filestorage_on_a_full_disk_loses_nothing(process, tmp_path):
    """The system lets the file grow no more; what was committed is there, and commits succeed when
    there is room again.
    """
    path = tmp_path / 'data.fs'
    address = process.call(
        'serve', storage=f'<filestorage>\npath {path}\n</filestorage>\n', options={}
    )
    client = RawClient(address)
    first = client.commit(1, (oid(1), z64, b'kept'))
    before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    for number in range(2, 6):
        resource.prlimit(
            process.pid, resource.RLIMIT_FSIZE, (path.stat().st_size + 5000, before[1])
        )
        with pytest.raises(LookupError, match='File too large'):
            client.commit(number, (oid(1), first, b'x' * 10_000), (oid(number), z64, b'x' * 10_000))
        assert client.call('loadBefore', oid(1), maxtid) == (b'kept', first, None)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
    second = client.commit(9, (oid(1), first, b'x' * 10_000))
    client.close()
    address = process.call(
        'serve', storage=f'<filestorage>\npath {path}\n</filestorage>\n', options={}
    )
    client = RawClient(address)
    assert client.call('loadBefore', oid(1), maxtid) == (b'x' * 10_000, second, None)
    assert client.call('loadBefore', oid(1), second) == (b'kept', first, second)
    client.close()
