"""Workloads with many connections: invalidation fan-out, idle connections, growth with clients."""

from __future__ import annotations

import os
import resource
import selectors
import socket
import time

from support.processes import Address, connect

from .children import Crew, Stage
from .meters import Meter, Metrics
from .records import commit, expect, fill_file, make_record, oids_from
from .registry import FEW, Row, Target, role, workload
from .servers import Server, open_client
from .zodb_names import z64

SPARE_FILES = 100  # descriptors a process needs for other things than its connections
#: What a load may take of the server's CPU where many ask at once.
BUSY = (Target(0.6, False), Target(1.1, False, against='busy-1'))

WARM_UP_CONNECTIONS = 100  # before memory is measured: imports and pools of the first connections


def allow_files(connections: int) -> None:
    """Raise the limit of open files for this process and its children as far as is needed.

    Raises ValueError where the machine does not allow so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ValueError(f'{needed} open files are needed, ulimit -Hn allows {hard}')
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@role
def bare_receiver(stage: Stage, address: Address, connections: int) -> None:
    """Child: reads from many connections until they are closed."""
    socks = [connect(address) for _ in range(connections)]
    selector = selectors.DefaultSelector()
    for sock in socks:
        selector.register(sock, selectors.EVENT_READ)
    stage.ready()
    while selector.get_map():
        for key, _ in selector.select():
            if not key.fileobj.recv(1 << 16):  # type: ignore[union-attr]
                selector.unregister(key.fileobj)
    stage.report({})


@workload(
    *(
        Row(
            name,
            f'limit: one send of the same bytes to each of {count:,}',
            {'connections': count, 'messages': messages},
            {'connections': 20, 'messages': 5},
            'delivery_us',
            'µs',
            limit=True,
        )
        for name, count, messages in (
            ('bare-fan-out', 200, 200),
            ('bare-fan-out-1000', 1000, 50),
        )
    ),
)
def bare_fan_out(connections: int, messages: int, size: int = 300) -> Metrics:
    """One send of the same bytes to each of many connections: what an invalidation costs at least.

    delivery_us: CPU microseconds of the sender for each message to each connection.
    """
    allow_files(connections)
    path, message = os.path.join(os.getcwd(), 'z'), bytes(size)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(connections)
        with Crew('bare_receiver', path, [{'connections': connections}]) as crew:
            socks = [listener.accept()[0] for _ in range(connections)]
            crew.go()
            meter = Meter()
            for _ in range(messages):
                with meter:
                    for sock in socks:
                        sock.send(message)
                time.sleep(0.001)  # as the next commit's other work would take
            for sock in socks:
                sock.close()
            crew.results()
    return {'delivery_us': meter.client / (messages * connections) * 1e6}


@workload(
    *(
        Row(
            f'fan-out-{count}',
            f'invalidation to {count} connections, server CPU of each',
            {'connections': count, 'commits': commits},
            {'connections': 20, 'commits': 5},
            'delivery_us',
            'µs',
            (Target(1 / 6, False),),
        )
        for count, commits in ((200, 200), (1000, 50))
    ),
)
def fan_out(connections: int, commits: int, objects: int = 10, size: int = 1024) -> Metrics:
    """Commits whose invalidations go to many connections.

    delivery_us: the server's CPU microseconds for one invalidation to one connection; what the
    same commits take without any receiver is measured first and subtracted.
    """
    allow_files(connections)
    oids, data = oids_from(1, objects), make_record(size)
    with Server('memory') as server:
        storage = open_client(server.address)
        serial = commit(storage, oids, z64, data)
        alone = Meter(server.pid)
        for _ in range(2):  # the first time is the warm-up
            alone = Meter(server.pid)
            with alone:
                for _ in range(commits):
                    serial = commit(storage, oids, serial, data)
        parameters = {'connections': connections, 'expected': commits}
        with Crew('receivers', server.address, [parameters]) as crew:
            crew.go()
            meter = Meter(server.pid)
            with meter:
                for _ in range(commits):
                    serial = commit(storage, oids, serial, data)
                result = crew.results()[0]
        expect('invalidations', result['received'], connections * commits)
        storage.close()
    metrics = meter.per_operation(connections * commits)
    metrics['delivery_us'] = (meter.server - alone.server) / (connections * commits) * 1e6
    return metrics


@workload(
    *(
        Row(
            f'idle-{count}',
            f'{count:,} idle connections, server memory of each',
            {'connections': count},
            {'connections': 120},
            'each_bytes',
            'B',
            (Target(1 / 2, False),),
        )
        for count in (1000, 5000)
    ),
)
def idle(connections: int) -> Metrics:
    """Registered connections that do nothing; each_bytes: resident memory of the server each."""
    allow_files(connections)
    with Server('memory') as server:
        first = {'connections': WARM_UP_CONNECTIONS, 'expected': 0}
        with Crew('receivers', server.address, [first]):
            before = server.resident()
            rest = {'connections': connections - WARM_UP_CONNECTIONS, 'expected': 0}
            with Crew('receivers', server.address, [rest]):
                growth = server.resident() - before
    return {'each_bytes': growth / (connections - WARM_UP_CONNECTIONS)}


@workload(
    *(
        Row(
            f'clients-{count}',
            f'loads by {count:,} raw connections',
            {'connections': count, 'count': 2000, 'seconds': 1.0},
            {'connections': min(count, 20), **FEW},
        )
        for count in (1, 10, 100, 1000)
    ),
    *(
        Row(
            f'busy-{count}',
            f'loads by {count:,} busy connections, server CPU of each',
            {'connections': count, 'count': 2000, 'seconds': 1.0, 'processes': processes},
            {'connections': min(count, 20), **FEW},
            'server_us',
            'µs',
            targets,
        )
        for count, processes, targets in (
            (1, 1, ()),
            *((count, 4, BUSY) for count in (10, 100, 1000)),
        )
    ),
)
def raw_load(
    connections: int, count: int, seconds: float, size: int = 1024, processes: int = 1
) -> Metrics:
    """Loads by many connections, each with one request under way: how cost grows with clients.

    One process that has them all is what limits both servers; with several the server is.
    """
    allow_files(connections)
    fill_file(count, size)
    with Server() as server:
        parameters = [
            {
                'connections': connections // processes + (index < connections % processes),
                'seconds': seconds,
                'objects': count,
                'size': size,
            }
            for index in range(processes)
        ]
        with Crew('raw_loaders', server.address, parameters) as crew:
            meter = Meter(server.pid)
            with meter:
                crew.go()
                results = crew.results()
    loaded = sum(result['count'] for result in results)
    return {
        'rate': sum(result['count'] / result['seconds'] for result in results),
        'count': loaded,
        'server_us': meter.server / loaded * 1e6,
    }
