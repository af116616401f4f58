"""A server, perhaps another one behind it, wires that can be cut, and clients, all real processes.

Enters: a directory and the options of a round. Leaves: running processes; the histories that
clients have written. Fails: ProcessFailed when a process does not start, or ends by itself.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import trustme

from support.children import SideProcess
from support.commands import ServerCommand, _end_with_parent
from support.processes import ProcessFailed
from support.proxy import Proxy
from support.sides import OURS, PEER, SOURCES, TESTS
from support.stress import objects


@dataclass
class Options:
    """What a round consists of.

    :param tls: whether clients connect over TCP and TLS, else by Unix sockets.
    :param msgpack: whether the server speaks M5.
    :param fan_out: whether the last client is one of a second server.
    :param clients: how many, besides that of ZEO 6.
    :param peer: whether there is one of ZEO 6.
    :param forks: whether the first client forks.
    :param packs: whether the storage may be packed.
    :param steady: whether the state of the database stays as large as it is, so that memory has to.
    :param pause: seconds between two transactions of a client, at most.
    """

    seed: int
    tls: bool = False
    msgpack: bool = False
    fan_out: bool = False
    clients: int = 3
    peer: bool = False
    forks: bool = False
    packs: bool = True
    steady: bool = False
    pause: float = 0.01

    @classmethod
    def of_seed(cls, seed: int) -> Options:
        """Return the options of a round."""
        chooser = random.Random(seed)

        def maybe() -> bool:
            return chooser.random() < 0.5

        return cls(
            seed,
            maybe(),
            maybe(),
            maybe(),
            chooser.choice([2, 3, 4]),
            maybe() and PEER is not None,
            maybe(),
        )


class ClientProcess:
    """One client, which can be killed and started again with what its cache file has."""

    def __init__(self, site: Site, name: str, number: int, side: Any, wire: Proxy) -> None:
        self.name = name
        self.kills = 0
        self._side = side
        self._wire = wire
        self._options = site.client_options(name, number, side, wire)
        self.process: SideProcess
        self.killed: list[int] = []  # the numbers of killed processes
        self.start()

    def start(self) -> None:
        """Start the process."""
        self._is_open = False
        path = str(TESTS) if self._side is PEER else f'{TESTS}{os.pathsep}{SOURCES}'
        self.process = SideProcess(
            self._side,
            ['python', '-m', 'support.stress.worker', json.dumps(self._options)],
            env=self._side.environ(PYTHONPATH=path),
            preexec_fn=_end_with_parent,
        )

    def await_open(self) -> None:
        """Return once it has a connection."""
        if not self._is_open and self.process.output.line(90) != b'open':
            raise self.process.failure('the client does not connect')
        self._is_open = True

    def kill(self) -> None:
        """End it as the kernel does, and start another one."""
        self.killed.append(self.process.popen.pid)
        self.process.kill()
        self.kills += 1
        self.start()

    def end(self) -> dict[str, int]:
        """Have it end its work; return what it says it has done."""
        self.await_open()
        status, printed, errors = self.process.end(signal.SIGTERM, patience=90)
        lines = [line for line in printed.splitlines() if line.startswith('{')]
        if status or not lines:
            raise AssertionError(
                f'{self.name} ended with {status}: {printed[-500:]}{errors[-3000:]}'
            )
        return json.loads(lines[-1])


class Site:
    """Everything that runs in one round; :meth:`close` ends it."""

    def __init__(self, directory: Path, options: Options) -> None:
        self.directory = directory
        self.options = options
        for name in ('history', 'caches', 'var', 'data'):
            (directory / name).mkdir(parents=True)
        (directory / 'options.json').write_text(json.dumps(asdict(options)))
        self.data = directory / 'data' / 'data.fs'
        self.blobs = directory / 'data' / 'blobs'
        self.keys, self.setup_tid = objects.prepare(str(self.data), str(self.blobs))
        self.certificates = self._make_certificates() if options.tls else None
        self.servers = [self._primary()]
        self.wires = [Proxy(self.servers[0].address)]
        if options.fan_out:
            self.servers.append(self._secondary())
            self.wires.append(Proxy(self.servers[1].address))
        self.clients: list[ClientProcess] = []
        self.packed = ''  # the last tid that a pack may have had
        self.packs = 0

    def start(self) -> None:
        """Start all processes."""
        for server in self.servers:
            server.start()
        count = self.options.clients
        for number in range(count):
            last = self.options.fan_out and number == count - 1
            wire = self.wires[-1 if last else 0]
            self.clients.append(ClientProcess(self, f'c{number}', number, OURS, wire))
        if self.options.peer:
            self.clients.append(ClientProcess(self, 'peer', count, PEER, self.wires[0]))
        for client in self.clients:
            client.await_open()

    def start_again(self, server: ServerCommand) -> None:
        """Start a server that was ended; one behind another one is started again, as systemd does,
        while its wire is cut.
        """
        for _ in range(10 if server is not self.servers[0] else 0):
            try:
                server.start()
                return
            except ProcessFailed:
                time.sleep(0.2)
        server.start()

    def _make_certificates(self) -> dict[str, str]:
        authority = trustme.CA()
        files = {name: str(self.directory / f'{name}.pem') for name in ('ca', 'server', 'client')}
        authority.cert_pem.write_to_path(files['ca'])
        for name in ('server', 'client'):
            chain = authority.issue_cert('localhost').private_key_and_cert_chain_pem
            chain.write_to_path(files[name])
        return files

    def _server_options(self) -> str:
        lines = 'transaction-timeout 10\ninvalidation-queue-size 30\n'
        if self.options.msgpack:
            lines += 'msgpack true\n'
        if self.certificates:
            own = self.certificates['server']
            lines += (
                f'<ssl>\n certificate {own}\n key {own}\n'
                f' authenticate {self.certificates["ca"]}\n</ssl>'
            )
        return lines

    def _primary(self) -> ServerCommand:
        storage = f'<filestorage 1>\n path {self.data}\n blob-dir {self.blobs}\n</filestorage>'
        return ServerCommand(
            OURS, self.directory / 'server', storage, self._server_options(), self.options.tls
        )

    def _secondary(self) -> ServerCommand:
        """A server whose storage is a client of the first one, over a wire of its own."""
        self.wires.append(Proxy(self.servers[0].address))
        address = self.wires[1].address
        where = address if isinstance(address, str) else '{}:{}'.format(*address)
        section = ''
        if self.certificates:
            own = self.certificates['client']
            section = (
                f' <ssl>\n  certificate {own}\n  key {own}\n'
                f'  authenticate {self.certificates["ca"]}\n  server-hostname localhost\n </ssl>\n'
            )
        storage = (
            f'%import ZEO\n<clientstorage 1>\n server {where}\n wait off\n'
            f' blob-dir {self.directory}/var/fan\n{section}</clientstorage>'
        )
        return ServerCommand(
            OURS, self.directory / 'fan', storage, self._server_options(), self.options.tls
        )

    def client_options(self, name: str, number: int, side: Any, wire: Proxy) -> dict[str, Any]:
        """Return what a worker is to be told."""
        storage: dict[str, Any] = {'blob_dir': f'{self.directory}/var/{name}-blobs'}
        if side is OURS:
            storage['disconnect_poll'] = 0.05
        if number % 2 == 0:
            storage |= {'client': name, 'var': f'{self.directory}/var', 'cache_size': 300_000}
        else:
            storage['cache_size'] = 60_000
        return {
            'name': name,
            'seed': self.options.seed,
            'history': f'{self.directory}/history',
            'caches': f'{self.directory}/caches' if side is OURS else None,
            'addresses': [wire.address],
            'storage': storage,
            'tls': self.certificates and [self.certificates['ca'], self.certificates['client']],
            'forks': self.options.forks and number == 0 and side is OURS,
            'packs': self.options.packs,
            'pause': self.options.pause,
            'steady': self.options.steady,
            # a server that has lost the one behind it answers a ping all the same
            'syncs': wire is self.wires[0],
        }

    def stop(self) -> None:
        """Stop the servers as operators do."""
        for server in reversed(self.servers):
            if server.stop():
                raise AssertionError(f'a server did not stop well: {server.errors()[-2000:]}')

    def close(self) -> None:
        """End everything."""
        for client in self.clients:
            client.process.kill()
        for server in self.servers:
            server.close()
        for wire in self.wires:
            wire.close()

    def histories(self) -> list[str]:
        """Return the lines of all histories; a last one that a kill has cut is left out."""
        lines = []
        for path in sorted((self.directory / 'history').iterdir()):
            text = path.read_text()
            lines += text[: text.rfind('\n') + 1].splitlines()
        return lines
