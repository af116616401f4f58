"""What makes up an open cache file: the file, its index, its regions.

Enters: an open file. Leaves: an empty cache whose three parts agree with each other. Fails:
OSError when the file cannot be written.
"""

from __future__ import annotations

from dataclasses import dataclass

from ZEO.cache import format
from ZEO.cache.cache_file import CacheFile
from ZEO.cache.index import Index
from ZEO.cache.regions import Regions

MIN_SIZE = 2 * format.RING_START  # bytes; header and a ring of one page


@dataclass
class OpenCache:
    """A cache file that is ready for use."""

    file: CacheFile
    index: Index
    regions: Regions

    @classmethod
    def of_empty(cls, file: CacheFile) -> OpenCache:
        """Return the cache in a file that holds no records."""
        index = Index()
        return cls(file, index, Regions(file, index))


def create(file: CacheFile, size: int, identity: str) -> OpenCache:
    """Make an open file an empty cache.

    :param size: bytes.
    :param identity: which storage of which database this is.
    :raises OSError: when the file cannot be written.
    """
    try:
        file.create(size, identity)
    except OSError:
        file.void()  # half of a cache file would only lead to a warning the next time
        raise
    return OpenCache.of_empty(file)
