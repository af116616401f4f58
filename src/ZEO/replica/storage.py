"""A FileStorage that follows a server: the public face of a replica.

Enters: what ZODB asks of a storage; transactions of the primary, from the thread that copies them.
Leaves: records, as a FileStorage gives them; invalidations of its database, before a transaction
can be seen. Fails: ReadOnlyError for what writes, as long as it follows; otherwise as FileStorage.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ZODB.blob import remove_committed, rename_or_copy_blob
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ReadOnlyError, StorageError
from ZODB.TimeStamp import TimeStamp

from ZEO.net.system import REAL, System
from ZEO.replica import state_file
from ZEO.replica.following import Following
from ZEO.replica.group import Group
from ZEO.replica.opening import mend_file, state_of
from ZEO.replica.options import client_options
from ZEO.serving.blob_syncs import sync_files
from ZEO.serving.crash_safety import make_safe, sync, sync_directory
from ZEO.serving.filestorage import skip_oids, take_last_whole_transaction

log = logging.getLogger('ZEO.replica')

#: Seconds between two looks at whether a thread that waits for a lock is to end.
_LOOK = 0.5


class Replica(FileStorage):
    """A FileStorage that has, and goes on to get, every transaction of a storage on a server.

    It is complete and consistent up to its last transaction, and is read as any FileStorage. What
    writes is refused with ReadOnlyError until :meth:`promote` makes it an ordinary, writable
    storage, for good. A thread copies; it connects again by itself, and begins where it ended.

    :param addr: where the primary listens: as for :class:`~ZEO.ClientStorage.ClientStorage`;
        several addresses may be given, those of all servers for example, this one included: the
        primary among them is followed; without one, a follower that has it at hand.
    :param path: the file, which is made if it is missing. A copy of the primary's file is a good
        beginning.
    :param storage: the name of the storage on the server.
    :param blob_dir: the directory of blob files; needed where the primary has blobs.
    :param discard_lost: whether transactions may be discarded that this file has and the primary
        lacks. They are saved in a file of their own in any case; without this argument such a
        primary is refused.
    :param label: what the primary calls this follower; by default the name of the machine and the
        path.
    :param quota: as for FileStorage, as are `pack_gc`, `pack_keep_old` and `packer`; what is copied
        does not count.
    :param options: `username`, `password`, `ssl`, `ssl_server_hostname`, `wait_timeout`, `timeout`,
        `min_disconnect_poll`, `max_disconnect_poll`: as for ClientStorage.
    :raises ConfigurationError: when an argument is wrong.
    :raises LockError: when a process has the file open.
    """

    def __init__(
        self,
        addr: Any,
        path: str,
        storage: str = '1',
        blob_dir: str | None = None,
        discard_lost: bool = False,
        label: str | None = None,
        quota: int | None = None,
        pack_gc: bool = True,
        pack_keep_old: bool = True,
        packer: Any = None,
        system: System = REAL,
        **options: Any,
    ) -> None:
        for_client = client_options(addr, storage, options)
        mend_file(path)
        self._system = system
        self._remembered = state_of(path, addr, storage)
        self._asked_to_pack = False
        self._database: Any = None
        self._promoting = system.lock()
        #: Calls a function that has the storage take note of transactions that are on the disk, and
        #: returns when it has returned. A server has it called in the thread of its loop.
        self.run_finish: Callable[[Callable[[], None]], None] = lambda finish: finish()
        super().__init__(
            path,
            quota=quota,
            pack_gc=pack_gc,
            pack_keep_old=pack_keep_old,
            packer=packer,
            blob_dir=blob_dir,
        )
        try:
            self._open(addr, for_client, label, discard_lost)
        except BaseException:
            super().close()
            raise

    def _open(
        self, addr: Any, for_client: dict[str, Any], label: str | None, discard_lost: bool
    ) -> None:
        #: Texts of transactions that the primary lacks.
        self.lost_transactions: list[str] = []
        self._groups_blobs: list[str] = []
        take_last_whole_transaction(self)
        make_safe(self, self._system)
        if self.blob_dir:
            incoming = os.path.join(self.fshelper.temp_dir, 'from-primary')
            shutil.rmtree(incoming, ignore_errors=True)
            for_client['blob_dir'] = incoming
        label = label or f'{os.uname().nodename}:{self._file_name}'
        self._following = Following(self, addr, for_client, label, discard_lost, self._system)
        if self.is_promoted:
            log.warning(
                '%s: was promoted at transaction %s, so it does not follow', *self._names_and_tid()
            )
        else:
            state_file.write(self._file_name, self._remembered)
            self._following.start()

    def _names_and_tid(self) -> tuple[str, str | None]:
        return self.getName(), self._remembered.tid

    # What differs from a FileStorage.

    @property
    def is_promoted(self) -> bool:
        """Whether it is a storage of its own by now."""
        return self._remembered.state == state_file.PROMOTED

    def isReadOnly(self) -> bool:
        """Return whether it follows."""
        return not self.is_promoted

    def tpc_begin(self, transaction: Any, tid: bytes | None = None, status: str = ' ') -> None:
        """Begin a transaction.

        :raises ReadOnlyError: as long as this follows.
        """
        self._check_promoted()
        super().tpc_begin(transaction, tid, status)

    def new_oid(self) -> bytes:
        """Return an oid that no object has.

        :raises ReadOnlyError: as long as this follows.
        """
        self._check_promoted()
        return super().new_oid()

    def _check_promoted(self) -> None:
        if not self.is_promoted:
            raise ReadOnlyError(
                f'{self.getName()} is a replica, which cannot be written to: write to its primary, '
                f'{", ".join(self._remembered.primary)}, or promote it'
            )

    def registerDB(self, db: Any) -> None:
        """Report what is copied to a database.

        :param db: a ``ZODB.DB`` or its adapter.
        """
        super().registerDB(db)
        self._database = db

    def iterator(self, start: bytes | None = None, stop: bytes | None = None) -> Any:
        """Return an iterator over the transactions that can be seen by now.

        :param start: the tid of the first one; None: from the beginning.
        :param stop: the tid of the last one; None: to the end.
        """
        last = self.lastTransaction()
        return super().iterator(start, last if stop is None else min(stop, last))

    def pack(self, t: float, referencesf: Any, gc: bool | None = None) -> None:
        """Remove old revisions.

        As long as this follows, objects that nothing refers to stay: an undo at the primary may
        bring such an object back, and does not send it again.

        :param t: the time up to which revisions may go, in seconds since the epoch.
        :param gc: whether to remove those objects, too, once this is promoted.
        """
        with self._commit_lock:  # a group that is being written may point to what goes
            self._asked_to_pack = True
        try:
            super().pack(t, referencesf, gc if self.is_promoted else False)
        finally:
            self._asked_to_pack = False

    @property
    def is_packing(self) -> bool:
        """Whether it is, or is about to be, packed."""
        return self._asked_to_pack

    def close(self) -> None:
        """End following and close the file."""
        self._following.stop(closing=True)
        super().close()

    # Following.

    def replica_status(self) -> dict[str, Any]:
        """Return what is known about this replica; None stands for what is not known."""
        remembered = self._remembered
        status = {
            'primary': list(remembered.primary),
            'primary-storage': remembered.storage,
            'whole': remembered.whole,
            **self._following.status(),
            'lost-transactions': list(self.lost_transactions),
        }
        if self.is_promoted:
            status.update(state='promoted', promoted=remembered.tid, error=None, since=None)
        return status

    def wait_until_following(self, timeout: float) -> bool:
        """Return whether all is copied that the primary had, once that is so or time is over.

        :param timeout: seconds.
        """
        until = self._system.now() + timeout
        while self._following.progress.state != 'following':
            if self._system.now() >= until:
                return False
            self._system.sleep(0.01)
        return True

    def promote(self) -> bytes:
        """End following, and take writes from now on, also after a restart; harmless when that was
        done before.

        :returns: the last transaction.
        :raises OSError: when that cannot be written to the disk; then it goes on to follow.
        :raises StorageError: when a transaction is being written for too long.
        """
        with self._promoting:
            if not self.is_promoted:
                self._promote()
            return self.lastTransaction()

    def _promote(self) -> None:
        self._following.stop()
        tid = self.lastTransaction().hex()
        promoted = replace(self._remembered, state=state_file.PROMOTED, tid=tid)
        try:
            state_file.write(self._file_name, promoted)
        except BaseException:
            self._following.start()
            raise
        skip_oids(self, self._system)
        self._remembered = promoted
        log.warning('%s: is promoted at transaction %s', *self._names_and_tid())

    # What is copied, in the thread that copies.

    def note_whole(self) -> None:
        """Remember that this has had all that the primary had: before, it is not a database to work
        with.

        :raises OSError: when that cannot be written to the disk.
        """
        if not self._remembered.whole:
            remembered = replace(self._remembered, whole=True)
            state_file.write(self._file_name, remembered)
            self._remembered = remembered

    def begin_group(self, following: Following) -> Group:
        """Return a group to write transactions to, with the commit lock held.

        :raises StorageError: when this is being closed.
        """
        while not self._commit_lock.acquire(timeout=_LOOK):
            if following.stopping:
                raise StorageError(f'{self.getName()} is being closed')
        try:
            return Group(self)
        except BaseException:
            self._commit_lock.release()
            raise

    def take_blob(self, oid: bytes, tid: bytes, path: str) -> int:
        """Have a file be a committed blob's, on the disk; return its size."""
        self.fshelper.getPathForOID(oid, create=True)
        target = self.fshelper.getBlobFilename(oid, tid)
        sync(path)
        self._groups_blobs.append(target)
        rename_or_copy_blob(path, target)
        sync_directory(target)
        return os.path.getsize(target)

    def apply_group(self, group: Group) -> None:
        """Show transactions that are on the disk: first the database is informed."""
        with self._files.write_lock(), self._lock:
            for tid, oids in group.changes:
                self._inform(tid, oids)
            self._file.seek(0, os.SEEK_END)  # forgets what was read ahead
            time = TimeStamp(group.last)
            highest = max((max(oids) for _, oids in group.changes if oids), default=b'')
            if highest > self._oid:
                self.set_max_oid(highest)
            self._index.update(group.index)
            # nothing fails from here on: what was reported is shown wholly, or not at all
            self._ts = time
            self._pos = group.end
            self._ltid = group.last

    def _inform(self, tid: bytes, oids: list[bytes]) -> None:
        if self._database is None:
            return
        try:
            self._database.invalidate(tid, oids)
        except Exception:  # the transaction is permanent, and must be shown whole
            log.exception('%s: the database failed to take an invalidation', self.getName())
            self._database.invalidateCache()  # it has to read all objects again

    def _finish(self, tid: bytes, *texts: bytes) -> None:
        """Make a transaction permanent that is committed here, since this replica was promoted: its
        blobs before it, as those that are copied.
        """
        blobs = (self.fshelper.getBlobFilename(*blob) for blob in self.dirty_oids)
        try:
            sync_files(blobs, self._system)
        except BaseException:
            self._blob_tpc_abort()
            self._nextpos = 0
            self._files.empty()  # not flush, which waits for the lock that is held
            self._file.truncate(self._pos)
            raise
        super()._finish(tid, *texts)

    def end_group(self) -> None:
        """Give the commit lock back: the group has been applied."""
        self._groups_blobs.clear()
        self._commit_lock.release()

    def undo_group(self, group: Group) -> None:
        """Remove what was written of a group, and give the commit lock back."""
        try:
            group.undo()
            with self._lock:
                self._file.seek(0, os.SEEK_END)
            self._files.flush()
        except (OSError, ValueError) as error:  # the next group begins with that
            log.warning('%s: could not be cut: %s', self.getName(), error)
        finally:
            for path in self._groups_blobs:
                if os.path.exists(path):
                    remove_committed(path)
            self._groups_blobs.clear()
            self._commit_lock.release()
