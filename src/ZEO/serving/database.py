"""What a storage takes for the database that it belongs to.

Enters: what the storage reports, in its own threads: changes that others have made, or that it has
lost track of them. Leaves: calls in the loop's thread. Fails: never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import zope.interface
from ZODB.interfaces import IStorageWrapper
from ZODB.serialize import referencesf

from ZEO.net.loop import Loop


@zope.interface.implementer(IStorageWrapper)
class Database:
    """The server, as its storage sees it.

    :param heard: called with a tid and the oids that it has changed.
    :param lost_track: called when the storage cannot say what has changed.
    """

    keeps_objects = False  # which would have to be read again after an error

    def __init__(
        self,
        loop: Loop,
        heard: Callable[[bytes, list[bytes]], None],
        lost_track: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._heard = heard
        self._lost_track = lost_track
        self.references = referencesf  # record data -> oids it refers to, for pack

    def invalidate(self, tid: bytes, oids: Iterable[bytes], version: str = '') -> None:
        """Others have committed a transaction."""
        oids = list(oids)
        if oids:  # none where it is not known what has changed: there is nothing to report
            self._loop.from_thread(partial(self._heard, tid, oids))

    def invalidateCache(self) -> None:
        """Anything may have changed."""
        self._loop.from_thread(self._lost_track)

    def transform_record_data(self, data: bytes) -> bytes:
        """Return a record as the storage keeps it."""
        return data

    def untransform_record_data(self, data: bytes) -> bytes:
        """Return a record as clients keep it."""
        return data
