"""A client on a bad day: what goes wrong behind a commit, in its own directories, on a server that
takes less than it is sent.
"""

import os
import shutil

import pytest
import transaction
import ZODB
from transaction.interfaces import TransientError
from ZODB.blob import Blob, BlobStorage
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSError, ReadOnlyError, Unsupported
from ZODB.utils import p64, z64

from support.inside import link_of
from support.scripted import INFO, Answering, Running, oid, tid
from ZEO.Exceptions import ClientDisconnected, MessageTooLarge
from ZEO.link.cached_blobs import open_blobs
from ZEO.link.commits import Commits
from ZEO.link.options import BlobOptions
from ZEO.net.system import System
from ZEO.StorageServer import Limits


@pytest.fixture
def server(serving, tmp_path):
    return serving(FileStorage(str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'server')))


@pytest.fixture
def directory(tmp_path):
    return str(tmp_path / 'blobs')


@pytest.fixture
def client(server, clients, directory):
    return clients(server.addr, blob_dir=directory)


def store_blob(client, tmp_path, number=1, data=b'blob'):
    """Begin a transaction and store a blob in it."""
    metadata = TransactionMetaData()
    client.tpc_begin(metadata)
    path = tmp_path / 'mine'
    path.write_bytes(data)
    client.storeBlob(p64(number), z64, b'record', str(path), '', metadata)
    return metadata


def temporary(directory):
    """Return what is in the directory of temporary files."""
    return os.listdir(os.path.join(directory, 'tmp'))


class TestAfterTheCommit:
    """The transaction stands, and is said to."""

    @pytest.mark.parametrize('what', ['file', 'bucket', 'directory', 'everything'])
    def test_a_file_that_can_not_be_put_into_the_cache_is_fetched_later(
        self, client, tmp_path, directory, what, caplog
    ):
        metadata = store_blob(client, tmp_path)
        client.tpc_vote(metadata)
        if what == 'file':
            for name in temporary(directory):
                os.unlink(os.path.join(directory, 'tmp', name))
        elif what == 'bucket':
            open(os.path.join(directory, '1'), 'w').close()
        else:
            shutil.rmtree(directory)
            if what == 'directory':
                os.mkdir(directory)
        serial = client.tpc_finish(metadata)
        for _ in range(2):
            with client.openCommittedBlobFile(p64(1), serial) as file:
                assert file.read() == b'blob'
        assert temporary(directory) == []
        with client.openCommittedBlobFile(p64(1), serial) as file:
            assert file.read() == b'blob'
        metadata = store_blob(client, tmp_path, 2)
        client.tpc_vote(metadata)
        client.tpc_finish(metadata)

    def test_a_callback_that_fails_does_not_make_it_fail(self, client, tmp_path, database, caplog):
        """What other connections of the process were not told, they have to find out by forgetting
        all they know.
        """
        told = database()
        client.registerDB(told)
        metadata = store_blob(client, tmp_path)
        client.tpc_vote(metadata)
        serial = client.tpc_finish(metadata, lambda tid: 1 / 0)
        assert client.lastTransaction() == serial and client.load(p64(1)) == (b'record', serial)
        assert told.log == ['everything'] and 'its callback failed' in caplog.text
        assert client.is_connected() and client.tpc_transaction() is None

    @pytest.mark.parametrize('method', ['invalidate', 'store', 'setLastTid'])
    def test_a_cache_that_fails_does_not_make_it_fail(
        self, server, clients, logged_cache, metadata, monkeypatch, method
    ):
        """The connection ends, so that the next one finds out what the cache was not told."""

        def fail(*args):
            raise RuntimeError('no')

        client = clients(server.addr, cache=logged_cache)
        client.tpc_begin(metadata)
        client.store(p64(1), z64, b'data', '', metadata)
        client.tpc_vote(metadata)
        with monkeypatch.context() as patch:
            patch.setattr(logged_cache, method, fail)
            serial = client.tpc_finish(metadata)
        client.ping()
        assert client.load(p64(1)) == (b'data', serial) and client.lastTransaction() == serial

    def test_what_is_told_of_sizes_does_not_matter(self, connected, metadata):
        client, server = connected(tid(1))
        client.tpc_begin(metadata)
        client.store(oid(1), z64, b'data', '', metadata)
        voting = Running(client.tpc_vote, metadata)
        server.send(server.expect('tpc_begin', 'storea', 'vote').reply([]))
        voting.result()
        finishing = Running(client.tpc_finish, metadata)
        request = server.expect('tpc_finish')
        server.tell('info', {'length': 7})
        server.send(request.reply(tid(2)))
        assert finishing.result() == tid(2) and len(client) == 7 and client.getSize() == 1


def test_the_next_one_has_its_turn_after_an_abort_for_which_there_was_no_memory(
    scripted, clients, monkeypatch
):
    """On a server that takes one commit at a time."""
    server = scripted()
    Answering(
        server,
        tid(1),
        {
            'get_info': {**INFO, 'extensions': ()},
            'tpc_abort': lambda client, request: client.send(
                request.fault('builtins.MemoryError', ())
            ),
        },
    )
    client, first, second = clients(server.address), TransactionMetaData(), TransactionMetaData()
    client.tpc_begin(first)

    def fails(self, buffer):
        monkeypatch.undo()
        raise MemoryError

    monkeypatch.setattr(Commits, '_give_turn', fails)
    with pytest.raises(MemoryError):
        client.tpc_abort(first)
    client.tpc_begin(second)


class TestTemporaryFiles:
    """None survives its transaction."""

    def test_those_of_a_commit_that_was_lost_are_removed(
        self, scripted, clients, directory, tmp_path
    ):
        server = scripted()
        Answering(
            server, tid(1), {'vote': [], 'tpc_finish': lambda client, request: client.close()}
        )
        client = clients(server.address, blob_dir=directory)
        metadata = store_blob(client, tmp_path)
        client.tpc_vote(metadata)
        assert len(temporary(directory)) == 1
        with pytest.raises(ClientDisconnected):
            client.tpc_finish(metadata)
        assert temporary(directory) == []

    @pytest.mark.parametrize('call', ['tpc_finish', 'tpc_abort'])
    def test_those_of_a_transaction_that_fails_are_removed(
        self, scripted, clients, directory, tmp_path, call
    ):
        server = scripted()
        Answering(
            server,
            tid(1),
            {
                'vote': [],
                call: lambda client, request: client.send(
                    request.fault('builtins.ValueError', ('no',))
                ),
            },
        )
        client = clients(server.address, blob_dir=directory)
        metadata = store_blob(client, tmp_path)
        with pytest.raises(ValueError, match='no'):
            getattr(client, call)(metadata)
        assert temporary(directory) == []

    def test_those_of_open_transactions_are_removed_when_the_storage_is_closed(
        self, client, directory, tmp_path
    ):
        store_blob(client, tmp_path)
        assert len(temporary(directory)) == 1
        client.close()
        assert temporary(directory) == []

    def test_a_copy_that_fails_is_removed(self, client, directory, tmp_path, monkeypatch, metadata):
        def copied_in_part(source, target, chmod):
            shutil.copy(source, target)
            raise OSError('disk full')

        monkeypatch.setattr('ZEO.link.blob_store.rename_or_copy_blob', copied_in_part)
        client.tpc_begin(metadata)
        (tmp_path / 'mine').write_bytes(b'blob')
        with pytest.raises(OSError, match='disk full'):
            client.storeBlob(p64(1), z64, b'record', str(tmp_path / 'mine'), '', metadata)
        assert temporary(directory) == []
        client.tpc_abort(metadata)

    def test_a_directory_that_has_gone_is_made_again_for_new_blobs(
        self, server, clients, directory
    ):
        database = ZODB.DB(clients(server.addr, blob_dir=directory))
        with database.transaction() as connection:
            connection.root()['blob'] = Blob(b'data')
        shutil.rmtree(directory)
        with database.transaction() as connection, connection.root()['blob'].open('w') as file:
            file.write(b'other')
        shutil.rmtree(directory)
        with database.transaction() as connection, connection.root()['blob'].open() as file:
            assert file.read() == b'other'
        database.close()


class TestSize:
    """A message that is larger than the server takes is not sent."""

    LIMIT = 100_000

    @pytest.fixture(params=[False, True], ids=['Z5', 'M5'])
    def client(self, request, serving, clients, tmp_path, directory):
        storage = FileStorage(str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'server'))
        server = serving(
            storage,
            limits=Limits(message_size=self.LIMIT),
            **{'msgpack': True} if request.param else {},
        )
        return clients(server.addr, blob_dir=directory)

    @pytest.mark.parametrize(
        'send',
        [
            lambda client, large, metadata: client.store(p64(1), z64, large, '', metadata),
            lambda client, large, metadata: client.restore(
                p64(1), tid(1), large, '', None, metadata
            ),
            lambda client, large, metadata: client.undo(large, metadata),
            lambda client, large, metadata: client.storeBlob(
                p64(1), z64, large, _file(client), '', metadata
            ),
            lambda client, large, metadata: client.restoreBlob(
                p64(1), z64, large, _file(client), None, metadata
            ),
            lambda client, large, metadata: client.undoInfo(0, -1, {'x': large}),
        ],
        ids=['store', 'restore', 'undo', 'storeBlob', 'restoreBlob', 'a call'],
    )
    def test_it_is_said_how_large_it_may_be_and_what_to_change(
        self, client, metadata, directory, send
    ):
        connection = link_of(client).connection
        client.tpc_begin(metadata)
        said = r'of 100,\d+ bytes, .* takes 100,000 bytes .* max-message-size in the <zeo>'
        with pytest.raises(MessageTooLarge, match=said) as caught:
            send(client, b'x' * self.LIMIT, metadata)
        assert isinstance(caught.value, POSError) and not isinstance(caught.value, TransientError)
        client.tpc_abort(metadata)
        client.ping()
        assert link_of(client).connection is connection and temporary(directory) == []

    def test_so_it_is_for_what_describes_a_transaction(self, client):
        large = 'x' * 2 * self.LIMIT
        for metadata in (
            TransactionMetaData(user=large),
            TransactionMetaData(extension={'x': large}),
        ):
            with pytest.raises(MessageTooLarge, match='tpc_begin makes a message of'):
                client.tpc_begin(metadata)
            client.tpc_abort(metadata)
        assert client.tpc_transaction() is None

    def test_frameworks_do_not_try_again(self, client):
        tries = []
        manager = transaction.TransactionManager()
        connection = ZODB.DB(client).open(manager)
        with pytest.raises(MessageTooLarge):
            for attempt in manager.attempts(5):
                with attempt:
                    tries.append(attempt)
                    connection.root()['x'] = os.urandom(self.LIMIT)
        assert len(tries) == 1
        with manager:
            connection.root()['x'] = os.urandom(self.LIMIT // 2)

    def test_blobs_of_any_size_go_in_messages_of_any_size(
        self, serving, clients, tmp_path, directory
    ):
        storage = FileStorage(str(tmp_path / 'Data.fs'), blob_dir=str(tmp_path / 'server'))
        server = serving(storage, limits=Limits(message_size=5000))
        client = clients(server.addr, blob_dir=directory)
        metadata = store_blob(client, tmp_path, data=b'x' * self.LIMIT)
        client.tpc_vote(metadata)
        assert os.path.getsize(client.loadBlob(p64(1), client.tpc_finish(metadata))) == self.LIMIT

    def test_blobs_of_any_size_go(self, client, tmp_path):
        metadata = store_blob(client, tmp_path, data=b'x' * 5 * self.LIMIT)
        client.tpc_vote(metadata)
        serial = client.tpc_finish(metadata)
        os.unlink(client.loadBlob(p64(1), serial))
        assert os.path.getsize(client.loadBlob(p64(1), serial)) == 5 * self.LIMIT


def _file(client):
    path = os.path.join(client.temporaryDirectory(), 'mine')
    with open(path, 'w') as file:
        file.write('blob')
    return path


class TestTransactions:
    """Of the package transaction, whose texts are text."""

    @pytest.mark.parametrize(
        'extensions', [('multi_commit',), ('multi_commit', 'extension_bytes')], ids=str
    )
    def test_one_of_the_package_transaction_is_taken(self, scripted, clients, extensions):
        server = scripted()
        Answering(
            server,
            tid(1),
            {'get_info': {**INFO, 'extensions': extensions}, 'vote': [], 'tpc_finish': tid(2)},
        )
        client = clients(server.address)
        mine = transaction.Transaction()
        mine.note('what happened')
        mine.setUser('who')
        client.tpc_begin(mine)
        client.store(oid(1), z64, b'data', '', mine)
        client.tpc_vote(mine)
        assert client.tpc_finish(mine) == tid(2)

    @pytest.mark.parametrize(
        'make',
        [
            lambda: transaction.Transaction(),
            lambda: _described(transaction.Transaction()),
            lambda: TransactionMetaData(),
            lambda: TransactionMetaData('who', 'what happened', {'key': 'value'}),
            lambda: TransactionMetaData(
                b'who',
                b'what happened',
                TransactionMetaData(extension={'key': 'value'}).extension_bytes,
            ),
        ],
    )
    def test_what_it_says_is_stored(self, server, clients, make):
        client = clients(server.addr)
        mine = make()
        client.tpc_begin(mine)
        client.store(p64(1), z64, b'data', '', mine)
        client.tpc_vote(mine)
        client.tpc_finish(mine)
        (stored,) = client.iterator()
        expected = (b'what happened', {'key': 'value'}) if mine.user else (b'', {})
        assert (stored.description, stored.extension) == expected and stored.user.endswith(
            b'who' if mine.user else b''
        )


def _described(mine):
    mine.note('what happened')
    mine.setUser('who')
    mine.setExtendedInfo('key', 'value')
    return mine


class TestFallingBack:
    """A server that lets a client only read is sent nothing that writes."""

    def test_a_transaction_that_begins_just_then_is_refused_here(self, scripted, clients, metadata):
        """Between the look at whether it may write and the connection that it takes, the client
        falls back.
        """
        writable, readable = scripted(), scripted()
        sent = []

        def register(client, request):
            client.send(
                request.reply(tid(1))
                if request.args[1]
                else request.fault('ZODB.POSException.ReadOnlyError', ())
            )

        Answering(writable, tid(1), {})
        told = Answering(readable, tid(1), {'register': register})
        told.heard = sent.append
        client = clients([writable.address, readable.address], read_only_fallback=True)
        assert not client.isReadOnly()
        look = client._check_writable

        def and_then_lose_it():
            look()
            writable.close()
            link_of(client).connection.lose('the test says so')

        with pytest.MonkeyPatch.context() as patch, pytest.raises(ReadOnlyError):
            patch.setattr(client, '_check_writable', and_then_lose_it)
            client.tpc_begin(metadata)
        connection = link_of(client).connection
        client.ping()
        assert (
            link_of(client).connection is connection
            and client.isReadOnly()
            and 'tpc_begin' not in sent
        )

    @pytest.mark.parametrize(
        'act',
        [
            lambda client, metadata: client.store(oid(1), z64, b'data', '', metadata),
            lambda client, metadata: client.tpc_vote(metadata),
            lambda client, metadata: client.tpc_finish(metadata),
        ],
        ids=['store', 'vote', 'finish'],
    )
    def test_a_transaction_that_has_begun_before_was_lost_with_its_connection(
        self, scripted, clients, metadata, act
    ):
        """It may be tried again: there may be a server that lets it write by then."""
        writable, readable = scripted(), scripted()
        Answering(writable, tid(1), {})
        Answering(
            readable,
            tid(1),
            {
                'register': lambda client, request: client.send(
                    request.reply(tid(1))
                    if request.args[1]
                    else request.fault('ZODB.POSException.ReadOnlyError', ())
                )
            },
        )
        client = clients([writable.address, readable.address], read_only_fallback=True)
        client.tpc_begin(metadata)
        writable.close()
        link_of(client).connection.lose('the test says so')
        client.ping()
        assert client.isReadOnly()
        with pytest.raises(ClientDisconnected):
            act(client, metadata)
        client.tpc_abort(metadata)

    def test_so_is_an_oid(self, scripted, clients):
        server = scripted()

        def register(client, request):
            client.send(
                request.reply(tid(1))
                if request.args[1]
                else request.fault('ZODB.POSException.ReadOnlyError', ())
            )

        Answering(server, tid(1), {'register': register})
        client = clients(server.address, read_only_fallback=True)
        for act in client.new_oid, lambda: client.tpc_begin(TransactionMetaData()):
            with pytest.raises(ReadOnlyError):
                act()


def test_a_clean_up_that_gets_no_thread_is_done_later(client, tmp_path, directory, caplog):
    class NoThreads(System):
        there_are = False

        def spawn(self, name, target, *args):
            if not self.there_are:
                raise RuntimeError("can't start new thread")
            target(*args)

    system = NoThreads()
    store = open_blobs(BlobOptions(directory, size=10), lambda *_: None, system)
    assert "can't start new thread" in caplog.text
    for number in 1, 2:
        path = os.path.join(directory, f'{number}.blob')
        with open(path, 'wb') as file:
            file.write(b'x' * 100)
        os.utime(path, (0, 0))
    system.there_are = True
    (tmp_path / 'mine').write_bytes(b'x' * 100)
    store.committed([(p64(1), str(tmp_path / 'mine'))], tid(2))
    assert not os.path.exists(path)


def test_a_wrapped_storage_announces_lengths_too(serving, clients, directory, tmp_path):
    server = serving(BlobStorage(str(tmp_path / 'server'), MappingStorage()))
    client = clients(server.addr, blob_dir=directory)
    assert client._blobs.announces_lengths
    metadata = store_blob(client, tmp_path)
    client.tpc_vote(metadata)
    serial = client.tpc_finish(metadata)
    os.unlink(client.loadBlob(p64(1), serial))
    assert os.path.getsize(client.loadBlob(p64(1), serial)) == 4


def test_a_server_whose_storage_is_a_client_without_a_directory_says_that_it_has_no_blobs(
    server, serving, clients, directory
):
    """So that its clients hear of it before they send a blob."""
    between = serving(clients(server.addr))
    database = ZODB.DB(clients(between.addr, blob_dir=directory))
    with pytest.raises(Unsupported, match='is not supported'), database.transaction() as end:
        end.root()['blob'] = Blob(b'data')
    between = serving(clients(server.addr, blob_dir=directory + '-between'))
    with ZODB.DB(clients(between.addr, blob_dir=directory)).transaction() as end:
        end.root()['blob'] = Blob(b'data')
