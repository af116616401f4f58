"""The records that clients have loaded last: what one client asks for, others soon ask for as well.

Enters: loads, and the oids of everything that changes. Leaves: what the storage's loadBefore
returns. Fails: with what that raises.

Only current revisions are kept, and only where every change is reported here before the next load:
those of a FileStorage, whose file no other process can change, and those of an MVCC storage, whose
changes are followed. If something else in this process writes to a FileStorage, such as the same
storage under a second name, then its last transaction is one that was not reported, and all records
are forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ZODB.FileStorage import FileStorage

Found = tuple[bytes, bytes, Any]
Load = Callable[[bytes, bytes], Found | None]

#: A record that takes more than one part in this number of the memory is not kept.
_LARGEST = 16

#: Bytes that a record takes besides its data.
_OVERHEAD = 200

#: Objects that one transaction has changed, past which all records are forgotten: to look for each
#: would hold the loop for more than 20 ms.
_MANY = 100_000


def keeps_to_itself(storage: Any) -> bool:
    """Whether no other process changes `storage`, and its records are read from a file."""
    return isinstance(storage, FileStorage) and type(storage).loadBefore is FileStorage.loadBefore


class Records:
    """Current records in at most `size` bytes of memory; all in the loop's thread.

    There are two tables. When the younger is full it becomes the older, whose records are given up;
    those that are asked for again return to the younger.
    """

    def __init__(self, size: int) -> None:
        self._most = size // 2
        self._young: dict[bytes, Found] = {}  # oid -> (data, tid, None)
        self._old: dict[bytes, Found] = {}
        self._young_size = 0
        self._old_mean = 0.0  # bytes of one of the older, when they were the younger
        self.missed = 0  # loads that the storage had to be asked for

    def resize(self, size: int) -> None:
        """Take other bytes of memory at most from now on."""
        self._most = size // 2
        if self._young_size + int(self._old_mean * len(self._old)) > size:
            self.clear()

    @property
    def held(self) -> tuple[int, int]:
        """How many records are kept, and roughly how many bytes they take."""
        size = self._young_size + int(self._old_mean * len(self._old))
        return len(self._young) + len(self._old), size

    def find(self, oid: bytes) -> Found | None:
        """Return the current record of an object, if it is kept."""
        found = self._young.get(oid)
        if found is None:
            found = self._old.pop(oid, None)
            if found is not None:
                self.keep(oid, found)
        return found

    def changed(self, tid: bytes, oids: Collection[bytes]) -> None:
        """These have new revisions, or none any more, by the transaction `tid`."""
        if len(oids) > _MANY:
            self.clear()
            return
        for oid in oids:
            self._old.pop(oid, None)
            gone = self._young.pop(oid, None)
            if gone is not None:
                self._young_size -= len(gone[0]) + _OVERHEAD

    def clear(self) -> None:
        """Anything may have changed."""
        self._young, self._old, self._young_size = {}, {}, 0

    def keep(self, oid: bytes, found: Found) -> None:
        """Keep a current record, unless it is too large."""
        size = len(found[0]) + _OVERHEAD
        if size > 2 * self._most // _LARGEST or oid in self._young:
            return
        self._young[oid] = found
        self._young_size += size
        if self._young_size > self._most:
            self._old_mean = self._young_size / len(self._young)
            self._young, self._old, self._young_size = {}, self._young, 0


class RecentRecords(Records):
    """Records of `storage`, for which every change is reported here.

    :param load: reads one; the storage's loadBefore by default.
    """

    def __init__(self, storage: Any, size: int, load: Load | None = None) -> None:
        super().__init__(size)
        self._load: Load = load or storage.loadBefore
        self._last_transaction = storage.lastTransaction
        self._last = storage.lastTransaction()  # up to which all changes were reported

    def load(self, oid: bytes, tid: bytes) -> Found | None:
        """Return what loadBefore returns."""
        # as find does, without a call: nearly all loads come here
        if self._last_transaction() != self._last:
            self.look_for_others()
        found = self._young.get(oid)
        if found is None:
            found = self._old.pop(oid, None)
            if found is None:
                self.missed += 1
                found = self._load(oid, tid)
                if found is None or found[2] is not None:
                    return found
            self.keep(oid, found)
        if found[1] < tid:
            return found
        self.missed += 1
        return self._load(oid, tid)

    def look_for_others(self) -> None:
        """Forget everything if there was a transaction that was not reported.

        Also to be called before a transaction finishes that will be reported, with the storage's
        commit lock held.
        """
        last = self._last_transaction()
        if last != self._last:
            self.clear()
            self._last = last

    def changed(self, tid: bytes, oids: Collection[bytes]) -> None:
        self._last = tid
        super().changed(tid, oids)
