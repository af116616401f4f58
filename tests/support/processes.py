"""Processes that tests and scripts start: awaited by what they say or do, and always ended.

Enters: a command line, and where it runs. Leaves: a running process, what it prints, its exit
status. Fails: :class:`ProcessFailed`, with the end of what it has printed, when it ends early or
does not do what is awaited in time.

Only the standard library is imported, so that this also runs in environments of other packages.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

#: Seconds that any one thing may take; far more than it should, and less than pytest's timeout.
PATIENCE = 45.0
#: Seconds between two looks at what cannot be awaited.
PAUSE = 0.02

#: Seconds to receive what an ended process has printed.
GRACE = 5.0

Address = str | tuple[str, int]


class ProcessFailed(AssertionError):
    """A process has ended, or has not done in time what is awaited."""


class Output(threading.Thread):
    """What a process prints into a pipe, received by a thread, so that the process never waits."""

    def __init__(self, file: Any) -> None:
        super().__init__(name='output', daemon=True)
        self._file = file
        self._waiting, self._looking = select.poll(), select.poll()
        self._waiting.register(file)
        self._looking.register(file)
        self._received = b''
        self._read = 0  # bytes of it that were returned as lines
        self._ended = False
        self._changed = threading.Condition()
        self.start()

    def run(self) -> None:
        """Receive all, until every process that has the pipe has ended."""
        with self._file:
            while not self._ended:
                self._waiting.poll()
                with self._changed:
                    self._receive()
                    self._changed.notify_all()

    def _receive(self) -> None:
        """Receive what is there; the lock is held."""
        while not self._ended and self._looking.poll(0):
            data = os.read(self._file.fileno(), 65536)
            self._received += data
            self._ended = not data

    def _comes(self, found: Callable[[], Any], patience: float) -> Any:
        with self._changed:
            self._receive()
            self._changed.wait_for(lambda: self._ended or found(), patience)
            return found()

    def _text(self) -> str:
        return self._received.decode(errors='replace')

    @property
    def seen(self) -> str:
        """All that was printed so far."""
        with self._changed:
            self._receive()
            return self._text()

    def ready(self, patience: float) -> bool:
        """Return whether a line comes within `patience` seconds."""
        return self._comes(lambda: b'\n' in self._received[self._read :], patience)

    def line(self, patience: float = PATIENCE) -> bytes | None:
        """Return the next line, or None when there is none within `patience` seconds or at all."""
        if not self.ready(patience):
            return self.rest().encode() or None if self._ended else None
        end = self._received.index(b'\n', self._read)
        line, self._read = self._received[self._read : end], end + 1
        return line

    def lines_until(self, start: str) -> list[str]:
        """Return the next lines, up to the first one that starts so.

        :raises ProcessFailed: when it does not come.
        """
        lines: list[str] = []
        while not (lines and lines[-1].startswith(start)):
            line = self.line()
            if line is None:
                raise ProcessFailed(f'no line that starts with {start!r} in: {self.seen}')
            lines.append(line.decode())
        return lines

    def wait_for(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Return the match of a pattern in all that is printed, waiting for it.

        :raises ProcessFailed: when it does not come in `patience` seconds.
        """
        match = self._comes(
            lambda: re.search(pattern, self._received.decode(errors='replace')), patience
        )
        if match is None:
            raise ProcessFailed(f'no {pattern!r} in: {self.seen}')
        return match

    def rest(self) -> str:
        """Return what was not read as lines."""
        rest, self._read = self._received[self._read :], len(self._received)
        return rest.decode(errors='replace')


class Process:
    """One process. It ends with its ``with`` block, if not before."""

    def __init__(self, command: list[Any], **options: Any) -> None:
        """Start it.

        :param options: for :class:`subprocess.Popen`; without any, its input is empty and both its
            outputs are pipes.
        """
        pipes = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
        self.popen = subprocess.Popen([str(word) for word in command], **{**pipes, **options})
        self.pid = self.popen.pid
        self.output = Output(self.popen.stdout or open(os.devnull, 'rb'))
        self.errors = Output(self.popen.stderr or open(os.devnull, 'rb'))

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def wait_until(
        self, ready: Callable[[], object], patience: float = PATIENCE, pause: float = PAUSE
    ) -> None:
        """Wait until something is true that no event tells.

        :param pause: seconds between two looks.
        :raises ProcessFailed: when it is not in `patience` seconds, or the process has ended.
        """
        deadline = time.monotonic() + patience
        while not ready():
            if not self.runs or time.monotonic() > deadline:
                raise self.failure('what is awaited has not come')
            time.sleep(pause)

    def failure(self, what: str) -> ProcessFailed:
        """Return an error that says what happened and what the process said itself."""
        status = self.popen.poll()
        state = 'still runs' if status is None else f'ended with {status}'
        if status is not None:
            self._receive_all()
        said = '\n'.join(
            [*self.output.seen.splitlines()[-30:], *self.errors.seen.splitlines()[-30:]]
        )
        return ProcessFailed(f'{what}; {self.popen.args} {state}:\n{said}')

    def end(self, number: int | None = None, patience: float = PATIENCE) -> tuple[int, str, str]:
        """Send a signal, if one is given, and wait for the end.

        :returns: the exit status, what it has printed since it was last read, and all its errors.
        :raises subprocess.TimeoutExpired: when it does not end in `patience` seconds.
        """
        if number is not None:
            self.popen.send_signal(number)
        status = self.popen.wait(patience)
        self._receive_all()
        return status, self.output.rest(), self.errors.seen

    def stop(self, number: int = signal.SIGTERM, patience: float = 10.0) -> int:
        """Send a signal and return the exit status; kill it when that takes too long."""
        try:
            return self.end(number, patience)[0]
        except subprocess.TimeoutExpired:
            return self.kill()

    def close(self, patience: float = 10.0) -> int:
        """Close its input, give it `patience` seconds to end, then kill it."""
        with contextlib.suppress(BrokenPipeError):
            self.popen.stdin.close()
        try:
            return self.end(patience=patience)[0]
        except subprocess.TimeoutExpired:
            return self.kill()

    def tell(self, line: bytes) -> None:
        """Write to its input.

        :raises BrokenPipeError: when it does not read any more.
        """
        self.popen.stdin.write(line)
        self.popen.stdin.flush()

    def kill(self) -> int:
        """End it as the kernel does; return its exit status."""
        self.popen.kill()
        return self.end()[0]

    def _receive_all(self) -> None:
        # A process that it has started may keep a pipe open.
        self.output.join(GRACE)
        self.errors.join(GRACE)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.popen.stdin:
            self.popen.stdin.close()
        self.kill()


def free_ports(count: int) -> list[int]:
    """Return TCP ports of the loopback interface that were free a moment ago."""
    probes = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    try:
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def free_port() -> int:
    """Return one such port."""
    return free_ports(1)[0]


def connect(address: Address, timeout: float = 60.0) -> socket.socket:
    """Return a blocking socket that is connected to an address and sends at once."""
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(timeout)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    if not isinstance(address, str):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def listens(address: Address) -> bool:
    """Return whether something accepts connections at an address."""
    try:
        connect(address, 1.0).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until something is true that no event tells.

    :raises AssertionError: when it is not in `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f'not in {patience:.0f} seconds'
        time.sleep(PAUSE)
