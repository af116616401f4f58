#!/usr/bin/env python3
"""Measure what metrics cost a server: its processor time for a load and a commit, with and without.

Two servers run side by side. One is as it is, with a monitor. The other runs a copy of the source
in which nothing is counted or timed. Short rounds of the same work go to one and the other in turn;
what is compared is the processor time of the servers, which other work on the machine changes
little, round by round. Two processes of the same program differ by some per cent, as their memory
lies elsewhere: so both are started again a number of times. Then the monitor is asked for /metrics:
what that takes is the same however much the server has to do.

    python scripts/bench_metrics.py             16 pairs of servers: a minute on a quiet machine
    python scripts/bench_metrics.py --quick     does it run?

The exit status is 1 when the overhead is above the limit (2 per cent).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
import timeit
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / 'scripts'), str(TOP / 'tests'), str(TOP / 'src')]

from benchlib.meters import process_cpu  # noqa: E402
from benchlib.records import after, commit, fill, load_all, make_record, oids_from  # noqa: E402

from support.processes import Process, free_port, listens  # noqa: E402
from ZEO.ClientStorage import ClientStorage  # noqa: E402
from ZEO.serving.commit.times import Times  # noqa: E402
from ZEO.serving.slow import SlowLog, SlowTimes  # noqa: E402
from ZEO.serving.stats import Stats  # noqa: E402

#: The share of a server's processor time that metrics may take.
LIMIT = 0.02

#: Objects and their size, and a cache that keeps so few of them that every load goes to the server.
OBJECTS, SIZE, CACHE = 2000, 1024, 100_000

#: Operations in one round: some milliseconds of processor time.
LOADS, COMMITS = 500, 50

#: Questions to the monitor, and the seconds between two in a usual configuration of Prometheus.
QUESTIONS, ASK_EVERY = 20, 15.0

_COUNTED = (
    '            hosted.stats.commits += 1\n'
    '            hosted.stats.stores += len(commit.changed)\n'
)

#: What counts and times, by file: the text, and what stands there instead.
REMOVED: dict[str, list[tuple[str, str]]] = {
    'serving/answers.py': [('            client.loads += 1\n', '')],
    'serving/backends/local.py': [('        client.loads += 1\n', '')],
    'net/channel.py': [('        self.bytes_received += count\n', '')],
    'net/sending.py': [('        self.bytes_sent += count\n', '')],
    'serving/commit/phases.py': [
        (_COUNTED, ''),
        (_COUNTED.replace('hosted.', ''), ''),
        ('        commit.asked = commit.now()\n', ''),
        ('            commit.voted = commit.now()\n', ''),
        ('            commit.finishing = commit.now()\n', ''),
    ],
    'serving/commit/state.py': [
        ('        hosted.stats.active_txns += 1\n', ''),
        ('                stats.active_txns -= 1\n', ''),
        ('        hosted.stats.lock_since = hosted.loop.system.wall_clock()\n', ''),
        (
            '        granted = self.granted = self.now()\n',
            '        granted = self.now()\n',
        ),
        ('            now = self.now()\n', ''),
        ('            stats.durations.add(self, now)\n', ''),
        (
            '            if 0 < hosted.slow.times.commit <= now - self.asked:\n'
            '                hosted.slow.commit(self, now)\n',
            '',
        ),
        (
            '        self.begun = now()\n',
            '        self.begun = 0.0\n',
        ),
    ],
    'serving/hosted.py': [
        ('        self.stats.invalidations += others\n', ''),
        (
            '        self.stats.invalidations += len(self.peers) - (committer in self.peers)\n',
            '',
        ),
    ],
}


class Changed(Exception):
    """The source is not as this script knows it."""


def without_metrics(target: Path) -> Path:
    """Copy the source, and take out what counts and times; return what to put on the path.

    :raises Changed: when a text is not there any more.
    """
    ignored = shutil.ignore_patterns('__pycache__', '*.egg-info')
    shutil.copytree(TOP / 'src', target, ignore=ignored)
    for name, changes in REMOVED.items():
        path = target / 'ZEO' / name
        text = path.read_text(encoding='utf-8')
        for old, new in changes:
            if f'\n{old}' not in text:  # whole lines
                raise Changed(f'{name} has no {old.strip()!r} any more: correct REMOVED')
            text = text.replace(f'\n{old}', f'\n{new}')
        path.write_text(text, encoding='utf-8')
    return target


class Side:
    """One of the two servers, and its client."""

    def __init__(self, directory: Path, source: Path, monitor: int | None) -> None:
        directory.mkdir()
        self.metrics = f'http://127.0.0.1:{monitor}/metrics'
        self._stack = ExitStack()
        address = str(directory / 's')
        shown = '' if monitor is None else f'monitor-address {monitor}\n'
        (directory / 'zeo.conf').write_text(
            f'<zeo>\naddress {address}\n{shown}</zeo>\n'
            f'<filestorage>\npath {directory}/Data.fs\n</filestorage>\n'
        )
        self._server = Process(
            [sys.executable, '-m', 'ZEO.runzeo', '-C', directory / 'zeo.conf'],
            env={'PYTHONPATH': str(source), 'PYTHONHASHSEED': '0'},
            cwd=directory,
        )
        self._stack.callback(self._server.stop)
        self._server.wait_until(lambda: listens(address))
        self._client = ClientStorage(address, cache_size=CACHE)
        self._stack.callback(self._client.close)
        self._oids, self._data = oids_from(1, OBJECTS), make_record(SIZE)
        self._serials = dict.fromkeys(
            self._oids, fill(self._client, self._oids, self._data, OBJECTS)
        )
        self._next = 0

    def close(self) -> None:
        self._stack.close()

    def cost(self, work: Callable[[Side], int]) -> float:
        """Return the server's processor time for one of the operations that `work` does."""
        before = process_cpu(self._server.pid)
        count = work(self)
        return (process_cpu(self._server.pid) - before) / count

    def load(self) -> int:
        """Load objects that are not in the cache."""
        load_all(self._client, self._some(LOADS), after(self._client))
        return LOADS

    def question(self) -> int:
        """Ask the monitor."""
        for _ in range(QUESTIONS):
            with urllib.request.urlopen(self.metrics, timeout=60) as answer:
                answer.read()
        return QUESTIONS

    def commit(self) -> int:
        """Commit one object after the other."""
        for oid in self._some(COMMITS):
            self._serials[oid] = commit(self._client, [oid], self._serials[oid], self._data)
        return COMMITS

    def _some(self, count: int) -> list[bytes]:
        first, self._next = self._next, (self._next + count) % OBJECTS
        return self._oids[first : first + count]


def compare(one: Side, other: Side, work: Any, rounds: int) -> tuple[float, float]:
    """Return what `work` costs the two, which do it in turn: of all rounds the lower quartile,
    since other work on the machine only ever adds to it.
    """
    costs: tuple[list[float], list[float]] = [], []
    for number in range(rounds):
        both = [(one, costs[0]), (other, costs[1])]
        for side, found in both if number % 2 else reversed(both):
            found.append(side.cost(work))
    first, second = (statistics.quantiles(found, n=4)[0] for found in costs)
    return first, second


#: What is compared.
WORK = {'load': Side.load, 'commit': Side.commit}


def counted() -> dict[str, float]:
    """Return the seconds that the counting alone takes, for a load and a commit, in a loop of its
    own: a check of the comparison, which says it exactly but without what it does to caches.
    """
    stats, now = Stats(0.0), time.monotonic
    slow = SlowLog('1', SlowTimes(), time.time)
    counters = SimpleNamespace(loads=0, received=0, sent=0)

    def load() -> None:
        counters.loads += 1
        counters.received += 100
        counters.sent += 1100

    def one_commit() -> None:
        stats.active_txns += 1
        times = Times(now())
        times.asked, times.granted, times.voted, times.finishing = now(), now(), now(), now()
        stats.lock_since = time.time()
        stats.commits += 1
        stats.stores += 1
        stats.invalidations += 1
        stats.active_txns -= 1
        end = now()
        stats.durations.add(times, end)
        slow.commit(times, end)  # type: ignore[arg-type]

    number = 2000
    return {
        name: min(timeit.repeat(work, number=number, repeat=50)) / number
        for name, work in (('load', load), ('commit', one_commit))
    }


class Comparison:
    """What pairs of servers have used.

    :param place: an empty directory.
    """

    def __init__(self, place: Path) -> None:
        self._place, self._number = place, 0
        self._without = without_metrics(place / 'src')
        self.costs: dict[str, list[tuple[float, float]]] = {name: [] for name in WORK}
        self.asked: list[float] = []  # for each question to the monitor

    def pair(self, rounds: int) -> None:
        """Start two servers, and compare them."""
        with ExitStack() as stack:
            sides = []
            kinds = [('with', TOP / 'src', free_port()), ('without', self._without, None)]
            self._number += 1
            for name, source, monitor in kinds if self._number % 2 else reversed(kinds):
                side = Side(self._place / f'{name}-{self._number}', source, monitor)
                stack.callback(side.close)
                sides.append(side)
            one, other = sides if self._number % 2 else reversed(sides)
            for name, work in WORK.items():
                compare(one, other, work, 2)  # to warm up
                self.costs[name].append(compare(one, other, work, rounds))
            self.asked.append(one.cost(Side.question))

    def report(self) -> float:
        """Print what was measured; return the largest overhead."""
        overheads, counting = [], counted()
        for name, costs in self.costs.items():
            ratios = [one / other for one, other in costs]
            spread = 1.25 * statistics.stdev([1.0, *ratios]) / len(ratios) ** 0.5
            middle = statistics.median(ratios)
            overheads.append(middle - 1)
            one, other = (statistics.median(found) * 1e6 for found in zip(*costs, strict=True))
            alone = counting[name] * 1e6
            print(
                f'{name:8} {one:7.1f} us with, {other:7.1f} us without: '
                f'{100 * (middle - 1):+.2f} % (+- {100 * spread:.2f} %); '
                f'the counting alone {alone:.2f} us, {100 * alone / other:.2f} %'
            )
        asked = statistics.median(self.asked)
        print(
            f'/metrics {1000 * asked:.2f} ms, {100 * asked / ASK_EVERY:.3f} % of the time when it '
            f'is asked every {ASK_EVERY:g} s'
        )
        return max(overheads)


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--pairs', type=int, default=16, metavar='N', help='of servers')
    parser.add_argument('--rounds', type=int, default=20, metavar='N', help='with each pair')
    parser.add_argument('--quick', action='store_true', help='a few rounds, and no limit')
    options = parser.parse_args()
    pairs, rounds = (1, 2) if options.quick else (options.pairs, options.rounds)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp') as directory:
        comparison = Comparison(Path(directory))
        for _ in range(pairs):
            comparison.pair(rounds)
    overhead = comparison.report()
    print(f'{pairs} pairs with {rounds} rounds in {time.monotonic() - began:.0f} s')
    return int(overhead > LIMIT and not options.quick)


if __name__ == '__main__':
    sys.exit(main())
