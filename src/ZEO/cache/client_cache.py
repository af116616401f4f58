"""The client cache in a file, which answers most loads and survives the process.

Enters: revisions of objects, invalidations, the tid up to which the cache is valid. Leaves: the
revision asked for, or None. Fails: opening, with ClientStorageError, when another process has the
file or it cannot be opened; no other call raises. A record that cannot be read is a miss; a cache
that cannot be written logs that once and continues without storing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ZEO.cache import hot_records, trace
from ZEO.cache.cache_file import CacheFile, FileLock, followed
from ZEO.cache.format import NO_TID
from ZEO.cache.open_cache import OpenCache
from ZEO.cache.opening import open_cache
from ZEO.cache.reading import CacheReader
from ZEO.cache.ring import DamagedCache, NotStored
from ZEO.Exceptions import ClientStorageError
from ZEO.locks import under

log = logging.getLogger('ZEO.cache')


class ClientCache(CacheReader):
    """A cache of object revisions in a file; any thread may call any method.

    :param path: the file; None for a temporary one that leaves nothing behind. A file there that is
        not a cache of this format is renamed, never written to. A symbolic link is followed if this
        user or root has made it.
    :param size: bytes that the file may take.
    :param identity: which storage of which database this is; a file of another one starts empty.
    :param hot_size: bytes that the most used records may take in memory, at most half of `size`.
    :param opened: False: it is opened by :meth:`open`, by a caller who can close it by then.
    :raises ClientStorageError: when another process has the file, or it cannot be opened.
    """

    def __init__(
        self,
        path: str | None = None,
        size: int = 20_000_000,
        *,
        identity: str = '',
        hot_size: int = hot_records.MOST,
        opened: bool = True,
    ) -> None:
        super().__init__(path, size, min(hot_size, size // 2))
        self._identity = identity
        self._file_lock: FileLock | None = None  # keeps other processes off the file
        self._storing = False  # False: closed, or the file could not be written
        self._has_warned = False  # whether the log says already that storing fails
        self._last_tid: bytes | None = None
        self._use(OpenCache.of_empty(CacheFile()))  # until it is open
        if opened:
            self.open()

    def open(self) -> None:
        """Open the file, or make it.

        :raises ClientStorageError: when another process has the file, or it cannot be opened.
        """
        try:
            self._open()
        except BaseException:  # such as ClientStorageError, or KeyboardInterrupt
            self._unlock()
            raise

    def _open(self) -> None:
        try:
            linked = False
            if self.path is not None:
                named, self.path = self.path, followed(self.path)
                linked = named != self.path
                self._file_lock = FileLock(self.path)
                self._file_lock.take()
            self._use(open_cache(self.path, self.size, self._identity, linked))
            self._storing = True
        except OSError as error:
            self._warn('There is no client cache', error)
            self._use(OpenCache.of_empty(CacheFile()))
        self._trace = trace.wanted(self.path)

    def _use(self, cache: OpenCache) -> None:
        super()._use(cache)
        self._last_tid = cache.file.state.last_tid

    # Changing.

    def store(self, oid: bytes, tid: bytes, end_tid: bytes | None, data: bytes) -> None:
        """Keep a revision that is valid from `tid` until before `end_tid`; None: it is current.

        It is not kept as current when the cache has a newer revision, or knows when it ended.
        """
        # In place of `_change`, which would be two more calls for each load.
        with self._lock: self._change_locked(self._revisions.store, oid, tid, end_tid, data)  # noqa: E701  # fmt: skip
        if self._trace is not None:
            self._trace.record(trace.STORE, oid, tid, end_tid, len(data))

    def invalidate(self, oid: bytes, tid: bytes | None) -> None:
        """End the current revision of oid at `tid`, if it is older; None: forget all revisions."""
        if self._trace is not None:
            self._trace.record(trace.INVALIDATE, oid, tid)
        self._change(self._revisions.invalidate, oid, tid)

    def end_early(self, oid: bytes, end_tid: bytes, tid: bytes) -> None:
        """End the current revision of oid at `end_tid`, if it is older than `tid`; forget all
        revisions if it is not older than `end_tid`.
        """
        if self._trace is not None:
            self._trace.record(trace.INVALIDATE, oid, tid)
        self._change(self._revisions.end_early, oid, end_tid, tid)

    def getLastTid(self) -> bytes | None:
        """Return the tid up to which the cache has seen every invalidation, or None."""
        return self._last_tid

    def setLastTid(self, tid: bytes | None) -> None:
        """Record that every invalidation up to tid has been applied."""
        self._last_tid = tid
        self._change(self._revisions.set_last_tid, tid)

    def drop_noncurrent(self) -> None:
        """Forget the revisions that are not current: after a pack the storage may not have them."""
        self._change(self._revisions.drop_noncurrent)

    def clear(self) -> None:
        """Forget every revision and the last tid."""
        if self._trace is not None:
            self._trace.record(trace.CLEAR)
        self._last_tid = None
        self._change(self._revisions.clear)

    def _change(self, change: Callable[..., None], *args: Any) -> None:
        """Change the file and the index with the lock held; after an error serve nothing stale."""
        under(self._lock, self._change_locked, change, *args)

    def _change_locked(self, change: Callable[..., None], *args: Any) -> None:
        if not self._storing:
            return
        try:
            try:
                change(*args)
            except NotStored as error:
                self._warn('The client cache continues without storing', error)
            except DamagedCache as error:
                log.warning('Cache file %s is damaged: %s; it starts empty', self.path, error)
                self._start_anew()
            except OSError as error:
                self._warn('The client cache continues as a temporary one', error)
                self._leave_file(change, *args)
        except BaseException:
            # such as KeyboardInterrupt: after half a change the file might serve stale data
            log.warning('A change of cache file %s was interrupted; it starts empty', self.path)
            self._start_anew()
            raise

    # Failing, closing, forking.

    def _warn(self, consequence: str, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            name = self.path or 'its temporary file'
            log.warning('%s, %s cannot be written: %s', consequence, name, error)

    def _leave_file(self, change: Callable[..., None], *args: Any) -> None:
        """Keep the contents for this process only: the file may not agree with them from now on."""
        try:
            if self._revisions.leave_file():
                change(*args)
                return
        except NotStored:
            return
        except (OSError, DamagedCache):
            pass  # the file could not be removed, for one
        self._abandon()

    def _abandon(self) -> None:
        """Serve nothing more, and make the file unusable for later processes."""
        self._storing = False
        try:
            self._revisions.abandon()
        except OSError as error:
            log.error('Cache file %s is not valid any more, remove it: %s', self.path, error)

    def _start_anew(self) -> None:
        last_tid = self._last_tid
        self._storing = False  # in case this is interrupted
        try:
            self._use(self._revisions.emptied(self._identity))
            self._storing = True
        except OSError as error:
            self._warn('The client cache stops', error)
            self._abandon()
        self._last_tid = last_tid  # an empty cache is valid up to any tid

    def close(self) -> None:
        """Save the index, write everything to the disk and close the file; never raise OSError."""
        try:
            if self.path is not None:
                self._change(self._revisions.save, self._hits, self._misses)
        finally:
            try:
                under(self._lock, self._close)
            finally:
                self._unlock()
                if self._trace is not None:
                    self._trace.close()

    def _close(self) -> None:
        self._storing = False
        self._fd = -1  # a late reader gets EBADF, not another file
        self._revisions.close()

    @property
    def is_usable(self) -> bool:
        """Whether the cache stores anything; not if its file could not be made."""
        return self._storing

    def detach(self) -> None:
        """In a forked child: leave the parent's file alone, and use an empty temporary one."""
        self._lock = threading.Lock()  # a thread of the parent may have held the old one
        self._trace = None
        self._storing = False
        self._revisions.close()
        if self._file_lock is not None:
            self._file_lock.abandon()
            self._file_lock = None
        self.path = None
        try:
            self._open()
        except ClientStorageError as error:
            self._warn('The forked process has no client cache', error)
            self._use(OpenCache.of_empty(CacheFile()))

    def _unlock(self) -> None:
        if self._file_lock is not None:
            self._file_lock.close()
            self._file_lock = None

    # Contents.

    def __len__(self) -> int:
        """Return the number of revisions held."""
        return len(self._index)

    def contents(self) -> Iterator[tuple[bytes, bytes, bytes | None]]:
        """Yield (oid, tid, end tid or None) of every revision held when called."""
        for place in under(self._lock, self._revisions.places):
            header = self._revisions.header(place)
            if header is not None:
                yield header.oid, header.tid, None if header.end == NO_TID else header.end
