"""Files of blobs that are brought to the disk, many of them at the same time.

Enters: paths of files that were moved into their places. Leaves: the files, and their names, on the
disk. Fails: OSError of the disk, once everything else was tried.

A file system makes syncs that wait at the same time permanent with one write of its journal, and
those that come one after the other with one each: 20 files of 10 kB take 100 ms one by one, and 12
ms in eight threads, on an ext4 whose disk others use as well.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from ZEO import files
from ZEO.net.system import System
from ZEO.serving.crash_safety import NO_DESCRIPTOR, sync_directory, sync_everything

#: Threads that sync beside the calling one: more gain nothing.
THREADS = 7

#: Files from which on they are started: for one or two they cost as much as they save, 0.3 ms.
WORTH_THREADS = 3


def sync_files(paths: Iterable[str], system: System | None) -> None:
    """Return when these files and their names are on the disk.

    :param system: starts threads; None: everything is done in this one.
    :raises OSError: when the disk fails.
    """
    files = dict.fromkeys(paths)
    directories = {os.path.dirname(path): path for path in files}  # each of them once
    jobs: list[Callable[[], None]] = [partial(_sync_file, path) for path in files]
    jobs += [partial(sync_directory, path) for path in directories.values()]
    if system is None or len(files) < WORTH_THREADS:
        for job in jobs:
            job()
    else:
        _Together(jobs, system).run()


def _sync_file(path: str) -> None:
    try:
        fd = files.open_regular(path, os.O_RDONLY)
    except (FileNotFoundError, files.NotRegular):
        # a pack has removed it; or a client that shares the directory has put something else there,
        # which is not an error of the disk
        return
    except OSError as error:
        if error.errno not in NO_DESCRIPTOR:
            raise
        sync_everything()
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Together:
    """Work that several threads share, which end with it."""

    def __init__(self, jobs: list[Callable[[], None]], system: System) -> None:
        self._system = system
        self._waiting = deque(jobs)
        self._left = len(jobs)  # not ended
        self._guard = system.lock()  # of the others
        self._ended = system.event()
        self._error: BaseException | None = None  # the first one

    def run(self) -> None:
        """Do everything; raises the first error when all has been tried."""
        for _ in range(min(THREADS, self._left - 1)):
            try:
                self._system.spawn('ZEO blob sync', self._work)
            except (RuntimeError, MemoryError, OSError):  # no more threads: this one goes on
                break
        self._work()
        self._ended.wait()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while self._waiting:
            try:
                job = self._waiting.popleft()
            except IndexError:  # another thread has just taken the last one
                return
            error = None
            try:
                job()
            except BaseException as failure:  # which `run` raises
                error = failure
            self._one_ended(error)

    def _one_ended(self, error: BaseException | None) -> None:
        with self._guard:
            self._left -= 1
            if self._error is None:
                self._error = error
            if not self._left:
                self._ended.set()
