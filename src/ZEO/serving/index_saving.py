"""The index of a FileStorage, saved now and then while it is served.

Enters: open FileStorages, looked at once a minute. Leaves: an index file from which the next start
reads on, even if this process is killed. Fails: never; an index that cannot be saved leaves the
former one, and a line in the log.

FileStorage saves its index when it is closed or packed. After a kill, or a power failure, the next
start reads all that was written since, which is ten seconds for a million records.

While it is saved, commits go on. What is saved is the index as it was at the beginning: of each
record that was replaced since, the new one names the place of the old.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pickle import Pickler
from typing import Any, BinaryIO, Protocol

from BTrees.fsBTree import fsBucket
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.format import FileStorageFormatter
from ZODB.utils import p64

from ZEO.files import remove_if_there
from ZEO.net.loop import Loop
from ZEO.serving.crash_safety import SAVING
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.serving.later import Later
from ZEO.serving.lost_files import LostFiles
from ZEO.serving.merging_index import MergingIndex
from ZEO.wire.quoting import explained

log = logging.getLogger('ZEO.StorageServer')

#: Seconds between two looks at how much was written.
LOOK_EVERY = 60.0

#: Bytes written since the last time from which on an index is saved: a start reads them in seconds.
LEAST = 32 * 2**20

#: The same as a part of the file, so that a large index is saved more rarely: what it takes then is
#: a part of what the commits have taken.
PART = 20

#: Bytes after which the disk is given what is saved, so that no commit waits for all of it.
_SYNC_AT = 16 * 2**20

_PROTOCOL = 3  # that of FileStorage


class Backend(Protocol):
    """What is needed of :class:`~ZEO.serving.backends.base.Backend`."""

    is_packing: bool

    def compute(self, work: Callable[[], Any]) -> Later:
        """Do what takes long in another thread."""


class IndexSaver:
    """Looks after the indexes of one storage.

    :param files: the FileStorages that it consists of.
    """

    def __init__(self, files: Iterable[FileStorage], loop: Loop, backend: Backend) -> None:
        self._loop = loop
        self._backend = backend
        #: How long each file was when its index was saved.
        self._files = {files: _saved_up_to(files) for files in files if not files.isReadOnly()}
        self._is_saving = False
        self._lost = LostFiles()
        self._timer = loop.later(LOOK_EVERY, self._look) if self._files else None

    def close(self) -> None:
        """Save nothing more; closing a storage does it."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._loop.later(LOOK_EVERY, self._look)
        if self._is_saving or self._backend.is_packing:
            return
        for files in self._files:
            self._lost.look(files)
        for files, saved in self._files.items():
            end = files._pos
            if end < saved:  # it was packed, which saves the index
                self._files[files] = end
            elif end - saved >= max(LEAST, end // PART):
                self._begin(files, end)
                return

    def _begin(self, files: FileStorage, end: int) -> None:
        try:
            saving = self._backend.compute(partial(save, files))
        except Exception as error:  # no thread: it is tried again in a minute
            self._failed(files, error)
            return
        self._is_saving = True
        saving.then(partial(self._saved, files, end), partial(self._failed, files))

    def _saved(self, files: FileStorage, end: int, was_saved: bool) -> None:
        self._is_saving = False
        if was_saved:
            self._files[files] = end
            log.debug('%s: the index is saved up to byte %d', files._file_name, end)

    def _failed(self, files: FileStorage, error: BaseException) -> None:
        self._is_saving = False
        log.warning('%s: the index could not be saved: %s', files._file_name, explained(error))


def _saved_up_to(storage: FileStorage) -> int:
    """Return up to which byte the index file of a storage goes that was opened just now; 0 where
    something was written after it.
    """
    path = storage._file_name
    try:
        is_later = os.stat(path + '.index').st_mtime_ns >= os.stat(path).st_mtime_ns
    except OSError:
        return 0
    return storage._pos if is_later else 0


def save(storage: FileStorage) -> bool:
    """Save the index; from any thread, while others commit.

    :returns: False where there is nothing to save, the index is not whole at this moment,
        another one was saved meanwhile, or the disk has failed.
    :raises OSError: when the disk fails.
    """
    with storage._lock:
        index, end, saved = storage._index, storage._pos, storage._saved
        if isinstance(index, MergingIndex) or not index._data:
            return False
        data = open(storage._file_name, 'rb')
    temporary = storage._file_name + SAVING
    try:
        with data, open(temporary, 'wb') as file:
            _write(file, end, _Snapshot(storage, index, end, data))
            if isinstance(storage, GroupedFileStorage):
                # All that the index names has to be on the disk. That this has failed is told each
                # descriptor once: not that of the storage, whose transactions it may concern.
                os.fsync(data.fileno())
        with storage._lock:
            if _base(storage) is not index or storage._saved != saved or storage._file.closed:
                return False
            if getattr(storage, 'failure', None) is not None:  # only a grouped one says so
                return False  # it may name transactions that were cut off
            os.replace(temporary, storage._file_name + '.index')
            storage._saved += 1
        return True
    finally:
        remove_if_there(temporary)


def _base(storage: FileStorage) -> Any:
    """Return the index, or the one below what is merged into it."""
    index = storage._index
    return index.base if isinstance(index, MergingIndex) else index


class _Snapshot(FileStorageFormatter):
    """An index as it was at some end of its file, read while it changes.

    :param data: the file, open for this only.
    """

    def __init__(self, storage: FileStorage, index: Any, end: int, data: BinaryIO) -> None:
        self._storage = storage
        self._index = index
        self._file = data
        self._read_up_to = end
        # of the records that were written since, where the ones before them are, by both parts of
        # the oid
        self._before: dict[bytes, dict[bytes, int]] = {}

    def buckets(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the first bytes of oids, and the places of their records as FileStorage saves
        them.
        """
        for prefix in list(self._index._data):
            with self._storage._lock:
                bucket = self._index._data.get(prefix)
                places = b'' if bucket is None else bucket.toString()
                # what is not merged yet has the former place, to which the new one is set back
                end = self._storage._pos if _base(self._storage) is self._index else 0
            self._read_on(end)
            before = self._before.get(prefix)
            if before is not None:
                places = _with(places, before)
            if places:
                yield prefix, places

    def _read_on(self, end: int) -> None:
        while self._read_up_to < end:
            begin = self._read_up_to
            header = self._read_txn_header(begin)
            place, stop = begin + header.headerlen(), begin + header.tlen
            while place < stop:
                record = self._read_data_header(place)
                oids = self._before.setdefault(record.oid[:6], {})
                oids.setdefault(record.oid[6:], record.prev)
                place += record.recordlen()
            self._read_up_to = stop + 8


def _write(file: Any, end: int, snapshot: _Snapshot) -> None:
    """Write what :meth:`ZODB.fsIndex.fsIndex.save` writes."""
    pickler = Pickler(file, _PROTOCOL)
    pickler.fast = True
    pickler.dump(end)
    synced = 0
    for bucket in snapshot.buckets():
        pickler.dump(bucket)
        if file.tell() - synced > _SYNC_AT:
            file.flush()
            os.fsync(file.fileno())
            synced = file.tell()
    pickler.dump(None)
    file.flush()
    os.fsync(file.fileno())


def _with(places: bytes, others: dict[bytes, int]) -> bytes:
    """Return the contents of a bucket with these places in it; 0: there is no record."""
    bucket = fsBucket().fromString(places)
    for oid, place in others.items():
        if place:
            bucket[oid] = p64(place)[2:]
        else:
            bucket.pop(oid, None)
    return bucket.toString()
