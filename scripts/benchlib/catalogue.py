"""What is measured: a table of rows, each a figure of some job, with the targets it has to meet.

Pure data.  Several rows may show different figures of one job; it then runs once a round.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

PEER, OURS, LIMIT = 'peer', 'ours', 'limit'


@dataclass(frozen=True)
class Target:
    """A ratio that has to be reached.

    bound: the ratio of our figure to the other; at_least: whether it has to be above the bound or
    below it; against: PEER, or the name of a limit's row; metric: of our job, if not the row's own.
    """

    bound: float
    at_least: bool = True
    against: str = PEER
    metric: str = ''

    def met(self, ratio: float) -> bool:
        """Tell whether a measured ratio meets the target."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def __str__(self) -> str:
        sign = '≥' if self.at_least else '≤'
        bound = f'{self.bound:g}' if self.bound >= 0.5 else f'1/{1 / self.bound:g}'
        what = {'client_us': 'client CPU ', 'server_us': 'server CPU '}.get(self.metric, '')
        return f'{what}{sign} {bound}' + ('' if self.against == PEER else f' of {self.against}')


@dataclass(frozen=True)
class Row:
    """One line of the table.

    job, parameters: what the worker runs; quick: parameters that --quick changes; metric, unit:
    which of its figures the line shows; limit: it does not depend on the implementation;
    rounds: at most so many; timeout: seconds one run may take.
    """

    name: str
    title: str
    job: str
    parameters: dict[str, Any]
    quick: dict[str, Any] = field(default_factory=dict)
    metric: str = 'rate'
    unit: str = '/s'
    targets: tuple[Target, ...] = ()
    limit: bool = False
    rounds: int = 1000
    timeout: float = 120.0

    def arguments(self, quick: bool) -> dict[str, Any]:
        """Return the job's parameters, small ones with `quick`."""
        return {**self.parameters, **(self.quick if quick else {})}

    def key(self, quick: bool) -> str:
        """Return what tells this job with these parameters from all others."""
        return f'{self.job} {json.dumps(self.arguments(quick), sort_keys=True)}'


FEW: dict[str, Any] = {'count': 500, 'seconds': 0.1}
SHORT: dict[str, Any] = {'seconds': 0.1}
LOADS: dict[str, Any] = {'count': 5000, 'seconds': 1.0}


def _cold(name: str, title: str, targets: tuple[Target, ...] = (), **parameters: Any) -> Row:
    return Row(
        name, f'cold load, {title}', 'cold_load', {**LOADS, **parameters}, FEW, targets=targets
    )


def _bare(transport: str) -> Target:
    return Target(0.5, against=f'bare-{transport}')


LOAD_ROWS = [
    Row(
        'bare-unix',
        'limit: two bare Python processes, Unix socket',
        'bare_messages',
        {'seconds': 1.0, 'transport': 'unix'},
        SHORT,
        limit=True,
    ),
    Row(
        'bare-tcp',
        'limit: two bare Python processes, TCP',
        'bare_messages',
        {'seconds': 1.0, 'transport': 'tcp'},
        SHORT,
        limit=True,
    ),
    Row(
        'bare-file-load',
        'limit: FileStorage in-process, load',
        'bare_file_load',
        LOADS,
        FEW,
        limit=True,
    ),
    Row(
        'redis-get',
        'for scale: redis-py GET of 1 KB, Unix socket',
        'redis_get',
        {'seconds': 1.0},
        SHORT,
        limit=True,
    ),
    Row(
        'bare-unix-1-core',
        'limit: two bare processes, Unix socket, one core',
        'bare_messages',
        {'seconds': 1.0, 'transport': 'unix', 'cores': 1},
        SHORT,
        limit=True,
    ),
    Row(
        'redis-get-1-core',
        'for scale: redis-py GET of 1 KB, Unix socket, one core',
        'redis_get',
        {'seconds': 1.0, 'cores': 1},
        SHORT,
        limit=True,
    ),
    _cold(
        'load-unix',
        '1 thread, Unix socket',
        (
            Target(6),
            Target(1 / 7, False, metric='client_us'),
            _bare('unix'),
            Target(1, against='redis-get'),
        ),
    ),
    _cold('load-tcp', '1 thread, TCP', (Target(6), _bare('tcp')), transport='tcp'),
    _cold('load-tls', '1 thread, TLS over TCP', transport='tls'),
    _cold(
        'load-unix-1-core',
        '1 thread, Unix socket, one core',
        (Target(6), _bare('unix-1-core'), Target(1, against='redis-get-1-core')),
        cores=1,
    ),
    _cold('load-tcp-1-core', '1 thread, TCP, one core', (Target(6),), transport='tcp', cores=1),
    _cold('load-memory', '1 thread, Unix socket, in-memory storage', kind='memory'),
    _cold('load-once', '1 thread, Unix socket, 40,000 objects once', count=40_000, seconds=0.5),
    _cold('load-disk-cache', '1 thread, Unix socket, disk cache', (Target(4),), disk_cache=True),
    _cold('load-4-threads', '4 threads, Unix socket', (Target(4),), threads=4),
    _cold('load-4-threads-tcp', '4 threads, TCP', transport='tcp', threads=4),
    Row(
        'load-16-processes',
        'cold load, 16 client processes',
        'many_loaders',
        {'processes': 16, 'count': 5000, 'seconds': 1.5},
        {**FEW, 'processes': 4},
        targets=(Target(1 / 2, False, metric='server_us'),),
    ),
    Row(
        'load-16-apart',
        'cold load, 16 client processes, other objects each',
        'many_loaders',
        {'processes': 16, 'count': 2500, 'seconds': 1.5, 'apart': True},
        {**FEW, 'processes': 4},
    ),
    Row('hit-memory', 'warm hit, memory cache', 'warm_hit', LOADS, FEW, targets=(Target(3),)),
    Row(
        'hit-disk',
        'warm hit, disk cache',
        'warm_hit',
        {**LOADS, 'disk_cache': True},
        FEW,
        targets=(Target(3),),
    ),
    Row('ping', 'ping', 'ping', {'seconds': 1.0}, SHORT),
    Row('ping-tcp', 'ping, TCP', 'ping', {'seconds': 1.0, 'transport': 'tcp'}, SHORT),
    Row(
        'prefetch',
        'prefetch of 100 and their loads, per object',
        'prefetch',
        LOADS,
        FEW,
        targets=(Target(3),),
    ),
    Row(
        'iterate',
        'storage.iterator() over the wire, per record',
        'iterate',
        LOADS,
        FEW,
        targets=(Target(5),),
    ),
    Row(
        'copy-down',
        'copy a database from the server, per record',
        'copy',
        {'count': 5000, 'direction': 'down'},
        {'count': 500},
        targets=(Target(5),),
    ),
    Row(
        'copy-up',
        'copy a database to the server, per record',
        'copy',
        {'count': 5000, 'direction': 'up'},
        {'count': 500},
    ),
]


def _commit(kind: str, objects: int, targets: tuple[Target, ...]) -> Row:
    where = {'file': 'FileStorage', 'memory': 'in-memory storage'}[kind]
    return Row(
        f'commit-{objects}-{kind}',
        f'commit of {objects}, {where}',
        'commit_one_client',
        {'objects': objects, 'kind': kind, 'seconds': 1.0},
        SHORT,
        targets=targets,
    )


COMMIT_ROWS = [
    Row(
        'bare-commit-1',
        'limit: FileStorage in-process, commit of 1',
        'commit_in_process',
        {'objects': 1, 'seconds': 1.0},
        SHORT,
        limit=True,
    ),
    Row(
        'bare-commit-100',
        'limit: FileStorage in-process, commit of 100',
        'commit_in_process',
        {'objects': 100, 'seconds': 1.0},
        SHORT,
        limit=True,
    ),
    _commit('memory', 1, (Target(6),)),
    Row(
        'commit-1-memory-tcp',
        'commit of 1, in-memory storage, TCP',
        'commit_one_client',
        {'objects': 1, 'kind': 'memory', 'seconds': 1.0, 'transport': 'tcp'},
        SHORT,
    ),
    Row(
        'commit-1-1-core',
        'commit of 1, in-memory storage, one core',
        'commit_one_client',
        {'objects': 1, 'kind': 'memory', 'seconds': 1.0, 'cores': 1},
        SHORT,
        targets=(Target(6),),
    ),
    _commit('memory', 10, ()),
    _commit('memory', 100, (Target(5),)),
    _commit('memory', 1000, ()),
    _commit('file', 1, (Target(0.8, against='bare-commit-1'),)),
    _commit('file', 10, ()),
    _commit('file', 100, ()),
    _commit('file', 1000, ()),
    *(
        Row(
            f'commit-8-clients-{kind}',
            f'8 clients commit 1 each at once, {where}',
            'commit_many_clients',
            {'clients': 8, 'kind': kind, 'seconds': 1.5},
            {**SHORT, 'clients': 2},
        )
        for kind, where in (('memory', 'in-memory storage'), ('file', 'FileStorage'))
    ),
]

FLEET_ROWS = [
    Row(
        'bare-fan-out',
        'limit: one send of the same bytes to each of 200',
        'bare_fan_out',
        {'connections': 200, 'messages': 200},
        {'connections': 20, 'messages': 5},
        'delivery_us',
        'µs',
        limit=True,
    ),
    *(
        Row(
            f'fan-out-{count}',
            f'invalidation to {count} connections, server CPU of each',
            'fan_out',
            {'connections': count, 'commits': commits},
            {'connections': 20, 'commits': 5},
            'delivery_us',
            'µs',
            (Target(1 / 6, False),) if count == 200 else (),
        )
        for count, commits in ((200, 200), (1000, 50))
    ),
    *(
        Row(
            f'idle-{count}',
            f'{count:,} idle connections, server memory of each',
            'idle',
            {'connections': count},
            {'connections': 120},
            'each_bytes',
            'B',
            (Target(1 / 2, False),),
        )
        for count in (1000, 5000)
    ),
    *(
        Row(
            f'clients-{count}',
            f'loads by {count:,} raw connections',
            'raw_load',
            {'connections': count, 'count': 2000, 'seconds': 1.0},
            {'connections': min(count, 20), **FEW},
        )
        for count in (1, 10, 100, 1000)
    ),
]

BULK_ROWS = [
    *(
        Row(
            f'{job}-{size}mb',
            f'{job} a record of {size} MB',
            f'{job}_record',
            {'megabytes': size, 'repeats': max(1, 32 // size)},
            {'megabytes': min(size, 2), 'repeats': 1},
            unit='MB/s',
            timeout=300,
            rounds=2 if size == 128 else 1000,
            targets=(Target(10),) if size == 128 else (),
        )
        for job in ('store', 'load')
        for size in (1, 8, 32, 128)
    ),
    *(
        Row(
            f'blob-{direction}',
            f'blob of 256 MB, {direction}',
            f'blob_{direction}',
            {'megabytes': 256},
            {'megabytes': 4},
            unit='MB/s',
            rounds=2,
            timeout=300,
        )
        for direction in ('up', 'down')
    ),
]


def _warm(name: str, title: str, metric: str, unit: str, *targets: Target) -> Row:
    return Row(
        name,
        title,
        'warm_cache',
        {'count': 1_000_000, 'repeats': 3},
        {'count': 50_000, 'repeats': 1},
        metric,
        unit,
        targets,
        rounds=1,
        timeout=1800,
    )


LIFE_ROWS = [
    Row(
        'server-start',
        'server start until it greets',
        'server_start',
        {'count': 5000, 'repeats': 3},
        {'count': 100, 'repeats': 1},
        'start_s',
        's',
    ),
    _warm('reopen', 'open a warm cache of a million records', 'reopen_s', 's', Target(1, False)),
    _warm('reopen-cpu', 'the same, client CPU', 'reopen_cpu_s', 's'),
    _warm(
        'reopen-memory', 'the same, client memory per record', 'bytes_each', 'B', Target(1, False)
    ),
    _warm('reconnect', 'reconnect with it after a server restart', 'reconnect_s', 's'),
    _warm('close', 'close it', 'close_s', 's'),
    *(
        Row(
            f'cached-{count}',
            f'warm hits, {count:,} records in the disk cache',
            'growth_of_cache',
            {'count': count, 'seconds': 0.5},
            {'count': min(count, 2000), 'seconds': 0.1},
            rounds=1 if count == 1_000_000 else 2,
            timeout=600,
        )
        for count in (1000, 10_000, 100_000, 1_000_000)
    ),
]


def _latency(
    name: str, title: str, job: str, parameters: dict[str, Any], quick: dict[str, Any]
) -> list[Row]:
    return [
        Row(
            f'{name}-p50',
            f'load latency p50 {title}',
            job,
            parameters,
            quick,
            'p50_ms',
            'ms',
            timeout=300,
        ),
        Row(
            f'{name}-p99',
            f'load latency p99 {title}',
            job,
            parameters,
            quick,
            'p99_ms',
            'ms',
            (Target(1 / 2, False),),
            timeout=300,
        ),
    ]


ZODB_ROWS = [
    Row(
        'mix',
        'ZODB mix, 2 processes, transactions',
        'mix',
        {'processes': 2, 'keys': 20_000, 'seconds': 2.0},
        {'keys': 500, 'seconds': 0.2},
        targets=(Target(3),),
    ),
    Row(
        'mix-retries',
        'the same, conflicts retried',
        'mix',
        {'processes': 2, 'keys': 20_000, 'seconds': 2.0},
        {'keys': 500, 'seconds': 0.2},
        'retries',
        '',
    ),
    *_latency(
        'latency-commits',
        'while others commit',
        'latency_while_committing',
        {'count': 5000, 'seconds': 3.0},
        {'count': 500, 'seconds': 0.3},
    ),
    *_latency(
        'latency-pack',
        'while a pack runs',
        'latency_while_packing',
        {'keys': 60_000, 'revisions': 3},
        {'keys': 500, 'revisions': 2},
    ),
]

ROWS = [*LOAD_ROWS, *COMMIT_ROWS, *FLEET_ROWS, *BULK_ROWS, *LIFE_ROWS, *ZODB_ROWS]


def select(names: str) -> list[Row]:
    """Return the rows of a comma-separated list; '' is all; 'load-*' is what begins with 'load-'.

    The limits that the targets of chosen rows refer to come along.  Raises ValueError for a name
    that is not in the table.
    """
    if not names:
        return list(ROWS)
    chosen: set[str] = set()
    for name in names.split(','):
        found = {
            row.name
            for row in ROWS
            if row.name == name or (name.endswith('*') and row.name.startswith(name[:-1]))
        }
        if not found:
            raise ValueError(f'no workload {name!r}; --list shows them all')
        chosen |= found
    chosen |= {target.against for row in ROWS if row.name in chosen for target in row.targets}
    return [row for row in ROWS if row.name in chosen]
