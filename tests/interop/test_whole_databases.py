"""A whole database goes to a server of ZEO 6 and back, and a replica follows one."""

import time

import pytest

from support.databases import build, content, content_of, fill
from support.kinds import FILE_TRANSFERRED_BLOBS
from support.served import Servers
from support.sides import PEER
from ZEO.ClientStorage import ClientStorage
from ZEO.commands import zeo
from ZEO.replica.storage import Replica


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The address of a server of ZEO 6 with an empty storage."""
    monkeypatch.chdir(tmp_path)
    servers = Servers(PEER)
    yield servers.serve(FILE_TRANSFERRED_BLOBS, str(tmp_path / 'six'), str(tmp_path / 'six-blobs'))
    servers.stop()


def test_it_is_copied_backed_up_and_restored(served):
    build('a.fs', 'a.blobs', 2)
    name = f'{served}/1'
    assert zeo.main(['copy', 'a.fs', name, '--blobs', 'a.blobs', '--verify']) == 0
    assert zeo.main(['verify', name]) == 0
    for _ in range(2):
        assert zeo.main(['backup', name, 'bk', '--verify']) == 0
    assert zeo.main(['restore', 'bk', name, '--verify']) == 0
    assert zeo.main(['restore', 'bk', 'c.fs', '--to-blobs', 'c.blobs', '--verify']) == 0
    assert in_order('c.fs', 'c.blobs') == in_order('a.fs', 'a.blobs')


def in_order(path, blobs):
    """Return what is in a database; a server of ZEO 6 stores blobs at the end of a transaction."""
    return [(*texts, sorted(records)) for *texts, records in content_of(path, blobs)]


def test_a_replica_follows(served):
    replica = Replica([served], 'replica.fs', blob_dir='replica.blobs')
    try:
        client = ClientStorage(served, blob_dir='client', wait_timeout=20)
        fill(client, 2, True)
        last = client.lastTransaction()
        client.close()
        until = time.monotonic() + 20
        while replica.lastTransaction() < last:
            assert time.monotonic() < until, replica.replica_status()
            time.sleep(0.01)
        assert content(replica) == content_of('six/data.fs', 'six-blobs')
    finally:
        replica.close()
