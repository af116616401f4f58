"""What may happen to a transaction, and what that does unless its phase says otherwise.

Enters: calls of the client, the commit lock, the timer, and what becomes of the transaction in the
storage. Leaves: nothing by itself; :mod:`~ZEO.serving.commit.phases` says what each phase does.
Fails: a call that makes no sense raises StorageTransactionError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ZODB.POSException import StorageTransactionError

from ZEO.serving.commit.operations import Operation
from ZEO.serving.later import Later

if TYPE_CHECKING:
    from ZEO.serving.commit.state import Commit


class Phase:
    """What an event does unless a phase says otherwise."""

    #: As errors say it.
    name = ''

    #: Whether nothing can be done with the transaction any more.
    is_over = False

    # What the client does.

    def add(self, commit: Commit, operation: Operation) -> None:
        """An operation arrives."""
        raise self._wrong(commit, type(operation).__name__)

    def add_all(self, commit: Commit, operations: list[Operation]) -> None:
        """Operations arrive together."""
        for operation in operations:
            commit.phase.add(commit, operation)

    def add_blob(self, commit: Commit, operation: Operation) -> None:
        """An operation with a blob arrives."""
        self.add(commit, operation)

    def keep_file(self, commit: Commit, path: str, size: int) -> None:
        """The file of a blob arrives: it is removed unless the storage takes it.

        :param size: bytes that it has on the client's account.
        """
        commit.keep_file(path, size)

    def fail(self, commit: Commit, error: BaseException) -> None:
        """An operation has failed whose answer no client waits for."""

    def vote(self, commit: Commit) -> Later:
        """The client has sent everything and wants to know whether it can be committed."""
        raise self._wrong(commit, 'vote')

    def finish(self, commit: Commit) -> bytes | Later:
        """Make it permanent; return the transaction's tid."""
        raise self._wrong(commit, 'tpc_finish')

    def abort(self, commit: Commit) -> Later | None:
        """The client gives up, or is gone; return when the storage has, if that takes its time."""
        return commit.end(None)

    def waited(self, commit: Commit) -> float:
        """Return for how many seconds the client has kept the commit lock from others by now, if
        it is the client's turn.
        """
        return 0.0

    # What happens to it.

    def lock_granted(self, commit: Commit) -> None:
        """The transaction holds the commit lock."""

    def timed_out(self, commit: Commit, error: BaseException) -> None:
        """It has held the commit lock for too long; `error` says so."""
        commit.end(error)

    def prepared(self, commit: Commit) -> None:
        """The storage has taken all operations."""

    def written(self, commit: Commit) -> None:
        """The storage has it, but clients may not see it yet."""

    def permanent(self, commit: Commit) -> None:
        """It is permanent, but clients may not see it yet."""

    def lost(self, commit: Commit, error: BaseException) -> None:
        """The storage had it, and will not have it."""

    def finished(self, commit: Commit, tid: bytes) -> None:
        """The storage has made it permanent, and clients may see it."""

    def failed(self, commit: Commit, error: BaseException) -> None:
        """The storage has failed to prepare or finish it."""

    def _wrong(self, commit: Commit, call: str) -> BaseException:
        return StorageTransactionError(
            f'client called {call} for a transaction that is {self.name}'
        )
