"""Several servers in front of one PostgreSQL, their clients, and one that uses it directly.

Enters: a directory and the options of a round. Leaves: running processes, the histories that
clients have written, and a table of all that was ever committed, with the times. Fails:
ProcessFailed when a process does not start, or ends by itself.
"""

from __future__ import annotations

import json
import random
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ZODB.config import storageFromString

from support.commands import ServerCommand
from support.postgres import Cluster
from support.sides import OURS
from support.stress import disturbances, objects
from support.stress.ground import ClientProcess, Ground
from ZEO.serving.backends.listen import INSTALL

#: What is acknowledged has to survive the end of the database's processes, and it has to be known
#: when it was committed.
DURABLE = {'synchronous_commit': 'on', 'track_commit_timestamp': 'on', 'max_connections': '150'}

#: Every revision that was ever committed; its ``xmin`` leads to the time. A pack changes rows
#: again, which does not count.
AUDIT = """\
create table audit(tid bigint, zoid bigint, state bytea, primary key (tid, zoid));
create function audit() returns trigger language plpgsql as $$ begin
    insert into audit values (new.tid, new.zoid, new.state) on conflict do nothing;
    return null;
end $$;
create trigger audit after insert or update on object_state for each row execute function audit();
"""


@dataclass
class FleetOptions:
    """What a round consists of.

    :param keep_history: whether the database has old records.
    :param notify: whether the servers listen, else they poll.
    :param poll_interval: seconds between two polls.
    :param servers: how many; `clients`: how many of them, besides one without a server.
    :param pause: seconds between two transactions of a client, at most.
    """

    seed: int
    keep_history: bool = True
    notify: bool = False
    poll_interval: float = 0.2
    servers: int = 3
    clients: int = 8
    pause: float = 0.05

    @classmethod
    def of_seed(cls, seed: int) -> FleetOptions:
        """Return the options of a round."""
        chooser = random.Random(seed)
        return cls(
            seed,
            keep_history=seed % 2 == 0,
            notify=chooser.random() < 0.5,
            poll_interval=chooser.choice([0.02, 0.2, 1.0]),
        )


class Fleet(Ground):
    """What runs in one round.

    :param cluster: a PostgreSQL with the options of :data:`DURABLE`.
    """

    def __init__(self, cluster: Cluster, directory: Path, options: FleetOptions) -> None:
        super().__init__(directory)
        self.cluster = cluster
        self.options = options
        (directory / 'options.json').write_text(json.dumps(asdict(options)))
        self.database = cluster.create_for(options.keep_history)
        cluster.execute(self.database, AUDIT + (INSTALL if options.notify else ''))
        self.marks = [f'm{number}' for number in range(options.clients + 1)]
        direct = storageFromString(self.section('setup'))
        self.keys, self.setup_tid = objects.prepare(direct, self.marks)
        self.events: list[list[Any]] = []  # seconds of time.monotonic, what has happened
        #: What is added to seconds of time.monotonic to have those of the database.
        self.offset = time.time() - time.monotonic()
        self.servers = [self._server(number) for number in range(options.servers)]

    def section(self, name: str) -> str:
        """Return the section of the storage, with a blob directory of its own."""
        blobs = f'{self.directory}/data/{name}'
        return self.cluster.section(
            self.database,
            self.options.keep_history,
            f'blob-dir {blobs}\n shared-blob-dir false',
        )

    def _server(self, number: int) -> ServerCommand:
        options = self.options
        lines = (
            'transaction-timeout 10\ninvalidation-queue-size 30\n'
            f'poll-interval {options.poll_interval}\nnotify {str(options.notify).lower()}'
        )
        log = (
            '<eventlog>\n level info\n <logfile>\n'
            f'  path {self.directory}/server{number}.log\n </logfile>\n</eventlog>\n'
        )
        where = self.directory / f'server{number}'
        return ServerCommand(OURS, where, self.section(where.name) + log, lines)

    def start(self) -> None:
        """Start all processes."""
        for server in self.servers:
            server.start()
        for number in range(self.options.clients):
            self.clients.append(ClientProcess(OURS, self._client_options(number)))
        options = self._options_of('direct', self.options.clients)
        options |= {'section': self.section('direct'), 'caches': None, 'storage': {}}
        self.clients.append(ClientProcess(OURS, options, 'support.stress.direct'))
        for client in self.clients:
            client.await_open()

    def _client_options(self, number: int) -> dict[str, Any]:
        name = f'c{number}'
        addresses = [server.address for server in self.servers]
        first = number % len(addresses)
        storage = {
            'blob_dir': f'{self.directory}/var/{name}-blobs',
            'client': name,
            'var': f'{self.directory}/var',
            'cache_size': 300_000 if number % 2 else 60_000,
            'disconnect_poll': 0.05,
            'server_sync': number % 4 == 3,
        }
        return self._options_of(name, number) | {
            'addresses': addresses[first:] + addresses[:first],
            'caches': f'{self.directory}/caches',
            'storage': storage,
        }

    def _options_of(self, name: str, number: int) -> dict[str, Any]:
        return {
            'name': name,
            'seed': self.options.seed,
            'history': f'{self.directory}/history',
            'mark': self.marks[number],
            'packs': True,
            'pause': self.options.pause,
            'steady': False,
            'syncs': True,
        }

    def pack_arguments(self) -> list[str]:
        address = self.servers[0].address
        assert isinstance(address, str)
        return ['-u', address]

    def close(self) -> None:
        super().close()
        (self.directory / 'events.json').write_text(json.dumps(self.events))
        self.cluster.drop(self.database)


# What happens to a fleet, besides what happens to processes anywhere.


def end_sessions(fleet: Fleet, chooser: random.Random) -> None:
    """All connections to the database end."""
    fleet.cluster.end_connections(fleet.database)


def end_one_session(fleet: Fleet, chooser: random.Random) -> None:
    """One of them ends, in whatever it does."""
    rows = fleet.cluster.execute(
        'postgres', 'select pid from pg_stat_activity where datname = %s', fleet.database
    )
    if rows:
        pid = chooser.choice(sorted(rows))[0]
        fleet.cluster.execute('postgres', 'select pg_terminate_backend(%s)', pid)


def hang_database(fleet: Fleet, chooser: random.Random) -> None:
    """It answers nothing for a while; what it is asked meanwhile it does later."""
    with fleet.cluster.hung():
        time.sleep(chooser.random() * 3)


def restart_database(fleet: Fleet, chooser: random.Random) -> None:
    """Restarted as for an upgrade, or as after a crash."""
    fleet.cluster.stop(chooser.choice([signal.SIGINT, signal.SIGQUIT]))
    time.sleep(chooser.random() * 0.5)
    fleet.cluster.start()


def _noted(disturbance: disturbances.Disturbance) -> disturbances.Disturbance:
    """Have a disturbance be written down, with its time."""

    def noted(fleet: Fleet, chooser: random.Random) -> None:
        began = time.monotonic()
        disturbance(fleet, chooser)
        fleet.events.append([began, time.monotonic(), disturbance.__name__])

    noted.__name__ = disturbance.__name__
    return noted


#: All of them, those that cost more less often.
ALL = [
    _noted(one)
    for one in (
        disturbances.kill_server,
        disturbances.kill_server,
        disturbances.kill_server,
        disturbances.stop_server,
        disturbances.stop_server,
        disturbances.restart_server,
        disturbances.kill_client,
        disturbances.kill_client,
        disturbances.stop_client,
        disturbances.pack,
        end_sessions,
        end_sessions,
        end_one_session,
        end_one_session,
        hang_database,
        restart_database,
    )
]
