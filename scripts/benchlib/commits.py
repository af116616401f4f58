"""Workloads that commit: one client, eight clients, and FileStorage without any server."""

from __future__ import annotations

import time

from .children import Crew, Stage
from .meters import Meter, Metrics
from .records import commit, expect, make_record, oids_from
from .registry import SHORT, Row, Target, role, workload
from .servers import Address, Server, open_client
from .zodb_names import FileStorage, z64


@workload(
    Row(
        'bare-commit-1',
        'limit: FileStorage in-process, commit of 1',
        {'objects': 1, 'seconds': 1.0},
        SHORT,
        limit=True,
    ),
    Row(
        'bare-commit-100',
        'limit: FileStorage in-process, commit of 100',
        {'objects': 100, 'seconds': 1.0},
        SHORT,
        limit=True,
    ),
)
def commit_in_process(objects: int, seconds: float, size: int = 1024) -> Metrics:
    """Transactions on a FileStorage in this process: no server can be faster."""
    oids, data = oids_from(1, objects), make_record(size)
    storage = FileStorage('Data.fs', create=True)
    serial = commit(storage, oids, z64, data)
    meter, count = Meter(), 0
    while meter.seconds < seconds:
        with meter:
            serial = commit(storage, oids, serial, data)
        count += 1
    storage.close()
    return meter.per_operation(count)


def _row(kind: str, objects: int, targets: tuple[Target, ...]) -> Row:
    where = {
        'file': 'FileStorage',
        'grouped': 'FileStorage with group commit',
        'memory': 'in-memory storage',
    }[kind]
    return Row(
        f'commit-{objects}-{kind}',
        f'commit of {objects}, {where}',
        {'objects': objects, 'kind': kind, 'seconds': 1.0},
        SHORT,
        targets=targets,
    )


@workload(
    _row('memory', 1, (Target(6),)),
    Row(
        'commit-1-memory-tcp',
        'commit of 1, in-memory storage, TCP',
        {'objects': 1, 'kind': 'memory', 'seconds': 1.0, 'transport': 'tcp'},
        SHORT,
    ),
    Row(
        'commit-1-1-core',
        'commit of 1, in-memory storage, one core',
        {'objects': 1, 'kind': 'memory', 'seconds': 1.0, 'cores': 1},
        SHORT,
        targets=(Target(6),),
    ),
    _row('memory', 10, ()),
    _row('memory', 100, (Target(5),)),
    _row('memory', 1000, ()),
    _row('file', 1, (Target(0.8, against='bare-commit-1'),)),
    _row('grouped', 1, (Target(0.8, against='bare-commit-1'),)),
    _row('file', 10, ()),
    _row('file', 100, ()),
    _row('file', 1000, ()),
)
def commit_one_client(
    objects: int, seconds: float, kind: str, transport: str = 'unix', size: int = 1024
) -> Metrics:
    """Transactions that update `objects` records each; per transaction."""
    oids, data = oids_from(1, objects), make_record(size)
    with Server(kind, transport) as server:
        storage = open_client(server.address)
        serial = commit(storage, oids, z64, data)
        meter, count = Meter(server.pid), 0
        while meter.seconds < seconds:
            with meter:
                serial = commit(storage, oids, serial, data)
            count += 1
        expect('last transaction', storage.lastTransaction(), serial)
        storage.close()
        return meter.per_operation(count)


@role
def committer(
    stage: Stage,
    address: Address,
    first: int,
    objects: int,
    seconds: float,
    size: int,
    interval: float = 0.0,
) -> None:
    """Child: updates its own `objects` records, from number `first` on, until time is over.

    interval: seconds from the start of one commit to the start of the next, at least.
    """
    oids, data = oids_from(first, objects), make_record(size)
    storage = open_client(address)
    serial = commit(storage, oids, z64, data)
    meter = Meter()
    times: list[float] = []
    stage.ready()
    with meter:
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            serial = commit(storage, oids, serial, data)
            times.append(time.perf_counter() - now)
            if interval:
                time.sleep(max(0.0, now + interval - time.perf_counter()))
    stage.report(
        {
            'count': len(times),
            'seconds': meter.seconds,
            'client': meter.client,
            'p99_ms': sorted(times)[len(times) * 99 // 100] * 1e3,
        }
    )
    storage.close()


@workload(
    *(
        Row(
            f'commit-8-clients-{kind}',
            f'8 clients commit 1 each at once, {where}',
            {'clients': 8, 'kind': kind, 'seconds': 1.5},
            {**SHORT, 'clients': 2},
        )
        for kind, where in (('memory', 'in-memory storage'), ('file', 'FileStorage'))
    ),
    *(
        Row(
            f'commit-{clients}-slow-disk',
            f'{clients} client{"s" * (clients > 1)} commit, a sync takes 5 ms',
            {'clients': clients, 'kind': 'grouped', 'seconds': 2.0, 'sync_seconds': 0.005},
            {**SHORT, 'clients': min(clients, 2)},
            targets=(Target(8),) if clients == 16 else (),
        )
        for clients in (1, 4, 16)
    ),
)
def commit_many_clients(
    clients: int,
    seconds: float,
    kind: str,
    objects: int = 1,
    size: int = 1024,
    sync_seconds: float = 0.0,
) -> Metrics:
    """Several client processes commit to the same storage at once, never the same objects.

    p99_ms: milliseconds that 99 of 100 commits have not exceeded, of the client with the longest.
    """
    with Server(kind, sync_seconds=sync_seconds) as server:
        parameters = [
            {'first': 1 + i * objects, 'objects': objects, 'seconds': seconds, 'size': size}
            for i in range(clients)
        ]
        with Crew('committer', server.address, parameters) as crew:
            meter = Meter(server.pid)
            with meter:
                crew.go()
                results = crew.results()
    count = sum(result['count'] for result in results)
    metrics = meter.per_operation(count)
    metrics['client_us'] = sum(result['client'] for result in results) / count * 1e6
    metrics['p99_ms'] = max(result['p99_ms'] for result in results)
    return metrics
