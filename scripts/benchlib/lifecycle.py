"""Workloads about starting: a server, and a client with a warm cache on disk."""

from __future__ import annotations

import os
import time
from statistics import median
from typing import Any

from .children import Crew, Stage
from .meters import Meter, Metrics, resident_bytes
from .records import after, commit, expect, fill, fill_file, make_record, oids_from
from .registry import Row, Target, role, workload
from .servers import Address, Server, open_client
from .zodb_names import z64

CHANGED = 10  # objects changed in each of so many transactions while we were away
SAMPLE = 200  # cached records that are read to see that the cache is really warm


@workload(
    Row(
        'server-start',
        'server start until it greets',
        {'count': 5000, 'repeats': 3},
        {'count': 100, 'repeats': 1},
        'start_s',
        's',
    ),
)
def server_start(count: int, repeats: int, size: int = 1024) -> Metrics:
    """From the start of the process to its greeting, on a FileStorage of `count` records."""
    fill_file(count, size)
    times = []
    for _ in range(repeats):
        server = Server()
        times.append(server.start())
        server.stop()
    return {'start_s': median(times)}


def _warm_client(address: Address, cache_size: int) -> Any:
    return open_client(address, cache_size=cache_size, client='x', var='.')


@role
def opener(
    stage: Stage, address: Address, cache_size: int, count: int, size: int, restart: bool
) -> None:
    """Child: opens the warm cache; with `restart`, also goes through a restart of the server."""
    import ZEO.ClientStorage  # noqa: F401  imported before the clock starts

    memory = resident_bytes(os.getpid())
    stage.ready()
    meter = Meter()
    with meter:
        storage = _warm_client(address, cache_size)
    result = {
        'open_s': meter.seconds,
        'open_cpu': meter.client,
        'memory': resident_bytes(os.getpid()) - memory,
    }
    _expect_warm(storage, oids_from(count // 2, SAMPLE), size)
    stage.report(result)
    if restart:
        _wait_for_restart(stage, storage)
    begin = time.perf_counter()
    storage.close()
    stage.report({'close_s': time.perf_counter() - begin})


def _expect_warm(storage: Any, oids: list[bytes], size: int) -> None:
    before, loads = after(storage), storage.server_status()['loads']
    for oid in oids:
        expect('size of a record', len(storage.loadBefore(oid, before)[0]), size)
    expect('loads that went to the server', storage.server_status()['loads'] - loads, 0)


def _wait_for_restart(stage: Stage, storage: Any) -> None:
    while storage.is_connected():
        time.sleep(0.002)
    stage.report({})
    cpu = time.process_time()
    while not storage.is_connected():
        time.sleep(0.005)
    stage.report({'connected_at': time.time(), 'cpu': time.process_time() - cpu})


def _fill_cache(server: Server, cache_size: int, count: int, size: int) -> None:
    """A client's own commits fill its cache, and the storage with it."""
    storage = _warm_client(server.address, cache_size)
    fill(storage, oids_from(1, count), make_record(size))
    storage.close()


def _change_some(server: Server) -> None:
    storage = open_client(server.address)
    data = make_record(200)
    for start in range(CHANGED):
        oids = oids_from(1 + start * CHANGED, CHANGED)
        serial = storage.loadBefore(oids[0], after(storage))[1]
        commit(storage, oids, serial, data)
    storage.close()


def _row(name: str, title: str, metric: str, unit: str, *targets: Target) -> Row:
    return Row(
        name,
        title,
        {'count': 1_000_000, 'repeats': 3},
        {'count': 50_000, 'repeats': 1},
        metric,
        unit,
        targets,
        rounds=1,
        timeout=1800,
    )


@workload(
    _row('reopen', 'open a warm cache of a million records', 'reopen_s', 's', Target(1, False)),
    _row('reopen-cpu', 'the same, client CPU', 'reopen_cpu_s', 's'),
    _row(
        'reopen-memory', 'the same, client memory per record', 'bytes_each', 'B', Target(1, False)
    ),
    _row('reconnect', 'reconnect with it after a server restart', 'reconnect_s', 's'),
    _row('close', 'close it', 'close_s', 's'),
)
def warm_cache(count: int, repeats: int, size: int = 150) -> Metrics:
    """Open a client cache of `count` records after a hundred objects changed, then reconnect.

    reopen_s, reopen_cpu_s: ClientStorage's constructor; bytes_each: resident memory per cached
    record; close_s; reconnect_s: from the server's greeting after a restart to is_connected().
    """
    cache_size = count * (size + 150) + 50_000_000
    with Server('file') as server:
        _fill_cache(server, cache_size, count, size)
        results = []
        for repeat in range(repeats):
            _change_some(server)
            parameters = {
                'cache_size': cache_size,
                'count': count,
                'size': size,
                'restart': repeat == repeats - 1,
            }
            with Crew('opener', server.address, [parameters]) as crew:
                crew.go()
                results.append(crew.results()[0])
                crew.go()
                if parameters['restart']:
                    reconnected = _restart(server, crew)
                closing = crew.results()[0]
    return {
        'reopen_s': median(r['open_s'] for r in results),
        'reopen_cpu_s': median(r['open_cpu'] for r in results),
        'bytes_each': median(r['memory'] for r in results) / count,
        'close_s': closing['close_s'],
        **reconnected,
    }


def _restart(server: Server, crew: Crew) -> Metrics:
    server.stop()
    crew.results()
    server.start()
    greeted = time.time()
    crew.go()
    result = crew.results()[0]
    crew.go()
    return {
        'reconnect_s': max(0.0, result['connected_at'] - greeted),
        'reconnect_cpu_s': result['cpu'],
    }


@workload(
    *(
        Row(
            f'cached-{count}',
            f'warm hits, {count:,} records in the disk cache',
            {'count': count, 'seconds': 0.5},
            {'count': min(count, 2000), 'seconds': 0.1},
            rounds=1 if count == 1_000_000 else 2,
            timeout=600,
        )
        for count in (1000, 10_000, 100_000, 1_000_000)
    ),
)
def growth_of_cache(
    count: int, seconds: float, disk_cache: bool = True, size: int = 150
) -> Metrics:
    """Warm hits in a cache of `count` records that commits have filled: how cost grows with it."""
    with Server('memory') as server:
        cache = {'client': 'x', 'var': '.'} if disk_cache else {}
        storage = open_client(server.address, cache_size=count * (size + 150) + 50_000_000, **cache)
        memory = resident_bytes(os.getpid())
        fill(storage, oids_from(1, count), make_record(size))
        grown = resident_bytes(os.getpid()) - memory
        before, stride = after(storage), max(1, count // 5000)
        oids = oids_from(1, count)[::stride]
        meter, hits = Meter(server.pid), 0
        while meter.seconds < seconds:
            with meter:
                for oid in oids:
                    expect('size of a record', len(storage.loadBefore(oid, before)[0]), size)
            hits += len(oids)
        expect('no changes', z64 < before, True)
        storage.close()
        return {**meter.per_operation(hits), 'bytes_each': grown / count}
