"""Transactions that the storage has written, and that clients may not see yet.

Enters: each one, in the order of the tids; that it is on the disk. Leaves: those that may be seen
by now, and what the clients may see meanwhile. Fails: never. The loop's thread changes it; any
thread may read `seen`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from ZODB.utils import maxtid

from ZEO.serving.backends.base import Committing
from ZEO.serving.later import Later
from ZEO.serving.many import ManyOids


@dataclass(slots=True)
class Unacknowledged:
    """One transaction."""

    tid: bytes
    oids: list[bytes]  # what it has changed
    commit: Committing
    answer: Later  # to the client that has committed it
    until: float = 0.0  # when it has waited for too long, by the clock that never goes back
    is_answered: bool = False  # whether the client was sent that the outcome is not known
    is_synced: bool = True  # whether it is on the disk


class Waiting:
    """Those of one storage.

    :param seen: the storage's last transaction.
    """

    def __init__(self, seen: bytes) -> None:
        #: The last transaction that clients other than followers may see.
        self.seen = seen
        self._entries: deque[Unacknowledged] = deque()
        # objects that those that wait have changed, and how often
        self._counted: Counter[bytes] = Counter()
        #: Objects that those that wait have changed; asked by every load.
        self.changed: Container[bytes] = self._counted
        # those of very large ones: to count a million objects takes 300 ms
        self._large: list[ManyOids] = []
        #: Whether the storage writes one at this moment.
        self.is_writing = False

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last(self) -> bytes:
        """The last transaction, whether clients may see it or not."""
        return self._entries[-1].tid if self._entries else self.seen

    @property
    def limit(self) -> bytes:
        """The last transaction that clients may see; that is any, where all is shown."""
        return self.seen if self._entries or self.is_writing else maxtid

    @property
    def synced(self) -> bytes:
        """The last transaction that is on the disk; that is any, where all is."""
        if not self.is_writing and all(entry.is_synced for entry in self._entries):
            return maxtid
        return max([self.seen, *(entry.tid for entry in self._entries if entry.is_synced)])

    def has(self, client: object) -> bool:
        """Return whether one of these is a client's, which waits for the answer."""
        return any(entry.commit.peer is client and not entry.is_answered for entry in self._entries)

    def unanswered(self) -> list[Unacknowledged]:
        """Return those on the disk whose clients wait for the answer, the oldest first."""
        return [entry for entry in self._entries if entry.is_synced and not entry.is_answered]

    def unsynced(self) -> list[Unacknowledged]:
        """Return those that are not on the disk, the oldest first."""
        return [entry for entry in self._entries if not entry.is_synced]

    def add(self, entry: Unacknowledged) -> None:
        """One more is written."""
        self._entries.append(entry)
        changed = entry.commit.changed
        if isinstance(changed, ManyOids):
            self._large.append(changed)
            self.changed = _Several(self._counted, self._large)
        else:
            self._counted.update(entry.oids)

    def start_afresh(self, seen: bytes) -> None:
        """Hide nothing any more: all up to `seen` is to be seen."""
        self._entries.clear()
        self._counted.clear()
        self._large.clear()
        self.changed = self._counted
        self.seen, self.is_writing = seen, False

    def has_several(self, tid: bytes) -> bool:
        """Return whether :meth:`take` will return more than one."""
        entries = self._entries
        return len(entries) > 1 and entries[1].tid <= tid and entries[1].is_synced

    def take(self, tid: bytes) -> Unacknowledged | None:
        """Take the first if it is on the disk and not after `tid`: clients may see it from now
        on.
        """
        if not self._entries or self._entries[0].tid > tid or not self._entries[0].is_synced:
            return None
        entry = self._entries.popleft()
        self.seen = max(self.seen, entry.tid)
        self._forget(entry)
        return entry

    def drop_unsynced(self) -> list[Unacknowledged]:
        """Take those that are not on the disk, and never will be."""
        dropped = self.unsynced()
        self._entries = deque(entry for entry in self._entries if entry.is_synced)
        for entry in dropped:
            self._forget(entry)
        return dropped

    def _forget(self, entry: Unacknowledged) -> None:
        changed = entry.commit.changed
        if isinstance(changed, ManyOids):
            self._large = [one for one in self._large if one is not changed]
            self.changed = _Several(self._counted, self._large) if self._large else self._counted
            return
        for oid in entry.oids:
            self._counted[oid] -= 1
            if not self._counted[oid]:
                del self._counted[oid]


class _Several:
    """What is counted, or in a large one."""

    def __init__(self, counted: Container[bytes], large: list[ManyOids]) -> None:
        self._counted = counted
        self._large = large

    def __contains__(self, oid: Any) -> bool:
        return oid in self._counted or any(oid in one for one in self._large)
