"""The client cache in a file: what most loads are answered from, and what is still there next time.

In: revisions of objects, invalidations, the tid the cache is good up to. Out: the revision asked
for, or None. Fails: opening, with ClientStorageError, when another process has the file or it cannot
be opened; nothing else raises. What cannot be read is a miss; a cache that cannot be written says
so in the log once and goes on without storing.

A hit is a look-up in the index, one read of the file, one check and one copy, and waits for no lock:
a reader that the file was changed under finds a record that does not check, and tries again with the
lock. Changes go to the file before the index, in the order they are made, so that a killed process
leaves a file in which every invalidation up to its last tid has been applied.
"""

from __future__ import annotations

import logging
import secrets
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

from ZEO.cache import format, trace
from ZEO.cache.cache_file import CacheFile, FileLock, pread, take_lock
from ZEO.cache.index import MASK, PLACE_SHIFT, SHIFT, USES
from ZEO.cache.recovery import Parts, open_parts
from ZEO.cache.ring import DamagedCache, NotStored
from ZEO.Exceptions import ClientStorageError

log = logging.getLogger("ZEO.cache")

_BODY, _HEADER, _UNIT, _NO_TID = format.BODY, format.RECORD_HEADER, format.UNIT, format.NO_TID
_unpack_hit = format.unpack_hit
# A hit reads this many bytes, one and a half times the mean record: reading the end of a larger
# record costs another call, reading too much of a small one a little time.
_LEAST_READ, _MOST_READ = 512, 16384
_MEAN_WEIGHT = 0.02  # of the latest record in the running mean


class ClientCache:
    """A cache of object revisions in a file; any thread may call any method."""

    def __init__(
        self, path: str | None = None, size: int = 20_000_000, *, identity: str = ""
    ) -> None:
        """Open the cache file at path, or make it.

        path: None: a temporary file that leaves nothing behind; size: bytes the file may take;
        identity: which storage of which database this is; a file of another one starts empty.
        Raises ClientStorageError when another process has the file, or it cannot be opened.
        """
        self.path = path
        self.size = size
        self._identity = identity
        self._lock = threading.Lock()  # held by everything that changes file, ring or index
        self._file_lock: FileLock | None = None  # keeps other processes off the file
        self._trace: trace.Trace | None = None  # where events go, if anywhere
        self._storing = False  # False: closed, or the file could not be written
        self._complained = False  # about not being able to store
        self._hits = self._misses = self._stores = 0  # since the file was made
        self._last_tid: bytes | None = None
        self._mean = 500.0  # running mean of the length of records in bytes
        self._read_length = _LEAST_READ  # bytes
        self._open()

    def _open(self) -> None:
        if self.path is not None:
            self._file_lock = take_lock(self.path)
        try:
            self._take(open_parts(self.path, self.size, self._identity))
            self._storing = True
        except ClientStorageError:
            self._unlock()
            raise
        except OSError as error:
            log.warning("No client cache, %s cannot be written: %s", self.path, error)
            self._take(Parts.around(CacheFile()))
        self._trace = trace.wanted(self.path)

    def _take(self, parts: Parts) -> None:
        """Use these parts from now on."""
        self._file, self._index, self._ring = parts.file, parts.index, parts.ring
        self._fd = self._file.fd
        self._salt = self._file.state.salt
        self._buckets = self._index.buckets
        state = self._file.state
        self._last_tid = state.last_tid
        self._hits, self._misses, self._stores = state.hits, state.misses, state.stores
        if len(self._index):
            used = self._file.end - self._file.start - (self._ring.gap_end - self._ring.hand)
            self._note_length(used * _UNIT / len(self._index), 1.0)

    # --- reading ---

    def load(self, oid: bytes) -> tuple[bytes, bytes] | None:
        """Return (data, tid) of the current revision of oid, or None."""
        found = self._read_current(oid)
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
        current = self._read_current(oid)
        if current is not None and current[1] < before:
            found = current[0], current[1], None
        else:
            found = self._read_closed(oid, before) if self._index.closed_count else None
        if found is None:
            self._misses += 1
        else:
            self._hits += 1
        if self._trace is not None:
            self._trace_load(trace.BEFORE_HIT, oid, found, before)
        return found

    def _read_current(self, oid: bytes) -> tuple[bytes, bytes] | None:
        number = int.from_bytes(oid, "big")
        bucket = self._buckets.get(number >> SHIFT)
        if bucket is None:
            return None
        value = bucket.get(number & MASK)
        if value is None:
            return None
        place = value >> PLACE_SHIFT
        try:
            buffer = pread(self._fd, self._read_length, place * _UNIT)
            end, length, crc, found, tid = _unpack_hit(buffer)
            stop = _HEADER + length
            if len(buffer) < stop <= self.size:
                buffer = pread(self._fd, stop, place * _UNIT)
        except (OSError, struct.error):
            return self._read_current_again(oid, number)
        body = buffer[_BODY:stop]
        if found != oid or end != _NO_TID or crc32(body, self._salt + place) != crc:
            return self._read_current_again(oid, number)
        if value & USES != USES:
            self._count_use(number, value)
        return body[16:], tid

    def _count_use(self, number: int, value: int) -> None:
        # Under the lock, lest a place that was just given up comes back; but no hit waits for it.
        if self._lock.acquire(False):
            try:
                if self._index.get(number) == value:
                    self._index.set(number, value + 1)
            finally:
                self._lock.release()

    def _read_current_again(self, oid: bytes, number: int) -> tuple[bytes, bytes] | None:
        """Read with nobody changing the file; what does not check now is damaged and dropped."""
        with self._lock:
            value = self._index.get(number)
            if value is None:
                return None
            header, data = self._read_record(value >> PLACE_SHIFT)
            if header is not None and header.oid == oid and header.end == _NO_TID:
                return data, header.tid
            log.warning("Damaged record of oid %s in cache file %s dropped", oid.hex(), self.path)
        self._change(self._drop_current, number)
        return None

    def _read_closed(
        self, oid: bytes, before: bytes
    ) -> tuple[bytes, bytes, bytes | None] | None:
        with self._lock:
            for place in self._index.closed(int.from_bytes(oid, "big")):
                header = self._header(place)
                if header is not None and header.tid < before <= header.end:
                    header, data = self._read_record(place)
                    if header is not None and header.oid == oid:
                        return data, header.tid, header.end
        return None

    def _read_record(self, place: int) -> tuple[format.RecordHeader | None, bytes]:
        """Return header and data of the record at place; (None, b'') when it does not check."""
        header = self._header(place)
        if header is None:
            return None, b""
        try:
            record = self._file.read_units(place, _HEADER + header.length)
        except OSError:
            return None, b""
        if not format.body_checks(header, record[_BODY:], self._file.seed(place)):
            return None, b""
        return header, record[_HEADER:]

    def _header(self, place: int) -> format.RecordHeader | None:
        try:
            return self._file.read_header(place)
        except OSError:
            return None

    # --- changing ---

    def store(self, oid: bytes, tid: bytes, end_tid: bytes | None, data: bytes) -> None:
        """Keep a revision: valid from tid until before end_tid; None: it is the current one.

        One said to be current is not taken when the cache knows better: a newer one, or its end.
        """
        self._change(self._store, oid, tid, end_tid, data)
        if self._trace is not None:
            self._trace.record(trace.STORE, oid, tid, end_tid, len(data))

    def invalidate(self, oid: bytes, tid: bytes | None) -> None:
        """End the current revision of oid at tid, if it is older; tid None: forget all of oid."""
        if self._trace is not None:
            self._trace.record(trace.INVALIDATE, oid, tid)
        self._change(self._invalidate, oid, tid)

    def getLastTid(self) -> bytes | None:
        """Return the tid up to which the cache has seen every invalidation, or None."""
        return self._last_tid

    def setLastTid(self, tid: bytes | None) -> None:
        """Record that every invalidation up to tid has been applied."""
        self._last_tid = tid
        self._change(self._set_last_tid, tid)

    def clear(self) -> None:
        """Forget every revision and the last tid."""
        if self._trace is not None:
            self._trace.record(trace.CLEAR)
        self._last_tid = None
        self._change(self._clear)

    def _change(self, change: Callable[..., None], *args: Any) -> None:
        """Call one of the methods below with the lock held; after a failure stay right."""
        with self._lock:
            if not self._storing:
                return
            try:
                change(*args)
            except NotStored as error:
                self._complain("The client cache goes on without storing", error)
            except DamagedCache as error:
                log.warning("Cache file %s is damaged: %s; it starts empty", self.path, error)
                self._abandon()
                self._reopen()
            except OSError as error:
                self._complain("The client cache stops", error)
                self._abandon()
            except BaseException:
                # Such as KeyboardInterrupt: half a change would make the file serve stale data.
                self._abandon()
                raise

    def _store(self, oid: bytes, tid: bytes, end_tid: bytes | None, data: bytes) -> None:
        number = int.from_bytes(oid, "big")
        value = self._index.get(number)
        if value is not None:
            place = value >> PLACE_SHIFT
            header = self._header(place)
            if header is not None and header.tid == tid and end_tid is not None:
                self._end(number, place, header, end_tid)
                return
            if end_tid is None:
                if header is not None and header.tid >= tid:
                    return
                self._drop_current(number)  # when it ended is not known
        if self._index.closed_count and self._has_closed(number, tid):
            return
        if not self._ring.holds(len(data)):
            return
        length = format.units(len(data))
        place = self._ring.place(
            length,
            lambda at: format.pack_record(oid, tid, end_tid or _NO_TID, data, self._salt + at),
        )
        self._stores += 1
        self._note_length(_HEADER + len(data), _MEAN_WEIGHT)
        if end_tid is None:
            self._index.set(number, place << PLACE_SHIFT)
        else:
            self._index.add_closed(number, place)
            self._ring.closed_units += length

    def _has_closed(self, number: int, tid: bytes) -> bool:
        headers = map(self._header, self._index.closed(number))
        return any(header is not None and header.tid == tid for header in headers)

    def _invalidate(self, oid: bytes, tid: bytes | None) -> None:
        number = int.from_bytes(oid, "big")
        if tid is None:
            for place in self._index.closed(number):
                self._ring.closed_units -= self._erase(place)
                self._index.remove_closed(number, place)
            self._drop_current(number)
            return
        value = self._index.get(number)
        if value is None:
            return
        place = value >> PLACE_SHIFT
        header = self._header(place)
        if header is None:
            self._drop_current(number)
        elif header.tid < tid:
            self._end(number, place, header, tid)

    def _end(self, number: int, place: int, header: format.RecordHeader, tid: bytes) -> None:
        self._file.end_record(place, header, tid)
        self._index.remove(number)
        self._index.add_closed(number, place)
        self._ring.closed_units += header.units

    def _drop_current(self, number: int) -> None:
        value = self._index.get(number)
        if value is not None:
            self._erase(value >> PLACE_SHIFT)
            self._index.remove(number)

    def _erase(self, place: int) -> int:
        """Make the record at place a gap; return its units, 0 if there is none to be read."""
        header = self._file.read_header(place)
        if header is None:
            return 0
        self._file.write_gap(place, header.units)
        return header.units

    def _set_last_tid(self, tid: bytes | None) -> None:
        before = self._file.state.last_tid
        self._file.state.last_tid = tid
        self._write_state(both=tid is None or before is None or tid < before)

    def _write_state(self, both: bool = False) -> None:
        state = self._file.state
        state.hits, state.misses, state.stores = self._hits, self._misses, self._stores
        self._ring.save()
        self._file.write_state(both)

    def _clear(self) -> None:
        self._index.clear()
        state = self._file.state
        state.last_tid = None
        state.salt = self._salt = secrets.randbits(31) + 1  # makes every record void at once
        self._write_state(both=True)
        self._ring.reset()

    # --- failing, closing, forking ---

    def _complain(self, consequence: str, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            log.warning("%s, %s cannot be written: %s", consequence, self.path, error)

    def _abandon(self) -> None:
        """Serve nothing more, and leave no file that anybody could open."""
        self._storing = False
        self._index.clear()
        try:
            self._file.void()
        except OSError as error:
            log.error("Remove cache file %s, it is not valid any more: %s", self.path, error)

    def _reopen(self) -> None:
        last_tid = self._last_tid
        try:
            self._file.create(self._file.end * _UNIT, self._identity)
        except OSError as error:
            self._complain("The client cache stops", error)
            return
        self._take(Parts.around(self._file))
        self._last_tid = self._file.state.last_tid = last_tid  # nothing is good up to any tid
        self._storing = True

    def _note_length(self, length: float, weight: float) -> None:
        self._mean += (length - self._mean) * weight
        self._read_length = min(max(int(self._mean * 1.5), _LEAST_READ), _MOST_READ)

    def close(self) -> None:
        """Save the index, bring everything to the disk, let go of the file; never raises OSError."""
        if self.path is not None:
            self._change(self._save)
        with self._lock:
            self._storing = False
            self._index.clear()
            self._fd = -1
            self._file.close()
        self._unlock()
        if self._trace is not None:
            self._trace.close()

    def _save(self) -> None:
        state = self._file.state
        length = 1 + -(-self._index.saved_length() // _UNIT)
        if length * 2 <= self._file.end - self._file.start:
            state.index_at = self._ring.place(length, lambda at: self._pack_index(at, length))
            self._ring.hand = state.index_at  # what it takes is room again, once it has been read
        self._file.sync()
        state.clean = True
        self._write_state()
        self._file.sync()

    def _pack_index(self, at: int, length: int) -> bytes:
        saved = self._index.dump()
        state = self._file.state
        state.index_length, state.index_crc = len(saved), crc32(saved)
        gap = format.pack_gap(length, self._salt + at).ljust(_UNIT, b"\0")
        return (gap + saved).ljust(length * _UNIT, b"\0")

    def detach(self) -> None:
        """In a forked child: leave the parent's file alone and go on with an empty temporary one."""
        self._lock = threading.Lock()  # whoever held the old one is not in this process
        self._storing = False
        self._trace = None
        self._file.close()
        if self._file_lock is not None:
            self._file_lock.abandon()
            self._file_lock = None
        self.path = None
        try:
            self._open()
        except ClientStorageError as error:
            self._complain("The forked process has no client cache", error)
            self._take(Parts.around(CacheFile()))

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
        with self._lock:
            places = [value >> PLACE_SHIFT for _, value in self._index.current_items()]
            places += [place for _, place in self._index.closed_items()]
        for place in places:
            header = self._header(place)
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
