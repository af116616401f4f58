"""Calls that iterate over transactions and records, and the open iterators of one client.

Enters: the client's calls. Leaves: transactions and records as the wire has them. Fails: KeyError
with the reason, for an iterator that has ended; with what the storage raises.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from ZEO.net.loop import Loop
from ZEO.serving.calls.family import Client, Family
from ZEO.serving.doors import extension_of
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.later import Later
from ZEO.serving.slices import Endless, Slice

#: Bytes of records after which a batch is sent: enough that round trips do not count, little enough
#: for both sides' memory.
BATCH_BYTES = 1024 * 1024

#: Transactions or records in one batch, for those that are small.
BATCH_ITEMS = 1000

#: Iterators over the records of a transaction that one client may have open; those of a FileStorage
#: read through the file of the iterator over transactions.
MOST_OF_RECORDS = 1000

Transaction = tuple[bytes, str, bytes, bytes, Any]
Record = tuple[bytes, bytes, bytes, Any]


class IteratingCalls(Family):
    """Calls that iterate."""

    def __init__(self, client: Client, hosted: HostedStorage, loop: Loop) -> None:
        super().__init__(client, hosted, loop)
        self._iterators = Iterators(hosted.limits.iterators)

    def iterator_start(self, start: bytes | None, stop: bytes | None) -> int | Later:
        transactions = self._hosted.backend.iterate(start, stop, self._client)
        if not isinstance(transactions, Later):
            return self._iterators.start(transactions)
        answer = Later()
        transactions.then(
            lambda transactions: answer.answer(self._iterators.start(transactions)), answer.fail
        )
        return answer

    def iterator_next(self, number: int) -> Any:
        return self._iterators.next_transaction(number)

    def iterator_record_start(self, number: int, tid: bytes) -> int:
        return self._iterators.start_records(number, tid)

    def iterator_record_next(self, number: int) -> Any:
        return self._iterators.next_record(number)

    def iterator_batch(self, number: int) -> Any:
        """Return many transactions with their records at once."""
        is_in_thread = self._hosted.backend.waiting_threads is not None
        return self._iterators.batch(number, Endless() if is_in_thread else Slice(self._loop))

    def iterator_gc(self, numbers: Iterable[int]) -> None:
        """Drop iterators that the client no longer uses."""
        self._iterators.forget(numbers)

    def close(self) -> None:
        self._hosted.backend.give_back(self._iterators.close)


class Iterators:
    """Open iterators by number; past `limit` the one over transactions that was unused longest
    ends.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: OrderedDict[int, Iterator[Any]] = OrderedDict()
        # those of them that are, the one unused longest first
        self._of_transactions: OrderedDict[int, None] = OrderedDict()
        # number of an iterator over transactions -> the transaction that it is at
        self._records_of: dict[int, Any] = {}
        self._last = 0
        self._closed = False

    def start(self, transactions: Iterable[Any]) -> int:
        """Open an iterator over transactions; returns its number."""
        number = self._add(transactions)
        if number in self._open:
            self._of_transactions[number] = None
        if len(self._of_transactions) > self._limit:
            self.forget([next(iter(self._of_transactions))])
        return number

    def _add(self, items: Iterable[Any]) -> int:
        self._last += 1
        self._open[self._last] = iter(items)
        number = self._last
        if self._closed:  # its client has gone while it was opened
            self.forget([number])
        return number

    def next_transaction(self, number: int) -> Transaction | None:
        """Return the next transaction, or None at the end, which ends the iterator."""
        transaction = self._next(number)
        if transaction is None:
            return None
        self._records_of[number] = transaction
        return described(transaction)

    def start_records(self, number: int, tid: bytes) -> int:
        """Open an iterator over the records of the transaction that another one is at."""
        transaction = self._records_of.get(number)
        if transaction is None or transaction.tid != tid:
            raise KeyError(f'iterator {number} is not at transaction {tid.hex()}')
        number = self._add(transaction)
        if len(self._open) - len(self._of_transactions) > MOST_OF_RECORDS:
            self.forget(
                [next(number for number in self._open if number not in self._of_transactions)]
            )
        return number

    def next_record(self, number: int) -> Record | None:
        """Return the next record, or None at the end, which ends the iterator."""
        record = self._next(number)
        return None if record is None else (record.oid, record.tid, record.data, record.data_txn)

    def batch(
        self, number: int, time: Slice
    ) -> tuple[list[tuple[Transaction, list[Record], bool]], bool]:
        """Return the next transactions with their records, and whether that was the end.

        A transaction whose records do not fit into one batch, or into the time for it, continues in
        the next one: its third part says whether it is complete.
        """
        found: list[tuple[Transaction, list[Record], bool]] = []
        room = BATCH_BYTES
        while room > 0 and len(found) < BATCH_ITEMS:
            transaction, records = self._records_of.get(number) or (None, None)
            if transaction is None:
                transaction = self._next(number)
                if transaction is None:
                    return found, True
                records = iter(transaction)
            taken, complete = _take(records, room, time)
            self._records_of[number] = None if complete else (transaction, records)
            found.append((exactly_described(transaction), taken, complete))
            room -= sum(len(record[2] or b'') for record in taken) + 100
            if time.is_over():
                break
        return found, False

    def forget(self, numbers: Iterable[int]) -> None:
        """End iterators; unknown numbers are no error."""
        for number in numbers:
            self._records_of.pop(number, None)
            self._of_transactions.pop(number, None)
            items = self._open.pop(number, None)
            close = getattr(items, 'close', None)
            if close is not None:
                close()

    def close(self) -> None:
        """End all, and what is still being opened."""
        self._closed = True
        self.forget(list(self._open))

    def _next(self, number: int) -> Any:
        try:
            items = self._open[number]
        except KeyError:
            raise KeyError(
                f'there is no iterator {number}: it came to its end, was dropped, or others were '
                'started (max-iterators)'
            ) from None
        self._open.move_to_end(number)
        if number in self._of_transactions:
            self._of_transactions.move_to_end(number)
        item = next(items, None)
        if item is None:
            self.forget([number])
        return item


def described(transaction: Any) -> Transaction:
    """Return a transaction's metadata as the wire has them; an extension that is not plain goes as
    the bytes it was stored as.
    """
    return (
        transaction.tid,
        transaction.status,
        transaction.user,
        transaction.description,
        extension_of(transaction),
    )


def exactly_described(transaction: Any) -> Transaction:
    """The same with the extension as the bytes it was stored as, so that a copy is equal to the
    byte.
    """
    tid, status, user, description, extension = described(transaction)
    return tid, status, user, description, getattr(transaction, 'extension_bytes', extension)


def _take(records: Any, room: int, time: Slice) -> tuple[list[Record], bool]:
    taken: list[Record] = []
    for record in islice(records, BATCH_ITEMS):
        taken.append((record.oid, record.tid, record.data, record.data_txn))
        room -= len(record.data or b'') + 50
        if room <= 0 or time.is_over():
            return taken, False
    return taken, len(taken) < BATCH_ITEMS
