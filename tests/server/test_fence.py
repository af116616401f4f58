"""A server with a fence takes writes once followers follow it."""

import tempfile
import threading

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

from support.scripted import RawClient
from ZEO.ClientStorage import ClientStorage
from ZEO.commands.zeo_promote import main
from ZEO.StorageServer import StorageServer


class Reader(RawClient):
    """One that registers for reading only, as followers do."""

    def call(self, name, *args):
        return super().call(name, *((args[0], True) if name == 'register' else args))


@pytest.fixture
def fenced(tmp_path):
    """A server that wants two, of a storage with a transaction."""
    storage, metadata = FileStorage(str(tmp_path / 'Data.fs')), TransactionMetaData()
    storage.tpc_begin(metadata)
    storage.store(p64(1), z64, b'data', '', metadata)
    storage.tpc_vote(metadata)
    storage.tpc_finish(metadata)
    with tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp') as folder:
        server = StorageServer(f'{folder}/s', {'1': storage}, fence=2)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.close()


def test_it_is_read_only_until_enough_followers_have_acknowledged(fenced):
    address = fenced.addr
    fallback = ClientStorage(address, wait_timeout=20, read_only_fallback=True)
    assert fallback.isReadOnly()
    with pytest.raises(LookupError, match='ReadOnlyError'):
        RawClient(address)
    followers = [Reader(address) for _ in range(2)]
    for place, follower in enumerate(followers):
        follower.tell('replicated', follower.call('follow', f'follower {place}'))
        follower.call('ping')
        assert fenced.hosted['1'].read_only is (place == 0)
    assert 'fence' not in fenced.hosted['1'].status()
    client = RawClient(address)
    client.commit(1, (p64(2), z64, b'data'))
    for one in (*followers, client, fallback):
        one.close()


def test_one_that_follows_without_having_anything_does_not_count(fenced):
    follower = Reader(fenced.addr)
    for _ in range(2):
        follower.call('follow', 'an empty one')
    assert fenced.hosted['1'].status()['fence'] == {'needed': 2, 'agreeing': 0}
    follower.close()


def test_an_operator_can_open_it(fenced, capsys):
    assert main([fenced.addr]) == 1
    assert 'waits for 2 followers' in capsys.readouterr().err
    assert main([fenced.addr, '--force']) == 0
    assert not fenced.hosted['1'].read_only


def test_an_empty_storage_has_none(serve):
    assert not serve(fence=1).hosted.read_only
