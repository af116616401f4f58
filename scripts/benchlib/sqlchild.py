"""A client of a measurement with SQL: ``python -m benchlib.sqlchild SPEC``, a JSON object.

Enters: what to open, and what to do once a line comes on standard input. Leaves: ``ready``, and
then one line of JSON with the figures, on standard output. Fails: with a traceback and status 1.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ZODB.config import storageFromString

from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected

from .records import commit, expect, make_record, oids_from
from .zodb_names import ZODB, z64

#: Bytes of a record.
SIZE = 1000


def opened(spec: dict[str, Any]) -> tuple[Any, Callable[[], object]]:
    """Return a storage, and what ZODB calls at the beginning of a transaction."""
    if 'section' in spec:
        storage = storageFromString(spec['section'])
        if spec['work'] == 'walk':  # ZODB makes the instances
            return storage, lambda: None
        storage = storage.new_instance()
        return storage, storage.poll_invalidations
    storage = ClientStorage(
        spec['address'],
        spec.get('storage', '1'),
        cache_size=spec.get('cache', 0),
        wait_timeout=60,
        read_ahead=spec['work'] == 'walk' and spec['read ahead'],
    )
    return storage, lambda: None


def cold_loads(storage: Any, spec: dict[str, Any]) -> Iterator[None]:
    """Load each object once."""
    for oid in oids_from(spec['first'], spec['count']):
        expect('size of a record', len(storage.load(oid)[0]), SIZE)
        yield


def warm_loads(storage: Any, spec: dict[str, Any]) -> Iterator[None]:
    """Load some objects again and again."""
    oids = oids_from(spec['first'], spec['count'])
    while True:
        for oid in oids:
            storage.load(oid)
            yield


def commits(storage: Any, spec: dict[str, Any]) -> Iterator[None]:
    """Store an object of its own again and again."""
    oid, data = oids_from(spec['first'], 1), make_record(SIZE)
    try:
        serial = storage.load(oid[0])[1]
    except KeyError:
        serial = z64
    while True:
        serial = commit(storage, oid, serial, data)
        yield


def tries(storage: Any, spec: dict[str, Any]) -> Iterator[None]:
    """Load from a database that may not answer, with a pause after what fails."""
    oids = oids_from(spec['first'], spec['count'])
    while True:
        for oid in oids:
            try:
                storage.load(oid)
            except ClientDisconnected:
                time.sleep(0.05)
            yield


def walk(storage: Any, spec: dict[str, Any]) -> dict[str, Any]:
    """Look at every page of a tree with ZODB, each of which refers to another object."""
    database = ZODB.DB(storage)
    connection = database.open()
    print('ready', flush=True)
    sys.stdin.readline()
    each: list[float] = []
    before = start = time.perf_counter()
    for number, page in connection.root.pages.items():
        expect('number of a page', page['more']['number'], number)
        now = time.perf_counter()
        each.append(now - before)
        before = now
    expect('pages', len(each), spec['count'])
    connection.close()
    return {'count': len(each), 'seconds': before - start, 'each': each}


WORK = {'cold': cold_loads, 'warm': warm_loads, 'commit': commits, 'tries': tries}


class Heard:
    """In place of a database: notes when changes are heard of."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def invalidate(self, tid: bytes, oids: Any) -> None:
        """Take note."""
        self.times[tid.hex()] = time.monotonic()

    def transform_record_data(self, data: bytes) -> bytes:
        """Return a record as it is."""
        return data

    untransform_record_data = transform_record_data

    def invalidateCache(self) -> None:
        """Everything may have changed."""


def listen(storage: Any, spec: dict[str, Any]) -> dict[str, Any]:
    """Hear of the commits of others."""
    heard = Heard()
    storage.registerDB(heard)
    print('ready', flush=True)
    sys.stdin.readline()
    return {'times': heard.times}


def commit_times(storage: Any, spec: dict[str, Any]) -> dict[str, Any]:
    """Commit, with pauses; return when each tid was asked for and acknowledged."""
    print('ready', flush=True)
    sys.stdin.readline()
    oid, data, serial = oids_from(spec['first'], 1), make_record(SIZE), z64
    times = {}
    for number in range(spec['count']):
        began = time.monotonic()
        serial = commit(storage, oid, serial, data)
        times[serial.hex()] = [began, time.monotonic()]
        time.sleep(0.02 + number % 7 * 0.003)
    return {'times': times}


def work(storage: Any, begin: Callable[[], object], spec: dict[str, Any]) -> dict[str, Any]:
    """Do one thing as often as time allows; return how often, and how long each took."""
    begin()
    steps = WORK[spec['work']](storage, spec)
    if spec['work'] == 'warm':
        for _ in range(spec['count']):
            next(steps)
    print('ready', flush=True)
    sys.stdin.readline()
    each: list[float] = []
    before = start = time.perf_counter()
    begins = spec['work'] == 'commit'
    while before - start < spec['seconds']:
        if begins:
            begin()
        try:
            next(steps)
        except StopIteration:
            break
        now = time.perf_counter()
        each.append(now - before)
        before = now
    return {'count': len(each), 'seconds': before - start, 'each': each}


def main(text: str) -> None:
    """Work, and print the figures."""
    spec = json.loads(text)
    storage, begin = opened(spec)
    others = {'listen': listen, 'commit times': commit_times, 'walk': walk}
    if spec['work'] in others:
        result = others[spec['work']](storage, spec)
    else:
        result = work(storage, begin, spec)
    print(json.dumps(result), flush=True)
    sys.stdin.read()  # until what its sessions have cost is known
    if hasattr(storage, 'release'):
        storage.release()
    storage.close()


if __name__ == '__main__':
    main(sys.argv[1])
