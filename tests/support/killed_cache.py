"""Cache files as killed processes leave them.

Enters: an open cache. Leaves: its file, given up by this process without a word in it. Fails: as
closing a file does.
"""

from support.inside import revisions_of
from ZEO.cache import ClientCache


def leave(cache: ClientCache) -> None:
    """Let go of the file as a killed process does."""
    revisions_of(cache)._file.close()
    cache._unlock()
