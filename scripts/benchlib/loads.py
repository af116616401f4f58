"""Workloads that read objects: cold loads, warm hits, prefetch, ping, copying.

Each function is one measurement: it makes a database and a server, works, and returns metrics.
A *cold* load is one of an oid that this client has never seen: when all are loaded, a new
ClientStorage with an empty cache takes over, opened outside the measured time.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from ZODB.FileStorage import FileStorage

from .children import Crew, Stage
from .meters import Meter
from .records import after, chunks, expect, fill, fill_file, load_all, make_record, oids_from
from .servers import Address, Server, open_client

Metrics = dict[str, float]
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


def copy(count: int, direction: str, batch: int = 10, size: int = 1024) -> Metrics:
    """Copy a whole database with copyTransactionsFrom, 'down' from the server or 'up'; per record.

    Both ends are FileStorages; their fsync calls, one per transaction, are part of the work.
    """
    other = FileStorage('other.fs', create=True)
    if direction == 'down':
        fill_file(count, size, batch)
    else:
        fill(other, oids_from(1, count), make_record(size), batch)
    with Server() as server:
        storage = open_client(server.address)
        source, target = (storage, other) if direction == 'down' else (other, storage)
        meter = Meter(server.pid)
        with meter:
            target.copyTransactionsFrom(source)
        expect('objects copied', len(target), count)
        storage.close()
        return meter.per_operation(count)
