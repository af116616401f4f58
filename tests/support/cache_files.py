"""Cache files for tests: filled, and as killed processes leave them.

Enters: an open cache. Leaves: what is in its file. Fails: as the cache does.
"""

import logging

from ZODB.utils import p64

from support.inside import revisions_of
from ZEO.cache import ClientCache

#: Bytes of a file that has room for all that a test stores.
SIZE = 1_000_000


def fill(cache: ClientCache, count: int, size: int = 100, tid: int = 1) -> None:
    """Store some records, whose oids are counted from zero."""
    for i in range(count):
        cache.store(p64(i), p64(tid), None, bytes([i % 256]) * size)


def leave(cache: ClientCache) -> None:
    """Let go of the file as a killed process does."""
    revisions_of(cache)._file.close()
    cache._unlock()


def warnings(caplog):
    """Return the messages that an operator is to see."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
