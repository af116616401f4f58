"""Which object refers to which, as far as a server has looked at records lately.

Enters: an object and what its record refers to. Leaves: of an object, one that refers to it. Fails:
never; what is too much is forgotten.

A client that asks for one page of a folder will want the others, though it has had the folder for
long: as a crawler that reads all folders before the pages, or one whose cache has kept the folder.
"""

from __future__ import annotations

#: Objects in each of the two tables: about 4 MB for both.
_MOST = 16_384


class Referrers:
    """A table, oid -> the oid of the object that was last seen to refer to it.

    When the younger of two tables is full it becomes the older, which is given up then.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}

    def of(self, oid: bytes) -> bytes | None:
        """Return an object that refers to another, None where none is known."""
        return self._young.get(oid) or self._old.get(oid)

    def learn(self, oid: bytes, references: list[bytes]) -> None:
        """An object refers to others."""
        if len(references) == 1:  # as the next bucket of a BTree, to which a node refers as well
            self._young.setdefault(references[0], self._old.get(references[0], oid))
        else:
            self._young.update(dict.fromkeys(references, oid))
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
