"""Current records of a FileStorage, each read with one call of the system.

Enters: oids. Leaves: what the storage's loadBefore returns. Fails: with what that raises.

Half of the time that FileStorage takes for a record goes into taking a file out of its pool and
putting it back, which a pack waits for before it replaces the file; a third is a `seek` and two
reads. Here a descriptor of its own belongs to one file of the storage, and to the index that tells
where records are in it. When the storage has another file, so has this.

All but the usual is left to the storage: earlier revisions, what was undone or deleted, very large
records, and whatever does not look as expected.
"""

from __future__ import annotations

import os
from struct import Struct
from typing import Any

from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.format import DATA_HDR, DATA_HDR_LEN

Found = tuple[bytes, bytes, Any]

#: Bytes that are read at first: most records are no larger, with their header.
_FIRST = 4096

#: Bytes of a record past which the storage reads it, which may find that the length is damaged.
_LARGEST = 16 * 1024 * 1024

_header = Struct(DATA_HDR).unpack_from


class DirectReads:
    """Records of `storage`; all in one thread."""

    def __init__(self, storage: FileStorage) -> None:
        self._storage = storage
        self._file: Any = None  # the storage's, when the descriptor was made
        self._fd = -1
        self._is_possible = hasattr(os, 'pread')

    def load(self, oid: bytes, tid: bytes) -> Found | None:
        """Return what loadBefore returns."""
        storage = self._storage
        # First the index: whatever replaces the file replaces that afterwards.
        index = storage._index
        if storage._file is self._file:
            place = index.get(oid)
            if place is not None:
                found = os.pread(self._fd, _FIRST, place)
                if len(found) > DATA_HDR_LEN:
                    stored, serial, _, _, version, size = _header(found)
                    if stored == oid and serial < tid and not version and 0 < size <= _LARGEST:
                        end = DATA_HDR_LEN + size
                        if end <= len(found):
                            return found[DATA_HDR_LEN:end], serial, None
                        data = os.pread(self._fd, size, place + DATA_HDR_LEN)
                        if len(data) == size:
                            return data, serial, None
        elif self._is_possible:
            self._renew()
        return storage.loadBefore(oid, tid)

    def _renew(self) -> None:
        """Read the file that the storage has now."""
        self.close()
        storage = self._storage
        try:
            with storage._files.get() as file:  # nothing replaces it meanwhile
                self._fd = os.dup(file.fileno())
                self._file = storage._file
        except (OSError, ValueError):  # no descriptor is left, or the storage is closed
            pass

    def close(self) -> None:
        """Leave everything to the storage, as far as it has no other file."""
        self._file = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
