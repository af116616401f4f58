"""Ending a record before it is known to be replaced, with what every cache can do.

Enters: what has changed at some tid, or before. Leaves: revisions that end where they were current
for certain. Fails: as the cache does.
"""

from __future__ import annotations

from typing import Any


class EndsEarly:
    """A cache that ends records early with two or three of its other methods."""

    def end_early(self: Any, oid: bytes, end_tid: bytes, tid: bytes) -> None:
        """End the current revision of oid at `end_tid`, if it is older than `tid`; forget all
        revisions if it is not older than `end_tid`.
        """
        self.invalidate(oid, end_tid)
        found = self.loadBefore(oid, tid)
        if found is not None and found[2] is None:
            self.invalidate(oid, None)
