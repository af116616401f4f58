"""Storages with a history."""

from __future__ import annotations

from typing import Any

from ZODB.Connection import TransactionMetaData
from ZODB.utils import maxtid, z64


def committed(storage: Any, *transactions: list[bytes], data: bytes = b'data') -> list[bytes]:
    """Commit transactions, each a list of oids to store; return their tids."""
    tids = []
    for oids in transactions:
        meta = TransactionMetaData()
        storage.tpc_begin(meta)
        for oid in oids:
            storage.store(oid, _serial(storage, oid), data, '', meta)
        storage.tpc_vote(meta)
        tids.append(storage.tpc_finish(meta))
    return tids


def _serial(storage: Any, oid: bytes) -> bytes:
    try:
        current = storage.loadBefore(oid, maxtid)
    except KeyError:
        return z64
    return current[1] if current else z64
