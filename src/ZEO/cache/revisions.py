"""All changes of the revisions in a cache file: the file first, then the index.

Enters: revisions, invalidations, tids. Leaves: revisions. Fails: NotStored when only the new record
could not be written; OSError and DamagedCache when file and index may differ and the file must be
given up.

Every method needs the cache's lock. The order of writes makes a killed process harmless: the file's
last tid is written after the invalidations that it covers, a record is closed or dropped in the
file before it is in the index, and no record that has left the index stays in the file.
"""

from __future__ import annotations

import logging
import secrets
from zlib import crc32

from ZEO.cache import format
from ZEO.cache.hot_records import HotRecords
from ZEO.cache.index import PLACE_SHIFT
from ZEO.cache.open_cache import OpenCache
from ZEO.cache.ring import NotStored

log = logging.getLogger('ZEO.cache')

_HEADER, _UNIT, _NO_TID = format.RECORD_HEADER, format.UNIT, format.NO_TID
# A hit reads one and a half times the mean record: for a larger record another call reads the rest,
# and reading too much of a small one takes little time.
_LEAST_READ, _MOST_READ = 512, 16384  # bytes
_FIRST_MEAN = 500.0  # bytes; ZODB records are often that small
_MEAN_WEIGHT = 0.02  # share of the latest record in the running mean
# Revisions of one object that are kept besides the current one. Each costs a read whenever the
# object changes, and a counter that all clients write would have as many as fit into the file.
_MOST_CLOSED = 8


class Revisions:
    """The revisions in one cache file.

    :param cache: the parts of the cache, which are this object's from now on.
    :param hot: holds some current revisions in memory as well.
    """

    def __init__(self, cache: OpenCache, hot: HotRecords) -> None:
        self._file, self._index, self._regions = cache.file, cache.index, cache.regions
        self._hot = hot
        self._regions.use_hot(hot.records.__contains__)
        self.salt = self._file.state.salt  # start value for CRCs
        self._mean = _FIRST_MEAN  # running mean of the length of records in bytes
        self.read_length = _LEAST_READ  # bytes that a hit should read
        used = self._file.end - self._file.start - self._regions.free()
        if len(self._index):
            self._note_length(used * _UNIT / len(self._index), 1.0)

    # Reading.

    def read_current(self, oid: bytes) -> tuple[bytes, bytes] | None:
        """Return (data, tid) of the current revision, None if there is none or it is damaged."""
        value = self._index.get(int.from_bytes(oid, 'big'))
        if value is None:
            return None
        header, data = self._record(value >> PLACE_SHIFT)
        if header is None or header.oid != oid or header.end != _NO_TID:
            return None
        return data, header.tid

    def read_closed(self, oid: bytes, before: bytes) -> tuple[bytes, bytes, bytes] | None:
        """Return (data, tid, end tid) of the ended revision that was current before `before`."""
        for place in self._index.closed(int.from_bytes(oid, 'big')):
            header = self.header(place)
            if header is not None and header.tid < before <= header.end:
                header, data = self._record(place)
                if header is not None and header.oid == oid:
                    return data, header.tid, header.end
        return None

    def places(self) -> list[int]:
        """Return the places of all revisions."""
        current = [value >> PLACE_SHIFT for _, value in self._index.current_items()]
        return current + [place for _, place in self._index.closed_items()]

    def header(self, place: int) -> format.RecordHeader | None:
        """Return the header of the record at `place`, or None if it cannot be read."""
        try:
            return self._file.read_header(place)
        except OSError:
            return None

    def _record(self, place: int) -> tuple[format.RecordHeader | None, bytes]:
        header = self.header(place)
        if header is None:
            return None, b''
        try:
            record = self._file.read_units(place, _HEADER + header.length)
        except OSError:
            return None, b''
        if not format.body_checks(header, record[format.BODY :], self._file.seed(place)):
            return None, b''
        return header, record[_HEADER:]

    # Changing.

    def store(self, oid: bytes, tid: bytes, end_tid: bytes | None, data: bytes) -> None:
        """Add a revision, unless the cache has a newer one or knows when it ended."""
        number = int.from_bytes(oid, 'big')
        value = self._index.get(number)
        if value is not None and self._settled(oid, number, value >> PLACE_SHIFT, tid, end_tid):
            return
        if self._index.closed_count and self._has_closed(number, tid, end_tid):
            return
        if not self._regions.holds(len(data)):
            return
        length = format.units(len(data))
        end = end_tid or _NO_TID
        value = self._regions.place(
            length, lambda at: format.pack_record(oid, tid, end, data, self.salt + at), number
        )
        if end_tid is None:
            self._hot.discard(oid)
            self._index.set(number, value)
        else:
            self._add_closed(number, value >> PLACE_SHIFT, length)
        self._file.state.stores += 1
        self._note_length(_HEADER + len(data), _MEAN_WEIGHT)

    def _settled(
        self, oid: bytes, number: int, place: int, tid: bytes, end_tid: bytes | None
    ) -> bool:
        """Apply to the current revision what a new one means; return whether that was all."""
        header = self.header(place)
        if header is not None and header.tid == tid and end_tid is not None:
            self._end(oid, number, place, header, end_tid)
            return True
        if end_tid is not None:
            return False
        if header is not None and header.tid >= tid:
            return True
        self.drop_current(oid)  # when it ended is not known
        return False

    def _has_closed(self, number: int, tid: bytes, end_tid: bytes | None) -> bool:
        """Return whether a revision has ended; note that it ended later than it was ended early."""
        for place in self._index.closed(number):
            header = self.header(place)
            if header is not None and header.tid == tid:
                if end_tid is not None and header.end < end_tid:
                    self._file.end_record(place, header, end_tid)
                return True
        return False

    def invalidate(self, oid: bytes, tid: bytes | None) -> None:
        """End the current revision at `tid` if it is older; None: drop all revisions."""
        number = int.from_bytes(oid, 'big')
        if tid is None:
            for place in self._index.closed(number):
                self._drop_closed(number, place)
            self.drop_current(oid)
            return
        record = self._hot.records.get(oid)
        if record is not None and record[1] < tid:
            self._hot.discard(oid)
        value = self._index.get(number)
        if value is None:
            return
        place = value >> PLACE_SHIFT
        header = self.header(place)
        if header is None:
            self.drop_current(oid)
        elif header.tid < tid:
            self._end(oid, number, place, header, tid)

    def end_early(self, oid: bytes, end_tid: bytes, tid: bytes) -> None:
        """End the current revision at `end_tid` if it is older than `tid`; drop all revisions if it
        is not older than `end_tid`.
        """
        self.invalidate(oid, end_tid)
        value = self._index.get(int.from_bytes(oid, 'big'))
        if value is not None:
            header = self.header(value >> PLACE_SHIFT)
            if header is None or header.tid < tid:
                self.invalidate(oid, None)

    def _end(
        self, oid: bytes, number: int, place: int, header: format.RecordHeader, tid: bytes
    ) -> None:
        self._hot.discard(oid)
        self._file.end_record(place, header, tid)
        self._index.remove(number)
        self._add_closed(number, place, header.units)

    def _add_closed(self, number: int, place: int, units: int) -> None:
        self._index.add_closed(number, place)
        self._regions.note_closed(place, units)
        places = self._index.closed(number)
        if len(places) > _MOST_CLOSED:
            self._drop_closed(number, min(places, key=self._tid_at))

    def _drop_closed(self, number: int, place: int) -> None:
        self._regions.note_closed(place, -self._erase(place))
        self._index.remove_closed(number, place)

    def _tid_at(self, place: int) -> bytes:
        header = self.header(place)
        return b'' if header is None else header.tid

    def drop_current(self, oid: bytes) -> None:
        """Drop the current revision, if there is one."""
        self._hot.discard(oid)
        number = int.from_bytes(oid, 'big')
        value = self._index.get(number)
        if value is not None:
            self._erase(value >> PLACE_SHIFT)
            self._index.remove(number)

    def drop_noncurrent(self) -> None:
        """Drop all revisions that are not current."""
        for number, place in list(self._index.closed_items()):
            self._drop_closed(number, place)

    def _erase(self, place: int) -> int:
        """Make the record at `place` a gap; return its units, 0 if it cannot be read."""
        header = self._file.read_header(place)
        if header is None:
            return 0
        self._file.write_gap(place, header.units)
        return header.units

    def set_last_tid(self, tid: bytes | None) -> None:
        """Write that every invalidation up to `tid` is in the file."""
        before = self._file.state.last_tid
        self._file.state.last_tid = tid
        self._regions.save()
        self._file.write_state(both=tid is None or before is None or tid < before)

    def clear(self) -> None:
        """Drop everything at once."""
        self._hot.clear()
        self._index.clear()
        state = self._file.state
        state.last_tid = None
        state.salt = self.salt = secrets.randbits(31) + 1  # the CRCs of all records are wrong now
        self._file.write_state(both=True)
        self._regions.reset()

    def _note_length(self, length: float, weight: float) -> None:
        self._mean += (length - self._mean) * weight
        self.read_length = min(max(int(self._mean * 1.5), _LEAST_READ), _MOST_READ)

    # The file as a whole.

    def save(self, hits: int, misses: int) -> None:
        """Save the index, so that the file opens quickly, also after the machine went down."""
        if self._file.scratch:
            return
        state = self._file.state
        length = 1 + -(-self._index.saved_length() // _UNIT)
        try:
            place = self._regions.place_index(length, lambda at: self._pack_index(at, length))
            state.index_at = place or 0
        except NotStored as error:  # only the next opening takes longer
            log.info('No index in cache file %s: %s', self._file.path, error)
        self._file.sync()
        state.clean = True
        state.hits, state.misses = hits, misses
        self._regions.save()
        self._file.write_state()
        self._file.sync()

    def _pack_index(self, at: int, length: int) -> bytes:
        parts = [format.pack_gap(length, self.salt + at).ljust(_UNIT, b'\0')]
        state = self._file.state
        state.index_length = state.index_crc = 0
        for piece in self._index.dump():
            parts.append(piece)
            state.index_length += len(piece)
            state.index_crc = crc32(piece, state.index_crc)
        parts.append(b'\0' * ((length - 1) * _UNIT - state.index_length))
        return b''.join(parts)

    def leave_file(self) -> bool:
        """Continue with the file as a temporary one; return whether it was not one before."""
        if self._file.scratch:
            return False
        self._file.leave()
        return True

    def abandon(self) -> None:
        """Serve nothing more, and make the file unusable.

        :raises OSError: when that is not possible.
        """
        self._hot.clear()
        self._index.clear()
        self._file.void()

    def emptied(self, identity: str) -> OpenCache:
        """Make the file anew and return its empty cache."""
        self._hot.clear()
        self._index.clear()
        self._file.create(self._file.end * _UNIT, identity)
        return OpenCache.of_empty(self._file)

    def close(self) -> None:
        """Serve nothing more and close the file; nothing is written."""
        self._hot.clear()
        self._index.clear()
        self._file.close()
