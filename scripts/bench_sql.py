#!/usr/bin/env python3
"""Measure servers in front of one PostgreSQL, and RelStorage used directly, in turn.

    python scripts/bench_sql.py                     everything (some ten minutes)
    python scripts/bench_sql.py --quick             small sizes: does it run?
    python scripts/bench_sql.py --only loads,hang   of loads, walks, commits, fleet, delay, hang

Needs PostgreSQL, RelStorage and psycopg2 (``pip install -e .[test,relstorage]``).  It starts a
PostgreSQL of its own, which does not wait for a disk, as its servers and clients do not either.
What is compared runs in turn, and every client is a process of its own.  docs/operating/scaling.rst
shows the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / 'scripts'), str(TOP / 'tests')]

from benchlib.environments import machine  # noqa: E402
from benchlib.meters import percentile, process_cpu  # noqa: E402
from benchlib.records import fill, make_record, oids_from  # noqa: E402
from benchlib.sqlchild import SIZE  # noqa: E402
from benchlib.zodb_names import ZODB, PersistentMapping  # noqa: E402
from BTrees.IOBTree import IOBTree  # noqa: E402

from support.children import SideProcess  # noqa: E402
from support.commands import ServerCommand  # noqa: E402
from support.postgres import Cluster, _children  # noqa: E402
from support.sides import OURS  # noqa: E402
from ZEO.serving.backends.listen import INSTALL, REMOVE  # noqa: E402

#: name of a figure -> what it was in each round
Figures = dict[str, list[float]]


class Client(SideProcess):
    """A client process that waits for a line."""

    def __init__(self, spec: dict[str, Any]) -> None:
        path = os.pathsep.join([str(TOP / 'scripts'), *OURS.path])
        command = ['python', '-m', 'benchlib.sqlchild', json.dumps(spec)]
        super().__init__(OURS, command, env=OURS.environ(PYTHONPATH=path))

    def await_ready(self) -> None:
        """Return once it can begin."""
        if self.output.line(90) != b'ready':
            raise self.failure('the client is not ready')

    def go(self) -> None:
        """Have it begin, or end where it only listens."""
        self.tell(b'\n')

    def result(self) -> dict[str, Any]:
        """Return its figures."""
        line = self.output.line(120)
        if not line:
            raise self.failure('no figures')
        return json.loads(line)


class Bench:
    """The database, and what is measured with it."""

    def __init__(self, cluster: Cluster, directory: Path, quick: bool) -> None:
        self.cluster = cluster
        self.directory = directory
        self.objects = 300 if quick else 3000
        self.seconds = 0.5 if quick else 3.0
        self.commits = 20 if quick else 300
        self.hangs = 3.0 if quick else 10.0
        self.database = cluster.create_for(True)
        self.section = cluster.section(self.database, True)
        storage = cluster.open(self.database, True)
        fill(storage, oids_from(1, self.objects), make_record(SIZE))
        self._make_pages(storage)
        self.figures: Figures = defaultdict(list)
        self._count = 0

    @contextmanager
    def servers(self, count: int, options: str = '', more: str = '') -> Iterator[list[Any]]:
        """Start servers; in the end they are stopped.

        :param more: other storage sections.
        """
        with ExitStack() as cleanup:
            started = []
            for _ in range(count):
                self._count += 1
                where = self.directory / f'server{self._count}'
                server = ServerCommand(OURS, where, self.section + more, options)
                cleanup.callback(server.close)
                started.append(server.start())
            yield started

    def run(self, servers: list[Any], specs: list[dict[str, Any]], name: str) -> None:
        """Have clients work at the same time, and note what they and the servers did."""
        clients = [Client(spec) for spec in specs]
        for client in clients:
            client.await_ready()
        pids = [server._process.pid for server in servers]
        before = [process_cpu(pid) for pid in pids], self._database_cpu()
        for client in clients:
            client.go()
        results = [client.result() for client in clients]
        after = [process_cpu(pid) for pid in pids], self._database_cpu()
        for client in clients:
            client.close()
        count = sum(one['count'] for one in results)
        each = [one for result in results for one in result['each']]
        note = self.figures
        note[f'{name}: per second'].append(sum(one['count'] / one['seconds'] for one in results))
        note[f'{name}: p50 µs'].append(1e6 * percentile(each, 50))
        note[f'{name}: p99 µs'].append(1e6 * percentile(each, 99))
        note[f'{name}: server CPU µs'].append(1e6 * (sum(after[0]) - sum(before[0])) / count)
        spent = sum(cpu - before[1].get(pid, 0.0) for pid, cpu in after[1].items())
        note[f'{name}: PostgreSQL CPU µs'].append(1e6 * spent / count)

    def _database_cpu(self) -> dict[int, float]:
        """Return the CPU seconds of PostgreSQL's processes."""
        assert self.cluster._process is not None
        found = {}
        for pid in _children(self.cluster._process.pid):
            try:
                found[pid] = process_cpu(pid)
            except OSError:  # it has just ended
                pass
        return found

    def _specs(self, work: str, servers: list[Any], clients: int) -> list[dict[str, Any]]:
        """Return what clients are to do: each has objects of its own."""
        share = self.objects // clients
        specs = []
        for number in range(clients):
            spec = {'work': work, 'seconds': self.seconds, 'count': share}
            spec['first'] = 1 + number * share
            if servers:
                spec['address'] = servers[number % len(servers)].address
            else:
                spec['section'] = self.section
            if work == 'cold':
                spec['seconds'] = 60.0  # all of them
            specs.append(spec)
        return specs

    # What is measured.

    def loads(self) -> None:
        """One client: loads that nothing has cached, loads that the server has, and a
        FileStorage's.
        """
        data = self.directory / f'Data{self._count}.fs'
        files = f'<filestorage files>\n path {data}\n</filestorage>\n'
        with self.servers(1, more=files) as servers:
            self.run([], self._specs('cold', [], 1), 'cold load, direct')
            self.run(servers, self._specs('cold', servers, 1), 'cold load, one server')
            self.run([], self._specs('warm', [], 1), 'warm load, direct')
            self.run(servers, self._specs('warm', servers, 1), 'warm load, one server')

    def walks(self) -> None:
        """One client walks through pages that nothing has cached."""
        pages = {'work': 'walk', 'count': self.objects // 2}
        self.run([], [{**pages, 'section': self.section}], 'page of a cold walk, direct')
        for name, ahead in (('', True), (' without read-ahead', False)):
            with self.servers(1) as servers:
                spec = {**pages, 'address': servers[0].address, 'cache': 10**8, 'read ahead': ahead}
                self.run(servers, [spec], f'page of a cold walk, one server{name}')

    def _make_pages(self, storage: Any) -> None:
        database = ZODB.DB(storage)
        with database.transaction() as connection:
            connection.root.pages = pages = IOBTree()
            for number in range(self.objects // 2):
                pages[number] = page = PersistentMapping(text='x' * (SIZE - 200))
                page['more'] = PersistentMapping(number=number)
        database.close()

    def single_commits(self) -> None:
        """One client commits."""
        with self.servers(1) as servers:
            self.run([], self._specs('commit', [], 1), 'commit, direct')
            self.run(servers, self._specs('commit', servers, 1), 'commit, one server')

    def fleet(self) -> None:
        """Six clients on one server, two or three, or directly."""
        for count in (0, 1, 2, 3):
            name = f'6 clients, {count} servers' if count else '6 clients, direct'
            with self.servers(count) as servers:
                for work in ('cold', 'warm', 'commit'):
                    if count or work != 'warm':
                        self.run(servers, self._specs(work, servers, 6), f'{name}, {work}')

    def delay(self) -> None:
        """From the call of tpc_finish at one server to the invalidation at a client of another."""
        for name, options, statements in (
            ('notify', 'notify on', INSTALL),
            ('poll-interval 0.2', '', REMOVE),
            ('poll-interval 0.05', 'poll-interval 0.05', REMOVE),
        ):
            self.cluster.execute(self.database, statements)
            with self.servers(2, options) as servers:
                listener = Client({'work': 'listen', 'address': servers[1].address})
                spec = {'work': 'commit times', 'address': servers[0].address}
                committer = Client(spec | {'first': 10**6 + self._count, 'count': self.commits})
                for client in (listener, committer):
                    client.await_ready()
                time.sleep(1.0)  # the servers listen
                committer.go()
                committed = committer.result()['times']
                time.sleep(0.5)
                listener.go()
                heard = listener.result()['times']
                committer.close()
                listener.close()
                delays = [heard[tid] - at[0] for tid, at in committed.items() if tid in heard]
                later = [heard[tid] - at[1] for tid, at in committed.items() if tid in heard]
                own = [at[1] - at[0] for at in committed.values()]
                missing = len(committed) - len(delays)
                self.figures[f'invalidation, {name}: not heard'].append(missing)
                self.figures[f'invalidation, {name}: p50 ms'].append(1e3 * percentile(delays, 50))
                self.figures[f'invalidation, {name}: p99 ms'].append(1e3 * percentile(delays, 99))
                for percent in 50, 90, 99:
                    figure = f'invalidation, {name}: after the answer, p{percent} ms'
                    self.figures[figure].append(1e3 * percentile(later, percent))
                self.figures[f'own answer, {name}: p50 ms'].append(1e3 * percentile(own, 50))
                self.figures[f'own answer, {name}: p99 ms'].append(1e3 * percentile(own, 99))
        self.cluster.execute(self.database, REMOVE)

    def hang(self) -> None:
        """Loads from a FileStorage while PostgreSQL hangs, and a client waits for it."""
        data = self.directory / f'Data{self._count}.fs'
        self._fill_file(data)
        files = f'<filestorage files>\n path {data}\n</filestorage>\n'
        sql = self.section.replace('<relstorage>', '<relstorage sql>')
        self.section, before = sql, self.section
        with self.servers(1, more=files) as servers:
            self.section = before
            for name in ('PostgreSQL answers', 'PostgreSQL hangs'):
                spec = {'work': 'warm', 'first': 1, 'count': 200, 'seconds': self.hangs}
                spec |= {'address': servers[0].address}
                other = Client({**spec, 'storage': 'sql', 'work': 'tries'})
                other.await_ready()
                other.go()
                with ExitStack() as cleanup:
                    if name.endswith('hangs'):
                        cleanup.enter_context(self.cluster.hung())
                    client = Client({**spec, 'storage': 'files'})
                    client.await_ready()
                    client.go()
                    each = client.result()['each']
                    client.close()
                other.result()
                other.close()
                note = self.figures
                note[f'FileStorage load, {name}: p50 µs'].append(1e6 * percentile(each, 50))
                note[f'FileStorage load, {name}: p99 µs'].append(1e6 * percentile(each, 99))
                note[f'FileStorage load, {name}: longest µs'].append(1e6 * max(each))

    def _fill_file(self, path: Path) -> None:
        from ZODB.FileStorage import FileStorage

        storage = FileStorage(str(path), create=True)
        fill(storage, oids_from(1, 200), make_record(SIZE))
        storage.close()


PARTS = {
    'loads': Bench.loads,
    'walks': Bench.walks,
    'commits': Bench.single_commits,
    'fleet': Bench.fleet,
    'delay': Bench.delay,
    'hang': Bench.hang,
}


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--rounds', type=int, default=5, help='times that each part runs')
    parser.add_argument('--quick', action='store_true', help='small sizes, one round')
    parser.add_argument('--only', default='', help='parts, separated by commas')
    parser.add_argument('--json', metavar='FILE', help='write all results')
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Measure, and print medians and spread."""
    options = parse(argv)
    chosen = options.only.split(',') if options.only else list(PARTS)
    facts = machine()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs is ended
    with tempfile.TemporaryDirectory(prefix='zeo-bench-', dir='/tmp') as directory:
        cluster = Cluster(max_connections='150')
        try:
            bench = Bench(cluster, Path(directory), options.quick)
            for number in range(1 if options.quick else options.rounds):
                for name in chosen:
                    print(f'round {number + 1}: {name}', file=sys.stderr, flush=True)
                    PARTS[name](bench)
        finally:
            cluster.close()
    facts['load average after'] = f'{os.getloadavg()[0]:.1f}'
    if options.json:
        Path(options.json).write_text(json.dumps({'facts': facts, 'figures': bench.figures}))
    show(bench.figures, facts)
    return 0


def show(figures: Figures, facts: dict[str, str]) -> None:
    """Print them."""
    print('; '.join(f'{name}: {value}' for name, value in facts.items()))
    for name, values in figures.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f'{name:50} {middle:12,.1f}   ({low:,.1f} to {high:,.1f})')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
