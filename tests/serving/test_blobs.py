"""A client names files of the shared blob directory, and no others."""

import os

import pytest
from ZODB.blob import BlobStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import Unsupported
from ZODB.utils import p64

from ZEO.Exceptions import ProtocolError
from ZEO.serving import blobs
from ZEO.wire.extensions import CHUNK_SIZE
from ZEO.wire.messages import codec
from ZEO.wire.session import ClientSession

OID = p64(1)


@pytest.fixture
def storage(tmp_path):
    storage = BlobStorage(str(tmp_path / 'blobs'), MappingStorage())
    os.makedirs(storage.fshelper.getPathForOID(OID))
    (tmp_path / 'secret').write_bytes(b'secret')
    return storage


def put(storage, name, content=b'blob'):
    path = os.path.join(storage.fshelper.getPathForOID(OID), name)
    with open(path, 'wb') as file:
        file.write(content)
    return path


def test_a_file_of_the_directory(storage):
    path = put(storage, 'BUSY-1.tmp')
    assert blobs.shared_path(storage, OID, 'BUSY-1.tmp') == path


@pytest.mark.parametrize(
    'name',
    [
        '',
        '.',
        '..',
        '../x',
        '../../secret',
        '/etc/passwd',
        'a/b',
        './BUSY-1.tmp',
        'no-such-file',
        'sub',
        '../1/BUSY-1.tmp',
    ],
)
def test_names_that_lead_elsewhere(storage, name):
    path = put(storage, 'BUSY-1.tmp')
    os.mkdir(os.path.join(os.path.dirname(path), 'sub'))
    with pytest.raises(ProtocolError, match='not a temporary file'):
        blobs.shared_path(storage, OID, name)


def test_a_link_that_leads_elsewhere(storage, tmp_path):
    link = os.path.join(storage.fshelper.getPathForOID(OID), 'link.tmp')
    os.symlink(tmp_path / 'secret', link)
    with pytest.raises(ProtocolError):
        blobs.shared_path(storage, OID, 'link.tmp')


def test_a_committed_blob_is_no_temporary_file(storage):
    """Taking it would move it away from the revision it belongs to."""
    put(storage, '0x0123.blob')
    with pytest.raises(ProtocolError):
        blobs.shared_path(storage, OID, '0x0123.blob')


def test_a_storage_without_blobs():
    with pytest.raises(Unsupported):
        blobs.require(MappingStorage())


@pytest.mark.parametrize('size', [0, 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE])
def test_a_blob_is_sent_in_chunks_that_older_peers_take(tmp_path, size):
    path = tmp_path / 'blob'
    path.write_bytes(os.urandom(size))
    session = ClientSession(10**6)
    stream = b'\0\0\0\2Z5' + b''.join(blobs.download(str(path), codec(b'Z5'), 7, OID, OID))
    found = []
    for data in (stream[:6], stream[6:]):
        session.buffer()[: len(data)] = data
        found += session.received(len(data))
    names = [name for _, _, name, _ in found]
    assert (names[0], names[-2:]) == ('receiveBlobStart', ['receiveBlobStop', '.reply'])
    chunks = [args[2] for _, _, name, args in found if name == 'receiveBlobChunk']
    assert b''.join(chunks) == path.read_bytes()
    assert max(map(len, chunks), default=0) <= 59_000


def test_removing_what_the_storage_has_taken_is_no_error(tmp_path):
    storage = MappingStorage()
    (tmp_path / 'left').write_bytes(b'')
    paths = [str(tmp_path / 'left'), str(tmp_path / 'taken')]
    blobs.remove_files(storage, paths)
    assert paths == [] and not os.listdir(tmp_path)
