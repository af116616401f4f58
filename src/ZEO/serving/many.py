"""The objects of a very large transaction, in tables that never take long.

Enters: oids, and places in a file. Leaves: the same as from a dictionary. Fails: as a dictionary.

A dictionary that doubles takes 40 ms of CPU at 700,000 objects, and to free one of a million takes
as much; nothing else is served meanwhile. So there are many small ones, and they are freed bit by
bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: Tables, of which an oid is in the one that its hash says: with a million objects, one takes a
#: fraction of a millisecond to double or to be freed.
_PARTS = 1024

#: Objects that are freed at a time, and parts of a million of them: 1 ms at most.
_FREED, _PARTS_FREED = 5000, 5


class ManyPlaces:
    """A dictionary of oids and places in a file; what others need of one.

    :param places: what is in it first.
    """

    def __init__(self, places: dict[bytes, int]) -> None:
        self._parts: list[dict[bytes, int]] = [{} for _ in range(_PARTS)]
        self._order: list[bytes] = []  # some of them more than once
        self._freed = 0  # parts that are empty by now
        self.update(places)

    def __setitem__(self, oid: bytes, place: int) -> None:
        self._parts[hash(oid) % _PARTS][oid] = place
        self._order.append(oid)

    def update(self, places: Any) -> None:
        """Add places, or change them."""
        for oid, place in places.items():
            self[oid] = place

    def get(self, oid: bytes, default: Any = None) -> Any:
        """Return the place of an object."""
        return self._parts[hash(oid) % _PARTS].get(oid, default)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            yield from part

    def items(self) -> Iterator[tuple[bytes, int]]:
        """Return pairs of an oid and its place, in the order in which they were added; what was
        added again is there again. Mostly that is the order of the oids, in which an index takes
        them in a tenth of the time.
        """
        for oid in self._order:
            yield oid, self._parts[hash(oid) % _PARTS][oid]

    def values(self) -> Iterator[int]:
        """Return all places."""
        for part in self._parts:
            yield from part.values()

    def clear(self) -> None:
        """Forget all, which takes long; see :meth:`free`. Nothing can be added any more."""
        while self.free():
            pass

    def free(self) -> bool:
        """Forget some; return whether there are more."""
        del self._order[-_FREED:]
        count = 0
        while self._freed < _PARTS and count < _FREED:
            part = self._parts[self._freed]
            count += len(part)
            part.clear()
            self._freed += 1
        return self._freed < _PARTS or bool(self._order)


class ManyOids:
    """Oids in the order in which they were added, each once: as the keys of a dictionary.

    :param freeing: takes the tables at the end.
    """

    def __init__(self, freeing: Freeing, oids: Iterable[bytes] = ()) -> None:
        self._freeing = freeing
        #: All of them; for others to read as long as this object lives: then it is emptied.
        self.order: list[bytes] = []
        self._parts: list[set[bytes]] = [set() for _ in range(_PARTS)]
        for oid in oids:
            self[oid] = None

    def __setitem__(self, oid: bytes, nothing: None) -> None:
        part = self._parts[hash(oid) % _PARTS]
        count = len(part)
        part.add(oid)
        if len(part) > count:
            self.order.append(oid)

    def __len__(self) -> int:
        return len(self.order)

    def __contains__(self, oid: bytes) -> bool:
        return oid in self._parts[hash(oid) % _PARTS]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.order)

    def __del__(self) -> None:
        self._freeing.take(self._parts, _PARTS_FREED)
        self._freeing.take(self.order, _FREED)


class Freeing:
    """Empties lists bit by bit, in a loop's thread.

    :param from_thread: has a function called in that thread; from any.
    :param next_turn: the same from that thread, when others had their turn.
    """

    def __init__(
        self,
        from_thread: Callable[[Callable[[], None]], None],
        next_turn: Callable[[Callable[[], None]], None],
    ) -> None:
        self._from_thread = from_thread
        self._next_turn = next_turn
        self._lists: deque[tuple[list[Any], int]] = deque()
        self._is_at_work = False

    def take(self, one: list[Any], at_once: int) -> None:
        """Empty a list, `at_once` of its items at a time; from any thread."""
        self._lists.append((one, at_once))
        self._from_thread(self._begin)

    def _begin(self) -> None:
        if self._lists and not self._is_at_work:
            self._is_at_work = True
            self._step()

    def _step(self) -> None:
        one, at_once = self._lists[0]
        del one[-at_once:]
        if not one:
            self._lists.popleft()
        if self._lists:
            self._next_turn(self._step)
        else:
            self._is_at_work = False
