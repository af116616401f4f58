"""What the servers of one history serve: a FileStorage on the first one's disk, or a database.

Enters: a plan and its world. Leaves: storages for servers that start, and what is in them in the
end. Fails: with what opening them raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ZODB.FileStorage import FileStorage

from support.simulation import objects
from support.simulation.data_file import DATA, write_file
from support.simulation.database import Database, Instance
from support.simulation.disk import Disk
from support.simulation.plan import Plan
from ZEO.serving.crash_safety import mend
from ZEO.serving.grouped import GroupedFileStorage


class FileStore:
    """A FileStorage, perhaps one in which a sync is for several transactions."""

    database = None

    def __init__(self, plan: Plan, world: Any, counts: Counter[str]) -> None:
        self._sync = plan.sync
        self._random = world.random
        self._counts = counts

    def write(self, disk: Disk) -> None:
        """Put the file on the disk of a server that starts for the first time."""
        write_file(disk, DATA, objects.image())

    def open(self, process: Any) -> Any:
        """Return the storage of a server that starts."""
        mend(DATA)
        return FileStorage(DATA) if self._sync is None else self._grouped(process, self._sync)

    def _grouped(self, process: Any, most: float) -> GroupedFileStorage:
        """Open a storage for which syncs are slow enough to be shared."""
        storage, rng = GroupedFileStorage(DATA), self._random
        faults = process.disk.faults
        faults.sleep = process.system.sleep
        faults.sync_time = lambda: most * rng.random()
        self._counts['grouped'] += 1
        return storage

    def ended(self, process: Any) -> None:
        """A server's process is dead: its disk is the affair of others."""

    def transactions(self) -> Iterator[Any]:
        """Return the transactions; within a process that has the disk."""
        return FileStorage(DATA, read_only=True).iterator()


class DatabaseStore:
    """A database on a machine of its own."""

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


def store_of(plan: Plan, world: Any, counts: Counter[str]) -> FileStore | DatabaseStore:
    """Return that of a plan."""
    return (FileStore if plan.database is None else DatabaseStore)(plan, world, counts)
