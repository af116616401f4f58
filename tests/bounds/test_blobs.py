"""Blob files on the server: none outlives its transaction, its connection or its process, and what
they take is bounded.
"""

import os
import pickle

import pytest
from ZODB.utils import maxtid, z64

from support.bounded import eventually
from support.scripted import oid
from ZEO.serving import leftovers

MB = 2**20

RECORD = pickle.dumps(('module', 'Class'), 3) + pickle.dumps({}, 3)

#: A storage with blobs of its own, and one that is wrapped to have them.
KINDS = {
    'FileStorage': '<filestorage>\npath DIR/data.fs\nblob-dir DIR/blobs\n</filestorage>\n',
    'BlobStorage': '<blobstorage>\nblob-dir DIR/blobs\n<mappingstorage>\n</mappingstorage>\n'
    '</blobstorage>\n',
    'DemoStorage': '<demostorage>\n<filestorage changes>\npath DIR/data.fs\nblob-dir DIR/blobs\n'
    '</filestorage>\n</demostorage>\n',
}


@pytest.fixture(params=KINDS)
def served(server, request):
    """A server of each kind of storage."""
    server.serve(KINDS[request.param])
    return server


def upload(client, chunks=3, size=50_000):
    client.tell('storeBlobStart')
    for _ in range(chunks):
        client.tell('storeBlobChunk', b'b' * size)


def store_blob(client, txn, number, serial=z64):
    upload(client)
    client.tell('storeBlobEnd', oid(number), serial, b'record', txn)


def no_files(server, client=None):
    """Wait until the connections of all but one client have ended; show that nothing is left."""
    client = client or server.client()
    eventually(lambda: client.call('server_status')['connections'] == 1)
    assert server.files('blobs') == []
    client.commit(99, (oid(99), z64, b'good'))


def test_a_blob_of_a_transaction_that_was_not_begun(served):
    client = served.client()
    client.begin(1)
    store_blob(client, 2, 1)
    assert client.ended() == []
    no_files(served)


def test_a_blob_of_no_transaction_is_not_taken(served):
    client = served.client()
    client.tell('storeBlobStart')
    assert client.ended() == []
    no_files(served)


def test_blobs_that_are_not_ended(served):
    client = served.client()
    client.begin(1)
    for _ in range(5):
        upload(client)
    client.call('ping')
    assert len(served.files('blobs')) == 1
    client.close()
    no_files(served)


def test_a_blob_that_is_not_ended_before_its_transaction_is(served):
    client = served.client()
    client.begin(1)
    upload(client)
    client.call('tpc_abort', 1)
    no_files(served, client)


@pytest.mark.parametrize('end', ['abort', 'disconnect', 'commit'])
def test_a_blob_that_comes_after_its_transaction_has_timed_out(server, end):
    """As that of an honest client on a slow network."""
    server.serve(KINDS['FileStorage'], transaction_timeout=1)  # in which an honest commit is done
    client, other = server.client(), server.client()
    client.begin(1)
    client.call('vote', 1)
    eventually(lambda: other.call('server_status')['aborts'] == 1)
    other.close()
    store_blob(client, 1, 1)
    client.begin(2)
    store_blob(client, 2, 2)
    if end == 'abort':
        client.call('tpc_abort', 1)
        client.call('tpc_abort', 2)
    elif end == 'commit':
        client.call('vote', 2)
        tid = client.call('tpc_finish', 2)
        assert len(server.files('blobs')) == 1
        client.call('sendBlob', oid(2), tid)
        return
    else:
        client.close()
        client = None
    no_files(server, client)


@pytest.mark.parametrize('end', ['abort', 'disconnect'])
def test_a_blob_of_a_transaction_that_fails_while_it_is_stored(served, end):
    """Another of its objects is in conflict, before and behind the blob."""
    client = served.client()
    for number in (10, 20):
        client.commit(1, (oid(number), z64, RECORD))
        client.begin(2, *[(oid(number), oid(7), RECORD)] * (number == 10))
        store_blob(client, 2, 15)
        client.tell('storea', oid(number), oid(7), RECORD, 2)
        with pytest.raises(LookupError, match='ConflictError'):
            client.call('vote', 2)
        client.call('tpc_abort', 2)
        assert served.files('blobs') == []
    if end == 'disconnect':
        client.close()
        client = None
    no_files(served, client)


def test_a_blob_whose_transaction_waits_for_its_conflicts_to_be_resolved(served):
    """The storage has stored it by then; the client goes away instead."""
    client = served.client()
    client.tell('set_client_label', 'test\nresolves')
    client.commit(1, (oid(10), z64, RECORD))
    client.begin(2)
    store_blob(client, 2, 15)
    client.tell('storea', oid(10), oid(7), RECORD, 2)
    try:
        assert client.call('vote', 2)[0]['oid'] == oid(10)
    except LookupError as error:
        # MappingStorage's own conflicts do not say between which revisions they are
        assert 'ConflictError' in str(error)
    client.close()
    no_files(served)


def test_blobs_of_others_are_committed_all_the_same(served):
    client = served.client()
    client.commit(1, (oid(10), z64, RECORD))
    client.begin(2)
    store_blob(client, 2, 15)
    client.tell('storea', oid(10), oid(7), RECORD, 2)
    with pytest.raises(LookupError):
        client.call('vote', 2)
    client.begin(3)
    store_blob(client, 3, 15)
    client.call('vote', 3)
    tid = client.call('tpc_finish', 3)
    client.call('tpc_abort', 2)
    client.call('sendBlob', oid(15), tid)
    assert (
        b''.join(args[2] for name, args in client.told if name == 'receiveBlobChunk')
        == b'b' * 150_000
    )
    assert len(served.files('blobs')) == 1


@pytest.mark.parametrize('finished', [True, False])
def test_uploads_past_their_bound_fail_the_vote(server, finished):
    server.serve(limits={'blob_disk': 5 * MB})
    client, other = server.client(), server.client()
    client.begin(1)
    for _ in range(3):
        upload(client, 40)  # 2 MB
        client.tell('storeBlobEnd', oid(1), z64, b'record', 1)
    client.call('ping')
    assert server.files('blobs') == []  # at once
    with pytest.raises(LookupError, match=f'more than {5 * MB} bytes.*max-upload-size'):
        client.call('vote', 1)
    client.call('tpc_abort', 1)
    for txn in range(2, 6):  # one after the other there is space for all
        client.begin(txn)
        upload(client, 80)
        client.tell('storeBlobEnd', oid(txn), z64, b'record', txn)
        client.call('vote', txn)
        client.call('tpc_finish' if finished else 'tpc_abort', txn)
    other.commit(1, (oid(50), z64, b'good'))
    assert len(server.files('blobs')) == (4 if finished else 0)


def test_a_blob_that_does_not_end_is_bounded(server):
    server.serve(limits={'blob_disk': 5 * MB})
    client = server.client()
    client.begin(1)
    upload(client, 1000)
    client.call('ping')
    assert server.files('blobs') == []
    client.close()
    no_files(server)


def shared_file(server, number, name='store-x.tmp'):
    """Put a file where a client that shares the directory does."""
    folder = server.directory / 'blobs' / os.path.join(*(f'0x{byte:02x}' for byte in oid(number)))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b'shared')


@pytest.mark.parametrize('end', ['not begun', 'timed out', 'abort'])
def test_files_of_a_shared_directory(server, end):
    server.serve(KINDS['FileStorage'], transaction_timeout=0.2)
    client, other = server.client(), server.client()
    shared_file(server, 5)
    client.begin(1)
    if end == 'timed out':
        client.call('vote', 1)
        eventually(lambda: other.call('server_status')['aborts'] == 1)
    other.close()
    client.tell(
        'storeBlobShared', oid(5), z64, b'record', 'store-x.tmp', 2 if end == 'not begun' else 1
    )
    if end == 'not begun':
        assert client.ended() == []
        client = None
    elif end == 'abort':
        client.call('tpc_abort', 1)
    no_files(server, client)


def test_what_a_killed_server_has_left_is_removed_at_the_next_start(server):
    server.serve()
    client = server.client()
    client.begin(1)
    store_blob(client, 1, 1)
    upload(client)
    client.call('ping')
    left = server.files('blobs')
    assert len(left) == 2
    folder = server.directory / 'blobs' / 'tmp'
    kept = {
        'zeo-abc.blob',  # not old enough
        'zeo-12345678-1-2-x.blob',  # of another machine
        'store-x.tmp',
        f'{leftovers.prefix()}x.blob',  # of a process that lives
    }
    for name in kept:
        (folder / name).write_bytes(b'')
    gone = left[0].rpartition('/')[2].rpartition('-')[0] + '-link.blob'  # of the killed server
    os.symlink(folder / 'store-x.tmp', folder / gone)
    server.kill()
    server.restart()
    server.serve()
    assert 'removed 2 temporary blob files' in server.log()
    kept.add(gone)
    assert {os.path.basename(name) for name in server.files('blobs')} == kept
    client = server.client()
    with pytest.raises(LookupError, match='POSKeyError'):
        client.call('loadBefore', oid(1), maxtid)
