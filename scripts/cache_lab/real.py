"""The real caches, asked as the models are, to be compared with them.

Enters: accesses, an oid and a size in bytes. Leaves: whether each was a hit. Fails: as those caches
do. A record takes what the models count: its data is shorter by what the cache adds. That is more
in memory than in a file, so the models that a cache in memory is compared with are given records
that are larger by the difference.
"""

from __future__ import annotations

from ZODB.utils import p64

from ZEO.cache import ClientCache, MemoryCache, format
from ZEO.cache.memory_cache import RECORD_OVERHEAD

#: Bytes that a record takes more in memory than in a file, for which accesses are recorded.
MORE_IN_MEMORY = RECORD_OVERHEAD - format.RECORD_HEADER


class _Real:
    """A cache behind the methods of a model.

    :param cache: empty.
    :param overhead: bytes that it takes for a record besides the data.
    """

    def __init__(self, cache: ClientCache | MemoryCache, overhead: int) -> None:
        self._cache = cache
        self._overhead = overhead
        self._data = b''
        self._tid = 1  # of the last transaction

    def access(self, oid: int, size: int) -> bool:
        """See :class:`ZEO.cache.simulate.Policy`."""
        key = p64(oid)
        if self._cache.load(key) is not None:
            return True
        length = max(size - self._overhead, 0)
        if len(self._data) < length:
            self._data = bytes(length)
        self._cache.store(key, p64(self._tid), None, self._data[:length])
        return False

    def forget(self, oid: int) -> None:
        """See :class:`ZEO.cache.simulate.Policy`: a transaction has changed the object."""
        self._tid += 1
        self._cache.invalidate(p64(oid), p64(self._tid))


class InFile(_Real):
    """A temporary cache file that has `capacity` bytes besides its header."""

    def __init__(self, capacity: int) -> None:
        super().__init__(ClientCache(None, capacity + format.RING_START), format.RECORD_HEADER)


class InMemory(_Real):
    """A cache in memory, of `capacity` bytes."""

    def __init__(self, capacity: int) -> None:
        super().__init__(MemoryCache(capacity), RECORD_OVERHEAD)
