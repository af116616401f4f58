"""The processes of a check: started, waited for, and ended whatever happens.

Enters: commands. Leaves: running processes whose output is in files; all of them end with the
``with`` block. Fails: :class:`Trouble` with the end of a process's output, when it ends early or
does not answer in time.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from environments import clean_environment

CONFIGURATION = """\
<zeo>
  address 127.0.0.1:{port}
</zeo>
<filestorage 1>
  path {directory}/{name}.fs
  blob-dir {directory}/{name}-blobs
</filestorage>
"""


class Trouble(Exception):
    """A process did not do what it was started for."""


class Process:
    """One process in a directory; its output goes to the file `name`.out there."""

    def __init__(self, name: str, words: list, directory: Path, **environment: str) -> None:
        self.name = name
        self._output = directory / f'{name}.out'
        with self._output.open('ab') as output:
            self._popen = subprocess.Popen(
                [str(word) for word in words],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=clean_environment(**environment),
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool], timeout: float = 60.0) -> None:
        """Wait until `ready()`, or raise Trouble after `timeout` seconds or when the process has
        ended.
        """
        end = time.monotonic() + timeout
        while not ready():
            if self._popen.poll() is not None:
                raise Trouble(f'{self.name} ended with {self._popen.returncode}:\n{self.tail()}')
            if time.monotonic() > end:
                raise Trouble(
                    f'{self.name} did not answer in {timeout:.0f} seconds:\n{self.tail()}'
                )
            time.sleep(0.05)

    def tail(self, characters: int = 3000) -> str:
        """Return the end of the output."""
        return self._output.read_text(errors='replace')[-characters:]

    def stop(self, how: int = signal.SIGTERM, timeout: float = 15.0) -> int:
        """End the process and return its exit code; kill it when it takes longer than `timeout`
        seconds.
        """
        if self._popen.poll() is None:
            self._popen.send_signal(how)
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        return self._popen.wait()


class Processes:
    """The processes that end together with a ``with`` block, the last one first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._all: list[Process] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in reversed(self._all):
            process.stop(timeout=5)

    def start(self, name: str, words: list, **environment: str) -> Process:
        process = Process(name, words, self.directory, **environment)
        self._all.append(process)
        return process

    def serve(self, python: Path, configuration: str, address: tuple[str, int] | str) -> Process:
        """Start ``runzeo`` with a configuration and wait until it listens on `address`."""
        (self.directory / 'zeo.conf').write_text(configuration)
        server = self.start('runzeo', [python.parent / 'runzeo', '-C', 'zeo.conf'])
        server.wait_until(lambda: listens(address), 30)
        return server


def configuration(port: int, directory: Path, name: str = 'Data') -> str:
    """Return what a server of one FileStorage with blobs is configured by; `name` is that of its
    file, without ``.fs``.
    """
    return CONFIGURATION.format(port=port, directory=directory, name=name)


def listens(address: tuple[str, int] | str) -> bool:
    """Tell whether something accepts connections at an address."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


def free_ports(count: int) -> list[int]:
    """Return that many TCP ports of the loopback that nobody uses now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(('127.0.0.1', 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
