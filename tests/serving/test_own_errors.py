"""A client hears that it is the server's disk that has failed, not its own."""

import errno
import logging

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import z64

from support.scripted import oid
from ZEO.ClientStorage import ClientStorage
from ZEO.serving.own_errors import for_client
from ZEO.StorageServer import Limits

pytestmark = pytest.mark.smoke

FULL = OSError(errno.ENOSPC, 'No space left on device')


class Failing(MappingStorage):
    """Its disk is full at one call."""

    def __init__(self, method):
        super().__init__()
        setattr(self, method, self._fail)

    @staticmethod
    def _fail(*args, **options):
        raise FULL


@pytest.fixture
def storage(serving):
    """A function that returns a client of a storage whose disk is full at one call."""
    clients = []

    def connected(method, **options):
        options = {'msgpack': False, **options}
        server = serving(Failing(method), **options)
        clients.append(ClientStorage(server.addr, wait_timeout=20))
        return clients[-1]

    yield connected
    for client in clients:
        client.close()


def commit(client):
    meta = TransactionMetaData()
    client.tpc_begin(meta)
    try:
        client.store(oid(1), z64, b'x', '', meta)
        client.tpc_vote(meta)
        client.tpc_finish(meta)
    finally:
        client.tpc_abort(meta)


@pytest.mark.parametrize('msgpack', [False, True], ids=['Z5', 'M5'])
@pytest.mark.parametrize('method', ['tpc_begin', 'store', 'tpc_vote', 'tpc_finish'])
def test_a_commit_says_whose_disk_is_full(storage, method, msgpack):
    client = storage(method, msgpack=msgpack)
    with pytest.raises(OSError, match="No space left on device, on the server's disk") as caught:
        commit(client)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize('msgpack', [False, True], ids=['Z5', 'M5'])
def test_a_pack_says_whose_disk_is_full(storage, msgpack):
    with pytest.raises(OSError, match="No space left on device, on the server's disk"):
        storage('pack', msgpack=msgpack).pack(1.0, None, wait=True)


def test_a_server_that_is_a_client_of_another_says_it_once(storage, serving):
    upstream = storage('tpc_vote')
    client = ClientStorage(serving(upstream).addr, wait_timeout=20)
    try:
        with pytest.raises(OSError, match="device, on the server's disk$"):
            commit(client)
    finally:
        client.close()


def test_the_directory_of_temporary_files_is_not_the_disk_of_the_storage(
    serving, raw, monkeypatch, caplog
):
    """The client hears which of both it is, and the log has the directory as well."""
    monkeypatch.setattr(
        'ZEO.serving.commit.log.tempfile.TemporaryFile',
        lambda *args, buffering=-1, **options: open('/dev/full', 'w+b', buffering),
    )
    monkeypatch.setattr('ZEO.serving.commit.log.tempfile.gettempdir', lambda: '/the/place')
    committer = raw(serving(MappingStorage(), limits=Limits(commit_memory=50)))
    committer.begin(1, (oid(1), z64, b'x' * 100_000))
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(LookupError, match='temporary files') as caught,
    ):
        committer.call('vote', 1)
    assert "No space left on device, in the server's directory" in str(caught.value)
    assert '/the/place' in caplog.text and '/the/place' not in str(caught.value)


@pytest.mark.parametrize(
    'error',
    [
        ValueError('No space'),
        OSError('without a number'),
        ConnectionResetError(errno.ECONNRESET, 'Connection reset by peer'),
        TimeoutError(errno.ETIMEDOUT, 'Connection timed out'),
        OSError(errno.ENOSPC, "No space left on device, on the server's disk"),
    ],
    ids=repr,
)
def test_errors_that_are_of_no_disk_or_say_whose_stay_as_they_are(error):
    assert for_client(error) is error


@pytest.mark.parametrize('number', [errno.EIO, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_class_and_number_stay_and_the_path_does_not_leave_the_server(number):
    before = OSError(number, 'What the system says', '/secret/Data.fs')
    error = for_client(before)
    assert type(error) is type(before)
    assert error.args == (number, "What the system says, on the server's disk")
