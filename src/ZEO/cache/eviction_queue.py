"""The order in which records in memory leave: oids, the oldest first.

Enters: oids that come in or leave out of their turn. Leaves: the oid whose turn it is. Fails:
never.

A `deque` takes a fifth of the memory of an `OrderedDict`, but nothing leaves from its middle.
So what leaves out of its turn stays in it, counted as void, until its turn comes or until half of
the queue is void.
"""

from __future__ import annotations

from collections import deque

_LEAST_VOID = 64  # entries; fewer are not worth the work of removing them


class EvictionQueue:
    """Oids in the order of their turns. Every method needs the cache's lock."""

    def __init__(self) -> None:
        self.order: deque[bytes] = deque()  # oldest first, with void entries; append to add
        self.used = 0  # bytes of the records; the cache counts them
        self._void: dict[bytes, int] = {}  # oid: how many of its entries, the oldest, are void
        self._void_count = 0

    def __len__(self) -> int:
        """Return the number of oids that are not void."""
        return len(self.order) - self._void_count

    def pop(self) -> bytes | None:
        """Remove and return the oid whose turn it is, or None."""
        while self.order:
            oid = self.order.popleft()
            if not self._void or not self._was_void(oid):
                return oid
        return None

    def leave(self, oid: bytes) -> None:
        """Take an oid out before its turn."""
        self._void[oid] = self._void.get(oid, 0) + 1
        self._void_count += 1
        if self._void_count > max(len(self.order) // 2, _LEAST_VOID):
            self.order = deque([oid for oid in self.order if not self._was_void(oid)])

    def _was_void(self, oid: bytes) -> bool:
        """Return whether an entry was void, which leaves."""
        count = self._void.get(oid)
        if count is None:
            return False
        self._void_count -= 1
        if count > 1:
            self._void[oid] = count - 1
        else:
            del self._void[oid]
        return True
