"""A server, perhaps another one behind it, wires that can be cut, and clients, all real processes.

Enters: a directory and the options of a round. Leaves: running processes; the histories that
clients have written. Fails: ProcessFailed when a process does not start, or ends by itself.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import trustme
from ZODB.FileStorage import FileStorage

from support.commands import ServerCommand
from support.proxy import Proxy
from support.sides import OURS, PEER
from support.stress import objects
from support.stress.ground import ClientProcess, Ground


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


class Site(Ground):
    """What runs in one round."""

    def __init__(self, directory: Path, options: Options) -> None:
        super().__init__(directory)
        self.options = options
        (directory / 'options.json').write_text(json.dumps(asdict(options)))
        self.data = directory / 'data' / 'data.fs'
        self.blobs = directory / 'data' / 'blobs'
        self.keys, self.setup_tid = objects.prepare(
            FileStorage(str(self.data), blob_dir=str(self.blobs))
        )
        self.certificates = self._make_certificates() if options.tls else None
        self.servers = [self._primary()]
        self.wires = [Proxy(self.servers[0].address)]
        if options.fan_out:
            self.servers.append(self._secondary())
            self.wires.append(Proxy(self.servers[1].address))

    def start(self) -> None:
        """Start all processes."""
        for server in self.servers:
            server.start()
        count = self.options.clients
        for number in range(count):
            last = self.options.fan_out and number == count - 1
            wire = self.wires[-1 if last else 0]
            self._add_client(f'c{number}', number, OURS, wire)
        if self.options.peer:
            self._add_client('peer', count, PEER, self.wires[0])
        for client in self.clients:
            client.await_open()

    def _add_client(self, name: str, number: int, side: Any, wire: Proxy) -> None:
        options = self._client_options(name, number, side, wire)
        self.clients.append(ClientProcess(side, options))

    def pack_arguments(self) -> list[str]:
        address = self.wires[0].address
        where = ['-u', address] if isinstance(address, str) else ['{}:{}'.format(*address)]
        if self.certificates:
            where += ['--authenticate', self.certificates['ca'], '--server-hostname', 'localhost']
            where += ['--certificate', self.certificates['client']]
        return where

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

    def _client_options(self, name: str, number: int, side: Any, wire: Proxy) -> dict[str, Any]:
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

    def close(self) -> None:
        super().close()
        for wire in self.wires:
            wire.close()
