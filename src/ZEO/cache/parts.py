"""What makes up an open cache file: the file, its index, its ring.

In: an open file. Out: parts that agree with each other, those of an empty cache. Fails: OSError
when the file cannot be written.
"""

from __future__ import annotations

from dataclasses import dataclass

from ZEO.cache import format
from ZEO.cache.cache_file import CacheFile
from ZEO.cache.index import Index
from ZEO.cache.ring import Ring

MIN_SIZE = 2 * format.RING_START  # bytes; header and a ring of one page


@dataclass
class Parts:
    """A cache file that is ready for use."""

    file: CacheFile
    index: Index
    ring: Ring

    @classmethod
    def around(cls, file: CacheFile) -> Parts:
        """Return the parts of a file that is empty."""
        index = Index()
        return cls(file, index, Ring(file, index))


def create(file: CacheFile, size: int, identity: str) -> Parts:
    """Make an empty cache of an open file. Raises OSError."""
    try:
        file.create(size, identity)
    except OSError:
        file.void()  # half of a cache file would only be complained of the next time
        raise
    return Parts.around(file)
