"""Transactions that a replica has and its primary lacks: saved, then discarded or kept.

They are those of an old primary, for example, that comes back after another was promoted.

Enters: a replica, and where those transactions are. Leaves: a FileStorage that holds them, beside
the replica; where the operator wants it, a replica that ends before them. Fails:
:class:`NotFollowed`, which says how many there are and where they are saved; OSError of the disk.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from persistent.TimeStamp import TimeStamp
from ZODB.blob import remove_committed
from ZODB.FileStorage.FileStorage import read_index

from ZEO.files import remove_if_there
from ZEO.replica.errors import NotFollowed
from ZEO.replica.ours import Ours, Place
from ZEO.replica.primary import Primary
from ZEO.replica.saved import save
from ZEO.wire.guarded import is_blob
from ZEO.wire.quoting import quoted

log = logging.getLogger('ZEO.replica')

#: Transactions that are listed one by one.
_LISTED = 100


def give_up(
    storage: Any, ours: Ours, missing: list[Place], primary: Primary, discard: bool
) -> None:
    """Save transactions that the primary lacks; then cut them off, or refuse to follow.

    :param missing: their places, the last one first.
    :param discard: whether to cut them off.
    :raises NotFollowed: when they are not to be cut off.
    """
    places = missing[::-1]
    path = f'{storage._file_name}.lost-{places[0].tid.hex()}.fs'
    entries = [_entry(each) for each in ours.transactions(places[:_LISTED])]
    storage.lost_transactions = entries
    is_new = not os.path.exists(path)
    save(storage, ours, places, path)
    if is_new:
        for entry in entries:
            log.warning('%s: the primary lacks %s', storage.getName(), entry)
    if not discard:
        raise NotFollowed(_refusal(places, primary, path))
    log.warning(
        '%s: discards %d transactions that %s lacks; they are saved in %s',
        storage.getName(),
        len(places),
        primary.where,
        path,
    )
    files = _blobs(storage, ours, places)
    storage.run_finish(lambda: _cut(storage, places[0].begin))
    for file in files:
        if os.path.exists(file):
            remove_committed(file)
    storage.lost_transactions = []


def _cut(storage: Any, end: int) -> None:
    """Remove all transactions from a place in the file of a replica on.

    :param end: where the first of them begins.
    """
    remove_if_there(storage._file_name + '.index')
    with storage._commit_lock, storage._files.write_lock(), storage._lock:
        storage._files.empty()
        storage._file.truncate(end)
        os.fsync(storage._file.fileno())
        index, temporary = storage._newIndexes()
        storage._pos, storage._oid, storage._ltid = read_index(
            storage._file, storage._file_name, index, temporary
        )
        storage._initIndex(index, temporary)
        storage._ts = TimeStamp(storage._ltid)
    if storage._database is not None:
        storage._database.invalidateCache()


def _blobs(storage: Any, ours: Ours, places: list[Place]) -> list[str]:
    if not storage.blob_dir:
        return []
    return [
        storage.fshelper.getBlobFilename(record.oid, record.tid)
        for transaction in ours.transactions(places)
        for record in transaction
        if is_blob(record.data)
    ]


def _refusal(places: list[Place], primary: Primary, path: str) -> str:
    first, last = places[0].tid.hex(), places[-1].tid.hex()
    which = f'transaction {first}' if len(places) == 1 else f'transactions {first} to {last}'
    return (
        f'{primary.where} lacks {len(places)} of the transactions of this replica, {which}: it '
        f'cannot be followed as long as they are there. They are saved in {path}, which a '
        'FileStorage opens. If they may be given up here, open the replica once with discard_lost '
        '(in a section: discard-lost true)'
    )


def _entry(transaction: Any) -> str:
    """Return one transaction for people."""
    user, description = (quoted(text) for text in (transaction.user, transaction.description))
    return f'{transaction.tid.hex()} of {TimeStamp(transaction.tid)}: {user} {description}'
