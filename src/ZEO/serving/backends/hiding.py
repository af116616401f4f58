"""A FileStorage with transactions that clients may not see yet, though it has written them.

Enters: as :class:`~ZEO.serving.backends.base.Backend`. Leaves: what there is without these
transactions, and then they themselves, in the order of the tids: their invalidations, and the
answers to their clients. Fails: as its kind does.

The commit lock is given back when a transaction is written, so that many wait at the same time. A
client that runs into a change that it may not see yet gets the conflict when it may: before, it
would read the old record again, and have the same conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from ZODB.POSException import ConflictError
from ZODB.utils import p64, u64, z64

from ZEO.net.loop import Loop
from ZEO.serving.backends.base import Committing, Found
from ZEO.serving.backends.local import FileBackend
from ZEO.serving.backends.seen import SeenStorage
from ZEO.serving.backends.unacknowledged import Unacknowledged, Waiting
from ZEO.serving.later import Later
from ZEO.serving.options import ServingOptions
from ZEO.serving.together import Together
from ZEO.serving.workers import Client, Workers


class HidingBackend(FileBackend):
    """A FileStorage of which clients see all but some last transactions.

    :param options: of all storages of the server.
    """

    def __init__(
        self, name: str, storage: Any, loop: Loop, workers: Workers, options: ServingOptions
    ) -> None:
        super().__init__(name, storage, loop, workers, options.limits)
        self._waiting = Waiting(storage.lastTransaction() or z64)
        self._load_whole = self.load_now
        self.load_now = self._load_seen
        self.seen = SeenStorage(storage, self._waiting, self._load_seen)
        #: Conflicts with what may not be seen yet: up to when, and the votes that they fail.
        self._conflicts: list[tuple[bytes, Later, BaseException]] = []

    def awaits(self, client: Any) -> bool:
        return self._waiting.has(client)

    # Reading.

    def _load_seen(self, oid: bytes, tid: bytes) -> Found | None:
        waiting = self._waiting
        if oid not in waiting.changed:
            return self._load_whole(oid, tid)
        seen = waiting.seen
        found = self._storage.loadBefore(oid, min(tid, p64(u64(seen) + 1)))
        if found is not None and found[2] is not None and found[2] > seen:
            return found[0], found[1], None
        return found

    def iterate(self, start: bytes | None, stop: bytes | None, client: Client) -> Any:
        # a follower copies what is on the disk, before others see it
        last = self._storage.lastTransaction()
        end = min(last, self._waiting.synced if client in self._followers else self._waiting.limit)
        return super().iterate(start, end if stop is None else min(stop, end), client)

    # Committing.

    def _hold(self, commit: Committing, tid: bytes, is_synced: bool) -> Unacknowledged:
        """A transaction is written: hide it."""
        oids = commit.oids()
        self._loop.attempt(partial(self.records.changed, tid, oids))
        entry = Unacknowledged(tid, oids, commit, Later(), is_synced=is_synced)
        self._waiting.add(entry)
        self._loop.attempt(partial(commit.phase.written, commit))
        return entry

    def _not_hidden(self, commit: Committing, tid: bytes, error: BaseException) -> bytes:
        """A transaction is written, and could not be hidden, most likely for want of memory: have
        it permanent at once, and all clients find out what there is.
        """
        self._sync_at_once()
        commit.hosted.not_told(None, tid, error)
        commit.phase.finished(commit, tid)
        return tid

    def _sync_at_once(self) -> None:
        """Have on the disk what is written."""

    def start_afresh(self) -> None:
        """Also show all that is hidden; whose answers wait for it is gone."""
        super().start_afresh()
        self._conflicts = []
        self._sync_at_once()
        self._waiting.start_afresh(self._storage.lastTransaction() or z64)

    def fail_vote(self, answer: Later, error: BaseException) -> None:
        if (
            isinstance(error, ConflictError)
            and error.oid in self._waiting.changed
            and self._is_seen_soon()
        ):
            self._conflicts.append((self._waiting.last, answer, error))
        else:
            answer.fail(error)

    def _is_seen_soon(self) -> bool:
        """Return whether what is hidden will be seen when all is well."""
        return True

    # What becomes of transactions that wait.

    def _show(self, upto: bytes) -> None:
        """Clients may see transactions up to this one, as far as they are on the disk."""
        if self._waiting.has_several(upto):
            # followers were sent the invalidations when the disk had the transactions
            audience = [peer for peer in self._clients if peer not in self._followers]
            with Together(self._clients, audience) as together:
                self._show_each(upto, together.commit_of)
        else:
            self._show_each(upto, None)
        if self._conflicts:
            self._fail_votes(self._waiting.seen)

    def _show_each(self, upto: bytes, announce: Callable[[Any], None] | None) -> None:
        attempt = self._loop.attempt
        while (entry := self._waiting.take(upto)) is not None:
            if announce is not None:
                attempt(partial(announce, entry.commit.peer))
            if not attempt(partial(entry.commit.phase.finished, entry.commit, entry.tid)):
                return  # no client is told of a later one before it knows of this one
            attempt(partial(entry.answer.answer, entry.tid))

    def _fail_votes(self, upto: bytes) -> None:
        """Answer the votes whose conflicts are with transactions up to this one."""
        conflicts = self._conflicts
        self._conflicts = [one for one in conflicts if one[0] > upto]
        for last, answer, error in conflicts:
            if last <= upto:
                self._loop.attempt(partial(answer.fail, error))

    def _outcome_unknown(self, entry: Unacknowledged, error: BaseException) -> None:
        """Answer one that has waited for too long: it stays hidden until it may be seen."""
        entry.is_answered = True
        self._loop.attempt(partial(entry.commit.phase.failed, entry.commit, error))
        self._loop.attempt(partial(entry.answer.fail, error))

    # Changes.

    def changed(self, tid: bytes, oids: Collection[bytes]) -> None:
        if tid > self._waiting.seen:  # else it was noted when it was written
            self._waiting.seen = tid
            super().changed(tid, oids)
