"""Where in the file each revision is, in a few bytes per record.

Enters: oids as integers and places in units. Leaves: the place of the current revision, the places
of the others. Fails: load raises ValueError for bytes that are not a saved index.

The current revisions of 16384 consecutive oids share one page. Where many of them are cached, as is
usual, since storages assign oids one after the other, the page is an array with 4 bytes for each
oid, cached or not; else it is a sorted bucket of 32-bit keys and values, 8 bytes for each record.
Either takes two quick look-ups. The two low bits of a value count the record's uses for the
eviction. Other revisions are few (they are the first to leave): one 8-byte set member each, in a
BTree.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, TypeAlias

from BTrees.QQBTree import QQTreeSet
from BTrees.UUBTree import UUBucket

SHIFT = 14  # 16384 oids a page: an insertion into a bucket moves a few KB at most
MASK = (1 << SHIFT) - 1
USES = 3  # the bits of a value that count uses; the other 30 are the place
PLACE_SHIFT = 2

# Records. A bucket that grows doubles its memory: with more it would be as large as an array.
_MOST_SPARSE = (MASK + 1) // 4
# Records; a bucket that has just been loaded has no spare memory.
_LEAST_SAVED_DENSE = (MASK + 1) // 2
# Records; less, so that a page does not change its form again and again.
_LEAST_DENSE = _MOST_SPARSE // 2

_LOW = (1 << 32) - 1
_SHRINK_EVERY = 1024  # removals; a bucket does not free memory by itself
_FORM = b'places 2'  # what a saved index begins with
_COUNTS = struct.Struct('<8sQQ')  # form, pages, revisions that are not current
_PAGE = struct.Struct('<QI')  # oid >> SHIFT, records, of an array with this bit
_IS_DENSE = 1 << 31
_CLOSED = struct.Struct('<QI')  # oid, place
_AT_ONCE = 4096  # revisions that are not current, saved and loaded at once
_DENSE_SIZE = 4 * (MASK + 1)  # bytes

# UUBucket or array: place << PLACE_SHIFT | uses by oid & MASK; 0 in an array: none
Page: TypeAlias = Any


class Index:
    """The places of all revisions in the file. Reading takes no lock; changes need the caller's."""

    def __init__(self) -> None:
        self.pages: dict[int, Page] = {}  # by oid >> SHIFT
        self._dense: dict[int, int] = {}  # oid >> SHIFT of pages that are arrays: records in them
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
        try:
            return self.pages[oid >> SHIFT][oid & MASK] or None
        except KeyError:
            return None

    def set(self, oid: int, value: int) -> None:
        """Set the value that `get` returns."""
        high, low = oid >> SHIFT, oid & MASK
        page = self.pages.get(high)
        if page is None:
            page = self.pages[high] = UUBucket()
        if high in self._dense:
            added = int(not page[low])
            page[low] = value
            self._dense[high] += added
        else:
            before = len(page)
            page[low] = value
            added = len(page) - before
            if added and before >= _MOST_SPARSE:
                self._make_dense(high, page)
        self._current_count += added

    def remove(self, oid: int) -> None:
        """Forget the current revision of oid, which is there."""
        high, low = oid >> SHIFT, oid & MASK
        page = self.pages[high]
        self._current_count -= 1
        self._removals += 1
        if high in self._dense:
            page[low] = 0
            self._dense[high] -= 1
            if self._dense[high] < _LEAST_DENSE:
                self.pages[high] = _bucket(_items(page))
                del self._dense[high]
            return
        del page[low]
        if not page:
            del self.pages[high]
        elif self._removals % _SHRINK_EVERY == 0:
            self.pages[high] = _bucket(page.items())

    def _make_dense(self, high: int, bucket: UUBucket) -> None:
        page = _empty_array()
        for low, value in bucket.items():
            page[low] = value
        self._dense[high] = len(bucket)
        self.pages[high] = page

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
        self.pages.clear()
        self._dense.clear()
        self._closed.clear()
        self._current_count = self._closed_count = 0

    def current_items(self) -> Iterator[tuple[int, int]]:
        """Yield (oid, place << PLACE_SHIFT | uses) of all current revisions."""
        for high, page in self.pages.items():
            for low, value in _items(page) if high in self._dense else page.items():
                yield high << SHIFT | low, value

    def closed_items(self) -> Iterator[tuple[int, int]]:
        """Yield (oid, place) of all other revisions."""
        for high, members in self._closed.items():
            for member in members:
                yield high << 32 | member >> 32, member & _LOW

    # Saving.

    def saved_length(self) -> int:
        """Return how many bytes `dump` makes."""
        dense = [count for count in self._dense.values() if count >= _LEAST_SAVED_DENSE]
        pages = len(self.pages) * _PAGE.size + len(dense) * _DENSE_SIZE
        return (
            _COUNTS.size
            + pages
            + 6 * (self._current_count - sum(dense))
            + _CLOSED.size * self._closed_count
        )

    def dump(self) -> Iterator[bytes]:
        """Yield the index as bytes, piece by piece."""
        yield _COUNTS.pack(_FORM, len(self.pages), self._closed_count)
        for high, page in self.pages.items():
            count = self._dense.get(high, 0)
            if count >= _LEAST_SAVED_DENSE:
                yield _PAGE.pack(high, count | _IS_DENSE)
                yield _little(page)
            else:
                page = _bucket(_items(page)) if count else page
                yield _PAGE.pack(high, len(page))
                yield _little(array('H', page.keys()))
                yield _little(array('I', page.values()))
        closed = self.closed_items()
        while some := b''.join(_CLOSED.pack(oid, place) for oid, place in islice(closed, _AT_ONCE)):
            yield some

    def load(self, read: Callable[[int], bytes]) -> None:
        """Load what `dump` made into this index, which is empty.

        Piece by piece, since the process keeps memory that is freed here.

        :param read: returns the next bytes, as many as it is asked for.
        :raises ValueError: when they are not a saved index, or there are too few.
        """
        form, pages, closed = _COUNTS.unpack(_exactly(read, _COUNTS.size))
        if form != _FORM:
            raise ValueError('not a saved index of this kind')
        for _ in range(pages):
            high, count = _PAGE.unpack(_exactly(read, _PAGE.size))
            if count & _IS_DENSE:
                self._dense[high] = count = count & ~_IS_DENSE
                self.pages[high] = page = _empty_array()
                memoryview(page).cast('B')[:] = _exactly(read, _DENSE_SIZE)
                _swapped(page)
            elif count > MASK + 1:
                raise ValueError('not a saved index: too many records in a page')
            else:
                keys = _array('H', _exactly(read, 2 * count))
                values = _array('I', _exactly(read, 4 * count))
                self.pages[high] = _bucket(zip(keys, values, strict=True))
            self._current_count += count
        while closed:
            some = min(closed, _AT_ONCE)
            for oid, place in _CLOSED.iter_unpack(_exactly(read, some * _CLOSED.size)):
                self.add_closed(oid, place)
            closed -= some


def _empty_array() -> array[int]:
    return array('I', [0]) * (MASK + 1)  # made by multiplying it has no spare memory


def _items(page: array[int]) -> Iterator[tuple[int, int]]:
    return ((low, value) for low, value in enumerate(page) if value)


def _bucket(items: Iterable[tuple[int, int]]) -> UUBucket:
    """Return a bucket without spare memory.

    :param items: by ascending key.
    """
    bucket = UUBucket()
    bucket.__setstate__((tuple(chain.from_iterable(items)),))  # much faster than one by one
    return bucket


def _exactly(read: Callable[[int], bytes], length: int) -> bytes:
    found = read(length)
    if len(found) != length:
        raise ValueError('not a saved index: too short')
    return found


def _array(typecode: str, saved: bytes) -> array[int]:
    return _swapped(array(typecode, saved))


def _little(items: array[int]) -> bytes:
    return items.tobytes() if sys.byteorder == 'little' else _swapped(items[:]).tobytes()


def _swapped(items: array[int]) -> array[int]:
    if sys.byteorder == 'big':
        items.byteswap()
    return items
