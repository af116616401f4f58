"""In which order clients are sent transactions, those of others and those of this server.

Enters: transactions that the follower has found, and what becomes of this server's commits. Leaves:
what clients are to be sent next. Fails: never.

The follower may find a transaction before the thread that has committed it says so. Of a database
that keeps no history, or that only says what has changed between two looks, it may not find it at
all: what it has changed was changed again, and is part of a later one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from ZODB.utils import p64, u64, z64

from ZEO.serving.backends.changes import Step


class Next(NamedTuple):
    """What clients are to be sent."""

    tid: bytes
    oids: list[bytes]
    own: Any  # what was given to Order.permanent; None: it is not this server's


class Order:
    """Transactions that clients were not sent yet."""

    def __init__(self) -> None:
        self._steps: deque[Step] = deque()
        # transactions that the database may have made permanent by now, and what they change
        self._finishing: dict[Any, frozenset[bytes]] = {}
        self._permanent: dict[bytes, tuple[frozenset[bytes], Any]] = {}  # by tid
        self._last = z64  # what was taken last

    def __bool__(self) -> bool:
        """Return whether some were found that clients were not sent yet."""
        return bool(self._steps)

    def found(self, steps: Iterable[Step]) -> None:
        """The follower has found these, which follow those before."""
        self._steps.extend(steps)

    def finishing(self, commit: Any, changed: Iterable[bytes]) -> None:
        """A commit of this server begins to become permanent."""
        self._finishing[commit] = frozenset(changed)

    def failed(self, commit: Any) -> None:
        """It has not, or that is not known."""
        del self._finishing[commit]

    def permanent(self, commit: Any, tid: bytes, own: Any) -> None:
        """It is permanent, with that tid."""
        self._permanent[tid] = self._finishing.pop(commit), own

    def is_waiting(self, tid: bytes) -> bool:
        """Return whether one of this server is permanent, and clients were not sent it yet."""
        return tid in self._permanent

    def passed(self, tid: bytes) -> None:
        """All transactions up to this one were found."""
        if tid in self._permanent and all(step[0] != tid for step in self._steps):
            self._steps = deque(sorted([*self._steps, (tid, [])]))

    def gone(self, tid: bytes) -> Any:
        """It is sent otherwise; return what was given to :meth:`permanent`, None if it is sent."""
        return self._permanent.pop(tid, (None, None))[1]

    def lost_track(self, last: bytes) -> list[bytes]:
        """What was found is worth nothing; return which of this server's are permanent, up to
        `last`.
        """
        self._steps.clear()
        self._last = last
        return sorted(tid for tid in self._permanent if tid <= last)

    def take(self) -> Next | None:
        """Return what comes next, if that is known."""
        if not self._steps or self._may_be_missing():
            return None
        tid, oids = self._steps[0]
        first = min(self._permanent, default=tid)
        if first > tid or first not in self._permanent:
            self._steps.popleft()
            return self._taken(Next(tid, oids, None))
        changed, own = self._permanent[first]
        before = p64(u64(first) - 1)
        if before > self._last and not changed.issuperset(oids):
            # changed by several, of which some may have come before this server's own
            return self._taken(Next(before, oids, None))
        del self._permanent[first]
        if first == tid:
            self._steps.popleft()
        return self._taken(Next(first, list(changed), own))

    def _taken(self, taken: Next) -> Next:
        self._last = max(self._last, taken.tid)
        return taken

    def _may_be_missing(self) -> bool:
        """Return whether one that is finishing may be the next or come before it: either the next
        is nothing else, or all that it changes was changed again by what was found.
        """
        if not self._finishing:
            return False
        first = self._steps[0][1]
        found = {oid for _, oids in self._steps for oid in oids}
        return any(
            changed.issuperset(first) or changed <= found for changed in self._finishing.values()
        )
