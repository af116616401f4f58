"""A short load on a scratch storage, by several processes, and what came of it.

Enters: what to measure, and where. Leaves: figures. Fails: :class:`BenchFailed`, one line, when a
process ends or reports an error, or does not answer in time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

from ZEO.commands import bench_worker
from ZEO.net.addresses import Address

#: Bytes of all objects, and how many there are at most and at least.
_BYTES, _MOST, _LEAST = 32 * 2**20, 2000, 4

#: Bytes that the commits of one run may write: a disk has to hold them.
_WRITTEN = 2**30

#: Seconds that a process may take for a job beyond the time of the job.
_PATIENCE = 60.0

#: Which part of the time each job takes.
SHARES = {'ping': 0.1, 'cold': 0.3, 'warm': 0.15, 'commit': 0.3, 'tell': 0.15}

#: What is done, for people who wait.
DOING = {
    'ping': 'round trips',
    'cold': 'loads that no cache answers',
    'warm': 'loads that the cache answers',
    'commit': 'commits',
    'tell': 'invalidations',
}


class BenchFailed(Exception):
    """It cannot be measured; the text says why."""


class Load(NamedTuple):
    """What is measured."""

    seconds: float  # for all of it
    clients: int  # processes
    size: int  # bytes of an object

    @property
    def objects(self) -> int:
        """How many there are: at least one for each client."""
        return max(_LEAST, self.clients, min(_MOST, _BYTES // self.size))


class Place(NamedTuple):
    """Where it is measured."""

    address: Address
    storage: str
    tls: dict[str, Any]  # the switches
    options: dict[str, Any]  # of a ClientStorage


class Worker:
    """A process that does jobs."""

    def __init__(self) -> None:
        path = os.pathsep.join(path or '.' for path in sys.path)
        # Ctrl-C in the terminal is meant for the command, which ends this process.
        self._process = subprocess.Popen(
            [sys.executable, '-m', bench_worker.__name__],
            env={**os.environ, 'PYTHONPATH': path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def begin(self, name: str, **arguments: Any) -> None:
        """Give it a job."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what it answers is the end of its output
            self._process.stdin.write(json.dumps({'do': name, **arguments}).encode() + b'\n')
            self._process.stdin.flush()

    def end(self, seconds: float = 0.0) -> dict[str, Any]:
        """Return what came of the job, which takes that long.

        :raises BenchFailed: when it fails.
        """
        assert self._process.stdout is not None
        watchdog = threading.Timer(seconds + _PATIENCE, self._process.kill)
        watchdog.daemon = True  # else a signal right behind its start has the exit wait for it
        try:
            watchdog.start()
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise BenchFailed('a process has ended, or did not answer: see what it has printed')
        found: dict[str, Any] = json.loads(line)
        if 'error' in found:
            raise BenchFailed(found['error'])
        return found

    def do(self, name: str, seconds: float = 0.0, **arguments: Any) -> dict[str, Any]:
        """Have it do a job, and return what came of it.

        :param seconds: that it may take, beyond those for every job.
        :raises BenchFailed: when it fails.
        """
        self.begin(name, **arguments)
        return self.end(seconds)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let it end; after an exception it is killed, since all that it has is scratch."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        if kind is not None:
            process.kill()
        with suppress(BrokenPipeError):  # unsent bytes are of no use, and the file is closed
            process.stdin.close()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def scratch_server(directory: str) -> Iterator[tuple[Address, Worker]]:
    """Serve a new storage in a directory; give its address, and the process.

    :raises BenchFailed: when it does not start.
    """
    with Worker() as server:
        server.do('server', directory=directory)
        yield server.do('where')['address'], server


def run(
    place: Place, load: Load, doing: Callable[[str], object], server: Worker | None = None
) -> dict[str, Any]:
    """Measure; return the figures.

    :param doing: is called with what is done now.
    :param server: the process of the server, if its processor time can be had.
    :raises BenchFailed: when that fails, or the storage is not empty.
    """
    doing('starting')
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker()) for _ in range(load.clients)]
        cache = 4 * load.objects * (load.size + 200) + 2**20
        arguments = dict(zip(('address', 'storage', 'tls', 'options'), place, strict=True))
        first, wait = workers[0], place.options.get('wait_timeout', 0.0)
        first.do('client', wait, cache_size=cache, **arguments)
        first.do('empty')
        for worker in workers[1:]:
            worker.do('client', wait, cache_size=cache, **arguments)
        doing('storing objects')
        found = first.do('fill', count=load.objects, size=load.size)
        for worker in workers:
            worker.do('know', **found)
        return _Run(workers, load, doing, server).figures()


class _Run:
    """The jobs of one run."""

    def __init__(
        self,
        workers: list[Worker],
        load: Load,
        doing: Callable[[str], object],
        server: Worker | None,
    ) -> None:
        self._workers, self._load, self._doing, self._server = workers, load, doing, server

    def figures(self) -> dict[str, Any]:
        size, number = self._load.size, len(self._workers)
        most = max(1, _WRITTEN // (size + 200) // number)
        first = self._workers[:1]
        return {
            'round-trip': self._job('ping', first, [{}]),
            'cold-loads': self._job('cold', self._workers, [{}] * number),
            'warm-loads': self._job('warm', self._workers, [{}] * number),
            'commits': self._job(
                'commit',
                self._workers,
                [{'first': i, 'step': number, 'size': size, 'most': most} for i in range(number)],
            ),
            'invalidation': self._job('tell', first, [{'size': size}]),
        }

    def _job(
        self, name: str, workers: list[Worker], arguments: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Have workers do a job at the same time; return what came of it."""
        self._doing(DOING[name])
        seconds = self._load.seconds * SHARES[name]
        before = self._used()
        for worker, words in zip(workers, arguments, strict=True):
            worker.begin(name, seconds=seconds, **words)
        found = [worker.end(seconds) for worker in workers]
        used = self._used() - before if name in ('cold', 'commit') and self._server else None
        return summary(found, None if name in ('ping', 'tell') else self._load.size, used)

    def _used(self) -> float:
        return 0.0 if self._server is None else float(self._server.do('used')['cpu'])


def summary(found: list[dict[str, Any]], size: int | None, used: float | None) -> dict[str, Any]:
    """Return the figures of a job that several processes have done.

    :param size: bytes of an object, where objects were moved.
    :param used: seconds of processor time of the server, where they say something.
    """
    count = sum(one['count'] for one in found)
    rate = sum(one['count'] / one['seconds'] for one in found if one['seconds'])
    samples = sorted(sample for one in found for sample in one['samples'])
    figures = {
        'count': count,
        'per-second': round(rate, 1),
        'bytes-per-second': None if size is None else round(rate * size),
        'p50-seconds': _percentile(samples, 50),
        'p99-seconds': _percentile(samples, 99),
        'server-cpu-seconds': None if used is None or not count else round(used / count, 9),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _percentile(ordered: list[float], percent: int) -> float | None:
    """Return the sample below which that part lies; None without samples."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 9)
