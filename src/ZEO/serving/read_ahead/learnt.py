"""What clients have loaded after an object the last times, for all clients of a storage.

Enters: pairs of oids, one loaded after the other by the same client. Leaves: the oids that followed
one, the last first. Fails: never.
"""

from __future__ import annotations

#: Objects in each of the two tables: about 3 MB for both.
_MOST = 8192

#: Followers of one object that are remembered.
_FOLLOWERS = 3


class Learnt:
    """A table, oid -> the oids that were loaded next.

    When the younger of two tables is full it becomes the older, which is given up then; what is
    loaded again returns to the younger.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._young: dict[bytes, tuple[bytes, ...]] = {}
        self._old: dict[bytes, tuple[bytes, ...]] = {}

    def after(self, oid: bytes) -> tuple[bytes, ...]:
        """Return what was loaded after an object, the last first."""
        return self._young.get(oid) or self._old.get(oid, ())

    def learn(self, oid: bytes, following: bytes) -> None:
        """One object was loaded after another."""
        known = self._young.get(oid)
        if known is None:
            known = self._old.pop(oid, ())
            if len(self._young) >= self._most:
                self._young, self._old = {}, self._young
        if known and known[0] == following:
            self._young[oid] = known
        else:
            others = [one for one in known if one != following]
            self._young[oid] = (following, *others[: _FOLLOWERS - 1])

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
