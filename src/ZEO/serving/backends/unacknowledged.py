"""Transactions that are permanent in the primary's storage, and that too few followers have yet.

Enters: each one, in the order of the tids. Leaves: those that followers have by now, and what the
clients may see meanwhile. Fails: never. The loop's thread changes it; any thread may read `seen`.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from ZEO.serving.backends.base import Committing
from ZEO.serving.later import Later


@dataclass(slots=True)
class Unacknowledged:
    """One transaction."""

    tid: bytes
    oids: list[bytes]  # what it has changed
    commit: Committing
    answer: Later  # to the client that has committed it
    until: float  # when it has waited for too long, by the clock that never goes back
    is_answered: bool = False  # whether the client was sent that the outcome is not known


class Waiting:
    """Those of one storage.

    :param seen: the storage's last transaction.
    """

    def __init__(self, seen: bytes) -> None:
        #: The last transaction that clients may see, but for followers.
        self.seen = seen
        self._entries: deque[Unacknowledged] = deque()
        #: Objects that those that wait have changed, and how often; asked by every load.
        self.changed: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last(self) -> bytes:
        """The last transaction, whoever may see it."""
        return self._entries[-1].tid if self._entries else self.seen

    def unanswered(self) -> list[Unacknowledged]:
        """Return those whose clients wait for the answer, the oldest first."""
        return [entry for entry in self._entries if not entry.is_answered]

    def add(self, entry: Unacknowledged) -> None:
        """One more is permanent."""
        self._entries.append(entry)
        self.changed.update(entry.oids)

    def take(self, tid: bytes) -> Unacknowledged | None:
        """Take the first if it is not after `tid`: clients may see it from now on."""
        if not self._entries or self._entries[0].tid > tid:
            return None
        entry = self._entries.popleft()
        self.seen = max(self.seen, entry.tid)
        for oid in entry.oids:
            self.changed[oid] -= 1
            if not self.changed[oid]:
                del self.changed[oid]
        return entry
