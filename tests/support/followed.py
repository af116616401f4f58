"""A primary and a follower in one process, with a test's hand on what the follower has.

Enters: a directory. Leaves: two servers, and clients of them. Fails: AssertionError where something
does not come in time.

The follower copies transactions when the test says so: each whole, in the loop's thread, as a
replica does.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import maxtid, p64, u64, z64

from ZEO.ClientStorage import ClientStorage
from ZEO.serving.filestorage import iterator_from
from ZEO.StorageServer import StorageServer

#: Seconds after which something hangs.
PATIENCE = 20.0


def until(condition: Any) -> None:
    """Wait for something that comes soon."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, 'it does not come'
        time.sleep(0.002)


class FollowerStorage(FileStorage):
    """A FileStorage that calls itself a follower."""

    state = 'following'

    def isReadOnly(self) -> bool:
        return self.state != 'promoted'

    def replica_status(self) -> dict[str, Any]:
        return {'state': self.state, 'whole': self.state != 'copying'}

    def promote(self) -> bytes:
        self.state = 'promoted'
        return self.lastTransaction()


class Server:
    """A server of one storage, in a thread."""

    def __init__(self, make: Any, address: str) -> None:
        self._make, self.address = make, address
        self.start()

    def start(self) -> None:
        """Open the storage and serve it."""
        self.storage = self._make()
        self._server = StorageServer(self.address, {'1': self.storage})
        (self.hosted,) = self._server.hosted.values()
        self.loop = self.hosted.loop
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def in_loop(self, function: Any) -> Any:
        """Call a function in the loop's thread, and return what it returns."""
        done, results = threading.Event(), []

        def call() -> None:
            try:
                results.append(function())
            finally:
                done.set()

        self.loop.from_thread(call)
        assert done.wait(PATIENCE)
        return results[0]

    def cut(self) -> None:
        """End all connections; clients come again."""
        self.in_loop(lambda: self.hosted.peers.close_all('a test'))

    def stop_writing(self) -> None:
        """Take no writes any more; clients that write connect again, and cannot write."""

        def stop() -> None:
            self.hosted.read_only = True
            self.hosted.peers.close_all('a test')

        self.in_loop(stop)

    def close(self) -> None:
        self._server.close()
        self._thread.join(PATIENCE)


class Followed:
    """The two, and their clients.

    :param directory: a short path.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        blobs = f'{directory}/primary-blobs', f'{directory}/follower-blobs'
        self.primary = Server(
            lambda: FileStorage(f'{directory}/primary.fs', blob_dir=blobs[0]), f'{directory}/p'
        )
        self.follower = Server(
            lambda: FollowerStorage(f'{directory}/follower.fs', blob_dir=blobs[1]),
            f'{directory}/f',
        )
        self.opened: list[Any] = []
        self._follows: threading.Thread | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()  # of who copies

    @property
    def addresses(self) -> list[str]:
        return [self.primary.address, self.follower.address]

    def open(self, prefer: str | None = 'replica', **options: Any) -> ClientStorage:
        """Return a client of both."""
        options = {'wait_timeout': PATIENCE, 'disconnect_poll': 0.02, **options}
        client = ClientStorage(self.addresses, prefer=prefer, **options)
        self.opened.append(client)
        return client

    def writer(self, **options: Any) -> ClientStorage:
        """Return a client of the primary alone."""
        return self.client_of(self.primary, **options)

    def client_of(self, server: Server, **options: Any) -> ClientStorage:
        """Return a client of one of them alone."""
        client = ClientStorage(server.address, wait_timeout=PATIENCE, **options)
        self.opened.append(client)
        return client

    # The follower.

    def copy(self) -> int:
        """Have the follower copy what it does not have; return how many transactions that is."""
        with self._lock:
            source, target = self.primary.storage, self.follower.storage
            start = p64(u64(target.lastTransaction()) + 1)
            count = 0
            # source.iterator(start) fails while a vote of the primary is aborted
            for record in iterator_from(source, start, None):
                self._copy(source, target, record)
                count += 1
            return count

    def _copy(self, source: Any, target: Any, record: Any) -> None:
        metadata = TransactionMetaData(record.user, record.description, record.extension)
        target.tpc_begin(metadata, record.tid, record.status)
        oids = []
        for one in record:
            oids.append(one.oid)
            blob = self._blob(source, one)
            if blob is None:
                target.restore(one.oid, one.tid, one.data, '', one.data_txn, metadata)
            else:
                target.restoreBlob(one.oid, one.tid, one.data, blob, one.data_txn, metadata)
        target.tpc_vote(metadata)

        def finish() -> None:
            target.tpc_finish(metadata)
            self.follower.hosted.committed(None, record.tid, oids)

        self.follower.in_loop(finish)

    def _blob(self, source: Any, record: Any) -> str | None:
        from ZODB.blob import is_blob_record

        if record.data is None or not is_blob_record(record.data):
            return None
        name = f'{self.directory}/blob-{record.oid.hex()}-{record.tid.hex()}'
        with open(source.loadBlob(record.oid, record.tid), 'rb') as file, open(name, 'wb') as copy:
            copy.write(file.read())
        return name

    def follow(self, pause: float = 0.001) -> None:
        """Have it copy all the time."""
        self._stop.clear()

        def run() -> None:
            while not self._stop.wait(pause):
                self.copy()

        self._follows = threading.Thread(target=run, daemon=True)
        self._follows.start()

    def lag(self) -> None:
        """Have it copy nothing more."""
        if self._follows is not None:
            self._stop.set()
            self._follows.join(PATIENCE)
            self._follows = None

    def says(self, state: str) -> None:
        """Have the follower say what it is at."""
        self.follower.storage.state = state
        self.follower.in_loop(self.follower.hosted.tell_role)

    def promote(self) -> None:
        """Make the follower a primary."""
        self.lag()
        self.follower.storage.promote()
        self.follower.in_loop(self.follower.hosted.become_writable)

    def close(self) -> None:
        self.lag()
        for client in self.opened:
            client.close()
        self.follower.close()
        self.primary.close()


def commit(client: Any, *oids: bytes, data: bytes = b'x', serials: Any = None) -> bytes:
    """Store records by hand; return the tid.

    :param serials: those that the records replace, by oid; None: those that the client reads.
    """
    metadata = TransactionMetaData()
    client.tpc_begin(metadata)
    try:
        for oid in oids:
            serial = serials.get(oid, z64) if serials is not None else serial_of(client, oid)
            client.store(oid, serial, data, '', metadata)
        client.tpc_vote(metadata)
        return client.tpc_finish(metadata)
    finally:
        client.tpc_abort(metadata)


def serial_of(client: Any, oid: bytes) -> bytes:
    """Return the tid of what a client reads; 8 zero bytes for nothing."""
    from ZODB.POSException import POSKeyError

    try:
        found = client.loadBefore(oid, maxtid)
    except POSKeyError:
        return z64
    return found[1] if found else z64
