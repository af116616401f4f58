"""Workloads as applications see them: a mix of BTree transactions, and load latency under load."""

from __future__ import annotations

import random
import time
from typing import Any

from .children import Crew, Stage
from .meters import Meter, Metrics, percentile
from .records import DATA_FILE, after, expect, fill_file, load_all, oids_from
from .registry import Row, Target, role, workload
from .servers import Address, Server, open_client
from .zodb_names import (
    ZODB,
    ConflictError,
    FileStorage,
    MappingStorage,
    OOBTree,
    PersistentMapping,
    referencesf,
    transaction,
)

READS_PER_TRANSACTION = 10
WRITES_IN_TEN = 2  # transactions of ten that also write
PROBE_INTERVAL = 0.001  # seconds between two loads: the same work for fast and slow
COMMIT_INTERVAL = 0.025  # seconds between two commits of another client
HOT_KEYS = 20  # what is written is one of these, so that conflicts do occur


def make_tree(keys: int, revisions: int = 1) -> None:
    """Make a FileStorage with a BTree of `keys` mappings of about 1 KB, written so many times."""
    database = ZODB.DB(FileStorage(DATA_FILE, create=True))
    _fill(database, keys)
    for revision in range(1, revisions):
        with database.transaction() as connection:
            for value in connection.root.tree.values():
                value['version'] = revision
    database.close()


def _fill(database: Any, keys: int) -> None:
    with database.transaction() as connection:
        connection.root.tree = tree = OOBTree()
        for key in range(keys):
            tree[key] = PersistentMapping(text='x' * 900, version=0)


@role
def bare_mixer(stage: Stage, address: Address, keys: int, seconds: float, seed: int) -> None:
    """Child: the transactions of :func:`mixer`, on a storage in its own memory."""
    database = ZODB.DB(MappingStorage(), cache_size=400)
    _fill(database, keys)
    _work(stage, database, keys, seconds, seed)


@role
def mixer(
    stage: Stage, address: Address, keys: int, seconds: float, seed: int, warm: bool = False
) -> None:
    """Child: transactions of ten BTree reads at random, two of ten also write a hot value.

    The ZODB object cache is small (400 objects), so that most reads go to ZEO's client cache or
    to the server, as in an application whose data does not fit into the object cache.

    warm: ZEO's client cache has room for all objects, and has them before the work begins.
    """
    storage = open_client(address, cache_size=100_000_000) if warm else open_client(address)
    database = ZODB.DB(storage, cache_size=400)
    if warm:
        with database.transaction() as connection:
            values = connection.root.tree.values()
            expect('mappings', sum(1 for value in values if value['text']), keys)
            connection.cacheMinimize()
    _work(stage, database, keys, seconds, seed)


def _work(stage: Stage, database: Any, keys: int, seconds: float, seed: int) -> None:
    choose = random.Random(seed)
    connection = database.open()
    meter, done, retries = Meter(), 0, 0
    stage.ready()
    with meter:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            try:
                _one_transaction(connection, choose, keys)
                done += 1
            except ConflictError:
                transaction.abort()
                retries += 1
    stage.report(
        {'count': done, 'retries': retries, 'seconds': meter.seconds, 'client': meter.client}
    )
    connection.close()
    database.close()


def _one_transaction(connection: Any, choose: random.Random, keys: int) -> None:
    tree = connection.root.tree
    for _ in range(READS_PER_TRANSACTION):
        value = tree[choose.randrange(keys)]
        expect('length of a value', len(value['text']), 900)
    if choose.randrange(10) < WRITES_IN_TEN:
        tree[choose.randrange(HOT_KEYS)]['version'] += 1
    transaction.commit()


@workload(
    Row(
        'bare-mix',
        'limit: the same in-process, objects in memory',
        {'processes': 2, 'keys': 20_000, 'seconds': 2.0},
        {'keys': 500, 'seconds': 0.2},
        limit=True,
    )
)
def mix_in_process(processes: int, keys: int, seconds: float) -> Metrics:
    """The transactions of the mix, each process with a storage in its own memory: what ZODB itself
    takes. No server can be faster.
    """
    make_tree(keys)
    parameters = [{'keys': keys, 'seconds': seconds, 'seed': seed} for seed in range(processes)]
    with Crew('bare_mixer', '', parameters) as crew:
        meter = Meter()
        with meter:
            crew.go()
            results = crew.results()
    count = sum(result['count'] for result in results)
    metrics = meter.per_operation(count)
    metrics['client_us'] = sum(result['client'] for result in results) / count * 1e6
    return metrics


@workload(
    Row(
        'mix',
        'ZODB mix, 2 processes, transactions',
        {'processes': 2, 'keys': 20_000, 'seconds': 2.0},
        {'keys': 500, 'seconds': 0.2},
        targets=(Target(4),),
    ),
    Row(
        'mix-retries',
        'the same, conflicts retried',
        {'processes': 2, 'keys': 20_000, 'seconds': 2.0},
        {'keys': 500, 'seconds': 0.2},
        'retries',
        '',
    ),
    Row(
        'mix-warm',
        'the same, all objects in the client cache',
        {'processes': 2, 'keys': 20_000, 'seconds': 2.0, 'warm': True},
        {'keys': 500, 'seconds': 0.2},
    ),
)
def mix(processes: int, keys: int, seconds: float, warm: bool = False) -> Metrics:
    """Transactions of several processes with a ZODB.DB each, on one database."""
    make_tree(keys)
    with Server() as server:
        parameters = [
            {'keys': keys, 'seconds': seconds, 'seed': seed, 'warm': warm}
            for seed in range(processes)
        ]
        with Crew('mixer', server.address, parameters) as crew:
            meter = Meter(server.pid)
            with meter:
                crew.go()
                results = crew.results()
    count = sum(result['count'] for result in results)
    metrics = meter.per_operation(count)
    metrics['client_us'] = sum(result['client'] for result in results) / count * 1e6
    metrics['retries'] = sum(result['retries'] for result in results)
    return metrics


@role
def packer(stage: Stage, address: Address) -> None:
    """Child: packs the storage once."""
    storage = open_client(address)
    stage.ready()
    begin = time.perf_counter()
    storage.pack(time.time() + 1, referencesf, wait=True)
    stage.report({'seconds': time.perf_counter() - begin})
    storage.close()


def _probe(server: Server, crew: Crew, oids: list[bytes]) -> Metrics:
    """Load a cold object every millisecond while the crew works; return the latencies."""
    samples: list[float] = []
    storage = open_client(server.address)
    before, position = after(storage), 0
    load_all(storage, oids[:10], before)
    crew.go()
    while not crew.anyone_done():
        if position == len(oids):
            storage.close()
            storage, position = open_client(server.address), 0
            before = after(storage)
        time.sleep(PROBE_INTERVAL)
        begin = time.perf_counter()
        loaded = storage.loadBefore(oids[position], before)
        samples.append(time.perf_counter() - begin)
        expect('a record', loaded is not None, True)
        position += 1
    crew.results()
    storage.close()
    return {
        'p50_ms': percentile(samples, 50) * 1e3,
        'p99_ms': percentile(samples, 99) * 1e3,
        'worst_ms': max(samples) * 1e3,
        'count': len(samples),
    }


def _latency(name: str, title: str, parameters: dict[str, Any], quick: dict[str, Any]) -> list[Row]:
    return [
        Row(
            f'{name}-p50',
            f'load latency p50 {title}',
            parameters,
            quick,
            'p50_ms',
            'ms',
            timeout=300,
        ),
        Row(
            f'{name}-p99',
            f'load latency p99 {title}',
            parameters,
            quick,
            'p99_ms',
            'ms',
            (Target(1 / 2, False),),
            timeout=300,
        ),
    ]


@workload(
    *_latency(
        'latency-commits',
        'while others commit',
        {'count': 5000, 'seconds': 3.0},
        {'count': 500, 'seconds': 0.3},
    )
)
def latency_while_committing(
    count: int, seconds: float, objects: int = 100, size: int = 1024
) -> Metrics:
    """Load latency while one other client commits `objects` records, forty times a second."""
    oids = fill_file(count, size)
    with Server() as server:
        parameters = {
            'first': count + 1,
            'objects': objects,
            'seconds': seconds,
            'size': size,
            'interval': COMMIT_INTERVAL,
        }
        with Crew('committer', server.address, [parameters]) as crew:
            return _probe(server, crew, oids)


@workload(
    *_latency(
        'latency-pack',
        'while a pack runs',
        {'keys': 60_000, 'revisions': 3},
        {'keys': 500, 'revisions': 2},
    )
)
def latency_while_packing(keys: int, revisions: int) -> Metrics:
    """Load latency while the server packs a database of `keys` objects in several revisions."""
    make_tree(keys, revisions)
    with Server() as server, Crew('packer', server.address, [{}]) as crew:
        return _probe(server, crew, oids_from(1, keys))
