#!/usr/bin/env python3
"""Figures of followers: what they cost the primary, how far they lag, what they take from it.

Enters: a switch for how long each part takes. Leaves: a table on standard output. Fails: with a
traceback when a server does not start.

Everything is measured in one run on one machine, whose load average stands in the first line:
figures of two runs do not compare. All processes share its processors, so what readers gain is
shown as the processor time that each server spends on a read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ZODB.Connection import TransactionMetaData
from ZODB.utils import maxtid, p64, u64, z64

import ZEO
from ZEO.ClientStorage import ClientStorage

PRIMARY = """\
<zeo>
  address {directory}/primary.sock
{options}
</zeo>
<filestorage 1>
  path {directory}/primary.fs
</filestorage>
"""
FOLLOWER = """\
%import ZEO
<zeo>
  address {directory}/follower.sock
</zeo>
<replica 1>
  server {directory}/primary.sock
  path {directory}/follower.fs
</replica>
"""
#: Seconds for a server to start, or a follower to have everything.
PATIENCE = 120.0
#: Bytes of a record; objects of a transaction; objects that readers read.
SIZE, STORES, OBJECTS = 500, 4, 5000
READERS = 8
TICKS = os.sysconf('SC_CLK_TCK')


class Site:
    """A primary, and a follower if there is one."""

    def __init__(self, options: str = '') -> None:
        self.directory = tempfile.mkdtemp(prefix='zeo-', dir='/tmp')
        self.primary = f'{self.directory}/primary.sock'
        self.follower = f'{self.directory}/follower.sock'
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._options = options

    def start(self, name: str) -> None:
        """Start the server of that name, and wait until it answers."""
        text = PRIMARY if name == 'primary' else FOLLOWER
        conf = Path(self.directory, f'{name}.conf')
        conf.write_text(text.format(directory=self.directory, options=self._options))
        self._processes[name] = subprocess.Popen(
            [sys.executable, '-m', 'ZEO.runzeo', '-C', str(conf)], stderr=subprocess.DEVNULL
        )
        ClientStorage(
            f'{self.directory}/{name}.sock', wait_timeout=PATIENCE, read_only=name == 'follower'
        ).close()

    def cpu(self, name: str) -> float:
        """Return the processor seconds that a server has spent."""
        fields = Path(f'/proc/{self._processes[name].pid}/stat').read_text().rpartition(')')[2]
        return sum(map(int, fields.split()[11:13])) / TICKS

    def close(self) -> None:
        """Stop both and remove their files."""
        for process in self._processes.values():
            process.terminate()
            process.wait()
        shutil.rmtree(self.directory)


@contextmanager
def site(*names: str, options: str = '') -> Iterator[Site]:
    """Have servers for a part of the run."""
    made = Site(options)
    try:
        for name in names:
            made.start(name)
        yield made
    finally:
        made.close()


class Committer:
    """Commits again and again.

    :param first: its first object.
    """

    def __init__(self, client: ClientStorage, first: int = 1000) -> None:
        self._client = client
        self._first = first
        self._serials: dict[bytes, bytes] = {}
        self._next = 0

    def commit(self, count: int = STORES) -> bytes:
        """Store the next objects; return the tid."""
        metadata = TransactionMetaData()
        oids = [p64(self._first + (self._next + number) % OBJECTS) for number in range(count)]
        self._next += count
        self._client.tpc_begin(metadata)
        for oid in oids:
            data = os.urandom(SIZE)
            self._client.store(oid, self._serials.get(oid, z64), data, '', metadata)
        self._client.tpc_vote(metadata)
        tid = self._client.tpc_finish(metadata)
        self._serials.update(dict.fromkeys(oids, tid))
        return tid


def commits(address: Any, seconds: float, **options: Any) -> float:
    """Return how many transactions one client commits in a second."""
    client = ClientStorage(address, wait_timeout=PATIENCE, **options)
    committer, count = Committer(client, u64(client.new_oid())), 0
    committer.commit()
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        committer.commit()
        count += 1
    rate = count / (time.monotonic() - began)
    client.close()
    return rate


class Arrivals:
    """A database that notes when it is told of each transaction."""

    def __init__(self) -> None:
        self.at: dict[bytes, float] = {}

    def invalidate(self, tid: bytes, oids: Any) -> None:
        """Note it."""
        self.at[tid] = time.monotonic()

    def invalidateCache(self) -> None:
        """Ignore it."""

    def transform_record_data(self, data: bytes) -> bytes:
        """Return it as it is."""
        return data

    untransform_record_data = transform_record_data


def lags(site: Site, seconds: float) -> list[float]:
    """Return, in seconds and sorted, how much later than the committer's answer a client of the
    follower is told of each transaction.
    """
    reader = ClientStorage(site.follower, wait_timeout=PATIENCE, read_only=True)
    arrivals = Arrivals()
    reader.registerDB(arrivals)
    writer = ClientStorage(site.primary, wait_timeout=PATIENCE)
    committer, finished = Committer(writer), {}
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        tid = committer.commit()
        finished[tid] = time.monotonic()
        reader.sync()
    wait_until(lambda: reader.lastTransaction() >= tid)
    writer.close()
    reader.close()
    return sorted(
        max(0.0, arrivals.at[tid] - at) for tid, at in finished.items() if tid in arrivals.at
    )


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what comes within a minute or two."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError('the follower does not get there')
        time.sleep(0.001)


def initial_copy(megabytes: int) -> float:
    """Return how many MB in a second a new follower copies."""
    with site('primary') as servers:
        client = ClientStorage(servers.primary, wait_timeout=PATIENCE)
        committer = Committer(client)
        for _ in range(megabytes * 20):
            committer.commit(100)
        last = client.lastTransaction()
        client.close()
        size = os.path.getsize(f'{servers.directory}/primary.fs')
        servers.start('follower')
        # written when the storage is opened
        began = os.path.getmtime(f'{servers.directory}/follower.fs.lock')
        reader = ClientStorage(servers.follower, wait_timeout=PATIENCE, read_only=True)
        wait_until(lambda: reader.lastTransaction() >= last)
        reader.close()
        return size / 1e6 / (time.time() - began)


def read(addresses: Any, options: dict[str, Any], seconds: float, results: Any) -> None:
    """Read objects that are not in the cache; in a process of its own."""
    client = ClientStorage(addresses, wait_timeout=PATIENCE, cache_size=0, **options)
    before, count = p64(u64(client.lastTransaction()) + 1), 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        client.loadBefore(p64(1000 + count * 7919 % OBJECTS), before)
        count += 1
    results.put(count)
    client.close()


def reads(servers: Site, seconds: float, *, followers: int) -> dict[str, float]:
    """Return reads in a second of all readers, and the microseconds of each server's time that one
    takes.

    :param followers: how many of the readers prefer followers; the others read from the primary.
    """
    names = ['primary', *(['follower'] if followers else [])]
    addresses = [servers.primary, servers.follower][: len(names)]
    results: Any = multiprocessing.Queue()
    processes = []
    for number in range(READERS):
        options = {'prefer': 'replica'} if number < followers else {}
        where = addresses if number < followers else servers.primary
        processes.append(
            multiprocessing.Process(target=read, args=(where, options, seconds, results))
        )
    before = {name: servers.cpu(name) for name in names}
    for process in processes:
        process.start()
    total = sum(results.get() for _ in processes)
    for process in processes:
        process.join()
    spent = {name: (servers.cpu(name) - before[name]) / total * 1e6 for name in names}
    return {'reads/s': total / seconds, **{f'{name} µs/read': time for name, time in spent.items()}}


def fill(servers: Site) -> bytes:
    """Store the objects that readers read; return the last tid."""
    client = ClientStorage(servers.primary, wait_timeout=PATIENCE)
    committer = Committer(client)
    for _ in range(OBJECTS // 100):
        tid = committer.commit(100)
    client.close()
    return tid


def in_turn(parts: dict[str, Callable[[], float]], rounds: int = 3) -> dict[str, float]:
    """Return the median of each part, which take turns."""
    found: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            found[name].append(part())
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=3.0, help='of each part (%(default)g)')
    parser.add_argument('--megabytes', type=int, default=100, help='of the initial copy')
    wanted = parser.parse_args()
    seconds = wanted.seconds
    print(
        f'ZEO {ZEO.__file__}: {os.cpu_count()} processors, '
        f'load average {os.getloadavg()[0]:.1f} at the start'
    )
    with (
        site('primary') as alone,
        site('primary', 'follower') as followed,
        site('primary', 'follower', options='  wait-for-replicas 1') as waited,
    ):
        both = [followed.primary, followed.follower]
        parts = {
            'without a follower': lambda: commits(alone.primary, seconds),
            'with one follower': lambda: commits(followed.primary, seconds),
            'with wait-for-replicas 1': lambda: commits(waited.primary, seconds),
            'with one follower, from a client that prefers it': lambda: commits(
                both, seconds, prefer='replica'
            ),
        }
        for name, rate in in_turn(parts).items():
            print(f'commits/s {name}: {rate:.0f}')
    with site('primary', 'follower') as followed:
        late = lags(followed, 3 * seconds)
        print(
            f'lag: p50 {late[len(late) // 2] * 1000:.1f} ms, '
            f'p99 {late[len(late) * 99 // 100] * 1000:.1f} ms of {len(late)} transactions'
        )
    print(f'initial copy: {initial_copy(wanted.megabytes):.0f} MB/s')
    with site('primary', 'follower') as followed:
        last = fill(followed)
        reader = ClientStorage(followed.follower, wait_timeout=PATIENCE, read_only=True)
        wait_until(lambda: reader.lastTransaction() >= last)
        assert reader.loadBefore(p64(1000), maxtid)
        reader.close()
        for followers in (0, READERS // 2, READERS):
            found = reads(followed, seconds, followers=followers)
            shown = ', '.join(f'{name} {value:.1f}' for name, value in found.items())
            print(f'{READERS} readers, {followers} of them at the follower: {shown}')
    print(f'load average {os.getloadavg()[0]:.1f} at the end')


if __name__ == '__main__':
    main()
