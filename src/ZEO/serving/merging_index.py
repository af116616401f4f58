"""The index of a FileStorage to which very many records are added at once.

Enters: an index, the places of a large transaction as they were collected. Leaves: the same places
in one step, and in the index itself after many short ones. Fails: KeyError for an object that is
not there, as FileStorage's index.

To put a million places into FileStorage's own index takes 1.5 s, for which all clients would wait.
So they stay in the dictionary in which they were collected, and lie over the index; what is asked
for is looked up there first. Bit by bit they move to the index below, and this object is done.

Any thread may look up. An object is always in a layer or below, since a layer stays as it is until
all of it is there. All else happens under the lock of the storage.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from BTrees.fsBTree import fsBucket
from ZODB.utils import p64

from ZEO.serving.many import ManyPlaces

#: Objects that move at a time: 1 ms.
AT_ONCE = 1000


class MergingIndex:
    """An index with places that are to be merged into it.

    :param base: a :class:`ZODB.fsIndex.fsIndex`.
    :param lock: of the storage, which a thread may take twice.
    """

    def __init__(self, base: Any, lock: Any) -> None:
        self.base = base
        self._lock = lock
        # the oldest first, of which the first one changes no more
        self._layers: tuple[ManyPlaces, ...] = ()
        self._moving: Iterator[tuple[bytes, int]] | None = None  # what is left of that
        self._gone: list[ManyPlaces] = []  # layers that are below, and are emptied in steps
        self._added = 0  # objects in layers that are not in the base

    def push(self, places: ManyPlaces, new: int) -> None:
        """Put places, which are not the caller's any more, over everything else.

        :param new: how many of its objects were not here.
        """
        self._added += new
        self._layers = (*self._layers, places)

    def merge(self) -> bool:
        """Merge some places; return whether there are more."""
        with self._lock:
            if self._gone:
                self._empty(self._gone[-1])
            elif self._layers:
                if self._moving is None:
                    self._moving = iter(self._layers[0].items())
                self._move(list(islice(self._moving, AT_ONCE)))
            return bool(self._layers or self._gone)

    def _empty(self, layer: ManyPlaces) -> None:
        """Free some of a layer: a million objects take too long at once."""
        if not layer.free():
            self._gone.pop()

    def _move(self, items: list[tuple[bytes, int]]) -> None:
        """Put places of the first layer below; when there are none, all of it is."""
        if not items:
            self._gone.append(self._layers[0])
            self._layers, self._moving = self._layers[1:], None
        data = self.base._data
        prefix: bytes | None = None
        bucket: Any = None
        for oid, place in items:
            if oid[:6] != prefix:
                prefix = oid[:6]
                bucket = data.get(prefix)
                if bucket is None:
                    bucket = data[prefix] = fsBucket()
            before = len(bucket)
            bucket[oid[6:]] = p64(place)[2:]
            self._added -= len(bucket) - before

    def whole(self) -> Any:
        """Merge everything; return the index below, which is whole now."""
        while self.merge():
            pass
        return self.base

    # What storages ask an index for.

    def get(self, oid: bytes, default: Any = None) -> Any:
        for layer in reversed(self._layers):
            place = layer.get(oid)
            if place is not None:
                return place
        return self.base.get(oid, default)

    def __getitem__(self, oid: bytes) -> int:
        place = self.get(oid)
        if place is None:
            raise KeyError(oid)
        return place

    def __contains__(self, oid: bytes) -> bool:
        return self.get(oid) is not None

    has_key = __contains__

    def __setitem__(self, oid: bytes, place: int) -> None:
        self.update({oid: place})

    def update(self, places: Any) -> None:
        with self._lock:
            if not self._layers:
                self.base.update(places)
                return
            self._added += sum(self.get(oid) is None for oid in places)
            if len(self._layers) > 1:
                self._layers[-1].update(places)
            else:
                self._layers = (*self._layers, ManyPlaces(places))

    def __delitem__(self, oid: bytes) -> None:
        with self._lock:  # after a sync has failed
            del self.whole()[oid]

    def clear(self) -> None:
        with self._lock:
            self._layers, self._moving, self._added = (), None, 0
            self.base.clear()

    def __len__(self) -> int:
        with self._lock:
            return len(self.base) + self._added

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.whole())

    def __getattr__(self, name: str) -> Any:
        """Return what goes over all objects (``items``, ``minKey``, ``save``...), once all are
        below.
        """
        if name.startswith('_'):
            raise AttributeError(name)
        return getattr(self.whole(), name)
