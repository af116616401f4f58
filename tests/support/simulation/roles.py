"""The real server and the real client in processes of a world, with what happens to them.

Enters: a world, the arguments of ``StorageServer`` and ``ClientStorage``, programs. Leaves: their
processes; a process that was started again takes the place of the dead one. Fails: what a thread
raises is in ``world.errors``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ZODB
from ZODB.MappingStorage import MappingStorage

from support.simulation.scheduler import Thread
from support.simulation.world import World
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZEO.StorageServer import StorageServer

#: Where a server listens, unless a caller says otherwise.
ADDRESS = ('127.0.0.1', 8100)

#: How often a client tries to open its database before that is an error.
ATTEMPTS = 20


class Volatile:
    """A storage in memory that is as old as the world: it survives its server's process, as the
    disk of a machine does whose processes are killed, but for what was not committed.
    """

    def __init__(self) -> None:
        self._kept: MappingStorage | None = None

    def open(self) -> Mapping[str, MappingStorage]:
        """Return the storages of a server that starts."""
        storage = MappingStorage()
        if self._kept is None:
            ZODB.DB(storage)  # which makes the root object
        else:
            kept = self._kept
            storage._data, storage._transactions = kept._data, kept._transactions
            storage._ltid, storage._oid = kept._ltid, kept._oid
        self._kept = storage
        return {'1': storage}


class Server:
    """A server, and those that take its place after a crash.

    :param open_storages: returns the storages; is called in the server's process.
    :param options: for ``StorageServer``.
    """

    def __init__(
        self,
        world: World,
        open_storages: Callable[[], Mapping[str, Any]] | None = None,
        name: str = 'server',
        address: Any = ADDRESS,
        disk: Any = None,
        **options: Any,
    ) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.disk = disk
        self.served: StorageServer | None = None  # while it runs
        self._open_storages = open_storages or Volatile().open
        self._options = options
        self.start()

    def start(self) -> None:
        """Start it, in the place of one that has ended."""
        self.world.note('starts', self.name)
        self.process = self.world.process(self.name, self.disk)
        self.thread = self.process.start(self._serve, 'main', daemon=True)

    def _serve(self) -> None:
        self.served = StorageServer(
            self.address, self._open_storages(), system=self.process.system, **self._options
        )
        self.served.serve_forever()
        self.served.close()

    def crash(self, back_after: float | None = None, power: bool = False) -> None:
        """Kill it.

        :param back_after: seconds until it is started again; None: it is not.
        :param power: whether its machine loses its power.
        """
        if self.thread.is_alive() and not self.process.dead:
            self.process.crash(power)
            self.served = None
            if back_after is not None:
                self.world.later(back_after, self.start)

    def stop(self) -> None:
        """Have it end in order."""
        if self.served is not None:
            self.served.stop()


class Client:
    """A program with a database, and those that take its place after a crash.

    :param program: is called with the database; a new process calls it again.
    :param options: for ``ClientStorage``.
    """

    def __init__(
        self,
        world: World,
        name: str,
        program: Callable[[ZODB.DB], Any],
        address: Any = ADDRESS,
        disk: Any = None,
        **options: Any,
    ) -> None:
        self.world = world
        self.name = name
        self.program = program
        self.address = address
        self.disk = disk
        self.storage: ClientStorage | None = None
        self._options = {'wait_timeout': 600, **options}
        self.start()

    def start(self) -> None:
        """Start it, in the place of one that has ended."""
        self.world.note('starts', self.name)
        self.process = self.world.process(self.name, self.disk)
        self._attempts = ATTEMPTS
        self.thread: Thread = self.process.start(self._run, 'main')

    def _run(self) -> Any:
        database = self._opened()
        try:
            return self.program(database)
        finally:
            database.close()

    def _opened(self) -> ZODB.DB:
        """Return the database, after some attempts where the connection is lost meanwhile."""
        while True:
            try:
                storage = ClientStorage(self.address, system=self.process.system, **self._options)
                break
            except ClientDisconnected as error:
                self._again(error)
        while True:
            try:
                database = ZODB.DB(storage)
            except ClientDisconnected as error:
                self._again(error)
            else:
                self.storage = storage
                return database

    def _again(self, error: ClientDisconnected) -> None:
        """Raise the error when there were too many."""
        self._attempts -= 1
        if not self._attempts:
            raise error
        self.process.system.sleep(1.0)

    def crash(self, back_after: float | None = None, power: bool = False) -> None:
        """Kill it.

        :param back_after: seconds until it is started again; None: it is not.
        :param power: whether its machine loses its power.
        """
        if self.thread.is_alive() and not self.process.dead:
            self.process.crash(power)
            if back_after is not None:
                self.world.later(back_after, self.start)
