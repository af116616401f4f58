"""The most used records, in memory as well: a bounded dictionary in front of the file.

Enters: current revisions that were used again and again. Leaves: the same, without reading the
file. Fails: never.  A record that comes in pushes out the ones that came in first.
"""

from __future__ import annotations

from collections import OrderedDict

#: Bytes that a record takes besides its data: oid, tid, tuple, headers of bytes, dictionary slot.
RECORD_OVERHEAD = 256
MOST = 8 * 1024 * 1024  # bytes; more memory is better given to the database's object cache


class HotRecords:
    """oid: (data, tid) of current revisions. Changes need the cache's lock, `records.get` does
    not.

    :param size: bytes it may take.
    """

    def __init__(self, size: int) -> None:
        self.records: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()  # oldest first
        self._size = size
        self._used = 0

    def add(self, oid: bytes, record: tuple[bytes, bytes]) -> None:
        """Hold a record, and drop the oldest ones to make space; one too large is not held."""
        self.discard(oid)
        length = len(record[0]) + RECORD_OVERHEAD
        if length * 8 > self._size:
            return
        self.records[oid] = record
        self._used += length
        while self._used > self._size:
            self.discard(next(iter(self.records)))

    def discard(self, oid: bytes) -> None:
        """Drop the record of oid, if it is held."""
        record = self.records.pop(oid, None)
        if record is not None:
            self._used -= len(record[0]) + RECORD_OVERHEAD

    def clear(self) -> None:
        """Drop everything."""
        self.records.clear()
        self._used = 0
