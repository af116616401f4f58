#!/usr/bin/env python3
"""Measure how a server copes with a large Data.fs: start, memory, pack beside service.

    python scripts/bench_big.py start --objects 1000000,5000000     with and without an index
    python scripts/bench_big.py indexed --objects 50000000          with an index, mostly holes
    python scripts/bench_big.py pack --objects 300000               what clients wait meanwhile
    python scripts/bench_big.py commit --objects 1000000            the same beside one large commit
    python scripts/bench_big.py abort --objects 1000000             beside one that is given up

Enters: a number of objects. Leaves: files in a temporary directory, which is removed at the end; a
line of figures for each. Fails: with the server's last words where it does not start.

The records are small and have no references, so that a pack keeps them only without collecting
garbage. The file of `indexed` has its last transactions only, and holes in place of those before,
since no start with an index looks there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import selectors
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / 'scripts'), str(TOP / 'tests')]

from benchlib import servers  # noqa: E402
from benchlib.records import commit  # noqa: E402
from benchlib.servers import Server, open_client  # noqa: E402
from BTrees.fsBTree import fsBucket  # noqa: E402
from ZODB.Connection import TransactionMetaData  # noqa: E402
from ZODB.FileStorage.format import DATA_HDR_LEN, DataHeader, TxnHeader  # noqa: E402
from ZODB.utils import p64, z64  # noqa: E402

from support.processes import connect  # noqa: E402
from ZEO.wire.frames import frame  # noqa: E402
from ZEO.wire.messages import codec  # noqa: E402

#: Objects in a transaction, and bytes of a record: 50 million objects are 10 GB.
AT_ONCE, SIZE = 1000, 158

DATA_FILE = 'Data.fs'  # that of benchlib


def record() -> bytes:
    """Return what each object holds: a class that no server has, and bytes."""
    head = pickle.dumps(('application', 'Thing'), 3) + pickle.dumps({'text': 'x' * 60}, 3)
    return head + b'.' * (SIZE - len(head))


def transaction(number: int, at: int) -> bytes:
    """Return the transaction of that number, which is written at some byte."""
    tid, data = p64((3 << 56) + number), record()
    head = TxnHeader(tid, 23 + AT_ONCE * (DATA_HDR_LEN + SIZE), ' ', 0, 0, 0)
    head.user = head.descr = head.ext = b''
    parts = [head.asString()]
    # as DataHeader.asString does: oid, tid, former record, transaction, version, length
    rest = tid + z64 + p64(at) + b'\0\0' + p64(SIZE) + data
    first = number * AT_ONCE
    parts += [(first + offset).to_bytes(8, 'big') + rest for offset in range(AT_ONCE)]
    parts.append(p64(head.tlen))
    return b''.join(parts)


def length_of_transaction() -> int:
    """Return the bytes that each takes."""
    return 23 + AT_ONCE * (DATA_HDR_LEN + SIZE) + 8


def make_file(objects: int, written: int | None = None) -> None:
    """Write a file of `objects` objects, of which only the last `written` are not holes."""
    count, length = objects // AT_ONCE, length_of_transaction()
    assert len(DataHeader(z64, z64, 0, 0, 0, 0).asString()) == DATA_HDR_LEN
    first = 0 if written is None else max(0, count - written // AT_ONCE)
    with open(DATA_FILE, 'wb') as file:
        file.write(b'FS30')
        for number in range(first, count):
            at = 4 + number * length
            file.seek(at)
            file.write(transaction(number, at))


def make_index(objects: int) -> None:
    """Write the index that FileStorage would save."""
    length, step = length_of_transaction(), DATA_HDR_LEN + SIZE
    with open(DATA_FILE + '.index', 'wb') as file:
        pickler = pickle.Pickler(file, 3)
        pickler.fast = True
        pickler.dump(4 + objects // AT_ONCE * length)
        for first in range(0, objects, 65536):
            oids = range(first, min(first + 65536, objects))
            keys = b''.join((oid & 65535).to_bytes(2, 'big') for oid in oids)
            places = b''.join(
                (4 + oid // AT_ONCE * length + 23 + oid % AT_ONCE * step).to_bytes(6, 'big')
                for oid in oids
            )
            fsBucket().fromString(keys + places)  # which refuses what is not a bucket
            pickler.dump((first.to_bytes(8, 'big')[:6], keys + places))
        pickler.dump(None)


def started(how: str, objects: int) -> None:
    """Start a server, and print what that takes."""
    server = Server()
    seconds = server.start()
    memory, cpu = server.resident(), server.cpu()
    storage = open_client(server.address)
    before = time.perf_counter()
    storage.loadBefore(p64(objects - 1), b'\x7f' + b'\xff' * 7)
    first = time.perf_counter() - before
    storage.close()
    begin = time.perf_counter()
    server.stop()
    print(
        f'{objects:>11,} objects {os.stat(DATA_FILE).st_size / 1e9:6.2f} GB  {how:14} '
        f'start {seconds:7.2f} s (CPU {cpu:6.2f} s, {cpu / objects * 1e6:5.2f} µs per object)  '
        f'memory {memory / 2**20:6.0f} MB  first load {first * 1e3:5.1f} ms  '
        f'stop {time.perf_counter() - begin:5.2f} s',
        flush=True,
    )


def measure_start(objects: int) -> None:
    """Start without an index, then with the one that this start has saved."""
    make_file(objects)
    started('without index', objects)
    started('with index', objects)


def measure_indexed(objects: int) -> None:
    """Start with an index, on a file whose beginning is a hole."""
    make_file(objects, written=10 * AT_ONCE)
    make_index(objects)
    started('with index', objects)


def _latencies(server: Server, what: str, ended: threading.Event) -> Iterator[float]:
    """Yield the seconds of calls of a client, until an event is set."""
    storage = open_client(server.address, cache_size=0)
    serial, number = z64, 0
    while not ended.is_set():
        begin = time.perf_counter()
        if what == 'commit':
            serial = commit(storage, [p64(1 << 40)], serial, b'data')
        elif what == 'load':
            number += 7919
            storage.loadBefore(p64(number % 1000), b'\x7f' + b'\xff' * 7)
        else:
            storage.ping()
        yield time.perf_counter() - begin
        time.sleep(0.001)
    storage.close()


def measure_pack(objects: int) -> None:
    """Pack while clients load, ping and commit, and print for how long these waited."""
    make_file(objects)
    servers.STORAGES['file'] = (
        f'<filestorage 1>\n  path {DATA_FILE}\n  pack-gc false\n</filestorage>'
    )
    with Server() as server:
        ended, waits = threading.Event(), {}

        def work(what: str) -> None:
            waits[what] = sorted(_latencies(server, what, ended))

        threads = [threading.Thread(target=work, args=(what,)) for what in ('load', 'commit')]
        for thread in threads:
            thread.start()
        storage = open_client(server.address)
        before, begin, cpu = server.resident(), time.perf_counter(), server.cpu()
        storage.pack(time.time(), wait=True)
        seconds, cpu = time.perf_counter() - begin, server.cpu() - cpu
        memory = server.resident() - before
        ended.set()
        for thread in threads:
            thread.join()
        storage.close()
    print(
        f'{objects:>11,} objects: pack {seconds:.1f} s ({cpu / objects * 1e6:.0f} µs of CPU per '
        f'object), memory +{memory / 2**20:.0f} MB'
    )
    for what, times in waits.items():
        print(
            f'  {len(times):,} {what}s beside it: median {times[len(times) // 2] * 1e3:.1f} ms, '
            f'99 % within {times[len(times) * 99 // 100] * 1e3:.1f} ms, longest '
            f'{times[-1] * 1e3:.0f} ms',
            flush=True,
        )


def measure_commit(objects: int, kind: str = 'grouped') -> None:
    """Commit all objects in one transaction, and print for how long loads of others waited, beside
    200 connections, and the longest steps of the server's loop; how long this process waits for a
    processor is part of the first, and not of the second.
    """
    _beside(kind, 'commit', objects)


def measure_abort(objects: int) -> None:
    """The same where the client votes, and then aborts, or is gone."""
    for end in ('abort', 'vanish'):
        _beside('grouped', end, objects)


def _beside(kind: str, end: str, objects: int) -> None:
    """Measure one transaction.

    :param kind: the storage.
    :param end: what becomes of it.
    """
    make_file(AT_ONCE)
    for former in Path().glob('Data.fs.*'):
        former.unlink()
    servers.STORAGES['measured'] = servers.STORAGES[kind]
    with Server('measured', steps='steps') as server:
        context = multiprocessing.get_context('spawn')
        connected = context.Event()
        others = context.Process(target=_listen, args=(server.address, connected))
        others.start()
        connected.wait(60.0)
        ended, waits = threading.Event(), []
        seconds, cpu, memory = time.perf_counter(), server.cpu(), server.resident()
        writer = context.Process(target=_commit_many, args=(server.address, end, objects))
        thread = threading.Thread(target=lambda: waits.extend(_waits(server.address, ended)))
        thread.start()
        writer.start()
        writer.join()
        time.sleep(3.0)  # what is left of it
        ended.set()
        thread.join()
        seconds, cpu = time.perf_counter() - seconds, server.cpu() - cpu
        memory = server.resident() - memory
        others.kill()
        others.join()
    waits.sort()
    print(
        f'{objects:>11,} objects in one transaction of a {kind} storage, {end}: {seconds:.1f} s '
        f'(CPU {cpu:.1f} s, memory +{memory / 2**20:.0f} MB); {len(waits):,} loads beside it: '
        f'median {waits[len(waits) // 2] * 1e3:.1f} ms, 99.9 % within '
        f'{waits[len(waits) * 999 // 1000] * 1e3:.0f} ms, longest {waits[-1] * 1e3:.0f} ms; '
        'the longest steps of the loop, in ms of CPU:'
    )
    print(Path('steps').read_text(), flush=True)


def _registered(address: Any) -> socket.socket:
    """Return a connection of a client that does nothing with what it is sent: what it would take
    for a million objects is not the server's.
    """
    sock = connect(address)
    sock.sendall(frame(b'Z5') + frame(codec(b'Z5').call(1, 'register', ('1', False))))
    return sock


def _listen(address: Any, connected: Any) -> None:
    """In a process of its own: be 200 clients that are sent what has changed."""
    selector = selectors.DefaultSelector()
    for _ in range(200):
        selector.register(_registered(address), selectors.EVENT_READ)
    lagging = _registered(address)  # which reads nothing
    connected.set()
    while True:  # until it is killed
        for key, _ in selector.select():
            if key.fileobj is not lagging:
                key.fileobj.recv(1 << 20)


def _waits(address: Any, ended: threading.Event) -> Iterator[float]:
    """Yield the seconds of loads, until an event is set."""
    sock, number = _registered(address), 0
    stream = sock.makefile('rb')

    def answered() -> None:
        while len(stream.read(int.from_bytes(stream.read(4), 'big'))) > 10_000:
            pass  # it was the invalidation

    answered()  # the server's greeting
    answered()
    while not ended.is_set():
        number += 7919
        begin = time.perf_counter()
        call = 2, 'loadBefore', (p64(number % 1000), b'\x7f' + b'\xff' * 7)
        sock.sendall(frame(codec(b'Z5').call(*call)))
        answered()
        yield time.perf_counter() - begin
        time.sleep(0.001)
    sock.close()


def _commit_many(address: Any, end: str, objects: int) -> None:
    """In a process of its own: store new objects, and commit, abort or vanish."""
    storage = open_client(address, cache_size=0)
    transaction, data = TransactionMetaData(), record()
    storage.tpc_begin(transaction)
    for oid in range(1 << 32, (1 << 32) + objects):
        storage.store(p64(oid), z64, data, '', transaction)
    storage.tpc_vote(transaction)
    if end == 'vanish':
        os._exit(0)
    getattr(storage, 'tpc_finish' if end == 'commit' else 'tpc_abort')(transaction)
    storage.close()


MEASURES = {
    'abort': measure_abort,
    'commit': measure_commit,
    'commit-file': partial(measure_commit, kind='file'),
    'commit-memory': partial(measure_commit, kind='memory'),
    'start': measure_start,
    'indexed': measure_indexed,
    'pack': measure_pack,
}


def main(argv: list[str]) -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('what', choices=MEASURES)
    parser.add_argument('--objects', default='1000000', help='numbers, divided by commas')
    parser.add_argument('--directory', help='where there is space for the files')
    options = parser.parse_args(argv)
    servers.START_TIMEOUT = 3600.0  # seconds: a large file without an index takes minutes
    for objects in map(int, options.objects.split(',')):
        with tempfile.TemporaryDirectory(dir=options.directory) as here:
            os.chdir(here)
            MEASURES[options.what](objects // AT_ONCE * AT_ONCE)
            os.chdir('/')


if __name__ == '__main__':
    main(sys.argv[1:])
