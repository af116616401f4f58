"""Workloads that read objects: cold loads, warm hits, prefetch, ping, copying.

Each function is one measurement: it makes a database and a server, works, and returns metrics.
A *cold* load is one of an oid that this client has never seen: when all are loaded, a new
ClientStorage with an empty cache takes over, opened outside the measured time.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from .children import Crew, Stage
from .meters import Meter, Metrics
from .records import after, chunks, expect, fill, fill_file, load_all, make_record, oids_from
from .registry import FEW, LOADS, SHORT, Row, Target, role, workload
from .servers import Address, Server, open_client
from .zodb_names import FileStorage

WARM_UP = 300  # loads before the clock starts: imports, first allocations


def prepare(kind: str, count: int, size: int) -> list[bytes]:
    """Make the database that the server will open, if it is one on disk; return its oids."""
    return fill_file(count, size) if kind == 'file' else oids_from(1, count)


def fill_memory(server: Server, kind: str, oids: list[bytes], size: int) -> None:
    """Fill an in-memory storage, over the wire since there is no other way in."""
    if kind == 'memory':
        storage = open_client(server.address)
        fill(storage, oids, make_record(size))
        storage.close()


def _cold(name: str, title: str, targets: tuple[Target, ...] = (), **parameters: Any) -> Row:
    return Row(name, f'cold load, {title}', {**LOADS, **parameters}, FEW, targets=targets)


def _bare(transport: str) -> Target:
    return Target(0.5, against=f'bare-{transport}')


@workload(
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
    _cold('load-tls', '1 thread, TLS over TCP', (_bare('tls'),), transport='tls'),
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
)
def cold_load(
    count: int,
    seconds: float,
    kind: str = 'file',
    transport: str = 'unix',
    threads: int = 1,
    disk_cache: bool = False,
    size: int = 1024,
) -> Metrics:
    """Cold loads, spread over `threads` threads that share one ClientStorage."""
    oids = prepare(kind, count, size)
    loaded = 0
    with Server(kind, transport) as server:
        fill_memory(server, kind, oids, size)
        meter = Meter(server.pid)
        storage = _cold_client(server, disk_cache, 'warmup')
        load_all(storage, oids[:WARM_UP], after(storage))
        storage.close()
        while meter.seconds < seconds:
            storage = _cold_client(server, disk_cache, f'c{loaded}')
            total = _load_in_threads(storage, oids, threads, meter)
            expect('bytes loaded', total, count * size)
            storage.close()
            loaded += count
        return meter.per_operation(loaded)


def _cold_client(server: Server, disk_cache: bool, name: str) -> Any:
    """Return a client whose cache, in memory or a new file on disk, is empty."""
    return open_client(
        server.address,
        **server.client_options,
        **({'client': name, 'var': '.'} if disk_cache else {}),
    )


def _load_in_threads(storage: Any, oids: list[bytes], threads: int, meter: Meter) -> int:
    before = after(storage)
    if threads == 1:
        with meter:
            return load_all(storage, oids, before)
    totals: list[int] = []
    workers = [
        threading.Thread(
            target=lambda part=oids[i::threads]: totals.append(load_all(storage, part, before))
        )
        for i in range(threads)
    ]
    with meter:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return sum(totals)


@role
def loader(
    stage: Stage, address: Address, first: int, count: int, seconds: float, size: int
) -> None:
    """Child: cold loads until the time is over or all objects have been loaded."""
    oids = oids_from(first, count)
    storage = open_client(address)
    before = after(storage)
    meter, loaded, total = Meter(), 0, 0
    stage.ready()
    with meter:
        end = time.perf_counter() + seconds
        for part in chunks(oids, 20):
            total += load_all(storage, part, before)
            loaded += len(part)
            if time.perf_counter() > end:
                break
    expect('bytes loaded', total, loaded * size)
    stage.report({'count': loaded, 'seconds': meter.seconds, 'client': meter.client})
    storage.close()


@workload(
    Row(
        'load-16-processes',
        'cold load, 16 client processes',
        {'processes': 16, 'count': 5000, 'seconds': 1.5},
        {**FEW, 'processes': 4},
        targets=(Target(1 / 2, False, metric='server_us'),),
    ),
    Row(
        'load-16-apart',
        'cold load, 16 client processes, other objects each',
        {'processes': 16, 'count': 2500, 'seconds': 1.5, 'apart': True},
        {**FEW, 'processes': 4},
    ),
)
def many_loaders(
    processes: int,
    count: int,
    seconds: float,
    kind: str = 'file',
    size: int = 1024,
    apart: bool = False,
) -> Metrics:
    """Cold loads by several client processes at once, of the same objects or of `count` others
    each.
    """
    oids = prepare(kind, count * processes if apart else count, size)
    with Server(kind) as server:
        fill_memory(server, kind, oids, size)
        parameters = [
            {
                'first': 1 + count * index if apart else 1,
                'count': count,
                'seconds': seconds,
                'size': size,
            }
            for index in range(processes)
        ]
        with Crew('loader', server.address, parameters) as crew:
            meter = Meter(server.pid)
            with meter:
                crew.go()
                results = crew.results()
    loaded = sum(result['count'] for result in results)
    metrics = meter.per_operation(loaded)
    metrics['rate'] = sum(result['count'] / result['seconds'] for result in results)
    metrics['client_us'] = sum(result['client'] for result in results) / loaded * 1e6
    return metrics


@workload(
    Row('hit-memory', 'warm hit, memory cache', LOADS, FEW, targets=(Target(3),)),
    Row(
        'hit-disk',
        'warm hit, disk cache',
        {**LOADS, 'disk_cache': True},
        FEW,
        targets=(Target(3),),
    ),
)
def warm_hit(count: int, seconds: float, disk_cache: bool = False, size: int = 1024) -> Metrics:
    """Loads that the client cache answers."""
    oids = prepare('file', count, size)
    with Server() as server:
        cache = {'client': 'x', 'var': '.'} if disk_cache else {}
        storage = open_client(server.address, cache_size=count * (size + 400) + 10_000_000, **cache)
        before = after(storage)
        load_all(storage, oids, before)
        meter, rounds, total = Meter(server.pid), 0, 0
        while meter.seconds < seconds:
            with meter:
                total += load_all(storage, oids, before)
            rounds += 1
        expect('bytes loaded', total, rounds * count * size)
        metrics = meter.per_operation(rounds * count)
        expect('server at rest', metrics['server_us'] < 5, True)
        storage.close()
        return metrics


@workload(
    Row('ping', 'ping', {'seconds': 1.0}, SHORT),
    Row('ping-tcp', 'ping, TCP', {'seconds': 1.0, 'transport': 'tcp'}, SHORT),
)
def ping(seconds: float, transport: str = 'unix') -> Metrics:
    """The smallest round trip."""
    with Server('memory', transport) as server:
        storage = open_client(server.address)
        meter, count = Meter(server.pid), 0
        storage.ping()
        while meter.seconds < seconds:
            with meter:
                for _ in range(200):
                    storage.ping()
            count += 200
        storage.close()
        return meter.per_operation(count)


@workload(
    Row(
        'prefetch',
        'prefetch of 100 and their loads, per object',
        LOADS,
        FEW,
        targets=(Target(3),),
    ),
)
def prefetch(count: int, seconds: float, batch: int = 100, size: int = 1024) -> Metrics:
    """Ask for `batch` objects at once, then load each; until all have been loaded."""
    oids = prepare('file', count, size)
    loaded = 0
    with Server() as server:
        meter = Meter(server.pid)
        while meter.seconds < seconds:
            storage = open_client(server.address)
            before, total = after(storage), 0
            with meter:
                for part in chunks(oids, batch):
                    storage.prefetch(part, before)
                    total += load_all(storage, part, before)
            expect('bytes loaded', total, count * size)
            storage.close()
            loaded += count
        return meter.per_operation(loaded)


@workload(
    Row(
        'iterate',
        'storage.iterator() over the wire, per record',
        LOADS,
        FEW,
        targets=(Target(5),),
    ),
)
def iterate(count: int, seconds: float, batch: int = 10, size: int = 1024) -> Metrics:
    """Read a whole database from the server, transactions of `batch` records; per record."""
    fill_file(count, size, batch)
    read = total = 0
    with Server() as server:
        storage = open_client(server.address)
        meter = Meter(server.pid)
        while meter.seconds < seconds:
            with meter:
                for transaction in storage.iterator():
                    for record in transaction:
                        total += len(record.data)
            read += count
        expect('bytes read', total, read * size)
        storage.close()
        return meter.per_operation(read)


@workload(
    Row(
        'copy-down',
        'copy a database from the server, per record',
        {'count': 5000, 'direction': 'down'},
        {'count': 500},
        targets=(Target(5),),
    ),
    Row(
        'copy-up',
        'copy a database to the server, per record',
        {'count': 5000, 'direction': 'up'},
        {'count': 500},
        targets=(Target(4),),
    ),
    Row(
        'copy-up-grouped',
        'copy a database to a server that groups commits, per record',
        {'count': 5000, 'direction': 'up', 'kind': 'grouped'},
        {'count': 500},
        targets=(Target(4),),
    ),
)
def copy(
    count: int, direction: str, batch: int = 10, size: int = 1024, kind: str = 'file'
) -> Metrics:
    """Copy a whole database with copyTransactionsFrom, 'down' from the server or 'up'; per record.

    Both ends are FileStorages; their fsync calls, one per transaction unless the server groups
    commits, are part of the work.
    """
    other = FileStorage('other.fs', create=True)
    if direction == 'down':
        fill_file(count, size, batch)
    else:
        fill(other, oids_from(1, count), make_record(size), batch)
    with Server(kind) as server:
        storage = open_client(server.address)
        source, target = (storage, other) if direction == 'down' else (other, storage)
        meter = Meter(server.pid)
        with meter:
            target.copyTransactionsFrom(source)
        expect('objects copied', len(target), count)
        storage.close()
        return meter.per_operation(count)
