"""Where in the file each revision is, in a few bytes per record.

In: oids as integers and places in units. Out: the place of the current revision, the places of the
others. Fails: parse raises ValueError for bytes that are no saved index.

The current revisions of 16384 consecutive oids share one sorted bucket of 32-bit keys and values:
8 bytes per record when the oids are dense, as storages assign them, and two quick look-ups. The two
low bits of a value count the record's uses for the eviction. Other revisions are few (they are the
first to leave): one 8-byte set member each, in a BTree.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator

from BTrees.QQBTree import QQTreeSet
from BTrees.UUBTree import UUBucket

SHIFT = 14  # 16384 oids a bucket: an insertion moves a few KB, and little of it is empty
MASK = (1 << SHIFT) - 1
USES = 3  # the bits of a value that count uses; the other 30 are the place
PLACE_SHIFT = 2

_LOW = (1 << 32) - 1
_SHRINK_EVERY = 1024  # removals; a bucket gives no memory back by itself
_BUCKET = struct.Struct('<QI')  # oid >> SHIFT, records


class Index:
    """The places of all revisions in the file. Reading takes no lock; changes need the caller's."""

    def __init__(self) -> None:
        self.buckets: dict[int, UUBucket] = {}  # oid >> SHIFT: {oid & MASK: place << 2 | uses}
        self._closed: dict[int, QQTreeSet] = {}  # oid >> 32: {low half of the oid << 32 | place}
        self._current_count = 0
        self._closed_count = 0
        self._removals = 0

    def __len__(self) -> int:
        return self._current_count + self._closed_count

    @property
    def closed_count(self) -> int:
        """How many revisions are not current."""
        return self._closed_count

    def get(self, oid: int) -> int | None:
        """Return place << PLACE_SHIFT | uses of the current revision, or None."""
        bucket = self.buckets.get(oid >> SHIFT)
        return None if bucket is None else bucket.get(oid & MASK)

    def set(self, oid: int, value: int) -> None:
        """Set what get returns."""
        bucket = self.buckets.get(oid >> SHIFT)
        if bucket is None:
            bucket = self.buckets[oid >> SHIFT] = UUBucket()
        before = len(bucket)
        bucket[oid & MASK] = value
        self._current_count += len(bucket) - before

    def remove(self, oid: int) -> None:
        """Forget the current revision of oid, which is there."""
        bucket = self.buckets[oid >> SHIFT]
        del bucket[oid & MASK]
        self._current_count -= 1
        self._removals += 1
        if not bucket:
            del self.buckets[oid >> SHIFT]
        elif self._removals % _SHRINK_EVERY == 0:
            self.buckets[oid >> SHIFT] = UUBucket(bucket)

    def add_closed(self, oid: int, place: int) -> None:
        """Add the place of a revision that is not current."""
        members = self._closed.get(oid >> 32)
        if members is None:
            members = self._closed[oid >> 32] = QQTreeSet()
        self._closed_count += members.insert((oid & _LOW) << 32 | place)

    def remove_closed(self, oid: int, place: int) -> bool:
        """Forget a revision that is not current; return whether it was there."""
        members = self._closed.get(oid >> 32)
        member = (oid & _LOW) << 32 | place
        if members is None or member not in members:
            return False
        members.remove(member)
        self._closed_count -= 1
        if not members:
            del self._closed[oid >> 32]
        return True

    def closed(self, oid: int) -> list[int]:
        """Return the places of the revisions of oid that are not current."""
        members = self._closed.get(oid >> 32)
        if members is None:
            return []
        low = (oid & _LOW) << 32
        return [member & _LOW for member in members.keys(low, low | _LOW)]

    def clear(self) -> None:
        """Forget everything."""
        self.buckets.clear()
        self._closed.clear()
        self._current_count = self._closed_count = 0

    def current_items(self) -> Iterator[tuple[int, int]]:
        """Yield (oid, place << PLACE_SHIFT | uses) of all current revisions."""
        for high, bucket in self.buckets.items():
            for low, value in bucket.items():
                yield high << SHIFT | low, value

    def closed_items(self) -> Iterator[tuple[int, int]]:
        """Yield (oid, place) of all other revisions."""
        for high, members in self._closed.items():
            for member in members:
                yield high << 32 | member >> 32, member & _LOW

    # --- saving ---

    def saved_length(self) -> int:
        """Return how many bytes dump() would make."""
        buckets = len(self.buckets) * _BUCKET.size
        return 16 + buckets + 6 * self._current_count + 12 * self._closed_count

    def dump(self) -> bytes:
        """Return the index as bytes."""
        parts = [struct.pack('<QQ', len(self.buckets), self._closed_count)]
        for high, bucket in self.buckets.items():
            parts.append(_BUCKET.pack(high, len(bucket)))
            parts.append(_little(array('H', bucket.keys())))
            parts.append(_little(array('I', bucket.values())))
        closed = list(self.closed_items())
        parts.append(_little(array('Q', [oid for oid, _ in closed])))
        parts.append(_little(array('I', [place for _, place in closed])))
        return b''.join(parts)

    def load(self, saved: bytes) -> None:
        """Take over what dump() made; the index is empty before. Raises ValueError."""
        try:
            reader = _Reader(saved)
            buckets, closed = reader.unpack(struct.Struct('<QQ'))
            for _ in range(buckets):
                high, count = reader.unpack(_BUCKET)
                keys, values = reader.array('H', count), reader.array('I', count)
                flat = [0] * (2 * count)
                flat[::2], flat[1::2] = keys, values
                bucket = self.buckets[high] = UUBucket()
                bucket.__setstate__((tuple(flat),))  # much quicker than one by one
                self._current_count += count
            for oid, place in zip(reader.array('Q', closed), reader.array('I', closed), strict=True):
                self.add_closed(oid, place)
        except (struct.error, MemoryError, OverflowError) as error:
            raise ValueError(f'not a saved index: {error}') from error


class _Reader:
    """Takes one piece after the other from the front of some bytes."""

    def __init__(self, saved: bytes) -> None:
        self._saved = memoryview(saved)
        self._at = 0

    def unpack(self, fields: struct.Struct) -> tuple[int, ...]:
        values = fields.unpack_from(self._saved, self._at)
        self._at += fields.size
        return values

    def array(self, typecode: str, count: int) -> array[int]:
        items = array(typecode)
        length = count * items.itemsize
        if self._at + length > len(self._saved):
            raise ValueError('not a saved index: too short')
        items.frombytes(self._saved[self._at : self._at + length])
        self._at += length
        return _swapped(items)


def _little(items: array[int]) -> bytes:
    return _swapped(items).tobytes()


def _swapped(items: array[int]) -> array[int]:
    if sys.byteorder == 'big':
        items.byteswap()
    return items
