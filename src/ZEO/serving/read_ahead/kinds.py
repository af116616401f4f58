"""How much of what objects of one class lead to is used, for all clients of a storage.

Enters: records; of what they refer to and was sent, what was used in time, and what was not.
Leaves: how many to send before any of it was used. Fails: never; with too many classes it begins
anew.

What is on its way counts only when it is used, or when the client has gone on without it: else the
first node of a BTree, of which all is sent before the client can use any of it, would count against
all others.

Some objects are a list of what is wanted next, such as folders; others refer to dozens of objects
of which one is wanted, such as a mapping of tools.
"""

from __future__ import annotations

from ZEO.wire.likely_references import unpacked

#: Bytes at the beginning of a record in which the name of its class is looked for.
_NAME = 160

#: Classes that are known at most; and records that one has led to, from which on its share counts,
#: and after which older ones count for half.
_MOST, _ENOUGH, _MEMORY = 1024, 16, 256

#: The share of used ones from which on as many are sent as may be (some will be used later); and
#: how many are sent in any case.
_GOOD, _LEAST = 0.3, 1


class Kind:
    """The objects of one class."""

    __slots__ = ('_known', '_used')

    def __init__(self) -> None:
        self._known = self._used = 0

    def known(self) -> None:
        """Of one of what they lead to it is known now whether it was used in time."""
        self._known += 1
        if self._known > _MEMORY:
            self._known //= 2
            self._used //= 2

    def used(self) -> None:
        """One of them was used."""
        self._used += 1

    def most(self, most: int) -> int:
        """Return how many to send before one was used.

        :param most: how many may be sent.
        """
        if self._known < _ENOUGH:
            return most
        return min(most, max(_LEAST, int(most * self._used / (_GOOD * self._known))))


class Kinds:
    """Those of a storage."""

    def __init__(self) -> None:
        self._kinds: dict[bytes, Kind] = {}

    def of(self, data: bytes) -> Kind:
        """Return the kind of a record: that of its first two lines, which name its class. All
        records that do not begin so are of one kind.
        """
        if data[:2] == b'.z':
            data = unpacked(data, _NAME)
        end = data.find(b'\n', data.find(b'\n', 0, _NAME) + 1, _NAME)
        name = data[: max(0, end)]
        kind = self._kinds.get(name)
        if kind is None:
            if len(self._kinds) >= _MOST:
                self._kinds.clear()
            kind = self._kinds[name] = Kind()
        return kind

    def __len__(self) -> int:
        return len(self._kinds)
