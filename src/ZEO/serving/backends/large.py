"""How a grouped FileStorage takes a transaction of very many objects, in short steps.

Enters: such a transaction, whose records are written, when its client wants it to be permanent.
Leaves: the same once a thread has synced them, and then their places in the index, bit by bit.
Fails: ConflictError where the disk does not finish the sync in time; as the storage does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from ZODB.POSException import ConflictError, POSError

from ZEO.net.loop import Loop
from ZEO.serving.backends.base import Committing
from ZEO.serving.backends.disk_watch import DiskWatch
from ZEO.serving.backends.hiding import HidingBackend
from ZEO.serving.later import Later
from ZEO.serving.options import ServingOptions
from ZEO.serving.workers import Workers


class LargeBackend(HidingBackend):
    """A :class:`~ZEO.serving.grouped.GroupedFileStorage`, as far as one transaction goes."""

    def __init__(
        self, name: str, storage: Any, loop: Loop, workers: Workers, options: ServingOptions
    ) -> None:
        super().__init__(name, storage, loop, workers, options)
        storage.merge_soon = partial(loop.from_thread, self._merge)
        self._disk = DiskWatch(name, loop)
        # one that was given up while a thread syncs what is written of it
        self._given_up: Any = None

    @abstractmethod
    def _finish_now(self, commit: Committing) -> bytes | Later:
        """Finish it, with what is left to be synced."""

    @abstractmethod
    def _finish_postponed(self, commit: Committing, answer: Later) -> None:
        """Finish it, and answer."""

    def _synced_ahead(self, commit: Committing) -> bytes | Later:
        """Have a thread sync what is written of a large one, then finish it."""
        answer = Later()
        self._storage.written_ahead = 0

        def synced(_: Any) -> None:
            if not self._ends_given_up():
                self._disk.over()
                self._finish_postponed(commit, answer)

        def failed(error: BaseException) -> None:
            if not self._ends_given_up(failed=True):
                self._disk.over(failed=True)
                self._loop.attempt(partial(commit.phase.failed, commit, error))
                answer.fail(error)

        try:
            syncing = self.compute(self._storage.sync_ahead)
        except POSError:  # there are no more threads
            return self._finish_now(commit)
        commit.at_work = syncing
        self._disk.begins(partial(self._ahead_is_late, commit, answer))
        syncing.then(synced, failed)
        return answer

    def _ahead_is_late(self, commit: Committing, answer: Later) -> None:
        """The disk has not finished the sync of a large one in time: it is not committed."""
        self._disk.lasts()
        self._given_up = commit.transaction
        error = ConflictError(str(self._disk.refused()))  # which has its client try again later
        self._loop.attempt(partial(commit.phase.failed, commit, error))
        answer.fail(error)

    def abort(
        self, commit: Committing, over: Callable[[BaseException | None], None]
    ) -> Later | None:
        if commit.transaction is not self._given_up:
            return super().abort(commit, over)
        # the lock goes to others, which are refused; the storage aborts it when the disk has ended:
        # the loop would wait for that
        over(None)
        return None

    def _ends_given_up(self, failed: bool = False) -> bool:
        """Return whether the sync was for a transaction that was given up; then abort that."""
        given_up, self._given_up = self._given_up, None
        if given_up is None:
            return False
        self._loop.attempt(partial(self._abort, given_up))
        self._disk.over(failed)
        return True

    def _merge(self) -> None:
        """Merge for a moment into the index what a large transaction has put over it."""
        if self._storage.merge():
            self._loop.next_turn(self._merge)
