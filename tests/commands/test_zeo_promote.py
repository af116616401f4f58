"""zeo promote: which of several followers is promoted, and when none is."""

import tempfile
import threading

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

from support.scripted import RawClient
from ZEO.commands.live_primary import _others
from ZEO.commands.zeo_promote import main
from ZEO.StorageServer import StorageServer


class Replica(FileStorage):
    """What a server needs of one."""

    primary = ('somewhere:9100',)
    chain = ()

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
        return {
            'state': self.state,
            'primary': list(self.primary),
            'error': 'it differs',
            'chain': list(self.chain),
        }

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


def test_not_one_that_is_cut_off_from_a_primary_that_another_follows(serve, replica, capsys):
    cut_off, other = replica(), replica('following')
    addresses = [serve(cut_off), serve(other)]
    assert main(addresses) == 1
    printed = capsys.readouterr().err
    assert f'{addresses[1]} follows somewhere:9100, which is there: stop' in printed
    assert printed.count('\n') == 1 and cut_off.state == 'disconnected'
    assert main([*addresses, '--force']) == 0 and cut_off.state == 'promoted'


@pytest.mark.parametrize(
    ('state', 'why'),
    [
        ('following', 'follows somewhere:9100, which is there'),
        ('copying', 'follows somewhere:9100, which is there'),
        ('promoted', 'was promoted and takes writes'),
        (None, 'is a primary and takes writes'),
    ],
)
def test_not_where_a_server_that_it_knows_has_a_primary(
    serve, replica, capsys, tmp_path, state, why
):
    known = serve(replica(state) if state else FileStorage(str(tmp_path / 'primary.fs')))
    storage = replica()
    storage.primary = (f'{tmp_path}/nowhere', known, '?')
    address = serve(storage)
    assert main([address]) == 1
    assert f'{known} {why}' in capsys.readouterr().err and storage.state == 'disconnected'
    assert main([address, '--force']) == 0


def test_servers_that_it_knows_and_that_have_lost_it_as_well_are_no_hindrance(serve, replica):
    storage, other = replica(), replica()
    storage.primary = (serve(other),)
    assert main([serve(storage)]) == 0


def test_what_follows_the_one_that_is_promoted_has_not_seen_a_primary(serve, replica, capsys):
    first, second = replica(), replica('following')
    first.chain, second.chain = ('a',), ('b', 'a')
    addresses = [serve(first), serve(second)]
    assert main(addresses) == 0
    assert first.state == 'promoted'


def test_an_address_of_its_own_machine_is_not_asked_from_another_one():
    replica = {'primary': ['localhost:1', '127.0.0.1:1', '/a/socket', 'db1:1'], 'state': ''}
    assert _others({('db2', 1): replica}) == [('db1', 1)]
    assert len(_others({('localhost', 2): replica})) == 4
