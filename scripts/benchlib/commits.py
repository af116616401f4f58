"""Workloads that commit: one client, eight clients, and FileStorage without any server."""

from __future__ import annotations

import time

from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

from .children import Crew, Stage
from .loads import Metrics
from .meters import Meter
from .records import commit, expect, make_record, oids_from
from .servers import Address, Server, open_client


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


def commit_in_process(objects: int, seconds: float, size: int = 1024) -> Metrics:
    """The same transactions on a FileStorage in this process: no server can be faster."""
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
    meter, count = Meter(), 0
    stage.ready()
    with meter:
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            serial = commit(storage, oids, serial, data)
            count += 1
            if interval:
                time.sleep(max(0.0, now + interval - time.perf_counter()))
    stage.report({'count': count, 'seconds': meter.seconds, 'client': meter.client})
    storage.close()


def commit_many_clients(
    clients: int, seconds: float, kind: str, objects: int = 1, size: int = 1024
) -> Metrics:
    """Several client processes commit to the same storage at once, never the same objects."""
    with Server(kind) as server:
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
    return metrics
