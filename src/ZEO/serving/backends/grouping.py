"""A FileStorage of which one sync makes the transactions of several clients permanent.

Enters: as :class:`~ZEO.serving.backends.base.Backend`. Leaves: the answers to commits, in the order
of the tids, when a sync has made them permanent; until then neither clients nor followers see what
they have changed. Fails: as its kind does; after a sync that has failed, each transaction that
waited for it, and each later one.

While a thread syncs the file, the loop has the storage write what was voted for since, each
transaction behind the one before; the next sync is for all of them. Where a client is alone,
or a sync takes hardly more time than telling a thread, the loop syncs itself, as for any
FileStorage.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from ZODB.POSException import ConflictError, StorageError
from ZODB.utils import maxtid

from ZEO.Exceptions import ClientDisconnected
from ZEO.net.loop import ENDS, Loop
from ZEO.serving.backends.awaiting import AwaitingBackend
from ZEO.serving.backends.base import Committing
from ZEO.serving.backends.gathering import Gathering
from ZEO.serving.backends.large import LargeBackend
from ZEO.serving.backends.unacknowledged import Unacknowledged
from ZEO.serving.later import Later
from ZEO.serving.options import ServingOptions
from ZEO.serving.syncing import Syncing
from ZEO.serving.together import Together
from ZEO.serving.torn_commit import MOST_BYTES, MOST_TRANSACTIONS
from ZEO.serving.workers import Workers

log = logging.getLogger('ZEO.StorageServer')

#: Seconds of a sync from which on a thread does it: telling one takes a tenth of that.
WORTH_A_THREAD = 0.0005

#: Seconds of a sync from which on it would hold up other clients that only read.
HOLDS_UP_OTHERS = 0.002

#: Bytes of a transaction that a thread syncs before it is finished: they take 20 ms and more.
LARGE = 4 << 20

#: Objects of a transaction from which on it is synced alone. For one that shares a sync, what it
#: replaces is kept until then, and its places go to the index at once: 5 us for each object.
MOST_OBJECTS = 1000


class GroupBackend(LargeBackend):
    """A :class:`~ZEO.serving.grouped.GroupedFileStorage`.

    :param options: of all storages of the server.
    """

    trouble_with = 'nothing can be committed'
    syncing: Syncing

    def __init__(
        self, name: str, storage: Any, loop: Loop, workers: Workers, options: ServingOptions
    ) -> None:
        super().__init__(name, storage, loop, workers, options)
        storage.system = loop.system
        self.syncing = Syncing(loop, storage, self._synced, self._sync_failed)
        self._unsynced: list[tuple[bytes, int]] = []  # tids and bytes of what is written
        #: A transaction for which there is no room before the next sync.
        self._postponed: tuple[Committing, Later] | None = None
        #: Answers to votes, with conflicts, that wait until all that is written now is on the disk.
        self._after_sync: list[tuple[bytes, Committing, Later, list[Any]]] = []
        self._gathering = Gathering()
        self._patience: Any = None  # the timer of that

    @property
    def trouble(self) -> str | None:
        failure = self._storage.failure
        return (
            self._disk.trouble if failure is None else f'a sync of its file has failed: {failure}'
        )

    def start_afresh(self) -> None:
        """Also have on the disk all that is written."""
        self._stop_gathering()
        self.syncing.is_busy = False
        self._after_sync = []
        super().start_afresh()
        self._unsynced = []
        self._disk.over()
        postponed, self._postponed = self._postponed, None
        if postponed is not None:
            self._finish_postponed(*postponed)

    def close(self) -> None:
        self.syncing.close()
        super().close()

    # Committing.

    def prepare(self, commit: Committing) -> None:
        if self._disk.is_late:
            commit.phase.failed(commit, self._disk.refused())
        else:
            super().prepare(commit)

    def hand_over(self, commit: Committing, conflicts: list[Any]) -> None:
        if self._disk.is_late:
            commit.phase.timed_out(commit, self._refused_conflict())
            return
        if not self._unsynced:
            commit.answer.answer(conflicts)
            return
        # the client reads what it conflicts with
        self._after_sync.append((self._waiting.last, commit, commit.answer, conflicts))

    def finish(self, commit: Committing) -> bytes | Later:
        if self._disk.is_late:
            error = self._disk.refused()
            commit.phase.failed(commit, error)
            raise error
        if self._has_room(commit):
            return self._write(commit) if self._is_shared(commit) else self._finish_now(commit)
        self._gathered()
        answer = Later()
        self._postponed = commit, answer
        return answer

    def _has_room(self, commit: Committing) -> bool:
        """Return whether a crash of the machine could be told from damage with this one, too."""
        unsynced = self._unsynced
        if not unsynced:
            return True
        if len(commit.changed) > MOST_OBJECTS or len(unsynced) >= MOST_TRANSACTIONS:
            return False
        return sum(size for _, size in unsynced) + self._storage.voted_size <= MOST_BYTES

    def _is_shared(self, commit: Committing) -> bool:
        """Return whether others may share the sync of this one."""
        if self._unsynced:
            return True
        if len(commit.changed) > MOST_OBJECTS:
            return False
        if commit.is_chained or self._storage.has_large_blobs():
            return True
        typical, hosted = self.syncing.typical, commit.hosted
        if typical is not None and typical <= WORTH_A_THREAD:
            return False
        if hosted.stats.active_txns > 1:
            return True
        return typical is not None and typical > HOLDS_UP_OTHERS and len(hosted.peers) > 1

    def _finish_now(self, commit: Committing) -> bytes | Later:
        """Write and sync one, in this thread."""
        if self._storage.written_ahead > LARGE:
            return self._synced_ahead(commit)
        now = commit.now
        began = now()
        answer = super().finish(commit)
        self.syncing.note(now() - began, 1)
        return answer

    def _write(self, commit: Committing) -> bytes | Later:
        """Write one; have it synced with others."""
        size = self._storage.voted_size
        self._storage.postpone_sync(commit.transaction)
        self._waiting.is_writing = True
        try:
            tid = self._finish(commit.transaction)
            try:
                entry = self._hold(commit, tid, is_synced=False)
            except ENDS:
                raise
            except BaseException as error:
                return self._not_hidden(commit, tid, error)
        except BaseException as error:
            commit.phase.failed(commit, error)
            raise
        finally:
            self._waiting.is_writing = False
        try:
            self._unsynced.append((tid, size))
            self._gathering.written(self._loop.system.now())
            self._gather()
        except ENDS:
            raise
        except BaseException as error:
            return self._not_hidden(commit, tid, error)
        return entry.answer

    def _sync_at_once(self) -> None:
        try:
            self._storage.sync()
        except BaseException as error:
            self._sync_failed(error)
            raise

    def _gather(self) -> None:
        """Begin the next sync when as much is written for it as may be expected soon."""
        written = len(self._unsynced)
        if self.syncing.is_busy or not written:
            return
        if written >= self._gathering.expected:
            self._gathering.came()
            self._sync()
        elif self._patience is None:
            wait = self._gathering.patience(written, self.syncing.typical or 0.0)
            self._patience = self._loop.later(wait, self._gathered)

    def _gathered(self) -> None:
        """Begin the next sync with what there is, if it was waiting for more."""
        if self._stop_gathering() and self._unsynced and not self.syncing.is_busy:
            self._gathering.gave_up(len(self._unsynced))
            self._sync()

    def _stop_gathering(self) -> bool:
        timer, self._patience = self._patience, None
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _sync(self) -> None:
        """Begin to sync what is written."""
        self._stop_gathering()
        self._disk.begins(self._sync_is_late)
        try:
            self.syncing.start()
        except ENDS:
            raise
        except BaseException as error:  # there are no more threads: the loop waits for the disk
            log.warning('storage %s: no thread can be started to sync it: %s', self._name, error)
            self._sync_now()

    def _sync_now(self) -> None:
        """Sync what is written in this thread."""
        self.syncing.last_seconds = None
        try:
            last = self._storage.sync()
        except BaseException as failure:
            self._sync_failed(failure)
            if isinstance(failure, ENDS):
                raise
        else:
            self._synced(last)

    def _is_seen_soon(self) -> bool:
        return not self._disk.is_late and super()._is_seen_soon()

    # What becomes of a sync.

    def _synced(self, last: bytes) -> None:
        """The disk has all transactions up to this one."""
        self._disk.over()
        number = sum(tid <= last for tid, _ in self._unsynced)
        if self.syncing.last_seconds is not None:
            self.syncing.note(self.syncing.last_seconds, number)
        entries = self._permanent(last)
        now, typical = self._loop.system.now(), self.syncing.typical or 0.0
        self._gathering.synced(number, len(self._unsynced), typical, now)
        self._gather()
        self._loop.attempt(partial(self._on_disk, entries, last))
        postponed = self._postponed
        if postponed is not None and self._has_room(postponed[0]):
            self._postponed = None
            self._finish_postponed(*postponed)
        after, self._after_sync = self._after_sync, []
        for one in after:
            upto, _, vote, conflicts = one
            if upto <= last:
                self._loop.attempt(partial(vote.answer, conflicts))
            else:
                self._after_sync.append(one)

    def _permanent(self, last: bytes) -> list[Unacknowledged]:
        """Note, and return, those that the disk has: up to this one."""
        self._unsynced = [(tid, size) for tid, size in self._unsynced if tid > last]
        entries = [entry for entry in self._waiting.unsynced() if entry.tid <= last]
        for entry in entries:
            entry.is_synced = True
        return entries

    def _on_disk(self, entries: list[Unacknowledged], last: bytes) -> None:
        """These are permanent: followers and clients may see them."""
        if self._followers:
            together = Together(self._clients, self._followers)
            for entry in entries:
                together.add(None, 'invalidateTransaction', entry.tid, entry.oids)
            together.send()
        self._show(last)

    def _finish_postponed(self, commit: Committing, answer: Later) -> None:
        try:
            found = self._write(commit) if self._is_shared(commit) else self._finish_now(commit)
        except ENDS:
            raise
        except BaseException as error:  # the answer to the client, which its phase has reported
            answer.fail(error)
        else:
            if isinstance(found, Later):
                found.then(answer.answer, answer.fail)
            else:
                answer.answer(found)

    def _sync_failed(self, error: BaseException) -> None:
        """Nothing that was not synced is in the storage any more."""
        self._disk.over(failed=True)
        kept = self._storage.lastTransaction()
        permanent = self._permanent(kept)  # by a sync of others, as at the end of a pack
        if permanent:
            self._loop.attempt(partial(self._on_disk, permanent, kept))
        self._unsynced.clear()
        self._loop.attempt(self.forget_records)
        for entry in self._waiting.drop_unsynced():
            self._loop.attempt(partial(entry.commit.phase.lost, entry.commit, error))
            self._loop.attempt(partial(entry.answer.fail, error))
        postponed, self._postponed = self._postponed, None
        if postponed is not None:
            self._finish_postponed(*postponed)  # which the storage refuses
        refused = StorageError(f'nothing of this transaction was committed: {self.trouble}')
        self._end_votes(refused)

    def _sync_is_late(self) -> None:
        """The disk has not finished a sync in time."""
        self._disk.lasts()
        for entry in self._waiting.unsynced():
            error = ClientDisconnected(
                f'it is not known whether transaction {entry.tid.hex()} will stay: the disk of the '
                'server is at work on it for too long; look for what it has changed before you try '
                'again'
            )
            self._outcome_unknown(entry, error)
        postponed, self._postponed = self._postponed, None
        if postponed is not None:
            commit, answer = postponed
            refused = self._disk.refused()
            self._loop.attempt(partial(commit.phase.failed, commit, refused))
            answer.fail(refused)
        self._end_votes(self._refused_conflict())

    def _end_votes(self, error: BaseException) -> None:
        """Answer all votes that wait for a sync; what was to be resolved gives back the lock."""
        votes, self._after_sync = self._after_sync, []
        for _, commit, vote, _ in votes:
            if commit.answer is vote and not commit.phase.is_over:
                self._loop.attempt(partial(commit.phase.timed_out, commit, error))
            else:
                vote.fail(error)
        self._fail_votes(maxtid)

    def _refused_conflict(self) -> ConflictError:
        """Return the error for a conflict with what a disk that is late may not have yet: one after
        which nothing is cut off the file, for which the loop would wait.
        """
        return ConflictError(str(self._disk.refused()))


class AwaitingGroupBackend(GroupBackend, AwaitingBackend):
    """The same with followers that are waited for, once the disk has a transaction."""

    def _on_disk(self, entries: list[Unacknowledged], last: bytes) -> None:
        self._to_followers(entries)
        if self._missing_since is not None and not self._rules.refuse:
            self._show(last)
        else:
            self._acknowledged()
