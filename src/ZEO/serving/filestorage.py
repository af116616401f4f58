"""What a server has to know of a FileStorage beyond its interface: what a crash leaves behind.

Enters: an open FileStorage, or a storage with some inside. Leaves: one that knows its last
transaction, gives out oids that no earlier process has given out, and serves nothing of a
transaction that failed; its last transactions. Fails: OSError where the file can't be read or cut.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.FileStorage import FileIterator
from ZODB.FileStorage.format import FileStorageFormatter
from ZODB.utils import p64, u64, z64

from ZEO.net.loop import Loop
from ZEO.net.system import System
from ZEO.serving.crash_safety import make_safe

#: Bytes in front of the first transaction.
_START = 4

#: No process gives out more oids than that in a second: each takes longer to make.
OIDS_PER_SECOND = 2**20

#: Where the clock is behind stored oids, oids begin up to so many behind these, by the clock: those
#: of 18 hours, so that processes that start after each other do not begin with the same one.
_BY_A_CLOCK_BEHIND = 2**16 * OIDS_PER_SECOND

#: Nanoseconds by which a new file is made older than it is; clocks of file systems go by two
#: seconds at most.
_OLDER = 4 * 10**9


def storages_within(storage: Any) -> Iterator[Any]:
    """Yield `storage` and the storages that it wraps, however deep."""
    seen: set[int] = set()
    found = [storage]
    while found:
        one = found.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            found += [
                value
                # a copy: another server's thread may be at work on it
                for value in list(getattr(one, '__dict__', {}).values())
                if hasattr(type(value), 'loadBefore')
            ]


def file_storages(storage: Any) -> list[FileStorage]:
    """Return the FileStorages that `storage` consists of."""
    return [one for one in storages_within(storage) if isinstance(one, FileStorage)]


class Files:
    """The FileStorages that `storage` consists of, kept free of what failed.

    :param name: of the storage, for the log.
    """

    def __init__(self, name: str, storage: Any, loop: Loop) -> None:
        self._name = name
        self._storage = storage
        self._loop = loop
        self._files = file_storages(storage)
        self._failed: Any = None  # a transaction of which something may be left in them

    def settle(self, read_only: bool) -> None:
        """Do what a process that was killed has left undone, before the storage is asked."""
        for files in self._files:
            take_last_whole_transaction(files)
            if not files.isReadOnly():
                make_safe(files, self._loop.system)
        if not read_only:
            for one in storages_within(self._storage):
                skip_oids(one, self._loop.system)

    def forget_failed(self, transaction: Any) -> None:
        """A transaction has failed in the storage: nothing of it is to be served, or to stay."""
        try:
            for files in self._files:
                forget_failed(files, transaction)
            self._failed = None
        except Exception as error:
            # the disk is most likely still full: it is done before the next transaction
            self._failed = transaction
            self._loop.reports.failed('the file could not be cut', self._name, error)

    def clean_up(self) -> None:
        """Before a transaction begins in the storage: see that nothing is left of one that failed.

        :raises Exception: when there still is, and can't be removed.
        """
        if self._failed is not None:
            for files in self._files:
                forget_failed(files, self._failed)
            self._failed = None


def take_last_whole_transaction(storage: FileStorage) -> None:
    """Have lastTransaction() say what the last whole transaction says.

    A FileStorage that finds a transaction without an end, which a process left that was killed,
    cuts it off and keeps its tid. A client that takes that for the last one has seen more than
    the server after its next start.
    """
    with storage._lock:
        storage._ltid = (
            z64 if storage._pos <= _START else _Reader(storage._file).last(storage._pos)[1]
        )


def skip_oids(storage: Any, system: System) -> None:
    """Have `storage` give out oids that no earlier process has given out, used or not.

    Clients keep unused oids over a restart, and objects that are not stored yet; a storage
    remembers those only that were stored. So oids begin with the time: what a process has given out
    is less than what the next one begins with. Stored oids may be beyond that: the clock was set
    back, or that of an earlier primary was ahead. Then it begins behind them, how far is by the
    clock as well: the process before may have begun behind the same one.

    In a file that was made just now they begin with one, as everywhere in ZODB.
    """
    if isinstance(storage, FileStorage) and _is_new(storage):
        return
    if hasattr(storage, 'set_max_oid') and isinstance(getattr(storage, '_oid', None), bytes):
        by_time = int(system.wall_clock() * OIDS_PER_SECOND)
        highest = u64(storage._oid)
        # A database whose oids are used up can still be read.
        storage.set_max_oid(
            p64(by_time if by_time > highest else min(_behind(highest, by_time), 2**64 - 1))
        )


def _behind(highest: int, by_time: int) -> int:
    return highest + OIDS_PER_SECOND + by_time % _BY_A_CLOCK_BEHIND


def _is_new(storage: FileStorage) -> bool:
    """Return, once, whether no process can have given out oids of `storage`: it holds no
    transaction, and its file was made when it was opened.

    In a new database oids begin with one, which programs and ZODB's own tests expect. That a file
    is empty is not enough: an earlier process may have given out oids, which its clients still
    hold, and have been killed before any of them was stored.
    """
    if storage._pos > _START or storage._oid != z64:
        return False
    try:
        return _was_made_now(storage)
    except OSError:  # a file system that keeps no times
        return False


def _was_made_now(storage: FileStorage) -> bool:
    """Return whether a file was made when it was opened; mark it, so that the answer is yes only
    once.

    Each opening makes a temporary file first, and then the file itself if there is none: only one
    that is new is not older. The mark is a time before that, since the next opening may be within
    the same tick of the file system's clock.
    """
    file, temporary = os.stat(storage._file_name), os.fstat(storage._tfile.fileno())
    if file.st_mtime_ns < temporary.st_mtime_ns:
        return False
    os.utime(storage._file_name, ns=(file.st_atime_ns, temporary.st_mtime_ns - _OLDER))
    return True


def forget_failed(storage: FileStorage, transaction: Any) -> None:
    """After `transaction` failed: leave nothing of it in the file, nor in the buffers that reads
    come from.

    On a full disk FileStorage does neither, since the first write after the failure fails again;
    nor is the transaction over when its abort fails so.
    """
    try:
        with storage._lock:
            if (
                storage._transaction in (None, transaction)
                and not storage._file.closed
                and not storage.isReadOnly()
            ):
                # makes space for what the buffer still holds
                storage._file.raw.truncate(storage._pos)
                storage._file.seek(storage._pos)
                storage._file.truncate()
                if storage._transaction is not None:
                    _end(storage)
    finally:
        if not storage._files.closed:
            storage._files.flush()


def _end(storage: FileStorage) -> None:
    """Do the rest of an abort."""
    storage._nextpos = 0
    storage._blob_tpc_abort()
    storage._clear_temp()
    storage._transaction = None


def last_transactions(
    storage: FileStorage, count: int, most: int
) -> list[tuple[bytes, list[bytes]]]:
    """Return ``(tid, oids)`` of at most `count` transactions, the newest first; as many as have
    `most` oids together.
    """
    with storage._lock:
        pos = storage._pos
    found: list[tuple[bytes, list[bytes]]] = []
    with open(storage._file_name, 'rb') as file:
        reader = _Reader(file)
        while pos > _START and len(found) < count:
            pos, tid = reader.last(pos)
            oids = list(islice(reader.oids(pos), most + 1))
            most -= len(oids)
            if most < 0:
                break
            found.append((tid, oids))
    return found


def iterator_from(
    storage: FileStorage, start: bytes, stop: bytes | None, most: int | None = None
) -> FileIterator | None:
    """Return an iterator over the transactions from `start` to `stop`, and to the last one that is
    finished.

    A FileStorage looks for the place from the end of its file, where it may find half a commit that
    is being written, and fail.

    :param most: how many of the last transactions are looked at; None: all.
    :returns: None where `start` is not among those.
    """
    with storage._lock:
        pos, last = storage._pos, storage._ltid
    with open(storage._file_name, 'rb') as file:
        reader = _Reader(file)
        looked = 0
        while pos > _START:
            begin, tid = reader.last(pos)
            if tid < start:
                break
            pos = begin
            looked += 1
            if looked == most:
                return None
    return FileIterator(storage._file_name, None, last if stop is None else min(stop, last), pos)


class _Reader(FileStorageFormatter):
    """Reads headers only."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def last(self, end: int) -> tuple[int, bytes]:
        """Return where the transaction begins that ends there, and its tid."""
        self._file.seek(end - 8)
        pos = end - 8 - u64(self._file.read(8))
        return pos, self._read_txn_header(pos).tid

    def oids(self, pos: int) -> Iterator[bytes]:
        """Yield the oids that a transaction has changed, each once."""
        header = self._read_txn_header(pos)
        end = pos + header.tlen
        pos += header.headerlen()
        seen = set()
        while pos < end:
            record = self._read_data_header(pos)
            pos += record.recordlen()
            if record.oid not in seen:
                seen.add(record.oid)
                yield record.oid
