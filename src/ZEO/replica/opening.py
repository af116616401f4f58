"""What happens to the files of a replica before they are opened.

Enters: the path of a file that no process has open. Leaves: a file that ends with a transaction
that is whole; what is remembered beside it. Fails: OSError where the disk does; ConfigurationError
for a state that cannot be read.
"""

from __future__ import annotations

import os
from typing import Any

from zc.lockfile import LockError, LockFile

from ZEO.replica import state_file, unfinished
from ZEO.replica.options import shown
from ZEO.serving.crash_safety import mend


def mend_file(path: str) -> None:
    """Finish what a kill or a power failure has cut short, before the file is opened."""
    mend(path)
    try:
        lock = LockFile(path + '.lock')
    except (LockError, OSError):  # opening fails as well, and says why
        return
    try:
        state_file.remove_unfinished(path)
        remembered = state_file.read(path)
        if remembered is not None and remembered.state == state_file.FOLLOWING:
            unfinished.cut(path)
    finally:
        lock.close()


def state_of(path: str, addr: Any, storage: str) -> state_file.Remembered:
    """Return the state in which a replica begins.

    :param addr: the primary's addresses.
    :param storage: the name of the storage there.
    """
    found = state_file.read(path)
    if found is not None and found.state == state_file.PROMOTED:
        return found
    # a file that is made anew has to be copied first
    whole = found is not None and found.whole and os.path.exists(path)
    return state_file.Remembered(primary=shown(addr), storage=storage, whole=whole)
