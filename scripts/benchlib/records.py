"""Object records, the databases made of them, and the shortest way to commit and load them.

Everything here speaks ZODB's storage interface, so it works on a FileStorage in this process and
on any ClientStorage alike.  A wrong answer raises WrongResult: a figure for work that was not done
is worse than none.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from typing import Any

from .zodb_names import FileStorage, PersistentMapping, TransactionMetaData, p64, u64, z64

DATA_FILE = 'Data.fs'


class WrongResult(Exception):
    """A storage gave something else than what was stored."""


def make_record(size: int) -> bytes:
    """Return a valid data record of exactly `size` bytes (at least 100): a PersistentMapping."""
    state = {'data': {'x': b'y' * max(0, size - 100)}}
    record = pickle.dumps(PersistentMapping, 3) + pickle.dumps(state, 3)
    expect('size of a record', len(record) <= size, True)
    return record.ljust(size, b'.')  # what follows a pickle's end is never read


def oids_from(first: int, count: int) -> list[bytes]:
    """Return `count` oids, from number `first` on."""
    return [p64(first + i) for i in range(count)]


def commit(storage: Any, oids: Iterable[bytes], serial: bytes, data: bytes) -> bytes:
    """Store `data` under every oid in one transaction; return its tid."""
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    for oid in oids:
        storage.store(oid, serial, data, '', transaction)
    storage.tpc_vote(transaction)
    return storage.tpc_finish(transaction)


def fill(storage: Any, oids: list[bytes], data: bytes, batch: int = 1000) -> bytes:
    """Store `data` under all oids, `batch` to a transaction; return the last tid."""
    tid = z64
    for start in range(0, len(oids), batch):
        tid = commit(storage, oids[start : start + batch], z64, data)
    return tid


def fill_file(count: int, size: int, batch: int = 1000) -> list[bytes]:
    """Make a FileStorage in the working directory, `count` records of `size`; return the oids."""
    storage = FileStorage(DATA_FILE, create=True)
    oids = oids_from(1, count)
    fill(storage, oids, make_record(size), batch)
    storage.close()
    return oids


def after(storage: Any) -> bytes:
    """Return the tid to give to loadBefore for what is current now, as ZODB itself does."""
    return p64(u64(storage.lastTransaction()) + 1)


def load_all(storage: Any, oids: Iterable[bytes], before: bytes) -> int:
    """Load every oid; return the sum of the record sizes."""
    load = storage.loadBefore
    total = 0
    for oid in oids:
        total += len(load(oid, before)[0])
    return total


def expect(what: str, got: object, wanted: object) -> None:
    """Raise WrongResult unless `got` equals `wanted`."""
    if got != wanted:
        raise WrongResult(f'{what}: got {got!r}, not {wanted!r}')


def chunks(items: list[bytes], length: int) -> Iterator[list[bytes]]:
    """Yield `items` in lists of `length` (the last may be shorter)."""
    for start in range(0, len(items), length):
        yield items[start : start + length]
