"""Servers as their operators start them: ``start.py`` and ``runzeo``, ours and those of ZEO 6.

Enters: a directory, and lines for the configuration.  Leaves: a process that serves, and
can be killed and started again at the same place.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from pathlib import Path

from support.children import SideProcess
from support.processes import free_port, listens
from support.sides import OURS, SOURCES, Side

#: Seconds in which a server has to listen, after its process was started.
START = 20.0


class ServerCommand:
    """A server process on a Unix socket, or a port of this machine, with its files in a
    directory.
    """

    def __init__(
        self,
        side: Side,
        directory: Path,
        storage: str = '',
        options: str = '',
        tcp: bool = False,
    ) -> None:
        """Write its configuration; :meth:`start` starts it.

        :param storage: storage sections; without any, a FileStorage in the directory.
        :param options: lines for the ``<zeo>`` section.
        """
        self.side = side
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        # Socket paths must be short, which pytest's directories are not.
        self._short = tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp')
        self.address = ('127.0.0.1', free_port()) if tcp else f'{self._short.name}/s'
        self._process: SideProcess | None = None  # while it runs
        self._conf = directory / 'zeo.conf'
        storage = storage or f'<filestorage 1>\n path {directory}/data.fs\n</filestorage>'
        where = '{}:{}'.format(*self.address) if tcp else self.address
        self._conf.write_text(f'<zeo>\n address {where}\n{options}\n</zeo>\n{storage}\n')

    def start(self) -> ServerCommand:
        """Start the process and wait until it listens."""
        if self.side is OURS:
            command = ['python', '-m', 'ZEO.runzeo', '-C', str(self._conf)]
        else:
            command = [self.side.script('runzeo'), '-C', str(self._conf)]
        return self._start(command)

    def start_classic(self) -> ServerCommand:
        """Start ``start.py`` with the FileStorage instead, without a configuration file."""
        file = str(self.directory / 'data.fs')
        return self._start(['python', '-m', 'ZEO.start', '-U', self.address, file])

    def _start(self, command: list[str]) -> ServerCommand:
        # The server has no way to the tests' modules, as it has none to an application's.
        path = str(SOURCES) if self.side is OURS else ''
        environ = self.side.environ(PYTHONPATH=path)
        self._process = SideProcess(
            self.side, command, env=environ, cwd=self.directory, preexec_fn=_end_with_parent
        )
        self._process.wait_until(lambda: listens(self.address), START)
        return self

    def kill(self) -> None:
        """End it as the kernel does."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def stop(self) -> int:
        """Stop it as an operator does; return its exit status."""
        assert self._process is not None
        status = self._process.stop(patience=20)
        self._process = None
        return status

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.popen.send_signal(number)

    def ends(self) -> int:
        """Wait until it has ended; return its exit status."""
        assert self._process is not None
        status = self._process.end(patience=20)[0]
        self._process = None
        return status

    def errors(self) -> str:
        """Return what it has written to standard error."""
        return self._process.errors.seen if self._process else ''

    def close(self) -> None:
        """Leave nothing behind."""
        self.kill()
        if os.path.exists(self._short.name):
            self._short.cleanup()


def _end_with_parent() -> None:
    """In the child: be killed when the tests' process is, in which case nobody would stop it.

    Our own children see the end of their input instead; a server does not read any.
    """
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
