"""Temporary files that a killed server has left behind in a storage's blob directory.

Enters: a directory, when a storage is opened. Leaves: how many files were removed. Fails: never;
what can't be looked at or removed stays.

The files of a server say in their names which process of which machine has made them. Those of a
process that is gone are removed, and so are those whose process can't be known when they are a day
old. Everything else may belong to a process that lives: several servers can share one blob
directory.
"""

from __future__ import annotations

import logging
import os
import platform
import re
from functools import cache
from typing import Any
from zlib import crc32

from ZODB.interfaces import IBlobStorage

from ZEO.files import remove_if_there
from ZEO.net.system import REAL

log = logging.getLogger('ZEO.StorageServer')

#: Seconds after which a file is a leftover whoever has made it: no blob is under way for so long.
OLD = 24 * 3600.0

#: Since when this process has made files, about.
_STARTED = REAL.wall_clock()

_NAME = re.compile(r'zeo-(?:(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]+)-)?[a-z0-9_]+\.blob')


@cache
def _host() -> str:
    """Tell this machine from others that have the same directory."""
    return f'{crc32(platform.node().encode()):08x}'


def prefix() -> str:
    """Return how the names of this process's temporary files begin."""
    return f'zeo-{_host()}-{os.getpid()}-'


def remove_of(storage: Any, name: str, now: float) -> None:
    """Remove the leftovers in the blob directory of a storage, if it has one, and log how many
    there were.
    """
    if IBlobStorage.providedBy(storage):
        try:
            directory = storage.temporaryDirectory()
        except Exception:
            # a storage that can have blobs, and does not; the start does not depend on it
            return
        count = remove_from(directory, now)
        if count:
            log.info(
                'the storage %s: removed %d temporary blob files that a server had left behind',
                name,
                count,
            )


def remove_from(directory: str, now: float) -> int:
    """Remove leftovers, and tell how many.

    :param now: in seconds since the epoch.
    """
    try:
        with os.scandir(directory) as entries:
            found = [
                entry
                for entry in entries
                if (named := _NAME.fullmatch(entry.name)) and _is_left(entry, named, now)
            ]
    except OSError:
        return 0
    return sum(remove_if_there(entry.path) for entry in found)


def _is_left(entry: os.DirEntry[str], named: re.Match[str], now: float) -> bool:
    try:
        status = entry.stat(follow_symlinks=False)
        if not entry.is_file(follow_symlinks=False) or (
            hasattr(os, 'geteuid') and status.st_uid != os.geteuid()
        ):
            return False
    except OSError:  # another process has removed it
        return False
    if now - status.st_mtime > OLD:
        return True
    return named['host'] == _host() and not _lives(int(named['pid']), status.st_mtime)


def _lives(pid: int, changed: float) -> bool:
    """Whether the process that has made a file can be one that lives; in containers the numbers are
    often the same.
    """
    if pid == os.getpid():
        return changed >= _STARTED
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
