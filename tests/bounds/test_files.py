"""Files that a client makes the server open: a few at a time, and an error of that one call where
there are no more.
"""

import os
import resource
import socket
import time

import pytest
from ZODB.utils import maxtid, z64

from support.bounded import eventually
from support.scripted import oid

MB = 2**20


def store_blob(client, number, content):
    """Commit a blob; return its tid."""
    client.begin(1)
    client.tell('storeBlobStart')
    for start in range(0, len(content), 50_000):
        client.tell('storeBlobChunk', content[start : start + 50_000])
    client.tell('storeBlobEnd', oid(number), z64, b'record', 1)
    client.call('vote', 1)
    return client.call('tpc_finish', 1)


def received(client, number):
    """Return what has come of a blob."""
    return b''.join(
        args[2]
        for name, args in client.told
        if name == 'receiveBlobChunk' and args[0] == oid(number)
    )


def blob_file(server):
    """Return the path of the one blob that is committed."""
    found = [path for path in server.files('blobs') if path.endswith('.blob')]
    assert len(found) == 1
    return server.directory / found[0]


@pytest.fixture
def full(server):
    """A function that leaves the process with no file descriptor, once it was called with a
    client.
    """

    def fill(more=0):
        return server.limited(
            resource.RLIMIT_NOFILE, max(map(int, os.listdir(f'/proc/{server.pid}/fd'))) + 1 + more
        )

    return fill


def test_with_no_descriptor_left_one_call_fails_and_the_connection_stays(server, full):
    server.serve(limits={'commit_memory': MB})
    client = server.client()
    tid = store_blob(client, 1, b'blob' * 50_000)
    client.call('pack', time.time() - 1000, True)  # so that everything is imported that there is
    client.begin(5, (oid(5), z64, b'voted'))
    client.call('vote', 5)
    # a FileStorage has the files that it reads by from then on
    client.call('loadBefore', oid(1), maxtid)
    with full():
        with pytest.raises(LookupError, match='server has too many open files'):
            client.call('sendBlob', oid(1), tid)
        with pytest.raises(LookupError, match='server has too many open files'):
            client.call('iterator_start', None, None)
        client.call('tpc_finish', 5)  # the connection has kept its transactions
        with pytest.raises(LookupError, match='server has too many open files'):
            client.call('pack', time.time(), True)
        client.begin(2, *((oid(number), z64, b'x' * MB) for number in range(10, 15)))
        with pytest.raises(LookupError, match='server has too many open files'):
            client.call('vote', 2)
        client.call('tpc_abort', 2)
        client.begin(3)
        client.tell('storeBlobStart')
        client.tell('storeBlobChunk', b'chunk')
        client.tell('storeBlobEnd', oid(20), z64, b'record', 3)
        with pytest.raises(LookupError, match='server has too many open files'):
            client.call('vote', 3)
        client.call('tpc_abort', 3)
        for txn in range(6, 10):
            client.commit(txn, (oid(txn), z64, b'small'))
        assert client.call('loadBefore', oid(6), maxtid)[0] == b'small'
        status = client.call('server_status')
        assert (status['active_txns'], status['lock_time'], status['packing']) == (0, None, False)
        assert client.call('get_info')['length'] == 6
    client.call('sendBlob', oid(1), tid)
    assert received(client, 1) == b'blob' * 50_000
    client.commit(11, *((oid(number), z64, b'x' * MB) for number in range(30, 35)))
    number = client.call('iterator_start', None, None)
    assert client.call('iterator_next', number) is not None


def test_blobs_that_are_not_read_keep_a_few_files_open(server):
    server.serve(limits={'downloads': 300})
    client, other = server.client(), server.client()
    tid = store_blob(client, 1, os.urandom(MB))
    before = len(server.open_files())
    asked = [client.ask('sendBlob', oid(1), tid) for _ in range(200)]
    other.call('ping')
    assert len(server.open_files()) <= before + 5
    other.call('sendBlob', oid(1), tid)
    client.told.clear()
    answers = set()
    while len(answers) < 200:
        message_id, flags, name, _ = client.next()
        if name == '.reply':
            assert flags == 0
            answers.add(message_id)
    assert answers == set(asked)
    assert len(server.open_files()) == before


def test_more_blobs_than_may_wait(server):
    server.serve(limits={'downloads': 10})
    client = server.client()
    tid = store_blob(client, 1, os.urandom(3 * MB))
    asked = [client.ask('sendBlob', oid(1), tid) for _ in range(50)]
    outcomes, answered = [], set()
    while len(answered) < len(asked):
        message_id, flags, name, args = client.next()
        if name == '.reply':
            answered.add(message_id)
            outcomes.append((flags, str(args)))
    refused = [text for flags, text in outcomes if flags == 2]
    assert refused and all('max-downloads' in text for text in refused)
    assert len(outcomes) - len(refused) >= 10
    client.told.clear()
    client.call('sendBlob', oid(1), tid)


def test_downloads_of_a_client_that_is_gone_are_forgotten(server):
    server.serve()
    client, other = server.client(), server.client()
    tid = store_blob(client, 1, os.urandom(MB))
    other.call('ping')
    before = len(server.open_files())
    for _ in range(100):
        client.ask('sendBlob', oid(1), tid)
    client.close()
    while other.call('server_status')['connections'] > 1:
        time.sleep(0.01)
    assert len(server.open_files()) < before


@pytest.mark.parametrize('kind', ['a directory', 'gone', 'forbidden'])
def test_a_blob_that_can_not_be_read_fails_its_call(server, kind):
    server.serve()
    client = server.client()
    tid = store_blob(client, 1, b'blob')
    path = blob_file(server)
    client.begin(5, (oid(5), z64, b'voted'))
    client.call('vote', 5)
    if kind == 'forbidden':
        path.chmod(0)
        with (
            server.not_root(),
            pytest.raises(LookupError, match='cannot read the file of this blob'),
        ):
            client.call('sendBlob', oid(1), tid)
        path.chmod(0o600)
        client.call('sendBlob', oid(1), tid)
    else:
        path.unlink()
        if kind == 'a directory':
            path.mkdir()
        with pytest.raises(
            LookupError, match='cannot read the file of this blob|POSKeyError'
        ) as caught:
            client.call('sendBlob', oid(1), tid)
        assert kind == 'gone' or str(server.directory) not in str(caught.value)
    client.call('tpc_finish', 5)
    if kind == 'a directory':
        path.rmdir()


def test_iterators_keep_a_few_files_open(server):
    server.serve()
    client = server.client()
    client.commit(1, (oid(1), z64, b'one'), (oid(2), z64, b'two'))
    before = len(server.open_files())
    numbers = [client.call('iterator_start', None, None) for _ in range(300)]
    assert len(server.open_files()) <= before + 50
    with pytest.raises(LookupError, match='max-iterators'):
        client.call('iterator_next', numbers[0])
    tid = client.call('iterator_next', numbers[-1])[0]
    records = [client.call('iterator_record_start', numbers[-1], tid) for _ in range(2000)]
    assert len(server.open_files()) <= before + 50
    assert client.call('iterator_record_next', records[-1])[0] == oid(1)
    with pytest.raises(LookupError, match='no iterator'):
        client.call('iterator_record_next', records[0])
    assert client.call('iterator_next', numbers[-1]) is None  # it was not pushed out by those
    client.tell('iterator_gc', numbers)
    client.call('ping')
    assert len(server.open_files()) == before


def test_connections_leave_descriptors_for_the_work(server, full):
    server.serve()
    client = server.client()
    tid = store_blob(client, 1, b'blob')
    client.call('pack', time.time() - 1000, True)
    with server.limited(resource.RLIMIT_NOFILE, 100):
        streams = []
        for _ in range(150):
            streams.append(socket.socket(socket.AF_UNIX))
            streams[-1].connect(server.address)
        greetings = []
        for stream in streams:
            stream.settimeout(20)
            try:
                greetings.append(stream.recv(100))
            except ConnectionResetError:
                greetings.append(b'')
        assert b'' in greetings and any(greetings)
        client.call('sendBlob', oid(1), tid)
        client.commit(2, (oid(2), z64, b'small'))
        assert client.call('loadBefore', oid(2), maxtid)[0] == b'small'
        client.call('iterator_start', None, None)
        client.call('pack', time.time() - 1000, True)
        for stream in streams:
            stream.close()
        eventually(lambda: len(server.open_files()) < 40)
        server.client().call('ping')
    assert 'client did not register, and others want to' in server.log()
