"""The transactions in the file of a replica, from the last one backward.

Enters: an open FileStorage. Leaves: where its transactions are, and their records. Fails: OSError
of the disk; CorruptedError for a file that is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ZODB.FileStorage.FileStorage import FileIterator
from ZODB.FileStorage.format import FileStorageFormatter
from ZODB.utils import u64

_START = 4  # bytes in front of the first transaction


class Place(NamedTuple):
    """Where a transaction is."""

    tid: bytes
    status: str
    begin: int
    end: int


class Ours(FileStorageFormatter):
    """The transactions of a FileStorage, in the file as it is now: a pack may replace it."""

    def __init__(self, storage: Any) -> None:
        self._path = storage._file_name
        with storage._lock:
            self._file = open(self._path, 'rb')
            self._end = storage._pos

    def backward(self) -> Iterator[Place]:
        """Yield all places, the last one first."""
        end = self._end
        while end > _START:
            begin = end - 8 - self._read_num(end - 8)
            header = self._read_txn_header(begin)
            yield Place(header.tid, header.status, begin, end)
            end = begin

    def transaction(self, place: Place) -> Any:
        """Return one transaction, which can be iterated over for its records.

        :raises OSError: when the file has been replaced by now.
        """
        found = next(FileIterator(self._path, pos=place.begin))
        if found.tid != place.tid:
            raise OSError(f'{self._path} was packed meanwhile')
        return found

    def transactions(self, places: list[Place]) -> Iterator[Any]:
        """Yield these transactions, the first place first."""
        return map(self.transaction, places)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def next_tid(tid: bytes) -> bytes:
    """Return the tid that follows."""
    return (u64(tid) + 1).to_bytes(8, 'big')
