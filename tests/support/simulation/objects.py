"""The objects that simulated clients share, and the database that each history begins with.

Enters: nothing. Leaves: the bytes of a FileStorage; keys and values of records. Fails: never.
"""

from __future__ import annotations

import io
import os
import pickle
import tempfile
from functools import cache
from typing import Any

from BTrees.Length import Length
from persistent import Persistent
from persistent.mapping import PersistentMapping
from persistent.TimeStamp import TimeStamp
from ZODB.blob import Blob
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

from support.simulation.history import COMMITTED, Attempt

ACCOUNTS = ['a0', 'a1', 'a2']
LISTS = ['l0', 'l1', 'l2', 'l3']
REGISTERS = ['u0', 'u1']
BOXES = ['b0', 'b1']
COUNTERS = ['n', 'p']  # a server resolves the conflicts of the first, a client those of the other
TOTAL = 100 * len(ACCOUNTS)

BLOBS = ['v0', 'v1']  # only in plans with blobs

#: Bytes in the files of blobs, more or less.
SIZES = (0, 100, 5_000, 60_000)

KEYS = ACCOUNTS + LISTS + REGISTERS + BOXES + COUNTERS
OIDS = {key: p64(number) for number, key in enumerate(KEYS + BLOBS, 1)}
_KEYS = {oid: key for key, oid in OIDS.items()}

#: The id of the attempt that has made the database, and its transaction.
SETUP, SETUP_TID = 'setup.1', TimeStamp(2027, 1, 1).raw()


class Node(Persistent):
    """An object with a key and a value."""

    def __init__(self, key: str, value: Any) -> None:
        self.key = key
        self.value = value
        self.children: list[Node] = []  # of a box


class Tally(Persistent):
    """A counter of a class that no server may load: clients resolve its conflicts."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def change(self, amount: int) -> None:
        self.value += amount

    def __call__(self) -> int:
        return self.value

    def __getstate__(self) -> int:
        return self.value

    def __setstate__(self, state: int) -> None:
        self.value = state

    def _p_resolveConflict(self, old: int, saved: int, new: int) -> int:
        return saved + new - old


def _initial(key: str) -> Any:
    if key in ACCOUNTS:
        return 100
    if key in REGISTERS + BLOBS:
        return 0
    return []


def keys(has_blobs: bool) -> list[str]:
    """Return the keys of a database."""
    return KEYS + BLOBS if has_blobs else KEYS


def setup(has_blobs: bool = False) -> Attempt:
    """Return the attempt that has made the database."""
    attempt = Attempt(SETUP, 'setup', 'setup', ended=0.0, outcome=COMMITTED, committing=0.0)
    attempt.tid = SETUP_TID.hex()
    attempt.steps = [['w', key, _initial(key)] for key in keys(has_blobs) if key not in COUNTERS]
    attempt.steps += [['add', key, 0] for key in COUNTERS]
    return attempt


@cache
def image(has_blobs: bool = False) -> bytes:
    """Return the file of the database that each history begins with."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'data.fs')
        storage = FileStorage(path)
        metadata = TransactionMetaData(description=SETUP.encode())
        storage.tpc_begin(metadata, SETUP_TID)
        for oid, data in records(has_blobs):
            storage.store(oid, z64, data, '', metadata)
        storage.tpc_vote(metadata)
        storage.tpc_finish(metadata)
        storage.close()
        with open(path, 'rb') as file:
            return file.read()


def records(has_blobs: bool = False) -> list[tuple[bytes, bytes]]:
    """Return each object of that database with its record."""
    made: dict[str, Any] = {
        key: Length() if key == 'n' else Tally() if key == 'p' else Node(key, _initial(key))
        for key in KEYS
    }
    if has_blobs:
        made.update({key: Blob() for key in BLOBS})
    oids = {id(made[key]): OIDS[key] for key in made}
    root = PersistentMapping(made)
    found = [(z64, _dumped(root, oids))]
    return found + [(OIDS[key], _dumped(made[key], oids)) for key in keys(has_blobs)]


def content(key: str, value: Any, size: int) -> bytes:
    """Return what is in the file of a blob: not the same in two places."""
    line = f'{key} {value}\n'.encode()
    numbers = b''.join(b'%d %s' % (number, line) for number in range(size // len(line)))
    return line + numbers + b'end'


def blob_of(oid: bytes) -> str | None:
    """Return the key of a blob; None for another object."""
    key = _KEYS.get(oid)
    return key if key in BLOBS else None


def value_in(key: str, found: bytes) -> Any:
    """Return the value of a blob, from what is in its file; what is wrong with it, as text."""
    line = found.partition(b'\n')[0].decode(errors='replace')
    value = line.removeprefix(f'{key} ')
    for size in {0, *SIZES}:
        if found == content(key, value, size):
            return 0 if value == '0' else value
    return f'torn: {len(found)} bytes, {line}'


def record(key: str, value: Any) -> bytes:
    """Return the record of an object without children that has a value."""
    return _dumped(Node(key, value), {})


def _dumped(one: Any, oids: dict[int, bytes]) -> bytes:
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 3)
    pickler.dump(type(one))
    pickler = pickle.Pickler(file, 3)
    pickler.persistent_id = lambda other: (  # type: ignore[method-assign, assignment]
        (oids[id(other)], type(other)) if id(other) in oids else None
    )
    pickler.dump(one.__getstate__())
    return file.getvalue()


class _Reference:
    """Stands for another object."""


def value_of(oid: bytes, data: bytes | None) -> tuple[str, Any] | None:
    """Return the key and the value of a record; None for one without."""
    if data is None or oid == z64 or _KEYS.get(oid) in BLOBS:
        return None
    unpickler = pickle.Unpickler(io.BytesIO(data))
    unpickler.persistent_load = lambda reference: _Reference()  # type: ignore[method-assign, assignment]
    unpickler.load()
    state = unpickler.load()
    if isinstance(state, dict):
        return state['key'], state['value']
    return _KEYS[oid], state
