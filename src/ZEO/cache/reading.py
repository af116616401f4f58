"""Loads from an open cache file: what a hit costs is decided here.

Enters: an oid; for a revision that has ended, a tid as well. Leaves: the revision, or None. Fails:
never; a record that cannot be read is dropped, and so is a miss.

A hit is a look-up in memory and, unless the record is one of the most used, one read of the file,
one check of a CRC and one copy. It takes no lock: when the file is changed meanwhile, the check
fails, and the record is read again with the lock.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections.abc import Callable
from typing import Any
from zlib import crc32

from ZEO.cache import format, trace
from ZEO.cache.cache_file import pread
from ZEO.cache.hot_records import HotRecords
from ZEO.cache.index import MASK, PLACE_SHIFT, SHIFT, USES
from ZEO.cache.open_cache import OpenCache
from ZEO.cache.revisions import Revisions
from ZEO.locks import under

log = logging.getLogger('ZEO.cache')

_BODY, _HEADER, _UNIT, _NO_TID = format.BODY, format.RECORD_HEADER, format.UNIT, format.NO_TID
_unpack_hit = format.unpack_hit


class CacheReader:
    """The part of a cache that answers loads.

    :param path: of the file, for the log; None: a temporary file.
    :param size: bytes that the file may take.
    :param hot_size: bytes that the most used records may take in memory.
    """

    def __init__(self, path: str | None, size: int, hot_size: int) -> None:
        self.path = path
        self.size = size
        self._hot = HotRecords(hot_size)
        self._lock = threading.Lock()  # held by everything that changes file, index or hot records
        self._trace: trace.Trace | None = None  # where events go, if anywhere

    def _use(self, cache: OpenCache) -> None:
        """Answer from `cache` from now on."""
        self._hot.clear()
        self._revisions = Revisions(cache, self._hot)
        self._fd = cache.file.fd
        self._pages = cache.index.pages
        self._index = cache.index
        # loads since the file was made
        self._hits, self._misses = cache.file.state.hits, cache.file.state.misses

    def _change(self, change: Callable[..., None], *args: Any) -> None:
        """Change the file and the index with the lock held."""
        raise NotImplementedError

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
        # With the lock, so that no record that was just dropped comes back; but a hit does not wait
        # while another thread changes something.
        if not self._lock.locked():
            under(self._lock, self._count, oid, number, value, record)

    def _count(self, oid: bytes, number: int, value: int, record: tuple[bytes, bytes]) -> None:
        if self._index.get(number) == value:
            self._index.set(number, value + 1)
            if (value + 1) & USES == USES:
                header = self._revisions.header(value >> PLACE_SHIFT)
                # the place may hold another revision by now, though that is unlikely
                if header is not None and header.tid == record[1]:
                    self._hot.add(oid, record)

    def _read_current_again(self, oid: bytes) -> tuple[bytes, bytes] | None:
        """Read with the lock, so that the file does not change; drop a record that is damaged."""
        found, is_there = under(self._lock, self._look_again, oid)
        if found is not None or not is_there:
            return found
        log.warning('Record of oid %s in cache file %s is damaged, dropped', oid.hex(), self.path)
        self._change(self._revisions.drop_current, oid)
        return None

    def _look_again(self, oid: bytes) -> tuple[tuple[bytes, bytes] | None, bool]:
        is_there = self._index.get(int.from_bytes(oid, 'big')) is not None
        return self._revisions.read_current(oid), is_there

    def _read_closed(self, oid: bytes, before: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        if not self._index.closed_count:
            return None
        return under(self._lock, self._revisions.read_closed, oid, before)

    def _trace_load(
        self, hit: int, oid: bytes, found: tuple[Any, ...] | None, before: bytes | None
    ) -> None:
        assert self._trace is not None
        if found is None:
            self._trace.record(hit + 1, oid, None, before)
        else:
            self._trace.record(hit, oid, found[1], before, len(found[0]))
