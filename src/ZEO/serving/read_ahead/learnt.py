"""What clients have loaded after an object the last times, for all clients of a storage.

Enters: pairs of oids, one loaded after the other by the same client. Leaves: the oids that followed
one more than once, the last first. Fails: never.

What has followed once may have done so by chance, as where objects are loaded at random.
"""

from __future__ import annotations

#: Objects in each of the two tables: about 3 MB for both.
_MOST = 8192

#: Followers of one object that are remembered, of those that have followed it more than once.
_FOLLOWERS = 2


class Learnt:
    """A table, oid -> the oids that were loaded next.

    When the younger of two tables is full it becomes the older, which is given up then; what is
    loaded again returns to the younger.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        # the oid that has followed last, and those that have done so more than once
        self._young: dict[bytes, tuple[bytes, ...]] = {}
        self._old: dict[bytes, tuple[bytes, ...]] = {}

    def after(self, oid: bytes) -> tuple[bytes, ...]:
        """Return what was loaded after an object more than once, the last first."""
        return (self._young.get(oid) or self._old.get(oid, ()))[1:]

    def way(self, oid: bytes, most: int) -> list[bytes]:
        """Return what was loaded after an object the last time, one after the other."""
        young, old = self._young, self._old
        found: dict[bytes, None] = {}
        while len(found) < most:
            known = young.get(oid) or old.get(oid)
            if known is None or known[0] in found:
                break
            oid = known[0]
            found[oid] = None
        return list(found)

    def learn(self, oid: bytes, following: bytes) -> bool:
        """One object was loaded after another; return whether it was before."""
        known = self._young.get(oid)
        if known is None:
            known = self._old.pop(oid, ())
            if len(self._young) >= self._most:
                self._young, self._old = {}, self._young
        often = known[1:]
        if following in known:
            others = [one for one in often if one != following]
            often = (following, *others[: _FOLLOWERS - 1])
        self._young[oid] = (following, *often)
        return following in known

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
