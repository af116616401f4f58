"""A FileStorage whose index takes a transaction of very many objects bit by bit, afterwards.

Enters: calls of a storage; :meth:`MergingFileStorage.merge`, again and again. Leaves: the same
index. Fails: as FileStorage does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from ZEO.serving.few_calls import FewCallsFileStorage
from ZEO.serving.many import ManyPlaces
from ZEO.serving.merging_index import AT_ONCE, MergingIndex

#: Objects of a transaction from which on they are merged into the index afterwards: the index takes
#: that many within 3 ms.
LATER_MERGED = 1000


class MergingFileStorage(FewCallsFileStorage):
    """A FileStorage; its arguments are those of FileStorage."""

    #: Called when there is something to :meth:`merge`, which is then to be called until it is done.
    #: None: transactions put all places into the index before they end.
    merge_soon: Callable[[], None] | None = None

    _index: Any
    _index_get: Any
    _new_objects: int | None = None  # of the transaction that was voted for, if it is large
    _is_merging = False  # whether merge_soon was called, and not all is done

    def __init__(self, *args: Any, **options: Any) -> None:
        #: Places of large transactions that are over, which are forgotten bit by bit.
        self._past_places: list[ManyPlaces] = []
        super().__init__(*args, **options)

    def voting(self, transaction: Any) -> Iterator[None]:
        """Also count how many objects are new."""
        yield from super().voting(transaction)
        places = self._tindex
        if self.merge_soon is None or len(places) < LATER_MERGED:
            return
        oids, new, index = iter(places), 0, self._index
        while some := list(islice(oids, AT_ONCE)):
            new += sum(oid not in index for oid in some)
            yield
            if transaction is not self._transaction:  # it was aborted
                return
        if transaction is self._transaction and places is self._tindex:
            self._new_objects = new

    def _clear_temp(self) -> None:
        super()._clear_temp()
        self._new_objects = None

    def _forget_places(self) -> None:
        if self.merge_soon is not None and isinstance(self._tindex, ManyPlaces):
            self._past_places.append(self._tindex)
            self._begin_to_merge()
        super()._forget_places()

    # Merging what was put over the index.

    def _put_over(self, new: int) -> None:
        index = self._index
        if not isinstance(index, MergingIndex):
            index = MergingIndex(index, self._lock)
        index.push(self._tindex, new)
        self._new_objects = None  # not again
        self._index, self._index_get, self._tindex = index, index.get, {}
        self._begin_to_merge()

    def _begin_to_merge(self) -> None:
        if self.merge_soon is not None and not self._is_merging:
            self._is_merging = True
            self.merge_soon()

    def merge(self) -> bool:
        """Merge a part of what was put over the index, or forget some places of a transaction that
        is over; return whether there is more.
        """
        with self._lock:
            index, past = self._index, self._past_places
            if past:
                if not past[-1].free():
                    past.pop()
            elif isinstance(index, MergingIndex) and not index.merge():
                self._index, self._index_get = index.base, index.base.get
            self._is_merging = bool(past) or isinstance(self._index, MergingIndex)
            return self._is_merging
