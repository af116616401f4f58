"""The client cache in a file: what most loads are answered from, and what is still there next time.

In: revisions of objects, invalidations, the tid the cache is good up to. Out: the revision asked
for, or None. Fails: opening, with ClientStorageError, when another process has the file or it
cannot be opened; nothing else raises. What cannot be read is a miss; a cache that cannot be written
says so in the log once and goes on without storing.

A hit is a look-up in memory and, unless the record is one of the hottest, one read of the file, one
check and one copy. It waits for no lock: a reader that the file was changed under finds a record
that does not check, and tries again with the lock.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

from ZEO import files
from ZEO.cache import format, hot_records, trace
from ZEO.cache.cache_file import CacheFile, FileLock, cannot_open, pread, take_lock
from ZEO.cache.index import MASK, PLACE_SHIFT, SHIFT, USES
from ZEO.cache.open_cache import OpenCache
from ZEO.cache.opening import open_cache
from ZEO.cache.revisions import Revisions
from ZEO.cache.ring import DamagedCache, NotStored
from ZEO.Exceptions import ClientStorageError
from ZEO.locks import under

log = logging.getLogger('ZEO.cache')

_BODY, _HEADER, _UNIT, _NO_TID = format.BODY, format.RECORD_HEADER, format.UNIT, format.NO_TID
_unpack_hit = format.unpack_hit


def _followed(path: str) -> str:
    """Return where path leads to. Raises ClientStorageError for a link that another user has
    made.
    """
    try:
        return files.followed(path)
    except OSError as error:
        raise cannot_open(path, error) from error


class ClientCache:
    """A cache of object revisions in a file; any thread may call any method."""

    def __init__(
        self,
        path: str | None = None,
        size: int = 20_000_000,
        *,
        identity: str = '',
        hot_size: int = hot_records.MOST,
    ) -> None:
        """Open the cache file at path, or make it.

        path: None: a temporary file that leaves nothing behind; a file there that is not a cache of
        this format is renamed, never written to, and a symbolic link is followed if this user or
        root has made it; size: bytes the file may take; identity: which storage of which database
        this is; a file of another one starts empty; hot_size: bytes that the hottest records may
        take in memory, at most half of `size`. Raises ClientStorageError when another process has
        the file, or it cannot be opened.
        """
        self.path = path
        self.size = size
        self._identity = identity
        self._hot = hot_records.HotRecords(min(hot_size, size // 2))
        self._lock = threading.Lock()  # held by everything that changes file, index or hot records
        self._file_lock: FileLock | None = None  # keeps other processes off the file
        self._trace: trace.Trace | None = None  # where events go, if anywhere
        self._storing = False  # False: closed, or the file could not be written
        self._complained = False  # about not being able to store
        self._last_tid: bytes | None = None
        self._hits = self._misses = 0  # since the file was made
        self._open()

    def _open(self) -> None:
        try:
            linked = False
            if self.path is not None:
                named, self.path = self.path, _followed(self.path)
                linked = named != self.path
                self._file_lock = take_lock(self.path)
            self._use(open_cache(self.path, self.size, self._identity, linked))
            self._storing = True
        except ClientStorageError:
            self._unlock()
            raise
        except OSError as error:
            self._complain('There is no client cache', error)
            self._use(OpenCache.of_empty(CacheFile()))
        self._trace = trace.wanted(self.path)

    def _use(self, cache: OpenCache) -> None:
        """Serve what is in `cache` from now on."""
        self._hot.clear()
        self._revisions = Revisions(cache, self._hot)
        self._fd = cache.file.fd
        self._pages = cache.index.pages
        self._index = cache.index
        self._last_tid = cache.file.state.last_tid
        self._hits, self._misses = cache.file.state.hits, cache.file.state.misses

    # --- reading ---

    def load(self, oid: bytes) -> tuple[bytes, bytes] | None:
        """Return (data, tid) of the current revision of oid, or None."""
        found = self._hot.records.get(oid) or self._read_current(oid)
        if found is None:
            self._misses += 1
        else:
            self._hits += 1
        if self._trace is not None:
            self._trace_load(trace.LOAD_HIT, oid, found, None)
        return found

    def loadBefore(self, oid: bytes, before: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return (data, tid, end tid or None) of the revision current just before tid `before`."""
        found: tuple[bytes, bytes, bytes | None] | None
        current = self._hot.records.get(oid) or self._read_current(oid)
        if current is not None and current[1] < before:
            found = current[0], current[1], None
        else:
            found = self._read_closed(oid, before)
        if found is None:
            self._misses += 1
        else:
            self._hits += 1
        if self._trace is not None:
            self._trace_load(trace.BEFORE_HIT, oid, found, before)
        return found

    def _read_current(self, oid: bytes) -> tuple[bytes, bytes] | None:
        number = int.from_bytes(oid, 'big')
        try:
            value = self._pages[number >> SHIFT][number & MASK]
        except KeyError:
            return None
        if not value:
            return None
        place = value >> PLACE_SHIFT
        revisions = self._revisions
        try:
            buffer = pread(self._fd, revisions.read_length, place * _UNIT)
            end, length, crc, found, tid = _unpack_hit(buffer)
            stop = _HEADER + length
            if len(buffer) < stop <= self.size:
                buffer = pread(self._fd, stop, place * _UNIT)
        except (OSError, struct.error):
            return self._read_current_again(oid)
        body = buffer[_BODY:stop]
        if found != oid or end != _NO_TID or crc32(body, revisions.salt + place) != crc:
            return self._read_current_again(oid)
        record = body[16:], tid
        if value & USES != USES:
            self._count_use(oid, number, value, record)
        return record

    def _count_use(self, oid: bytes, number: int, value: int, record: tuple[bytes, bytes]) -> None:
        # Under the lock, lest what was just given up comes back; but no hit waits while another
        # thread changes something.
        if not self._lock.locked():
            under(self._lock, self._count, oid, number, value, record)

    def _count(self, oid: bytes, number: int, value: int, record: tuple[bytes, bytes]) -> None:
        if self._index.get(number) == value:
            self._index.set(number, value + 1)
            if (value + 1) & USES == USES:
                header = self._revisions.header(value >> PLACE_SHIFT)
                # The place may hold another revision by now, however unlikely.
                if header is not None and header.tid == record[1]:
                    self._hot.add(oid, record)

    def _read_current_again(self, oid: bytes) -> tuple[bytes, bytes] | None:
        """Read with nobody changing the file; what does not check now is damaged and dropped."""
        found, is_there = under(self._lock, self._look_again, oid)
        if found is not None or not is_there:
            return found
        log.warning('Record of oid %s in cache file %s is damaged, dropped', oid.hex(), self.path)
        self._change(self._revisions.drop_current, oid)
        return None

    def _look_again(self, oid: bytes) -> tuple[tuple[bytes, bytes] | None, bool]:
        return self._revisions.read_current(oid), self._index.get(
            int.from_bytes(oid, 'big')
        ) is not None

    def _read_closed(self, oid: bytes, before: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        if not self._index.closed_count:
            return None
        return under(self._lock, self._revisions.read_closed, oid, before)

    # --- changing ---

    def store(self, oid: bytes, tid: bytes, end_tid: bytes | None, data: bytes) -> None:
        """Keep a revision: valid from tid until before end_tid; None: it is the current one.

        One said to be current is not taken when the cache knows better: a newer one, or its end.
        """
        self._change(self._revisions.store, oid, tid, end_tid, data)
        if self._trace is not None:
            self._trace.record(trace.STORE, oid, tid, end_tid, len(data))

    def invalidate(self, oid: bytes, tid: bytes | None) -> None:
        """End the current revision of oid at tid, if it is older; tid None: forget all of oid."""
        if self._trace is not None:
            self._trace.record(trace.INVALIDATE, oid, tid)
        self._change(self._revisions.invalidate, oid, tid)

    def getLastTid(self) -> bytes | None:
        """Return the tid up to which the cache has seen every invalidation, or None."""
        return self._last_tid

    def setLastTid(self, tid: bytes | None) -> None:
        """Record that every invalidation up to tid has been applied."""
        self._last_tid = tid
        self._change(self._revisions.set_last_tid, tid)

    def drop_noncurrent(self) -> None:
        """Forget every revision that has ended: after a pack the storage may not have it any
        more.
        """
        self._change(self._revisions.drop_noncurrent)

    def clear(self) -> None:
        """Forget every revision and the last tid."""
        if self._trace is not None:
            self._trace.record(trace.CLEAR)
        self._last_tid = None
        self._change(self._revisions.clear)

    def _change(self, change: Callable[..., None], *args: Any) -> None:
        """Change the file and the index with the lock held; after a failure stay right."""
        under(self._lock, self._change_locked, change, *args)

    def _change_locked(self, change: Callable[..., None], *args: Any) -> None:
        if not self._storing:
            return
        try:
            self._change_or_go_on_without(change, *args)
        except BaseException:
            # Such as KeyboardInterrupt: half a change would make the file serve stale data.
            log.warning('A change of cache file %s was interrupted; it starts empty', self.path)
            self._start_anew()
            raise

    def _change_or_go_on_without(self, change: Callable[..., None], *args: Any) -> None:
        try:
            change(*args)
        except NotStored as error:
            self._complain('The client cache goes on without storing', error)
        except DamagedCache as error:
            log.warning('Cache file %s is damaged: %s; it starts empty', self.path, error)
            self._start_anew()
        except OSError as error:
            self._complain('The client cache goes on as a temporary one', error)
            self._leave_file(change, *args)

    # --- failing, closing, forking ---

    def _complain(self, consequence: str, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            name = self.path or 'its temporary file'
            log.warning('%s, %s cannot be written: %s', consequence, name, error)

    def _leave_file(self, change: Callable[..., None], *args: Any) -> None:
        """Keep what there is for this process only: the file may say something else from now on."""
        try:
            if self._revisions.leave_file():
                change(*args)
                return
        except NotStored:
            return
        except (OSError, DamagedCache):
            pass  # such as a name that cannot be removed
        self._abandon()

    def _abandon(self) -> None:
        """Serve nothing more, and leave no file that anybody could open."""
        self._storing = False
        try:
            self._revisions.abandon()
        except OSError as error:
            log.error('Remove cache file %s, it is not valid any more: %s', self.path, error)

    def _start_anew(self) -> None:
        last_tid = self._last_tid
        self._storing = False  # should it be interrupted
        try:
            self._use(self._revisions.emptied(self._identity))
            self._storing = True
        except OSError as error:
            self._complain('The client cache stops', error)
            self._abandon()
        self._last_tid = last_tid  # an empty cache is good up to any tid

    def close(self) -> None:
        """Save the index, bring everything to the disk, let go of the file; never raises
        OSError.
        """
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
        """Whether it holds anything: not if its file could not be made."""
        return self._storing

    def detach(self) -> None:
        """In a forked child: leave the parent's file alone, go on with an empty temporary one."""
        self._lock = threading.Lock()  # whoever held the old one is not in this process
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
            self._complain('The forked process has no client cache', error)
            self._use(OpenCache.of_empty(CacheFile()))

    def _unlock(self) -> None:
        if self._file_lock is not None:
            self._file_lock.close()
            self._file_lock = None

    # --- telling ---

    def __len__(self) -> int:
        """Return the number of revisions held."""
        return len(self._index)

    def contents(self) -> Iterator[tuple[bytes, bytes, bytes | None]]:
        """Yield (oid, tid, end tid or None) of every revision held when called."""
        for place in under(self._lock, self._revisions.places):
            header = self._revisions.header(place)
            if header is not None:
                yield header.oid, header.tid, None if header.end == _NO_TID else header.end

    def _trace_load(
        self, hit: int, oid: bytes, found: tuple[Any, ...] | None, before: bytes | None
    ) -> None:
        assert self._trace is not None
        if found is None:
            self._trace.record(hit + 1, oid, None, before)
        else:
            self._trace.record(hit, oid, found[1], before, len(found[0]))
