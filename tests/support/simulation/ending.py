"""How a history ends, when nothing goes wrong any more.

Enters: the cast of it. Leaves: what a fresh client, each client, the caches and the files of the
servers have in the end, in the history. Fails: as the world does, when something has no end.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ZODB.utils import p64, u64, z64

from support.simulation import objects
from support.simulation.checks import Anomaly
from support.simulation.disk import Disk
from support.simulation.history import CacheContents, database, digest
from support.simulation.plan import ClientPlan
from support.simulation.workloads import Worker
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected

#: How often a client tries to commit.
TRIES = 5

#: Virtual seconds in which each client reaches its server when nothing is wrong any more.
LAST_WAIT = 300.0

#: Virtual seconds and steps of the scheduler for each look.
END, STEPS = 3000.0, 400_000


def commit_afresh(cast: Any, name: str, process: Any) -> None:
    """Have a client commit that has seen nothing yet."""
    plan = ClientPlan(name, [], cast.replication.servers, options={'wait_timeout': 60})
    client = cast.new_client(process, plan)
    if not client.open(partial(cast.open_storage, process, plan), 400):
        return
    worker, before = Worker(client, [['last']]), len(cast.history.attempts)
    for _ in range(TRIES):  # transactions of killed clients may end behind its back
        worker.run()
        attempts = cast.history.attempts[before:]
        if any(one.kind == 'last' and one.is_acknowledged for one in attempts):
            break
        process.system.sleep(10.0)


class Ending:
    """That of one history.

    :param cast: who has played.
    """

    def __init__(self, cast: Any) -> None:
        self._cast = cast

    def finish(self) -> None:
        """Have a fresh client commit, all clients read the last state, and look at the files."""
        self._run_in('last', partial(commit_afresh, self._cast, 'last'))
        for name in list(self._cast.clients):
            self._run_in(name, self._last_look, name)
        if self._cast.fan is not None:
            self._run_in('fan', self._look_at_fan)
        self._run_in('operator', self._cast.replication.look)
        primary, servers = self._cast.replication.primary, self._cast.replication.servers
        for name in servers:
            self._cast.processes[name].crash()
            self._cast.disks[name].kill()
        self._run_in('reader', self._read_database, disk=self._cast.disks[primary])
        for name in servers:
            if name != primary:
                reader = f'reader of {name}'
                self._run_in(reader, self._cast.replication.read, name, disk=self._cast.disks[name])

    def _run_in(self, name: str, function: Any, *args: Any, disk: Disk | None = None) -> None:
        """Run a function in a process, and wait for its end."""
        process = self._cast.processes.get(name)
        if process is None or process.dead:
            process = self._cast.world.process(name, disk or Disk(clock=self._cast.disk_clock))
        name = getattr(function, '__name__', name)
        thread = process.start(function, name, process, *args)
        self._cast.world.run(lambda: not thread.is_alive(), END, STEPS)

    def _last_look(self, process: Any, name: str) -> None:
        """Have a client read everything, and note what its cache holds."""
        client = self._cast.clients[name]
        until = self._cast.world.now + LAST_WAIT
        while True:
            try:
                client.storage.ping()
                if client.storage.lastTransaction() >= self._cast.last_tid():
                    break
            except ClientDisconnected:  # it looks for a server
                pass
            if self._cast.world.now > until:
                self._cast.problems.append(Anomaly('never catches up', f'{name}: {client.storage}'))
                break
            process.system.sleep(0.1)
        keys = objects.keys(self._cast.plan.blobs is not None)
        for worker in client.workers:  # what their objects say
            worker.look(keys)
        Worker(client, [['read', *keys]]).run()
        self._note_cache(process, client.recorder.client, client.storage)

    def _note_cache(self, process: Any, name: str, storage: ClientStorage) -> None:
        cache = storage._cache
        contents = CacheContents(name, (cache.getLastTid() or z64).hex())
        for oid, tid, end in list(cache.contents()):
            found = cache.loadBefore(oid, p64(u64(tid) + 1))
            if found is not None:
                row = [oid.hex(), tid.hex(), end.hex() if end else None, digest(found[0])]
                contents.records.append(row)
        self._cast.history.caches.append(contents)

    def _look_at_fan(self, process: Any) -> None:
        self._note_cache(process, 'fan', self._cast.fan)

    def _read_database(self, process: Any) -> None:
        found = database(
            self._cast.store.transactions(), objects.value_of, self._cast.store.blobs()
        )
        history = self._cast.history
        history.transactions, history.records = found.transactions, found.records
        if self._cast.plan.followers is not None:
            self._cast.replication.read_saved(process, self._cast.replication.primary)
