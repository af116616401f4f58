"""A FileStorage that can make several transactions permanent with one sync of its file.

Enters: calls of a storage; transactions that are to be written, and synced later. Leaves: the bytes
that FileStorage writes for the same transactions. Fails: as FileStorage does; after a sync that has
failed, every later transaction with StorageError.

A transaction that is only written is in the file and in the index, so that the next one conflicts
with it, or undoes it. The server hides it from clients until a sync has made it permanent. The file
is synced to its end, so what a crash takes is always the end: of the transactions since the last
sync, some first ones may be left (:mod:`ZEO.serving.torn_commit` cuts off what is not whole).

After a sync that has failed it is not known what the disk holds of the transactions since the one
before, and the system takes their pages for written: another sync would succeed, with nothing
behind it. So they are cut off, in the file as well as in memory, and no other transaction begins
before the file was opened again. Everything before them can still be read.

A transaction of very many objects does not hold up a server: it is written in steps before its
vote, synced by a thread before it finishes, and its places lie over the index
(:mod:`ZEO.serving.merging_index`) until they were merged in steps as well.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ZODB import utils
from ZODB.blob import remove_committed
from ZODB.FileStorage.FileStorage import FileStorageError
from ZODB.POSException import StorageError

from ZEO.Exceptions import ClientDisconnected
from ZEO.net.loop import NO_MEMORY
from ZEO.net.system import REAL, System
from ZEO.serving.blob_syncs import sync_files
from ZEO.serving.crash_safety import replace_index, sync_directory
from ZEO.serving.merging import MergingFileStorage

log = logging.getLogger('ZEO.StorageServer')

#: Blobs of a transaction, and bytes of each, that take hardly longer to sync than records.
FEW_BLOBS, SMALL_BLOB = 2, 100_000


#: How often something is tried that has to be done where there is no memory for it.
MOST_TIMES = 20


@dataclass(slots=True)
class _Written:
    """A transaction that is not synced, and what was there before it."""

    tid: bytes
    begin: int  # where in the file
    last: bytes  # the transaction before it
    places: list[tuple[bytes, int | None]]  # of records of the same objects
    blobs: list[tuple[bytes, bytes]]  # oid and tid of the blobs that it has stored


class GroupedFileStorage(MergingFileStorage):
    """A FileStorage for many that commit at the same time; its arguments are those of FileStorage.

    Each call does what it does in FileStorage. A server that asks for it
    (:meth:`postpone_sync`, :meth:`sync`) has one sync for several transactions. Files of blobs are
    synced before the transactions that have stored them.
    """

    #: What start.py calls it.
    shown_as = 'FileStorage'

    #: The error of the sync after which nothing is committed any more.
    failure: BaseException | None = None

    #: Starts threads in which files of blobs are synced; None: the thread that calls does it.
    system: System | None = None

    #: Whether nothing of what was not synced is left on the disk, if a sync has failed.
    is_cut = False

    _ltid: bytes
    _syncing: Any = None  # held by a thread that syncs, until it has noted what became of it
    _unsynced: Any = None  # the transaction that is to be written only
    _index_waits = False  # whether a saved index has what is not synced
    _is_being_packed = False  # whether a pack runs
    _failed_before: BaseException | None = None  # the failure when that began
    _holds_syncs = False  # whether it has the lock of those that sync

    def _initIndex(self, index: Any, tindex: Any) -> None:
        # A pack has its file in place: with the index of the former one, it would be read wrongly.
        self._insist(partial(self._begin_with, index, tindex))

    def _insist(self, do: Callable[[], None]) -> None:
        """Do what has to be done once a file is written, again where there is no memory for it."""
        left = MOST_TIMES
        while True:
            try:
                do()
                return
            except MemoryError:
                left -= 1
                if not left:
                    raise
            (self.system or REAL).sleep(NO_MEMORY)

    def _begin_with(self, index: Any, tindex: Any) -> None:
        super()._initIndex(index, tindex)
        if self._syncing is None:
            self._syncing = utils.Lock()
        self._let_sync()  # the packed file is in place
        #: What is not synced; none of the file that a pack has just put into the place of the old.
        self._written: deque[_Written] = deque()

    # Committing.

    def tpc_begin(self, transaction: Any, tid: bytes | None = None, status: str = ' ') -> None:
        self._check()
        super().tpc_begin(transaction, tid, status)

    def tpc_vote(self, transaction: Any) -> Any:
        with self._lock:
            self._check()
            return super().tpc_vote(transaction)

    def postpone_sync(self, transaction: Any) -> None:
        """Have tpc_finish only write this transaction, which was voted for. It is permanent when a
        :meth:`sync` returns that began afterwards.
        """
        self._unsynced = transaction

    @property
    def voted_size(self) -> int:
        """Bytes of the transaction that was voted for."""
        return self._nextpos - self._pos

    def _finish(self, tid: bytes, u: bytes, d: bytes, e: bytes) -> None:
        is_synced = self._unsynced is not self._transaction
        self._unsynced = None
        try:
            self._check()
            entry = None if is_synced else self._entry(tid)  # before anything is written
            self._file.seek(self._pos + 16)
            self._file.write(self._tstatus.encode('ascii'))
            self._file.flush()
            if is_synced:
                if self._written or self.dirty_oids:
                    self._sync_blobs([*self._unsynced_blobs(), *self.dirty_oids])
                os.fsync(self._file.fileno())
        except MemoryError:  # it says nothing of the disk
            self._take_out()
            raise
        except BaseException as error:
            if self.failure is not None:  # before this one
                raise
            self._fail(error)
            if isinstance(error, OSError):
                raise self.outcome() from error
            raise
        self._note(tid, entry)

    def _entry(self, tid: bytes) -> _Written:
        places = [(oid, self._index.get(oid)) for oid in self._tindex]
        return _Written(tid, self._pos, self._ltid, places, self.dirty_oids)

    def _take_out(self) -> None:
        """The transaction that was voted for is not committed, for want of memory."""
        try:
            self._blob_tpc_abort()
            self._nextpos = 0
            self._files.empty()
            self._file.seek(self._pos)
            self._file.truncate()
        except BaseException as error:
            self._fail(error)
            raise

    def _note(self, tid: bytes, entry: _Written | None) -> None:
        """A transaction is written. Where there is no memory, all of this is done again."""
        try:
            self._insist(partial(self._note_once, tid, entry))
        except MemoryError as error:
            self._fail(error)
            raise

    def _note_once(self, tid: bytes, entry: _Written | None) -> None:
        if entry is None:
            self._written.clear()
        elif not self._written or self._written[-1] is not entry:
            self._written.append(entry)
        self._pos = self._nextpos
        if self._new_objects is not None and entry is None:
            self._put_over(self._new_objects)
        else:
            self._index.update(self._tindex)
        self._ltid = tid
        self._note_tids()
        self._blob_tpc_finish()

    # Syncing.

    def sync(self) -> bytes:
        """Have everything that is written on the disk, from any thread; return the last tid there.

        The system says once that the disk has failed. So no other thread syncs before what this
        one was told is noted: it would be told that all is well.

        :raises StorageError: when the disk fails: nothing of what was not synced is committed.
        :raises ClientDisconnected: when it fails, and this is not known.
        """
        with self._syncing:
            return self._sync_written()

    def _sync_written(self) -> bytes:
        with self._lock:
            if self.failure is not None:
                raise self.outcome()
            written, last = self._written, self._ltid
            blobs = self._unsynced_blobs()
        try:
            self._sync_blobs(blobs)
            self._sync_file()
        except BaseException as error:  # which is raised again as what it means
            with self._files.write_lock(), self._lock:
                if self._written is written:
                    if self.failure is None:
                        self._fail(error)
                    raise self.outcome() from error
            # a pack has put a file in place that has them all, and was synced before
            sync_directory(self._file_name)
        with self._lock:
            if self.failure is not None and self._written is written and self._ltid < last:
                raise self.outcome()  # a commit has failed meanwhile, and these were taken back
            while written and written[0].tid <= last:
                written.popleft()
        return last

    def sync_ahead(self) -> None:
        """Have on the disk what was written of the transaction that was voted for; in any thread.

        :raises StorageError: as :meth:`sync`, when the disk fails.
        :raises ClientDisconnected: as well.
        """
        with self._syncing:
            self._check()
            try:
                self._sync_blobs(list(self.dirty_oids))
                self._sync_file()
            except BaseException as error:  # which is raised again as what it means
                with self._files.write_lock(), self._lock:
                    if self.failure is None:
                        self._fail(error)
                    raise self.outcome() from error

    def _unsynced_blobs(self) -> list[tuple[bytes, bytes]]:
        return [blob for one in self._written for blob in one.blobs]

    def _sync_file(self) -> None:
        """Sync a copy of the descriptor, without a lock: a pack may close the file meanwhile."""
        with self._lock:
            try:
                fd = os.dup(self._file.fileno())
            except OSError:  # there are no more descriptors: others wait
                os.fsync(self._file.fileno())
                return
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _sync_blobs(self, blobs: list[tuple[bytes, bytes]]) -> None:
        if blobs:
            sync_files((self.fshelper.getBlobFilename(*blob) for blob in blobs), self.system)

    def has_large_blobs(self) -> bool:
        """Return whether the transaction that was voted for has blobs that take long to sync."""
        if not self.dirty_oids:
            return False
        if len(self.dirty_oids) > FEW_BLOBS:
            return True
        try:
            paths = (self.fshelper.getBlobFilename(*blob) for blob in self.dirty_oids)
            return any(os.path.getsize(path) > SMALL_BLOB for path in paths)
        except OSError:  # it is not known
            return True

    def outcome(self) -> BaseException:
        """Return the error for a transaction that was not synced, after a sync has failed."""
        if self.is_cut:
            return StorageError(
                f'the disk of the storage has failed ({self.failure}): nothing of this transaction '
                'was committed, and the storage takes no others until its server has started again'
            )
        return ClientDisconnected(
            f'the disk of the storage has failed ({self.failure}), and it is not known whether '
            'this transaction will be there after the next start of the server: look for what it '
            'has changed before you try again'
        )

    def _check(self) -> None:
        if self.failure is not None:
            raise StorageError(
                f'the storage takes no transactions: a sync of {self._file_name} has failed '
                f'({self.failure}); look after the disk, then start the server again'
            )

    def _fail(self, error: BaseException) -> None:
        """What was not synced was never there; with all locks held."""
        self.failure = error
        self._blob_tpc_abort()
        lost = len(self._written)
        while self._written:
            self._take_back(self._written.pop())
        self._nextpos = 0
        self._files.empty()
        try:
            self._file.raw.truncate(self._pos)  # first, to have space for what the buffer holds
            self._file.seek(self._pos)
            self._file.truncate()
            os.fsync(self._file.fileno())
            self.is_cut = True
        except (OSError, ValueError):  # the disk is gone, or the file is closed
            pass
        log.critical(
            '%s could not be synced (%s): %d earlier transactions that were not acknowledged yet '
            'are given up, %s; nothing is committed until the server has started again',
            self._file_name,
            error,
            lost,
            'and were cut off'
            if self.is_cut
            else f'but could not be cut off: what is behind byte {self._pos} may be damaged',
        )

    def _take_back(self, one: _Written) -> None:
        self._pos, self._ltid = one.begin, one.last
        for oid, place in one.places:
            if place is None:
                del self._index[oid]
            else:
                self._index[oid] = place
        for oid, tid in one.blobs:
            path = self.fshelper.getBlobFilename(oid, tid)
            if os.path.exists(path):
                remove_committed(path)

    # Indexes, and the end.

    def index_may_replace(self) -> bool:
        """Return whether an index that was just saved may replace the former one: what it names is
        on the disk.
        """
        self._index_waits = bool(self._written)
        return not self._written

    def pack(self, t: float, referencesf: Any, gc: bool | None = None) -> None:
        with self._lock:
            if self._is_being_packed:
                raise FileStorageError('Already packing')
            self._is_being_packed, self._failed_before = True, self.failure
        try:
            super().pack(t, referencesf, gc)
        finally:
            self._let_sync()
            self._is_being_packed = False
        if self._index_waits:
            self._index_waits = False
            with self._commit_lock:  # else a commit that syncs might not learn that the disk fails
                self.sync()
            replace_index(self)

    def hold_syncs(self) -> None:
        """A pack has its file: let no sync fail before that is in the place of the former one.

        :raises StorageError: when one has failed meanwhile. What that has taken back, and clients
            were told not to be committed, may be in the packed file.
        """
        self._syncing.acquire()
        self._holds_syncs = True
        if self.failure is not self._failed_before:
            self._check()

    def _let_sync(self) -> None:
        if self._holds_syncs:
            self._holds_syncs = False
            self._syncing.release()

    def close(self) -> None:
        """Close, after a last sync of what is written."""
        if self._written and self.failure is None:
            try:
                self.sync()
            except (StorageError, ClientDisconnected, ValueError):  # which the log has
                pass
        super().close()
