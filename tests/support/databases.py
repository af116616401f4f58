"""Databases with everything that a copy must not lose, and what is in them.

Enters: the paths of a FileStorage and its blobs. Leaves: a history with texts, extensions, undos,
deleted objects and blobs; all of it as values that can be compared.
"""

from __future__ import annotations

import os
from typing import Any

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage

from ZEO.wire.guarded import is_blob


def build(path: str, blobs: str | None = None, rounds: int = 5) -> None:
    """Make a database, or go on with it."""
    storage = FileStorage(str(path), blob_dir=None if blobs is None else str(blobs))
    fill(storage, rounds, blobs is not None)
    storage.close()


def fill(storage: Any, rounds: int, blobs: bool) -> None:
    """Commit transactions of all kinds to an open storage; the database on it is not closed."""
    db = ZODB.DB(storage)
    for number in range(rounds):
        with db.transaction() as connection:
            root = connection.root()
            transaction.get().note(f'round {number}')
            transaction.get().setUser('ümläut')
            transaction.get().setExtendedInfo('number', number)
            child = root.setdefault(f'child {number % 3}', PersistentMapping())
            child[number] = PersistentMapping(text='x' * number * 100)
            if blobs:
                root[f'blob {number % 2}'] = Blob(b'blob %d' % number * 1000)
    undone = db.undoLog(0, 1)[0]['id']
    db.undo(undone)
    transaction.commit()
    delete(storage)


def delete(storage: Any) -> None:
    """Store an object, and delete it."""
    oid, serial = storage.new_oid(), bytes(8)
    for step in 'store', 'delete':
        meta = TransactionMetaData(b'', step.encode())
        storage.tpc_begin(meta)
        if step == 'store':
            storage.store(oid, serial, b'cpersistent.mapping\nPersistentMapping\n.}.', '', meta)
        else:
            storage.deleteObject(oid, serial, meta)
        storage.tpc_vote(meta)
        serial = storage.tpc_finish(meta)


def content(storage: Any, with_blobs: bool = True) -> list[Any]:
    """Return everything that an open storage holds."""
    found = []
    for one in storage.iterator():
        records = [
            (record.oid, record.tid, record.data, _blob(storage, record) if with_blobs else None)
            for record in one
        ]
        found.append((one.tid, one.status, one.user, one.description, one.extension_bytes, records))
    return found


def _blob(storage: Any, record: Any) -> bytes | None:
    if not is_blob(record.data):
        return None
    with open(storage.loadBlob(record.oid, record.tid), 'rb') as file:
        return file.read()


def content_of(path: Any, blobs: Any = None) -> list[Any]:
    """Return everything that is in a file and its blob directory."""
    storage = FileStorage(str(path), read_only=True, blob_dir=None if blobs is None else str(blobs))
    try:
        return content(storage, blobs is not None)
    finally:
        storage.close()
        if os.path.exists(f'{path}.index_tmp'):
            os.unlink(f'{path}.index_tmp')
