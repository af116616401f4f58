"""Which objects one client has been sent, as far as a small memory goes.

Enters: oids that it is sent, and those that have changed since. Leaves: whether it was sent one.
Fails: never. What is forgotten is sent once more, which does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable

#: Objects of one page, which takes an eighth of this in bytes. Oids are given out in sequence, so
#: that what is used together is often in one page.
_PAGE = 2048

#: Pages of one client: 32 KB, and 262,144 objects if they are close together.
_MOST_PAGES = 128


class Sent:
    """The objects that a client has, as far as the server knows: a bit for each."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, oid: bytes) -> bool:
        """Note that the client is sent an object; return whether it was sent it before."""
        number, place = divmod(int.from_bytes(oid, 'big'), _PAGE)
        page = self._pages.get(number)
        if page is None:
            page = self._new(number)
        bit = 1 << (place & 7)
        place >>= 3
        had = page[place] & bit
        page[place] |= bit
        return had != 0

    def __contains__(self, oid: bytes) -> bool:
        number, place = divmod(int.from_bytes(oid, 'big'), _PAGE)
        page = self._pages.get(number)
        return page is not None and bool(page[place >> 3] & 1 << (place & 7))

    def others(self, oids: Iterable[bytes]) -> list[bytes]:
        """Return those that the client was not sent."""
        pages, whole = self._pages, int.from_bytes
        found = []
        for oid in oids:
            place = whole(oid, 'big')
            page = pages.get(place // _PAGE)
            if page is None or not page[place % _PAGE >> 3] & 1 << (place & 7):
                found.append(oid)
        return found

    def discard(self, oids: Iterable[bytes]) -> None:
        """The client does not have these any more, or not as they are now."""
        for oid in oids:
            number, place = divmod(int.from_bytes(oid, 'big'), _PAGE)
            page = self._pages.get(number)
            if page is not None:
                page[place >> 3] &= ~(1 << (place & 7))

    def forget_near(self, oid: bytes) -> None:
        """The client has lost an object, and most likely those beside it."""
        self._pages.pop(int.from_bytes(oid, 'big') // _PAGE, None)

    def clear(self) -> None:
        """The client may have nothing."""
        self._pages.clear()

    def __len__(self) -> int:
        """Return how many bytes the pages take."""
        return len(self._pages) * (_PAGE // 8)

    def _new(self, number: int) -> bytearray:
        if len(self._pages) >= _MOST_PAGES:
            self._pages.pop(next(iter(self._pages)))
        page = self._pages[number] = bytearray(_PAGE // 8)
        return page
