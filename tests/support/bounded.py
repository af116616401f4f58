"""A server in a process of its own, whose memory, files and limits a test looks at from outside.

Enters: storage sections, limits of the server, limits of the system. Leaves: clients, and figures
of the process. Fails: as :mod:`support.children`.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.children import Child
from support.scripted import RawClient
from support.sides import OURS

#: A user whom no process belongs to, for limits that do not bind root.
NOBODY = 54321


class BoundedServer:
    """One server process; storages are made in :attr:`directory`, which is its own."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix='zeo-', dir='/tmp'))
        self.directory.chmod(0o777)
        self.clients: list[RawClient] = []
        self.address: Any = None
        self.restart()

    @property
    def pid(self) -> int:
        """The process."""
        return self._child.pid

    def serve(
        self,
        storage: str = '',
        limits: dict[str, Any] | None = None,
        slot: str = '',
        **options: Any,
    ) -> Any:
        """Serve a storage; returns the address.

        :param storage: ZConfig text, where DIR stands for the directory; else a FileStorage.
        """
        storage = storage or '<filestorage>\npath DIR/data.fs\nblob-dir DIR/blobs\n</filestorage>\n'
        options['limits'] = limits or {}
        storage = storage.replace('DIR', str(self.directory))
        self.address = self._child.call('serve', storage=storage, options=options, slot=slot)
        return self.address

    def client(self, **options: Any) -> RawClient:
        """Return a registered client that does nothing by itself."""
        self.clients.append(RawClient(self.address, **options))
        return self.clients[-1]

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended, however."""
        return self._child.popen.poll() is None

    def memory(self) -> int:
        """Return the bytes of memory that the process has in use."""
        with open(f'/proc/{self.pid}/statm') as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def threads(self) -> int:
        """Return how many threads the process has."""
        return len(os.listdir(f'/proc/{self.pid}/task'))

    def open_files(self) -> list[str]:
        """Return what its file descriptors are."""
        folder, found = f'/proc/{self.pid}/fd', []
        for name in os.listdir(folder):
            try:
                found.append(os.readlink(f'{folder}/{name}'))
            except FileNotFoundError:
                pass
        return found

    def files(self, under: str = '') -> list[str]:
        """Return the files of the directory, relative to it, but for the storage's own."""
        top = self.directory / under
        return sorted(
            str(path.relative_to(self.directory))
            for path in top.rglob('*')
            if path.is_file()
            and path.name not in ('.layout', '.lock')
            and not path.name.startswith('data.fs')
        )

    @contextmanager
    def limited(self, which: int, soft: int) -> Iterator[None]:
        """Let the process have no more of something for a while."""
        before = resource.prlimit(self.pid, which)
        resource.prlimit(self.pid, which, (soft, before[1]))
        try:
            yield
        finally:
            resource.prlimit(self.pid, which, before)

    @contextmanager
    def not_root(self) -> Iterator[None]:
        """Let the process be a user without rights for a while; whatever it has to import it should
        have by then.
        """
        if os.geteuid() == 0:
            self._child.call('become', user=NOBODY)
        try:
            yield
        finally:
            if os.geteuid() == 0:
                self._child.call('become', user=0)

    @contextmanager
    def without_threads(self) -> Iterator[None]:
        """Let the process start no thread for a while."""
        with self.limited(resource.RLIMIT_NPROC, 1), self.not_root():
            yield

    def log(self) -> str:
        """Return what the process has written to standard error."""
        return self._child.errors.seen

    def kill(self) -> None:
        """End the process as the kernel does."""
        self._child.kill()

    def restart(self) -> None:
        """Start a process, once the one before has ended."""
        temporary = OURS.environ(TMPDIR=str(self.directory), SUPPORT_LOG='INFO')
        self._child = Child(OURS, 'support.host', cwd=self.directory, env=temporary)

    def close(self) -> None:
        """End it, and everything of it."""
        for client in self.clients:
            client.close()
        self._child.close()
        shutil.rmtree(self.directory)


def eventually(condition: Callable[[], Any], patience: float = 20.0) -> Any:
    """Wait until a condition of another process is true; return what it says then."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError('it does not come to that')
        time.sleep(0.01)
    return found
