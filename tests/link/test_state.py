"""The server comes back with an older database: what the client knows is from a future that never
was.
"""

import shutil

import pytest
import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

from support.inside import link_of
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected, StaleServerError

pytestmark = pytest.mark.smoke


class Backup:
    """A served FileStorage with a value, and a backup of it from before."""

    def __init__(self, serving, address, directory):
        self.address = address
        self.path = str(directory / 'data.fs')
        self._serve = lambda: serving(FileStorage(self.path), address)
        self._server = self._serve()
        self.commit(1)
        self._server.close()
        shutil.copy(self.path, self.path + '.backup')
        self._server = self._serve()
        self.commit(2)

    def commit(self, value, **options):
        client = ClientStorage(self.address, **options)
        with ZODB.DB(client).transaction() as connection:
            connection.root()['x'] = value
        client.close()

    def restore(self):
        """Have the server come back with the backup."""
        self._server.close()
        shutil.copy(self.path + '.backup', self.path)
        self._serve()


@pytest.fixture
def backup(serving, sockets, tmp_path):
    """A server that can be restored."""
    return Backup(serving, sockets(), tmp_path)


def test_a_client_with_a_newer_cache_refuses_to_start(backup, tmp_path):
    """At once, with an error that says what happened and what to do; nothing is changed by it."""
    cache = str(tmp_path / 'client.zec')
    backup.commit(3, cache=cache)
    backup.restore()
    for _ in range(2):
        with pytest.raises(StaleServerError, match='drop_cache_if_older'):
            ClientStorage(backup.address, cache=cache)


def test_a_client_may_be_told_to_drop_its_newer_cache(backup, tmp_path):
    """Then it sees the backup's state, and works from there."""
    cache = str(tmp_path / 'client.zec')
    backup.commit(3, cache=cache)
    backup.restore()
    client = ClientStorage(backup.address, cache=cache, drop_cache_if_older=True)
    with ZODB.DB(client).transaction() as connection:
        assert connection.root()['x'] == 1
        connection.root()['x'] = 4
    client.close()


def test_a_backup_that_has_moved_on_is_not_mixed_with_what_was_lost(backup, clients, tmp_path):
    """The server is newer than the cache's, which the backup does not have: nobody knows what else
    it lacks.
    """
    cache = str(tmp_path / 'client.zec')
    reader = clients(backup.address, cache=cache)
    with ZODB.DB(reader).transaction() as connection:
        assert connection.root()['x'] == 2
    reader.close()
    backup.restore()
    with ZODB.DB(clients(backup.address)).transaction() as connection:
        connection.root()._p_jar.add(new := type(connection.root())(y=1))
    assert new._p_serial > z64
    with ZODB.DB(clients(backup.address, cache=cache)).transaction() as connection:
        assert connection.root()['x'] == 1


def test_a_running_client_does_not_go_back_in_time(backup, clients):
    """It stays without a connection, and says why; it never mixes its newer objects with older
    ones.
    """
    client = clients(backup.address)
    database = ZODB.DB(client)
    with database.transaction() as connection:
        assert connection.root()['x'] == 2
    last = client.lastTransaction()
    backup.restore()
    link_of(client).timeout = 0.1  # seconds that a call waits for a connection
    assert 'drop_cache_if_older' in _refusal(client)
    assert client.lastTransaction() == last
    assert not client.is_connected()


def _refusal(client):
    """Return the text with which calls fail once the server that has come back is known to be
    older.
    """
    while True:
        with pytest.raises(ClientDisconnected) as caught:
            while True:
                client.ping()
        if 'older than this client' in str(caught.value):
            return str(caught.value)
