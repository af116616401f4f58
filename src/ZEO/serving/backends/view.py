"""What the clients of an MVCC storage were sent: up to which transaction, and what changed last.

Enters: each transaction, in the order of the tids, when clients are about to be sent it. Leaves:
whether an answer that was read from a snapshot of the database may be sent. Fails: MemoryError, and
then takes all objects for changed.

An answer may be sent if its snapshot has all that clients were sent, or if the object has not
changed in between: a client that gets an invalidation first would take an older record, which comes
behind it, for current. A snapshot that is ahead of the view does no harm: the invalidation comes
later.
"""

from __future__ import annotations

from collections.abc import Iterable

from ZODB.utils import z64

#: Objects of which the last change is remembered, twice: some 20 MB at most. Snapshots are less
#: than seconds behind, in which no database changes that many.
MOST_OIDS = 50_000


class View:
    """The view that the clients of one storage have.

    The loop's thread moves it; any thread may ask.

    :param last: the storage's last transaction.
    """

    def __init__(self, last: bytes) -> None:
        #: The last transaction that clients were sent.
        self.last = last
        #: How often anything may have changed; what was read before is worth nothing.
        self.resets = 0
        # oid -> the last transaction that changed it, of those after _floor
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._floor = last
        self._middle = last  # the floor once the older table is given up

    def advance(self, tid: bytes, oids: Iterable[bytes]) -> None:
        """Clients are about to be sent a transaction."""
        try:
            self._young.update(dict.fromkeys(oids, tid))
        except BaseException:
            self.pass_blindly(tid)  # no memory, most likely
            raise
        self.last = max(tid, self.last)
        if len(self._young) > MOST_OIDS:
            self._floor, self._middle = self._middle, self.last
            self._old = self._young  # first: another thread may look in between
            self._young = {}

    def pass_blindly(self, tid: bytes) -> None:
        """Clients are sent a transaction that may have changed anything; this needs no memory."""
        self._floor = self._middle = self.last = max(tid, self.last)

    def is_behind(self, oid: bytes, snapshot: bytes) -> bool:
        """Return whether an object may have changed after a snapshot, as clients were sent.

        :param snapshot: a transaction whose changes, and all before, the snapshot has.
        """
        if snapshot >= self.last:
            return False
        changed = self._young.get(oid) or self._old.get(oid, z64)
        return snapshot < self._floor or changed > snapshot

    def has_changed(self, oid: bytes, since: bytes) -> bool:
        """Return whether it is remembered that an object has changed after a transaction."""
        return (self._young.get(oid) or self._old.get(oid, z64)) > since

    def reset(self, last: bytes) -> None:
        """Clients were sent that anything may have changed."""
        self._young, self._old = {}, {}
        self.resets += 1
        self.last = self._floor = self._middle = last
