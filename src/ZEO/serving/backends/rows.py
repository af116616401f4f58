"""Reading records of RelStorage's tables from a snapshot of its own.

Enters: oids. Leaves: records, as an instance of the storage returns them. Fails: as an instance
does.

An instance of RelStorage shares a cache with all others of the process. A server keeps records
itself, knows when they change, and must not be told by a cache that nothing has: so readers ask the
tables. Where no history is kept, that cache has an older record of an object now and then, but not
all that came between it and the current one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, p64, u64, z64


class RowReader:
    """A snapshot of the database; the part of an instance that readers need.

    :param adapter: RelStorage's, for one thread.
    """

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self._open: tuple[Any, Any] | None = None  # connection, cursor
        self._last = z64
        self._found: dict[bytes, tuple[bytes, bytes]] = {}
        self._sought: set[bytes] = set()  # what is in _found, if it is there at all

    @property
    def connection(self) -> Any:
        """What the driver has made; None while there is none."""
        return self._open and self._open[0]

    def poll_invalidations(self) -> None:
        """Take a new snapshot."""
        self.afterCompletion()
        if self._open is None:
            self._open = self._adapter.connmanager.open_for_load()
        self._last = p64(self._adapter.poller.get_current_tid(self._open[1]) or 0)

    def lastTransaction(self) -> bytes:
        """Return the last transaction of the snapshot."""
        return self._last

    def prefetch(self, oids: Iterable[bytes]) -> None:
        """Fetch current records with one query."""
        assert self._open is not None
        sought = set(oids)
        numbers = [u64(oid) for oid in sought]
        self._found = {
            p64(int(oid)): (bytes(state), p64(int(tid)))
            for oid, state, tid in self._adapter.mover.load_currents(self._open[1], numbers)
            if state is not None
        }
        self._sought = sought

    def load(self, oid: bytes, version: str = '') -> tuple[bytes, bytes]:
        """Return the current record of an object, and its tid."""
        assert self._open is not None
        found = self._found.get(oid)
        if found is not None:
            return found
        if oid in self._sought:
            raise POSKeyError(oid)
        state, tid = self._adapter.mover.load_current(self._open[1], u64(oid))
        if state is None:
            raise POSKeyError(oid)
        return bytes(state), p64(int(tid))

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        """Return what loadBefore does."""
        if not self._adapter.keep_history:  # there is the current one, or none
            data, serial = self.load(oid)
            return (data, serial, None) if serial < tid else None
        assert self._open is not None
        mover, cursor, number = self._adapter.mover, self._open[1], u64(oid)
        state, serial = mover.load_before(cursor, number, u64(min(tid, maxtid)))
        if serial is None and mover.exists(cursor, number):
            return None
        if state is None:  # or its creation was undone
            raise POSKeyError(oid)
        end = mover.get_object_tid_after(cursor, number, serial)
        return bytes(state), p64(int(serial)), None if end is None else p64(int(end))

    def afterCompletion(self) -> None:
        """End the snapshot."""
        self._found, self._sought = {}, set()
        if self._open is not None and not self._adapter.connmanager.rollback_quietly(*self._open):
            self._open = None

    def release(self) -> None:
        """Close the connection."""
        opened, self._open = self._open, None
        if opened is not None:
            self._adapter.connmanager.rollback_and_close(*opened)
