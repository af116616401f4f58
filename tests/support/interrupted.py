"""A client under strikes, with a server in the same process.

Enters: a directory. Leaves: clients; what is in the database, to compare with. Fails:
AssertionError when a client is wrong.
"""

import threading
import time

from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import maxtid, p64, u64, z64

from support.inside import cache_of
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZEO.StorageServer import StorageServer
from ZEO.wire.extensions import STOPPING

#: Seconds after which something hangs.
PATIENCE = 15.0

#: Objects that are stored without ZODB.
OIDS = [p64(1000 + number) for number in range(6)]


class Setting:
    """A server, and the storage behind it, to compare with."""

    def __init__(self, directory, disk):
        self.directory, self.disk = directory, disk
        self.storage = FileStorage(f'{directory}/data.fs', blob_dir=f'{directory}/blobs')
        self.server = StorageServer(f'{directory}/socket', {'1': self.storage})
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.clients = []
        self.numbers = iter(range(10**9))
        self.other = self.open(disk=False)
        self.commit(self.other)

    def open(self, disk=None, **options):
        """Return a client; on the disk it has always the same cache file."""
        if self.disk if disk is None else disk:
            options['cache'] = f'{self.directory}/cache.zec'
        client = ClientStorage(
            f'{self.directory}/socket', wait_timeout=PATIENCE, disconnect_poll=0.01, **options
        )
        self.clients.append(client)
        return client

    def close(self):
        for client in self.clients:
            client.close()
        self.server.close()

    def commit(self, client, oids=OIDS, serials=None):
        """Store new records by hand.

        :param serials: those of `oids`, for a thread that may be struck anywhere: asking the
            server's own storage for them, it could lose a lock of that one, which no client does.
        """
        data = b'%d' % next(self.numbers)
        metadata = TransactionMetaData()
        client.tpc_begin(metadata)
        try:
            for oid in oids:
                client.store(oid, serials[oid] if serials else self.serial(oid), data, '', metadata)
            client.tpc_vote(metadata)
            client.tpc_finish(metadata)
        except BaseException:
            client.tpc_abort(metadata)
            raise

    def send_away(self):
        """Tell all clients that the server stops, as one that is about to stop does."""
        peers, sent = self.server.hosted['1'].peers, threading.Event()

        def send():
            for peer in list(peers):
                peers.send_info(peer, {STOPPING: PATIENCE / 10})
            sent.set()

        self.server.post(send)
        assert sent.wait(PATIENCE)

    def serial(self, oid):
        found = self.storage.loadBefore(oid, maxtid) if oid in self.storage._index else None
        return found[1] if found else z64


def patiently(function):
    """Call until it works; a client may be without a connection for a moment."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return function()
        except ClientDisconnected:
            if time.monotonic() > until:
                raise
            time.sleep(0.002)


def check(setting, client, oids=OIDS):
    """The client reads what is in the database, and its cache claims nothing else."""
    patiently(client.ping)
    patiently(setting.other.ping)
    last = setting.storage.lastTransaction()
    for oid in oids:
        assert (
            patiently(lambda oid=oid: client.load(oid))
            == setting.storage.loadBefore(oid, maxtid)[:2]
        ), oid
    client.sync()
    assert client.lastTransaction() == last
    covered = u64(cache_of(client).getLastTid())
    for oid, tid, end in cache_of(client).contents():
        if end is None:
            current = setting.storage.loadBefore(oid, p64(covered + 1))
            assert current is not None and current[1] == tid, (oid, tid, current)
