"""The processes of one history: servers, clients, and who looks at them in the end.

Enters: a plan. Leaves: its history, not yet checked. Fails: never by what the product does: that is
a problem.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from random import Random
from typing import Any

from ZODB.FileStorage.FileStorage import CorruptedError, CorruptedTransactionError
from ZODB.POSException import StorageError

from support.simulation import objects
from support.simulation.calamities import Calamities
from support.simulation.checks import Anomaly
from support.simulation.clients import Client, WatchedStorage, expected_errors
from support.simulation.data_file import cut_off
from support.simulation.disk import Disk
from support.simulation.disk_modules import Gone
from support.simulation.ending import Ending
from support.simulation.history import History, Recorder
from support.simulation.plan import ClientPlan, Plan
from support.simulation.replication import Replication
from support.simulation.scheduler import SimulationFailed
from support.simulation.stores import store_of
from support.simulation.strikes import StruckStorage
from support.simulation.system import EPOCH
from support.simulation.workloads import Worker
from support.simulation.world import World
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected, Unavailable
from ZEO.StorageServer import StorageServer

#: Where the servers listen.
PORTS = {
    'server': ('127.0.0.1', 8100),
    'fan': ('127.0.0.1', 8200),
    'f1': ('127.0.0.1', 8301),
    'f2': ('127.0.0.1', 8302),
}

#: How often a client tries to open its storage.
TRIES = 5

#: Faults that make answers late.
SLOW = ('cut', 'pause', 'latency', 'crash', 'fail', 'strike')

#: Virtual seconds for the clients' steps; more than any of their waits.
WORK = 3000.0

#: Steps of the scheduler, which are some hundred thousand a second.
STEPS = 400_000


#: What a fault does to a server that starts. One that is behind another one may not be able to open
#: its cache file; on a full disk FileStorage cannot keep the damaged end of its own; a database is
#: not followed without a thread. A real server ends so that its supervisor tries again.
_AT_THE_START = (StorageError, OSError, MemoryError, RuntimeError, Unavailable)


class Cast:
    """All processes of one history, and what they share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.world = World(plan.seed, plan.switches, plan.pieces, plan.preempted)
        self.world.network.latency = (0.00005, plan.latency)
        self.disks: dict[str, Disk] = {}
        self._gone = Gone()  # that of dead processes
        self.processes: dict[str, Any] = {}
        self.faults = Calamities(self)
        setup = objects.setup(plan.blobs is not None)
        self.history = History([setup], objects.ACCOUNTS, objects.TOTAL, objects.COUNTERS)
        self.problems: list[Anomaly] = []
        self.counts: Counter[str] = Counter()
        self.store = store_of(plan, self.world, self.counts)
        self.history.is_polled = plan.database is not None
        self.clients: dict[str, Client] = {}  # of the processes that live
        self._lives: Counter[str] = Counter()
        self._working = 0  # lives of clients that have not done their steps
        self._starting: set[str] = set()  # whose they are
        self.fan: Any = None  # its storage
        self._served: dict[str, StorageServer] = {}  # servers that run
        self._back: dict[str, float] = {}  # after how many seconds one that ends is started again
        self._packed = ''
        self.replication = Replication(self, PORTS)
        self._reasons = self._find_reasons()
        self._expected = expected_errors(*self._reasons)

    def _find_reasons(self) -> list[str]:
        plan = self.plan
        found = [kind for kind in ('undo', 'pack', 'chain') if plan.has(kind)]
        if plan.fan is not None and plan.fan['read_only']:
            found.append('fallback')
        if plan.followers is not None:
            found.append('followers')
        if plan.server.get('transaction_timeout'):
            found.append('timeout')
        if any(fault[1] in ('fail', 'disk', 'strike') for fault in plan.faults):
            found.append('faults')
        if plan.has_kind('doors'):
            found.append('strikes')
        if any(fault[1] == 'disk' for fault in plan.faults):
            found.append('disk')
        return found

    def disk(self) -> Disk | None:
        """Return the disk of the code that runs."""
        process = self.world.current_process()
        if process is None:
            return None
        return self._gone if process.dead else process.disk

    def log(self) -> list[str]:
        """Return what the product has logged, and what was done to it, in order."""
        lines = [
            (time, f'{thread} {record.levelname} {record.getMessage()}')
            for time, thread, record in self.world.log
        ]
        lines += [(time, f'=== {" ".join(map(str, event))}') for time, *event in self.world.events]
        return [f'{time:.6f} {text}' for time, text in sorted(lines, key=lambda line: line[0])]

    # The play.

    def play(self) -> Exception | None:
        """Run everything; return what has ended it too early."""
        for name in self.replication.servers:
            self._start_server(name)
        if self.plan.fan is not None:
            self._start_server('fan')
        for client in self.plan.clients:
            self._start_client(client)
        for time, kind, *arguments in self.plan.faults:
            self.world.later(time, self.faults.strike, kind, *arguments)
        try:
            self.world.run(lambda: not self._working, WORK, STEPS)
            self.faults.calm()
            self.world.run(lambda: not self._working, WORK, STEPS)
            Ending(self).finish()
        except SimulationFailed as error:
            return error
        finally:
            self._look_back()
        return None

    def _look_back(self) -> None:
        """Note which threads have died of an error."""
        for thread, error in self.world.scheduler.errors:
            self.problems.append(Anomaly('a thread has died', f'{thread}: {error!r}'))
        self.history.packed = max([self._packed, *(one.packed for one in self.clients.values())])

    # Servers.

    def restart(self, name: str) -> None:
        """Start a process that has crashed again."""
        if not self.processes[name].dead or self.replication.holds(name):
            return
        if name in PORTS:
            self._start_server(name)
        else:
            self._start_client(next(one for one in self.plan.clients if one.name == name))

    def stop(self, name: str, seconds: float, back: float) -> None:
        """Have a server end in order.

        :param seconds: for its clients.
        :param back: seconds after which it is started again.
        """
        process, served = self.processes[name], self._served.get(name)
        if served is not None and not process.dead:
            self._back[name] = back
            process.start(served.drain, 'signal', seconds, daemon=True)

    def begins(self) -> None:
        """There is something for whose end the history waits."""
        self._working += 1

    def ends(self) -> None:
        """It is done."""
        self._working -= 1

    def crashed(self, name: str) -> None:
        """A process was killed: what it was at has no end."""
        self._served.pop(name, None)
        self.store.ended(self.processes[name])
        client = self.clients.pop(name, None)
        if client is not None:
            self._packed = max(self._packed, client.packed)
        if name in self._starting:
            self._starting.discard(name)
            self.ends()
        for attempt in self.history.attempts:
            if attempt.ended is None and attempt.client.partition('#')[0] == name:
                attempt.killed = True

    def _process(self, name: str) -> Any:
        disk = self.disks.get(name)
        if disk is None:
            # machines whose random numbers are not the same
            rng = Random(f'{name} {self.plan.seed}') if self.plan.followers is not None else None
            disk = self.disks[name] = Disk(rng, clock=self.disk_clock)
            if name == 'server' or name in self._copies:
                self.store.write(disk)
        process = self.processes[name] = self.world.process(name, disk)
        return process

    @property
    def _copies(self) -> list[str]:
        """Followers that begin with a copy of the first server's file."""
        followers = self.plan.followers
        return followers['names'] if followers is not None and followers['copied'] else []

    def disk_clock(self) -> float:
        return EPOCH + self.world.now

    def _start_server(self, name: str) -> None:
        process = self._process(name)
        serve = self._fan_out if name == 'fan' else partial(self._serve, name)
        process.start(self._guarded, 'main', process, name, serve, daemon=True)

    def _guarded(self, process: Any, name: str, serve: Any) -> None:
        """Run a server; where a fault has it fail at the start, start it again."""
        try:
            serve(process)
            self.counts['stopped'] += 1
            self.world.later(self._back.pop(name, 0.0), self._start_again, process, name)
        except (CorruptedError, CorruptedTransactionError) as error:
            # as an operator does whose machine has lost its power within a commit
            cut_off(process.disk)
            self.counts['cut off'] += 1
            self.world.note('cut off', name, repr(error))
            self.world.later(0.0, self._start_again, process, name)
        except _AT_THE_START as error:
            may_fail = 'faults' in self._reasons or self.faults.counts.get('database')
            if not may_fail and not isinstance(error, ClientDisconnected):
                raise
            self.world.note('failed to start', name, repr(error))
            self.world.later(0.0, self._start_again, process, name)

    def _start_again(self, process: Any, name: str) -> None:
        if process is self.processes[name]:
            process.crash()
            process.disk.kill()
            self.store.ended(process)
            self.world.later(1.0, self.restart, name)

    def _serve(self, name: str, process: Any) -> None:
        self._serve_store(name, process, self.plan.server)

    def _serve_store(self, name: str, process: Any, options: dict[str, Any]) -> None:
        """Run a server in front of what is stored."""
        if self.plan.database is not None:
            options = {**options, 'poll_interval': self.plan.database['poll']}
        storage = self.replication.open(name, process)
        server = StorageServer(PORTS[name], {'1': storage}, system=process.system, **options)
        self._run_server(name, server)

    def _fan_out(self, process: Any) -> None:
        options = {'system': process.system, **(self.plan.fan or {})}
        file, cache_size = options.pop('file', False), options.pop('cache_size', 1_000_000)
        if self.plan.shares_database:
            self._serve_store(
                'fan', process, {**self.plan.server, 'read_only': options['read_only']}
            )
            return
        storage = ClientStorage(
            [PORTS['server']],
            cache='/data/fan.zec' if file else None,
            cache_size=cache_size + 200_000 * file,
            wait=False,
            wait_timeout=2,
            blob_dir=None if self.plan.blobs is None else '/data/fan-blobs',
            disconnect_poll=0.1,
            system=process.system,
        )
        self.fan = storage
        self._run_server('fan', StorageServer(PORTS['fan'], {'1': storage}, **options))

    def _run_server(self, name: str, server: StorageServer) -> None:
        self._served[name] = server
        server.serve_forever()
        self._served.pop(name, None)
        server.close()

    # Clients.

    def _start_client(self, plan: ClientPlan) -> None:
        life = self._lives[plan.name]
        self._lives[plan.name] += 1
        process = self._process(plan.name)
        threads = plan.lives[life] if life < len(plan.lives) else [[]]
        self.begins()
        self._starting.add(plan.name)
        process.start(self._work, 'main', process, plan, threads)

    def _work(self, process: Any, plan: ClientPlan, threads: list[Any]) -> None:
        client = self.new_client(process, plan)
        make = partial(self.open_storage, process, plan)
        for _ in range(TRIES):
            if client.open(make, plan.objects):
                break
            process.system.sleep(1.0)
        else:
            threads = []
        if client.db is not None:
            self.clients[plan.name] = client
        client.workers = [Worker(client, steps) for steps in threads]
        running = [
            process.start(worker.run, f'worker {number}')
            for number, worker in enumerate(client.workers)
        ]
        for thread in running:
            thread.join()
        self._starting.discard(plan.name)
        self.ends()

    def new_client(self, process: Any, plan: ClientPlan) -> Client:
        name, life = plan.name, self._lives[plan.name]
        client = Client(
            Recorder(f'{name}#{life}' if life > 1 else name, self._now, self.history.attempts),
            process.system.sleep,
            process.system.wall_clock,
            self._expected,
            self.plan.has('pack'),
        )
        if self._is_behind(plan):
            client.path = self._path_of_fan
        elif self.plan.followers is not None:
            client.path = lambda: client.db and self.replication.way(client.storage)
        return client

    def _is_behind(self, plan: ClientPlan) -> bool:
        """Return whether a client may be one of a server that is itself a client."""
        return 'fan' in plan.through and not self.plan.shares_database

    def _path_of_fan(self) -> object:
        """Return the connection of the second server to the first, where pings go all the way: it
        does not wait for long.
        """
        if self.fan is None or any(fault[1] in SLOW for fault in self.plan.faults):
            return None
        connection = self.fan._server.connection
        return None if connection is None or connection.lost is not None else connection

    def _now(self) -> float:
        return self.world.scheduler.now

    def open_storage(self, process: Any, plan: ClientPlan) -> WatchedStorage:
        return StruckStorage(
            [PORTS[name] for name in plan.through],
            cache=f'/data/{plan.name}.zec' if plan.file else None,
            blob_dir=f'/data/{plan.name}-blobs' if self.plan.blobs is not None else None,
            disconnect_poll=0.05,
            system=process.system,
            **plan.options,
        )

    def last_tid(self) -> bytes:
        """Return the tid of the last transaction that was acknowledged."""
        tids = (one.tid or '' for one in self.history.attempts if one.is_acknowledged)
        return bytes.fromhex(max(tids))
