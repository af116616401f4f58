"""Workloads with single large things: records and blobs of many megabytes."""

from __future__ import annotations

import os
from itertools import islice
from typing import Any

from .meters import Meter, Metrics
from .records import DATA_FILE, after, commit, expect, oids_from
from .registry import Row, Target, workload
from .servers import Server, open_client
from .zodb_names import FileStorage, TransactionMetaData, z64

MEGABYTE = 1_000_000
OID = bytes(7) + b'\1'


def _record_rows(verb: str) -> list[Row]:
    return [
        Row(
            f'{verb}-{size}mb',
            f'{verb} a record of {size} MB',
            {'megabytes': size, 'repeats': max(1, 32 // size)},
            {'megabytes': min(size, 2), 'repeats': 1},
            unit='MB/s',
            timeout=300,
            rounds=2 if size == 128 else 1000,
            targets=(Target(10),) if size == 128 else (),
        )
        for size in (1, 8, 32, 128)
    ]


def _blob_row(direction: str) -> Row:
    return Row(
        f'blob-{direction}',
        f'blob of 256 MB, {direction}',
        {'megabytes': 256},
        {'megabytes': 4},
        unit='MB/s',
        rounds=2,
        timeout=300,
    )


def _small_rows() -> list[Row]:
    return [
        Row(
            f'blobs-up{suffix}',
            f'blobs of 10 kB, {at_once} in a transaction{text}',
            {'kind': kind, 'at_once': at_once, 'transactions': transactions},
            {'transactions': 3},
            targets=(Target(1),),
            timeout=300,
        )
        for suffix, text, kind, at_once, transactions in (
            ('', '', 'blob', 1, 100),
            ('-20', '', 'blob', 20, 10),
            ('-synced', ', synced', 'grouped-blob', 1, 100),
            ('-20-synced', ', synced', 'grouped-blob', 20, 10),
        )
    ]


def _megabytes(meter: Meter, megabytes: int, repeats: int) -> Metrics:
    metrics = meter.per_operation(megabytes * repeats)
    metrics['each_s'] = meter.seconds / repeats
    return metrics


@workload(*_record_rows('store'))
def store_record(megabytes: int, repeats: int) -> Metrics:
    """Commit one record of so many megabytes to a storage in memory; per megabyte."""
    data = os.urandom(MEGABYTE) * megabytes
    with Server('memory') as server:
        storage = open_client(server.address)
        commit(storage, oids_from(2, 1), z64, b'warm up' * 20)
        meter, serial = Meter(server.pid), z64
        for _ in range(repeats):
            with meter:
                serial = commit(storage, [OID], serial, data)
        expect('record', storage.loadBefore(OID, after(storage))[0] == data, True)
        storage.close()
        return _megabytes(meter, megabytes, repeats)


@workload(*_record_rows('load'))
def load_record(megabytes: int, repeats: int) -> Metrics:
    """Load one record of so many megabytes, never from a cache; per megabyte."""
    data = os.urandom(MEGABYTE) * megabytes
    source = FileStorage(DATA_FILE, create=True)
    commit(source, [OID], z64, data)
    source.close()
    with Server('file') as server:
        meter = Meter(server.pid)
        for _ in range(repeats):
            storage = open_client(server.address)
            with meter:
                loaded = storage.loadBefore(OID, after(storage))[0]
            expect('record', loaded == data, True)
            storage.close()
        return _megabytes(meter, megabytes, repeats)


def _write_file(path: str, megabytes: int) -> None:
    block = os.urandom(MEGABYTE)
    with open(path, 'wb') as blob:
        for _ in range(megabytes):
            blob.write(block)


def _store_blob(storage: Any, path: str) -> bytes:
    return _store_blobs(storage, {OID: path})


def _store_blobs(storage: Any, paths: dict[bytes, str]) -> bytes:
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    for oid, path in paths.items():
        storage.storeBlob(oid, z64, b'a record of a blob' * 6, path, '', transaction)
    storage.tpc_vote(transaction)
    return storage.tpc_finish(transaction)


@workload(_blob_row('up'))
def blob_up(megabytes: int) -> Metrics:
    """Commit a blob file through a client without a shared directory; per megabyte."""
    with Server('blob') as server:
        storage = open_client(server.address, blob_dir='client-blobs')
        path = os.path.join(storage.temporaryDirectory(), 'up')
        _write_file(path, megabytes)
        meter = Meter(server.pid)
        with meter:
            tid = _store_blob(storage, path)
        stored = os.path.getsize(storage.loadBlob(OID, tid))
        expect('size of the blob', stored, megabytes * MEGABYTE)
        storage.close()
        return _megabytes(meter, megabytes, 1)


@workload(*_small_rows())
def blobs_up(kind: str, at_once: int, transactions: int) -> Metrics:
    """Commit small blobs, new objects, through a client without a shared directory; per blob.

    A FileStorage, as that of ZEO 6, syncs its own file only. Those that are called
    synced are on the disk with a server that groups commits; the peer, which has none, does what it
    does in the other rows.
    """
    data = os.urandom(10_000)
    with Server(kind) as server:
        storage = open_client(server.address, blob_dir='client-blobs')
        meter = Meter(server.pid)
        oids = iter(oids_from(1, at_once * (transactions + 3)))
        for number in range(transactions + 3):
            paths = {}
            for oid in islice(oids, at_once):
                paths[oid] = os.path.join(storage.temporaryDirectory(), oid.hex())
                with open(paths[oid], 'wb') as file:
                    file.write(data)
            if number < 3:  # warm up
                _store_blobs(storage, paths)
                continue
            with meter:
                tid = _store_blobs(storage, paths)
        expect('size of the last blob', os.path.getsize(storage.loadBlob(oid, tid)), len(data))
        storage.close()
        return meter.per_operation(at_once * transactions)


@workload(_blob_row('down'))
def blob_down(megabytes: int) -> Metrics:
    """Load a committed blob into an empty blob cache; per megabyte."""
    source = FileStorage(DATA_FILE, create=True, blob_dir='blobs')
    path = os.path.join(source.temporaryDirectory(), 'up')
    _write_file(path, megabytes)
    tid = _store_blob(source, path)
    source.close()
    with Server('blob') as server:
        storage = open_client(server.address, blob_dir='client-blobs')
        meter = Meter(server.pid)
        with meter:
            loaded = storage.loadBlob(OID, tid)
        expect('size of the blob', os.path.getsize(loaded), megabytes * MEGABYTE)
        storage.close()
        return _megabytes(meter, megabytes, 1)
