"""What the servers of one history serve: a FileStorage on the first one's disk, or a database.

Enters: a plan and its world. Leaves: storages for servers that start, and what is in them in the
end. Fails: with what opening them raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError

from support.simulation import objects
from support.simulation.data_file import BLOB_FILES, DATA, write_blobs, write_file
from support.simulation.database import Database, Instance
from support.simulation.disk import Disk
from support.simulation.plan import Plan
from ZEO.serving.crash_safety import mend
from ZEO.serving.grouped import GroupedFileStorage


class FileStore:
    """A FileStorage, perhaps one in which a sync is for several transactions."""

    database = None
    blob_dir: str | None

    def __init__(self, plan: Plan, world: Any, counts: Counter[str]) -> None:
        self._sync = plan.sync
        self._has_blobs = plan.blobs is not None
        #: Where the blob files are; None without blobs.
        self.blob_dir = BLOB_FILES if self._has_blobs else None
        self._random = world.random
        self._counts = counts

    def write(self, disk: Disk) -> None:
        """Put the file on the disk of a server that starts for the first time."""
        if self._has_blobs:
            write_blobs(
                disk, {objects.OIDS[key]: objects.content(key, 0, 0) for key in objects.BLOBS}
            )
        write_file(disk, DATA, objects.image(self._has_blobs))

    def open(self, process: Any) -> Any:
        """Return the storage of a server that starts."""
        mend(DATA)
        if self._sync is None:
            return FileStorage(DATA, blob_dir=self.blob_dir)
        return self._grouped(process, self._sync)

    def _grouped(self, process: Any, most: float) -> GroupedFileStorage:
        """Open a storage for which syncs are slow enough to be shared."""
        storage, rng = GroupedFileStorage(DATA, blob_dir=self.blob_dir), self._random
        faults = process.disk.faults
        faults.sleep = process.system.sleep
        faults.sync_time = lambda: most * rng.random()
        self._counts['grouped'] += 1
        return storage

    def ended(self, process: Any) -> None:
        """A server's process is dead: its disk is the affair of others."""

    def transactions(self, path: str = DATA) -> Iterator[Any]:
        """Return the transactions of a file; within a process that has the disk."""
        return FileStorage(path, read_only=True).iterator()

    def blobs(self) -> Iterator[tuple[bytes, str, Any]]:
        """Yield the tid, the key and the value of each revision of a blob, in the same way."""
        if not self._has_blobs:
            return
        storage = FileStorage(DATA, read_only=True, blob_dir=self.blob_dir)
        for transaction in storage.iterator():
            for record in transaction:
                key = objects.blob_of(record.oid)
                if key is not None:
                    yield record.tid, key, _blob(storage, record, key)


def _blob(storage: Any, record: Any, key: str) -> Any:
    try:
        with storage.openCommittedBlobFile(record.oid, record.tid) as file:
            return objects.value_in(key, file.read())
    except POSKeyError:
        return 'missing'


class DatabaseStore:
    """A database on a machine of its own."""

    blob_dir = None

    def __init__(self, plan: Plan, world: Any, counts: Counter[str]) -> None:
        assert plan.database is not None
        options = plan.database['latency'], plan.database['prefetch']
        setup = objects.records(), objects.SETUP_TID, objects.SETUP.encode()
        self.database = Database(world, *setup, *options)
        self._counts = counts

    def write(self, disk: Disk) -> None:
        """There is nothing on a server's disk."""

    def open(self, process: Any) -> Any:
        """Return the storage of a server that starts."""
        self._counts['database'] += 1
        return Instance(self.database)

    def ended(self, process: Any) -> None:
        """A server's process is dead."""
        self.database.ended(process)

    def transactions(self) -> Iterator[Any]:
        """Return the transactions."""
        return self.database.iterator()

    def blobs(self) -> Iterator[Any]:
        """There are none."""
        return iter(())


def store_of(plan: Plan, world: Any, counts: Counter[str]) -> FileStore | DatabaseStore:
    """Return that of a plan."""
    return (FileStore if plan.database is None else DatabaseStore)(plan, world, counts)
