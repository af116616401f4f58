"""A directory of blob files that stays within a bound; several processes may share it.

Enters: files that are whole. Leaves: the same in their places, and without those that were unused
longest. Fails: ConfigurationError for a directory that can't be used, OSError of the disk.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import zc.lockfile

from ZEO.files import remove_if_there
from ZEO.leftovers import remove_leftovers
from ZEO.link import directories
from ZEO.link.blob_boots import drop_unsure
from ZEO.link.options import BlobOptions
from ZEO.net.system import REAL, System

log = logging.getLogger('ZEO.ClientStorage')

#: Seconds for which a file that was asked for is not removed: its path was given out, and it may be
#: about to be opened.
IN_USE = 60.0

#: The temporary files: those to be stored, those on their way, and those of a server that serves
#: this client.
_KINDS = ('store', 'fetch', 'zeo')


class BlobCache:
    """The files in a client's blob directory.

    :raises ConfigurationError: when the directory can't be used; it is made if need be.
    """

    def __init__(self, options: BlobOptions, system: System = REAL) -> None:
        self.fshelper = directories.cache(options.directory)
        self._size = options.size  # bytes; None for no bound
        self._check_after = 0 if options.size is None else options.size * options.check // 100
        self._system = system
        # bytes since the last look at the bound: look at the start
        self._come_in = self._check_after
        self._cleaner: Any = None  # the thread that keeps the bound, as long as it does
        self._remove_leftovers()
        drop_unsure(self.fshelper.base_dir, self._changes, system)
        self._clean_if_due(0)

    def _remove_leftovers(self) -> None:
        directory = self.fshelper.temp_dir
        files, size = remove_leftovers(directory, _KINDS, self._system.wall_clock())
        if files:
            log.warning(
                '%s: removed %d temporary files of %d bytes that killed processes had left',
                directory,
                files,
                size,
            )

    def put(self, path: str, oid: bytes, serial: bytes) -> None:
        """Move a file into the cache."""
        size = os.path.getsize(path)
        target = self.fshelper.getBlobFilename(oid, serial)
        directory = os.path.dirname(target)
        directories.make_way(directory, _rights(self.fshelper.base_dir))
        # a committed blob is not written to, and read by who may list its directory
        os.chmod(path, _rights(directory) & 0o444)
        os.replace(path, target)
        self._clean_if_due(size)

    # The bound.

    def _clean_if_due(self, size: int) -> None:
        if self._size is None:
            return
        self._come_in += size
        is_at_it = self._cleaner is not None and self._cleaner.is_alive()
        if self._come_in >= self._check_after and not is_at_it:
            try:
                self._cleaner = self._system.spawn('ZEO blob cache clean-up', self._clean)
                self._come_in = 0
            except Exception as error:  # no thread can be started now; the next file tries again
                log.warning('the blob cache is cleaned up later: %s', error)

    def _clean(self) -> None:
        """Remove the files that were unused longest until the bound is kept; one thread of one
        process at a time does so.
        """
        try:
            lock = zc.lockfile.LockFile(os.path.join(self.fshelper.base_dir, 'clean-up.lock'))
            try:
                self._remove_oldest()
            finally:
                lock.close()
        except zc.lockfile.LockError:
            pass
        except OSError as error:  # the directory may be gone by now
            log.warning('the blob cache could not be cleaned up: %s', error)

    def _remove_oldest(self) -> None:
        assert self._size is not None
        files = sorted((status.st_atime, status.st_size, path) for path, status in self._files())
        total = sum(size for _, size, _ in files)
        too_new = self._system.wall_clock() - IN_USE
        for used, size, path in files:
            if total <= self._size or used > too_new:
                break
            if remove_if_there(path):
                total -= size

    def _changes(self) -> Iterator[tuple[str, float]]:
        for path, status in self._files():
            yield path, status.st_mtime

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield every blob in the cache, and what the system knows of it."""
        for folder, _, names in os.walk(self.fshelper.base_dir):
            if os.path.abspath(folder) == os.path.abspath(self.fshelper.temp_dir):
                continue
            for name in names:
                if name.endswith('.blob'):
                    path = os.path.join(folder, name)
                    with suppress(OSError):  # another process has removed it
                        yield path, os.stat(path)


def _rights(directory: str) -> int:
    return stat.S_IMODE(os.stat(directory).st_mode) & 0o777


def touch(path: str) -> bool:
    """Note that a file is used now; return whether it is there: what is something else, such as a
    FIFO that never opens, is replaced as if it were missing.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            return False
        os.utime(path, (REAL.wall_clock(), found.st_mtime))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # another user's file, or a disk that can't be written to: it is there all the same
        return os.path.isfile(path)
    return True
