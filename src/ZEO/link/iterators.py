"""Iterating a storage over the wire.

Enters: the tids to start and stop at. Leaves: transactions, and their records, as ZODB's storages
give them. Fails: ClientDisconnected when the connection on which the iteration was begun is lost;
UnrecognizedResult for a server that makes no progress; what the server raises. It ends where the
server says so, and nowhere else.

A server of this package sends batches of transactions with their records; any other one
transaction, one record at a time. A transaction that does not fit into one batch is never held as a
whole: its records are fetched while they are iterated over.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from itertools import starmap
from typing import Any

import zope.interface
from ZODB.BaseStorage import DataRecord, TransactionRecord
from ZODB.interfaces import IStorageTransactionInformation

from ZEO.Exceptions import ClientDisconnected, ClientStorageError, UnrecognizedResult
from ZEO.link.connection import Connection

#: What a batch holds of one transaction: what describes it, records, and whether those were the
#: last.
_Part = tuple[tuple[Any, ...], list[Any], bool]


@zope.interface.implementer(IStorageTransactionInformation)
class Transaction(TransactionRecord):
    """A transaction with its records."""

    def __init__(self, described: tuple[Any, ...], records: Any) -> None:
        tid, status, user, description, extension = described
        super().__init__(tid, status, user, description, extension)
        self._records = records

    def __iter__(self) -> Iterator[DataRecord]:
        return starmap(DataRecord, self._records)


class StorageIterator:
    """The transactions from `start` to `stop`."""

    def __init__(
        self, connection: Connection, start: bytes | None, stop: bytes | None, batches: bool
    ) -> None:
        self._connection = connection
        self._batches = batches
        self._fetched: deque[Transaction] = deque()
        # the transaction whose records the server is in the middle of
        self._large: _Large | None = None
        self._ended = False
        self._id = connection.call('iterator_start', (start, stop))
        self._drop = weakref.finalize(self, _drop, connection, self._id)

    def __iter__(self) -> StorageIterator:
        return self

    def __next__(self) -> Transaction:
        if not self._fetched and self._large is not None:
            self._large.leave()
        if not self._fetched and not self._ended:
            self._fetch()
        if self._fetched:
            return self._fetched.popleft()
        raise StopIteration

    def close(self) -> None:
        """Have the server forget the iterator."""
        self._ended = True
        self._large = None
        self._fetched.clear()
        self._drop()

    def _fetch(self) -> None:
        if self._batches:
            for part in self._batch():
                self._add(part)
            return
        described = self._connection.call('iterator_next', (self._id,))
        if described is None:
            self._end()
        else:
            self._fetched.append(
                Transaction(described, _OneByOne(self._connection, self._id, described[0]))
            )

    def _batch(self) -> list[_Part]:
        """Return what comes next, one part of each transaction; only the last may be incomplete.

        :raises UnrecognizedResult: when nothing comes, and it is not the end.
        """
        batch, ended = self._connection.call('iterator_batch', (self._id,))
        if ended:
            self._end()
        parts: list[_Part] = []
        for described, records, complete in batch:
            if parts and not parts[-1][2]:
                self._expect(parts[-1][0] == described)
                parts[-1] = described, parts[-1][1], complete
                parts[-1][1].extend(records)
            else:
                parts.append((described, list(records), complete))
        self._expect(all(complete for _, _, complete in parts[:-1] + parts[-1:] * ended))
        self._expect(ended or any(records or complete for _, records, complete in parts))
        return parts

    def _expect(self, what_should_be: bool) -> None:
        if not what_should_be:
            raise UnrecognizedResult(
                f'{self._connection.where} answered iterator_batch with an empty batch, or one '
                'that does not follow the last: the server has a fault'
            )

    def _add(self, part: _Part) -> None:
        described, records, complete = part
        if complete:
            self._fetched.append(Transaction(described, records))
        else:
            self._large = _Large(self, described[0], records)
            self._fetched.append(Transaction(described, self._large))

    def rest(self, tid: bytes) -> Iterator[list[Any]]:
        """Yield what is still to come of the transaction that the server is in the middle of, in
        parts.
        """
        complete = False
        while not complete:
            batch = self._batch()
            self._expect(bool(batch) and batch[0][0][0] == tid)
            _, records, complete = batch[0]
            if complete:
                self._large = None
                for part in batch[1:]:
                    self._add(part)
            yield records

    def again(self, tid: bytes) -> Iterator[Any]:
        """Yield the records of a transaction, by an iteration of its own."""
        found = False
        for transaction in StorageIterator(self._connection, tid, tid, self._batches):
            found = True
            yield from transaction._records
        if not found:
            raise UnrecognizedResult(
                f'{self._connection.where} has no transaction {tid.hex()} any more'
            )

    def _end(self) -> None:
        self._ended = True
        self._drop.detach()  # the server has forgotten it already


class _Large:
    """The records of a transaction that does not fit into one batch."""

    def __init__(self, iterator: StorageIterator, tid: bytes, first: list[Any]) -> None:
        self._iterator = iterator
        self._tid = tid
        self._first: list[Any] | None = first  # until they are taken
        self._rest = iterator.rest(tid)
        self._left = False  # the iteration has gone on without them

    def __iter__(self) -> Iterator[Any]:
        first, self._first = self._first, None
        if first is None:  # a second time, or too late
            yield from self._iterator.again(self._tid)
            return
        yield from first
        for part in self._rest:
            yield from part
        if self._left:
            raise ClientStorageError(
                f'the records of transaction {self._tid.hex()} were cut short: read them before '
                'the next transaction'
            )

    def leave(self) -> None:
        """The caller goes on to the next transaction: have the server finish this one."""
        self._first, self._left = None, True
        for _ in self._rest:
            pass
        if self._iterator._large is self:  # it was interrupted
            raise ClientStorageError(
                f'transaction {self._tid.hex()} was not received to its end: start the iteration '
                'again'
            )


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
        connection.leave('iterator_gc', ([iterator],))
    except ClientDisconnected:  # gone with its connection
        pass
