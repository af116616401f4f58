"""How much a client may be sent that it has not asked for, by what it has used of that so far.

Enters: records that are sent, loads, and which of the records were used. Leaves: how many more may
be sent now. Fails: never, whatever a client says: it can only say it of records that it was sent.
"""

from __future__ import annotations

from ZEO.serving.read_ahead.figures import Figures

#: Records under way at the beginning, and at least and at most.
_FIRST, _LEAST, _MOST = 64, 4, 512

#: Records for which there is room behind each load, whatever has not been used.
ROOM = 8

#: Records that may be sent because of others that were not used yet: at the beginning; one more for
#: so many loads, and for each that is used so many; at most a share of the records under way.
_DEEP, _LOADS_FOR_ONE, _FOR_USED, _DEEP_SHARE = 16, 2, 2, 4

#: Bytes under way at most: so many and a share of those that were of use lately, but never more
#: than the third.
_FIRST_BYTES, _BYTES_SHARE, _MOST_BYTES = 48 * 1024, 0.5, 1024 * 1024

#: Loads after which a record that was not used by then counts as unused.
_PATIENCE = 48

#: Records whose use is known, by which the share is judged the first time, and after which older
#: ones count for half.
_ENOUGH, _MEMORY = 32, 256

#: The share of used records below which nothing more is sent, and above which more is.
_BAD, _GOOD = 0.25, 0.75

#: Loads until it is tried again; after each failure twice as many, up to the second number.
_PAUSE, _LONGEST_PAUSE = 1_000, 64_000

#: Bytes that may be sent in vain: so many, and a share of those that were of use.
_FREE_BYTES, _SHARE = 48 * 1024, 0.3

#: Useful bytes after which older ones count for half, so that a good past does not pay for ever.
_BYTE_MEMORY = 8 * 1024 * 1024


class Window:
    """That of one client."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self.size = _FIRST
        self._unused: dict[bytes, tuple[int, int]] = {}  # oid -> loads when it was sent, its bytes
        self._bytes = 0  # of those
        self._loads = 0
        self._used = self._wasted = 0  # records, lately
        self._useful = 0.0  # bytes of answers and used records
        self._vain = 0.0  # bytes of unused records
        self._pause = _PAUSE
        self._deep = float(_DEEP)  # how many more may be sent because of others that were not used
        self.open_at = 0  # the number of the load from which on anything is sent

    @property
    def is_open(self) -> bool:
        """Whether this client is sent anything now."""
        return self._loads >= self.open_at

    def room(self, least: int = 0) -> int:
        """Return how many more records may be sent now.

        :param least: if there are bytes for any.
        """
        useful = self._useful
        if (
            self._vain > _FREE_BYTES + _SHARE * useful
            or self._bytes > _FIRST_BYTES + _BYTES_SHARE * useful
            or self._bytes > _MOST_BYTES
        ):
            return 0
        return max(least, self.size - len(self._unused))

    def room_deep(self) -> int:
        """Return how many of those may be sent because of others that were not used yet."""
        return min(int(self._deep), self.room())

    def take_deep(self, count: int) -> None:
        """So many were."""
        self._deep -= count

    def loaded(self, size: int) -> None:
        """The client has asked for a record of that many bytes."""
        self._loads += 1
        self._gain(1 / _LOADS_FOR_ONE)
        self._count_useful(size)
        unused, oldest_wanted = self._unused, self._loads - _PATIENCE
        while unused:
            oid = next(iter(unused))
            sent_at, bytes_ = unused[oid]
            if sent_at >= oldest_wanted:
                break
            del unused[oid]
            self._bytes -= bytes_
            self._vain += bytes_
            self._wasted += 1
            self._figures.wasted += 1
        if self._used + self._wasted >= _ENOUGH:
            self._judge()

    def sent(self, oid: bytes, size: int) -> None:
        """The client is sent a record that it has not asked for."""
        before = self._unused.pop(oid, None)
        if before is not None:
            self._bytes -= before[1]
        self._unused[oid] = self._loads, size
        self._bytes += size
        self._figures.sent += 1
        self._figures.bytes += size

    def used(self, oid: bytes) -> bool:
        """The client has used a record, or asked for it all the same; return whether it was sent
        it, and has not said so before.
        """
        found = self._unused.pop(oid, None)
        if found is None:
            return False
        self._bytes -= found[1]
        self._count_useful(found[1])
        self._used += 1
        self._gain(_FOR_USED)
        self._figures.used += 1
        return True

    def grow(self) -> None:
        """Judge by what was used lately, after a report."""
        known = self._used + self._wasted
        if known >= self.size / 2 and self._used >= _GOOD * known:
            self.size = min(_MOST, 2 * self.size)

    def _gain(self, more: float) -> None:
        self._deep = min(self._deep + more, max(_DEEP, self.size / _DEEP_SHARE))

    def _count_useful(self, size: int) -> None:
        self._useful += size
        if self._useful > _BYTE_MEMORY:
            self._useful /= 2
            self._vain /= 2

    def _judge(self) -> None:
        known = self._used + self._wasted
        if self._used < _BAD * known:
            self._close()
        elif self._used < known / 2:
            self.size = max(_LEAST, self.size // 2)
        elif known < _MEMORY:
            return
        self._used //= 2
        self._wasted //= 2

    def _close(self) -> None:
        """Send nothing for a while."""
        self.open_at = self._loads + self._pause
        self._pause = min(_LONGEST_PAUSE, 2 * self._pause)
        self.size = _LEAST
        self._used = self._wasted = 0
        self._figures.stopped += 1
