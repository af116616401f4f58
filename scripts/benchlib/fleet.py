"""Workloads with many connections: invalidation fan-out, idle connections, growth with clients."""

from __future__ import annotations

import resource

from ZODB.utils import z64

from .children import Crew
from .loads import Metrics
from .meters import Meter
from .records import commit, expect, fill_file, make_record, oids_from
from .servers import Server, open_client

SPARE_FILES = 100  # descriptors a process needs for other things than its connections
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


def raw_load(connections: int, count: int, seconds: float, size: int = 1024) -> Metrics:
    """Loads by many connections, each with one request under way: how cost grows with clients."""
    allow_files(connections)
    fill_file(count, size)
    with Server() as server:
        parameters = {
            'connections': connections,
            'seconds': seconds,
            'objects': count,
            'size': size,
        }
        with Crew('raw_loaders', server.address, [parameters]) as crew:
            meter = Meter(server.pid)
            with meter:
                crew.go()
                result = crew.results()[0]
    return {
        'rate': result['count'] / result['seconds'],
        'count': result['count'],
        'server_us': meter.server / result['count'] * 1e6,
    }
