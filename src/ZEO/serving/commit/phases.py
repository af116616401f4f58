"""What each event does to a transaction, phase by phase.

Enters: calls of the client, the commit lock, the timer, and what becomes of the transaction in the
storage. Leaves: the next phase, and what is done on the way to it. Fails: a call that makes no
sense in a phase raises StorageTransactionError, or the error that has ended the transaction::

    Collecting -> Waiting -> Preparing -> Voted -> Finishing ---------> Ended
        |                     |  ^   |                 |                  ^
        v                     v  |   v                 v                  |
     Failing               Resolving Stopping    Written, Permanent ------+

Every phase but the last three may also end at once. The client resolves conflicts in
Resolving: it stores again and votes again. In Failing an operation has failed, and the vote will
say so. In Stopping the storage is still at work, though the transaction will be aborted. In
Written the storage has it, and it is lost if the sync fails that is waited for. In Permanent the
disk has it, and followers are waited for.

A phase holds nothing, so that there is one object of each; what it works on is the
:class:`~ZEO.serving.commit.state.Commit`.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

from transaction.interfaces import TransientError
from ZODB.POSException import ConflictError, POSError, StorageTransactionError

from ZEO.net.loop import ENDS
from ZEO.serving.account import TooMuch
from ZEO.serving.commit.operations import Operation
from ZEO.serving.commit.phase import Phase
from ZEO.serving.later import Later
from ZEO.wire.quoting import explained

if TYPE_CHECKING:
    from ZEO.serving.commit.state import Commit


class Collecting(Phase):
    """Operations come in and are kept; nothing was asked of the storage."""

    name = 'collecting its changes'

    def add(self, commit: Commit, operation: Operation) -> None:
        try:
            commit.log.add(operation)
        except (OSError, TooMuch) as error:
            # no client waits for the answer to a one-way call: the vote will fail
            self.fail(commit, error)

    def add_all(self, commit: Commit, operations: list[Operation]) -> None:
        if not commit.log.add_all(operations):
            super().add_all(commit, operations)

    def add_blob(self, commit: Commit, operation: Operation) -> None:
        # most clients send the record of a blob twice, before the blob and with it
        commit.log.take_back(operation)
        self.add(commit, operation)

    def fail(self, commit: Commit, error: BaseException) -> None:
        commit.phase = FAILING
        commit.fail(error)
        commit.log.close()
        commit.remove_files()

    def vote(self, commit: Commit) -> Later:
        commit.phase = WAITING
        commit.asked = commit.now()
        answer = commit.answer
        commit.hosted.lock.acquire(commit, commit.lock_granted, commit.peer)
        return answer


class Failing(Phase):
    """An operation has failed: what else comes is dropped, and the vote fails."""

    name = 'about to fail'

    def add(self, commit: Commit, operation: Operation) -> None:
        pass

    def keep_file(self, commit: Commit, path: str, size: int) -> None:
        commit.keep_file(path, size)
        commit.remove_files()

    def vote(self, commit: Commit) -> Later:
        error = commit.error
        assert error is not None
        commit.end(error)
        raise error


class Waiting(Phase):
    """Other transactions hold the commit lock."""

    name = 'waiting for the commit lock'

    def fail(self, commit: Commit, error: BaseException) -> None:
        commit.fail(error)
        commit.end(error)

    def lock_granted(self, commit: Commit) -> None:
        try:
            commit.start_timer()
            prepare(commit)
        except ENDS:
            raise
        except BaseException as error:  # wherever it was raised, the client is to be answered
            if not commit.phase.is_over:
                commit.end(error)
            elif isinstance(error, MemoryError):  # its end may not be done
                raise


class Preparing(Phase):
    """The storage takes the operations, in slices or in a worker thread, and votes."""

    name = 'voting'

    def fail(self, commit: Commit, error: BaseException) -> None:
        commit.phase = STOPPING
        commit.fail(error)

    def abort(self, commit: Commit) -> None:
        commit.phase = STOPPING

    def waited(self, commit: Commit) -> float:
        if commit.hosted.backend.votes_end:
            return commit.waited
        # another server may never answer; one that still takes objects is waited for
        before, commit.progress = commit.progress, len(commit.changed)
        return commit.waited if commit.progress > before else inf

    def timed_out(self, commit: Commit, error: BaseException) -> None:
        commit.phase = STOPPING
        commit.error = error
        commit.answer.fail(error)  # the storage may be waiting for hours

    def prepared(self, commit: Commit) -> None:
        if commit.conflicts:
            conflicts, commit.conflicts = commit.conflicts, ()
            commit.phase = RESOLVING
            commit.handed_over = commit.now()
            commit.hosted.backend.hand_over(commit, list(conflicts))
        else:
            commit.phase = VOTED
            commit.voted = commit.now()
            if commit.is_awaited:
                commit.answer.answer(list(commit.new_serials))

    def failed(self, commit: Commit, error: BaseException) -> None:
        if isinstance(error, ConflictError):
            commit.hosted.stats.conflicts += 1
        elif not isinstance(error, (POSError, TransientError)):
            commit.peer.report(
                logging.ERROR,
                'failed commits',
                'the storage %s failed in a commit: %s',
                commit.hosted.name,
                explained(error),
            )
        commit.end(error)


class Stopping(Preparing):
    """The storage takes operations, but the transaction is given up: the next one is not made."""

    name = 'being aborted'

    def fail(self, commit: Commit, error: BaseException) -> None:
        pass

    def abort(self, commit: Commit) -> None:
        pass

    def waited(self, commit: Commit) -> float:
        return 0.0

    def prepared(self, commit: Commit) -> None:
        commit.end(commit.error)


class Resolving(Collecting):
    """The storage holds part of the transaction; the client resolves conflicts, stores again and
    votes again.
    """

    name = 'resolving conflicts'

    def waited(self, commit: Commit) -> float:
        return commit.waited + commit.now() - commit.handed_over

    def vote(self, commit: Commit) -> Later:
        commit.waited = self.waited(commit)
        commit.answer = Later()
        prepare(commit)
        return commit.answer


class Voted(Phase):
    """The storage has promised that it can finish."""

    name = 'ready to finish'

    def waited(self, commit: Commit) -> float:
        return commit.waited + commit.now() - commit.voted

    def finish(self, commit: Commit) -> bytes | Later:
        commit.phase = FINISHING
        try:
            commit.finishing = commit.now()
            return commit.hosted.backend.finish(commit)
        except MemoryError as error:  # it may be permanent, and not be told
            commit.hosted.loop.lost_task = True
            if not commit.hosted.backend.is_at_work(commit):
                commit.phase.failed(commit, error)
            raise
        except BaseException as error:  # wherever it was raised: the lock goes to the others
            commit.phase.failed(commit, error)
            raise


class Finishing(Phase):
    """The storage is making it permanent; it is too late for anything else."""

    name = 'finishing'

    def abort(self, commit: Commit) -> None:
        pass

    def finished(self, commit: Commit, tid: bytes) -> None:
        # It is permanent, whatever goes wrong: its client hears so, others drop what is old.
        hosted = commit.hosted
        try:
            hosted.committed(commit.peer, tid, commit.oids(), commit.announced)
            stats = hosted.stats
            stats.commits += 1
            stats.stores += len(commit.changed)
        except ENDS:
            raise
        except BaseException as error:
            hosted.not_told(commit.peer, tid, error)
        commit.phase = ENDED
        try:
            commit.release()
        except (*ENDS, MemoryError):
            raise
        except BaseException as error:
            hosted.loop.reports.failed('the end of a commit failed', hosted.name, error)

    def written(self, commit: Commit) -> None:
        commit.phase = WRITTEN
        commit.release()

    def failed(self, commit: Commit, error: BaseException) -> None:
        commit.peer.report(
            logging.ERROR,
            'transactions that failed to finish',
            'the storage %s failed to finish a transaction: %s',
            commit.hosted.name,
            explained(error),
        )
        commit.hosted.backend.forget_records()
        commit.end(error)


class Written(Phase):
    """The storage has it, and the next transaction has the lock; a sync of its file is waited
    for.
    """

    name = 'waiting for a sync'

    def abort(self, commit: Commit) -> None:
        pass

    def permanent(self, commit: Commit) -> None:
        commit.phase = PERMANENT

    def finished(self, commit: Commit, tid: bytes) -> None:
        hosted = commit.hosted
        # a client that was sent an error does not know what it has changed
        committer = commit.peer if commit.error is None else None
        try:
            hosted.acknowledged(committer, tid, commit.oids(), commit.announced)
            hosted.stats.commits += 1
            hosted.stats.stores += len(commit.changed)
        except ENDS:
            raise
        except BaseException as error:  # as in Finishing
            hosted.not_told(committer, tid, error)
        commit.phase = ENDED

    def lost(self, commit: Commit, error: BaseException) -> None:
        commit.phase = ENDED
        commit.error = error
        commit.hosted.stats.aborts += 1

    def failed(self, commit: Commit, error: BaseException) -> None:
        commit.error = error
        commit.peer.report(
            logging.ERROR,
            'transactions whose outcome is not known',
            'the outcome of a commit is not known: %s',
            explained(error),
        )


class Permanent(Written):
    """The disk has it; followers are waited for."""

    name = 'waiting for followers'


class Ended(Phase):
    """It is over, for the reason that the commit's error says if that was not the client's wish."""

    name = 'over'
    is_over = True

    def lock_granted(self, commit: Commit) -> None:
        commit.release()

    def add(self, commit: Commit, operation: Operation) -> None:
        pass

    def keep_file(self, commit: Commit, path: str, size: int) -> None:
        commit.keep_file(path, size)
        commit.remove_files()

    def abort(self, commit: Commit) -> None:
        pass

    def _wrong(self, commit: Commit, call: str) -> BaseException:
        error = commit.error
        if isinstance(error, TransientError):
            # so that an application that tries again after those does so here as well
            return error
        return StorageTransactionError(str(error)) if error else super()._wrong(commit, call)


def prepare(commit: Commit) -> None:
    """Give the storage everything that was collected, and have it vote."""
    commit.phase = PREPARING
    try:
        commit.hosted.backend.prepare(commit)
    except ENDS:
        raise
    except BaseException as error:  # wherever it was raised: the lock goes to the others
        if isinstance(error, MemoryError) and commit.hosted.backend.is_at_work(commit):
            commit.hosted.loop.lost_task = True  # a thread gives it to the storage: not before
        elif not commit.phase.is_over:
            commit.end(error)
        elif isinstance(error, MemoryError):  # its end may not be done
            raise


COLLECTING = Collecting()
FAILING = Failing()
WAITING = Waiting()
PREPARING = Preparing()
STOPPING = Stopping()
RESOLVING = Resolving()
VOTED = Voted()
FINISHING = Finishing()
WRITTEN = Written()
PERMANENT = Permanent()
ENDED = Ended()
