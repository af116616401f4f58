"""Iterating a storage over the wire.

Enters: the tids to start and stop at.  Leaves: transactions, and their records, as ZODB's storages give them.  Fails:
ClientDisconnected when the connection on which the iteration was begun is lost; what the server raises.

A server of ours sends batches of transactions with their records; any other one transaction, one record at a time.
"""
from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any

import zope.interface
from ZODB.BaseStorage import DataRecord, TransactionRecord
from ZODB.interfaces import IStorageTransactionInformation

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.connection import Connection


@zope.interface.implementer(IStorageTransactionInformation)
class Transaction(TransactionRecord):
    """A transaction with its records."""

    def __init__(self, described: tuple[Any, ...], records: Any) -> None:
        tid, status, user, description, extension = described
        super().__init__(tid, status, user, description, extension)
        self._records = records

    def __iter__(self) -> Iterator[DataRecord]:
        return (DataRecord(*record) for record in self._records)


class StorageIterator:
    """The transactions from `start` to `stop`."""

    def __init__(self, connection: Connection, start: bytes | None, stop: bytes | None, batches: bool) -> None:
        self._connection = connection
        self._batches = batches
        self._fetched: deque[Transaction] = deque()
        self._ended = False
        self._id = connection.call('iterator_start', (start, stop))
        self._drop = weakref.finalize(self, _drop, connection, self._id)

    def __iter__(self) -> StorageIterator:
        return self

    def __next__(self) -> Transaction:
        if not self._fetched and not self._ended:
            self._fetch()
        if self._fetched:
            return self._fetched.popleft()
        raise StopIteration

    def close(self) -> None:
        """Have the server forget the iterator."""
        self._ended = True
        self._fetched.clear()
        self._drop()

    def _fetch(self) -> None:
        if self._batches:
            self._fetch_batch()
            return
        described = self._connection.call('iterator_next', (self._id,))
        if described is None:
            self._end()
        else:
            self._fetched.append(Transaction(described, _OneByOne(self._connection, self._id, described[0])))

    def _fetch_batch(self) -> None:
        while True:
            batch, ended = self._connection.call('iterator_batch', (self._id,))
            for described, records, _ in batch:
                if self._fetched and self._fetched[-1].tid == described[0]:
                    self._fetched[-1]._records.extend(records)
                else:
                    self._fetched.append(Transaction(described, records))
            if ended:
                self._end()
            if ended or batch[-1][2]:
                return

    def _end(self) -> None:
        self._ended = True
        self._drop.detach()   # the server has forgotten it already


class _OneByOne:
    """One transaction's records, each fetched when it is asked for."""

    def __init__(self, connection: Connection, iterator: int, tid: bytes) -> None:
        self._connection, self._iterator, self._tid = connection, iterator, tid

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        number = self._connection.call('iterator_record_start', (self._iterator, self._tid))
        while (record := self._connection.call('iterator_record_next', (number,))) is not None:
            yield record


def _drop(connection: Connection, iterator: int) -> None:
    try:
        connection.send('iterator_gc', ([iterator],))
    except ClientDisconnected:   # gone with its connection
        pass


