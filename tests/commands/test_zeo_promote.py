"""zeo promote: which of several followers is promoted, and when none is."""

import tempfile
import threading

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

from support.scripted import RawClient
from ZEO.commands.zeo_promote import main
from ZEO.StorageServer import StorageServer


class Replica(FileStorage):
    """What a server needs of one."""

    def __init__(self, path, state='disconnected', error=None):
        super().__init__(path)
        self.state = state

    run_finish = None  # which a server sets

    @property
    def is_promoted(self):
        return self.state == 'promoted'

    def isReadOnly(self):
        return not self.is_promoted

    def replica_status(self):
        return {'state': self.state, 'primary': ['somewhere:9100'], 'error': 'it differs'}

    def promote(self):
        if self.state == 'broken':
            raise OSError('the disk is full')
        self.state = 'promoted'
        return self.lastTransaction()


@pytest.fixture
def serve():
    servers = []

    def start(storage, **options):
        path = f'{folder}/{len(servers)}'
        servers.append(StorageServer(path, {'1': storage}, **options))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return path

    with tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp') as folder:
        yield start
        for server in servers:
            server.close()


@pytest.fixture
def replica(tmp_path):
    made = []

    def make(*args):
        made.append(Replica(str(tmp_path / f'{len(made)}.fs'), *args))
        return made[-1]

    return make


def test_a_follower_without_its_primary_takes_writes(serve, replica, capsys):
    address = serve(replica())
    assert main([address]) == 0
    assert 'storage 1 is the primary' in capsys.readouterr().out
    client = RawClient(address)
    assert client.commit(1, (p64(1), z64, b'data')) > z64
    client.close()
    assert main([address]) == 0  # it was before


@pytest.mark.parametrize(
    ('state', 'why'),
    [
        ('following', 'its primary somewhere:9100 is there'),
        ('copying', 'has not copied everything'),
        ('refused', 'since it differs'),
    ],
)
def test_one_that_is_doubtful_only_by_force(serve, replica, capsys, state, why):
    storage = replica(state)
    address = serve(storage)
    assert main([address]) == 1
    assert why in (printed := capsys.readouterr().err) and printed.count('\n') == 1
    assert storage.state == state
    assert main([address, '--force']) == 0 and storage.state == 'promoted'


def test_of_several_the_newest(serve, replica, tmp_path):
    old, new = replica(), replica('promoted')
    addresses = [serve(old), serve(new)]
    client = RawClient(addresses[1])
    client.commit(1, (p64(1), z64, b'data'))
    client.close()
    new.state = 'disconnected'
    assert main(addresses) == 0
    assert (old.state, new.state) == ('disconnected', 'promoted')


def test_none_unless_all_answer(serve, replica, capsys, tmp_path):
    storage = replica()
    assert main([serve(storage), f'{tmp_path}/nowhere']) == 2
    assert storage.state == 'disconnected' and 'nowhere' in capsys.readouterr().err


def test_not_what_is_not_a_replica(serve, tmp_path, capsys):
    assert main([serve(FileStorage(str(tmp_path / 'a.fs')))]) == 1
    assert 'is not a replica' in capsys.readouterr().err


def test_not_where_the_server_is_to_stay_read_only(serve, replica, capsys):
    storage = replica()
    assert main([serve(storage, read_only=True)]) == 1
    assert 'configured as read-only' in capsys.readouterr().err
    assert storage.state == 'disconnected'


def test_what_the_replica_raises_is_said_and_it_stays_read_only(serve, replica, capsys):
    address = serve(replica('broken'))
    assert main([address]) == 1
    assert 'the disk is full' in capsys.readouterr().err
    with pytest.raises(LookupError, match='ReadOnlyError'):
        RawClient(address)
