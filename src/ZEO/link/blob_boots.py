"""Blob files in a cache that may not have reached the disk when the machine went down.

Enters: the directory of a blob cache, before its files are used. Leaves: the same without those
files that came last before the machine went down; they are fetched again when they are wanted.
Fails: never; what cannot be done is in the log.

A file is not synced when it comes into the cache, which would take longer than to bring a small
one. Systems write within half a minute what waits in memory, in the order in which it came or not:
after a power failure a file may have its name and length, and not its contents.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress

import zc.lockfile

from ZEO.cache.cache_file import UNKNOWN_BOOT, boot_id
from ZEO.files import remove_if_there
from ZEO.net.system import System

log = logging.getLogger('ZEO.ClientStorage')

#: The file that says during which run of the machine the cache was used last.
MARK = '.boot'

#: Seconds before the last file came, in which files came that are not trusted: twenty times what a
#: system leaves in memory.
UNSURE = 600.0

#: Seconds for which another process is waited for that does the same.
_PATIENCE, _PAUSE = 10.0, 0.02


def drop_unsure(
    directory: str, files: Callable[[], Iterable[tuple[str, float]]], system: System
) -> None:
    """Remove the files that may not be whole, if the machine has started since the last time.

    :param files: returns path and last change, in seconds since the epoch, of each in the cache.
    """
    mark, boot = os.path.join(directory, MARK), boot_id()
    if boot == UNKNOWN_BOOT or _read(mark) == boot.hex():
        return
    try:
        lock = _locked(mark + '.lock', system)
        try:
            known = _read(mark)
            if known == boot.hex():  # another process has done it
                return
            if known is not None:  # else it is new, or was never looked after
                _drop_last(directory, list(files()))
            _write(mark, boot.hex())
        finally:
            lock.close()
    except (OSError, zc.lockfile.LockError) as error:
        log.warning(
            '%s: it could not be seen to that no blob is damaged since the machine went down: %s',
            directory,
            error,
        )


def _locked(path: str, system: System) -> zc.lockfile.LockFile:
    until = system.now() + _PATIENCE
    while True:
        try:
            return zc.lockfile.LockFile(path)
        except zc.lockfile.LockError:
            if system.now() > until:
                raise
            system.sleep(_PAUSE)


def _read(mark: str) -> str | None:
    """Return what the mark says; None where there is none."""
    try:
        with open(mark, encoding='ascii', errors='replace') as file:
            return file.read(100)
    except FileNotFoundError:
        return None
    except OSError:
        return ''


def _write(mark: str, boot: str) -> None:
    temporary = f'{mark}.{os.getpid()}'
    try:
        with open(temporary, 'w', encoding='ascii') as file:
            file.write(boot)
        os.replace(temporary, mark)
    except BaseException:
        with suppress(OSError):
            remove_if_there(temporary)
        raise


def _drop_last(directory: str, files: list[tuple[str, float]]) -> None:
    since = max((changed for _, changed in files), default=0.0) - UNSURE
    unsure = [path for path, changed in files if changed >= since]
    for path in unsure:
        remove_if_there(path)
    if unsure:
        log.warning(
            '%s: removed %d blobs that came last before the machine went down, and may be '
            'damaged; they are fetched again when they are wanted',
            directory,
            len(unsure),
        )
