"""Temporary files that a killed server has left behind in a storage's blob directory.

Enters: a storage, when its service begins. Leaves: a line in the log that says how many files were
removed. Fails: never; what cannot be removed stays.
"""

from __future__ import annotations

import logging
from typing import Any

from ZODB.interfaces import IBlobStorage

from ZEO import leftovers

log = logging.getLogger('ZEO.StorageServer')

#: How the names of a server's temporary files begin; clients have others in the same directory.
_KIND = 'zeo'


def prefix() -> str:
    """Return how the names of this process's temporary files begin."""
    return leftovers.prefix(_KIND)


def remove_of(storage: Any, name: str, now: float) -> None:
    """Remove the leftovers in the blob directory of a storage, if it has one.

    :param name: of the storage, for the log.
    :param now: seconds since the epoch.
    """
    if IBlobStorage.providedBy(storage):
        try:
            directory = storage.temporaryDirectory()
        except Exception:
            # a storage that can have blobs, and does not; the start does not depend on it
            return
        count, _ = leftovers.remove_leftovers(directory, (_KIND,), now)
        if count:
            log.info(
                'the storage %s: removed %d temporary blob files that a server had left behind',
                name,
                count,
            )
