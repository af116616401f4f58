"""What runs in one round of any kind: servers, clients, the histories that clients write.

Enters: a directory. Leaves: running processes. Fails: ProcessFailed when a process does not start,
or ends by itself.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from support.children import SideProcess
from support.commands import ServerCommand, _end_with_parent
from support.processes import ProcessFailed
from support.sides import PEER, SOURCES, TESTS, Side

#: What a client process runs.
WORKER = 'support.stress.worker'


class ClientProcess:
    """One client, which can be killed and started again with what its cache file has."""

    def __init__(self, side: Side, options: dict[str, Any], module: str = WORKER) -> None:
        """Start it.

        :param options: for the worker.
        """
        self.name: str = options['name']
        self.kills = 0
        self._side = side
        self._module = module
        self._options = options
        self.process: SideProcess
        self.killed: list[int] = []  # the numbers of killed processes
        self.start()

    def start(self) -> None:
        """Start the process."""
        self._is_open = False
        path = str(TESTS) if self._side is PEER else f'{TESTS}{os.pathsep}{SOURCES}'
        self.process = SideProcess(
            self._side,
            ['python', '-m', self._module, json.dumps(self._options)],
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


class Ground:
    """Everything that runs in one round; :meth:`close` ends it.

    :param keys: of objects, by their oids; `setup_tid`: of the transaction that has made them.
    """

    keys: dict[str, str]
    setup_tid: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ('history', 'caches', 'var', 'data'):
            (directory / name).mkdir(parents=True)
        self.servers: list[ServerCommand] = []
        self.clients: list[ClientProcess] = []
        self.packed = ''  # the last tid that a pack may have had
        self.packs = 0
        self.figures: Counter[str] = Counter()  # what is to be shown, besides what clients tell

    def pack_arguments(self) -> list[str]:
        """Return where zeopack finds a server."""
        raise NotImplementedError

    def start_again(self, server: ServerCommand) -> None:
        """Start a server that was ended; one behind another one is started again, as systemd does,
        while its wire is cut.
        """
        for _ in range(10 if server is not self.servers[0] else 0):
            try:
                server.start()
                return
            except ProcessFailed:
                server.kill()  # it may only be slow
                time.sleep(0.2)
        server.start()

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

    def histories(self) -> list[str]:
        """Return the lines of all histories; a last one that a kill has cut is left out."""
        lines = []
        for path in sorted((self.directory / 'history').iterdir()):
            text = path.read_text()
            lines += text[: text.rfind('\n') + 1].splitlines()
        return lines
