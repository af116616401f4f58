"""In which order clients are sent transactions, those of others and those of this server.

Enters: transactions that the follower has found, and what becomes of this server's commits. Leaves:
what clients are to be sent next. Fails: never.

The follower may find a transaction before the thread that has committed it says so. Of a database
that keeps no history, or that only says what has changed between two looks, it may not find it at
all: what it has changed was changed again, and is part of a later one.

What is found of such a database says that an object has changed, and not when for the first time. A
client that took its record for the one up to the transaction that is found would answer a read of
the time before that with it. So it is sent first that the record is the one up to the transaction
that it was sent last: no more is certain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from ZODB.utils import p64, u64, z64

from ZEO.serving.backends.changes import Step


class Next(NamedTuple):
    """What clients are to be sent."""

    tid: bytes
    oids: list[bytes]
    own: Any  # what was given to Order.permanent; None: it is not this server's
    is_found: bool = True  # whether a transaction, or what comes ahead of some


class _Own(NamedTuple):
    """A transaction of this server."""

    changed: frozenset[bytes]
    is_plain: bool  # whether its objects have not changed since clients were sent what it replaces
    own: Any = None


class Order:
    """Transactions that clients were not sent yet.

    :param last: what they were sent last.
    :param is_exact: whether what is found names all that each transaction has changed.
    """

    def __init__(self, last: bytes = z64, is_exact: bool = True) -> None:
        self._is_exact = is_exact
        self._steps: deque[Step] = deque()
        # transactions that the database may have made permanent by now
        self._finishing: dict[Any, _Own] = {}
        self._permanent: dict[bytes, _Own] = {}  # by tid
        self._last = last  # what was taken last
        self._unsure = _Unsure()

    def __bool__(self) -> bool:
        """Return whether some were found that clients were not sent yet."""
        return bool(self._steps)

    def found(self, steps: Iterable[Step]) -> None:
        """The follower has found these, which follow those before."""
        for step in steps:
            self._steps.append(step)
            if not self._is_exact:
                self._unsure.found(step[1])

    def finishing(self, commit: Any, changed: Iterable[bytes], is_plain: bool = True) -> None:
        """A commit of this server begins to become permanent.

        :param is_plain: whether its objects have not changed since clients were sent what it
            replaces, as the database has made sure: no conflict was resolved.
        """
        self._finishing[commit] = _Own(frozenset(changed), is_plain)

    def failed(self, commit: Any) -> None:
        """It has not, or that is not known."""
        del self._finishing[commit]

    def permanent(self, commit: Any, tid: bytes, own: Any) -> None:
        """It is permanent, with that tid."""
        self._permanent[tid] = self._finishing.pop(commit)._replace(own=own)

    def is_waiting(self, tid: bytes) -> bool:
        """Return whether one of this server is permanent, and clients were not sent it yet."""
        return tid in self._permanent

    def passed(self, tid: bytes) -> None:
        """All transactions up to this one were found."""
        if tid in self._permanent and all(step[0] != tid for step in self._steps):
            self._steps = deque(sorted([*self._steps, (tid, [])]))

    def gone(self, tid: bytes) -> Any:
        """It is sent otherwise; return what was given to :meth:`permanent`, None if it is sent."""
        found = self._permanent.pop(tid, None)
        return None if found is None else found.own

    def lost_track(self, last: bytes) -> list[bytes]:
        """What was found is worth nothing; return which of this server's are permanent, up to
        `last`.
        """
        self._steps.clear()
        self._unsure.clear()
        self._last = last
        return sorted(tid for tid in self._permanent if tid <= last)

    def begins_anew(self, last: bytes) -> None:
        """Clients have dropped what they had, and take `last` for the last transaction."""
        self._last = max(self._last, last)

    def take(self) -> Next | None:
        """Return what comes next, if that is known."""
        if not self._steps or self._may_be_missing():
            return None
        tid, oids = self._steps[0]
        first = min(self._permanent, default=tid)
        if first > tid or first not in self._permanent:
            return self._ahead(tid, ()) or self._others(tid, oids)
        own = self._permanent[first]
        before = p64(u64(first) - 1)
        if self._is_exact and before > self._last and not own.changed.issuperset(oids):
            # changed by several, of which some may have come before this server's own
            return self._taken(Next(before, oids, None, False))
        return self._ahead(first, own.changed if own.is_plain else ()) or self._own(first)

    def _ahead(self, tid: bytes, certain: Collection[bytes]) -> Next | None:
        """Return what clients are to be sent ahead of a transaction; None if that is nothing.

        :param certain: objects that have not changed in between.
        """
        since = p64(u64(self._last) + 1)
        if since >= tid:  # there is no transaction in between
            return None
        oids = self._unsure.take(certain)
        return self._taken(Next(since, oids, None, False)) if oids else None

    def _others(self, tid: bytes, oids: list[bytes]) -> Next:
        # what could not be sent ahead of it may have changed in it
        more = self._unsure.take(oids)
        self._pop()
        return self._taken(Next(tid, [*oids, *more], None))

    def _own(self, tid: bytes) -> Next:
        own = self._permanent.pop(tid)
        if tid == self._steps[0][0]:
            self._pop()
        self._unsure.changed(own.changed)
        return self._taken(Next(tid, list(own.changed), own.own))

    def _pop(self) -> None:
        """The first of what was found is taken."""
        _, oids = self._steps.popleft()
        if not self._is_exact:
            self._unsure.told(oids)

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
            own.changed.issuperset(first) or own.changed <= found
            for own in self._finishing.values()
        )


class _Unsure:
    """Objects that were found to have changed, of which clients may have a record as current."""

    def __init__(self) -> None:
        self._named: dict[bytes, int] = {}  # oid -> by how many of what was found
        self._current: dict[bytes, None] = {}  # those that clients may have, in order

    def found(self, oids: list[bytes]) -> None:
        """One more was found."""
        for oid in oids:
            self._named[oid] = self._named.get(oid, 0) + 1
            self._current[oid] = None

    def take(self, certain: Collection[bytes]) -> list[bytes]:
        """Return those that clients are to be sent, but for some: then they have them no more."""
        if not self._current:
            return []
        certain = frozenset(certain)
        taken = [oid for oid in self._current if oid not in certain]
        for oid in taken:
            del self._current[oid]
        return taken

    def changed(self, oids: Iterable[bytes]) -> None:
        """Clients get new records of these."""
        for oid in oids:
            if oid in self._named:
                self._current[oid] = None

    def told(self, oids: list[bytes]) -> None:
        """Clients are sent what was found with these."""
        for oid in oids:
            left = self._named[oid] - 1
            if left:
                self._named[oid] = left
                self._current[oid] = None
            else:
                del self._named[oid]
                self._current.pop(oid, None)

    def clear(self) -> None:
        """Clients have nothing any more."""
        self._named.clear()
        self._current.clear()
