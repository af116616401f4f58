"""What clients learn of the part that a server has for its storage: primary or follower."""

import threading

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from support.inside import state_of
from support.processes import wait_until
from ZEO.ClientStorage import ClientStorage
from ZEO.StorageServer import StorageServer


class Following(FileStorage):
    state = 'copying'

    def replica_status(self):
        if self.state == 'broken':
            raise OSError('its file of state cannot be read')
        return {'state': self.state, 'whole': self.state != 'copying'}


@pytest.fixture
def served(tmp_path):
    """A function that serves a storage; returns the server, and a client of it."""
    opened = []

    def serve(storage):
        server = StorageServer('127.0.0.1:0', {'1': storage})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = ClientStorage(server.addr, wait_timeout=20)
        opened.extend((client, server))
        return server, client

    yield serve
    for one in opened:
        one.close()


def role(client):
    info = state_of(client).info
    return info.get('role'), info.get('follows'), info.get('whole')


def test_a_server_that_never_followed_says_nothing(served):
    assert role(served(MappingStorage())[1]) == (None, None, None)


def test_a_follower_says_so_and_tells_its_clients_when_that_changes(served, tmp_path, monkeypatch):
    monkeypatch.setattr('ZEO.serving.roles.LOOK', 0.02)
    storage = Following(str(tmp_path / 'data.fs'))
    _, client = served(storage)
    assert role(client) == ('replica', False, False)
    for state, told in (
        ('following', ('replica', True, True)),
        ('broken', ('replica', False, False)),
        ('promoted', ('primary', False, True)),
    ):
        storage.state = state
        wait_until(lambda told=told: role(client) == told)
