"""Data files that were removed or replaced while a server has them open.

Enters: open FileStorages, now and then. Leaves: a line in the log when a path does not lead to its
open file any more, and one when it does again. Fails: never.

Reading and committing go on in a file that has no name, all of which is gone when the server stops.
"""

from __future__ import annotations

import logging
import os

from ZODB.FileStorage import FileStorage

log = logging.getLogger('ZEO.StorageServer')


class LostFiles:
    """The data files of one storage that are not where they were."""

    def __init__(self) -> None:
        self._lost: set[FileStorage] = set()

    def look(self, storage: FileStorage) -> None:
        """Look at the file of a storage that is open and is not being packed."""
        is_lost, path = _is_lost(storage), storage._file_name
        if is_lost and storage not in self._lost:
            self._lost.add(storage)
            log.critical(
                '%s was removed or replaced, and this server goes on in the file that it has open: '
                'all of that is LOST when it stops. Copy it before, on Linux from /proc/%d/fd/%d',
                path,
                os.getpid(),
                storage._file.fileno(),
            )
        elif not is_lost and storage in self._lost:
            self._lost.discard(storage)
            log.warning('%s is the file again that this server has open', path)


def _is_lost(storage: FileStorage) -> bool:
    """Return whether the path of a storage leads to another file than the open one, or to none."""
    try:
        mine = os.fstat(storage._file.fileno())
        there = os.stat(storage._file_name)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # it is not known, or the storage is closed
        return False
    return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)
