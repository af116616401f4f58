"""One client's transaction on the server, phase by phase.

Enters: the operations that the client sends, its vote, its finish or abort. Leaves: the storage's
two-phase commit, under the storage's commit lock, and the invalidation of every other client.
Fails: a call that makes no sense in a phase raises StorageTransactionError; what the storage raises
fails the vote or the finish, and the transaction is over.

    Collecting -> Waiting -> Preparing -> Voted -> Ended
                                 |  ^
                                 v  |
                               Resolving      (conflicts are with the client, who stores again)

Every way out goes through :meth:`Commit.end`, which aborts, releases the lock and removes temporary
files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from transaction.interfaces import TransientError
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError, POSError, StorageTransactionError

from ZEO.serving import blobs
from ZEO.serving.account import TooMuch
from ZEO.serving.begin import begin
from ZEO.serving.commitlog import CommitLog
from ZEO.serving.later import Later
from ZEO.serving.tids import check_serial, check_tid
from ZEO.wire.quoting import explained

if TYPE_CHECKING:
    from ZEO.serving.hosted import HostedStorage


class Phase:
    """What may be called now; here: nothing but abort."""

    def __init__(self, commit: Commit) -> None:
        self.commit = commit

    def add(self, name: str, data: bytes | None, *args: Any) -> None:
        """An operation arrives."""
        raise self._wrong(name)

    def vote(self) -> Later:
        """The client has sent everything and wants to know whether it can be committed."""
        raise self._wrong('vote')

    def finish(self) -> bytes | Later:
        """Make it permanent; returns the transaction's tid."""
        raise self._wrong('tpc_finish')

    def abort(self) -> Later | None:
        """The client gives up, or is gone; returns when the storage has, if that takes its time."""
        return self.commit.end(None)

    def _wrong(self, call: str) -> BaseException:
        return StorageTransactionError(
            f'{call} does not go with a transaction that is {type(self).__name__.lower()}'
        )


class Collecting(Phase):
    """Operations come in and are kept; nothing was asked of the storage."""

    def add(self, name: str, data: bytes | None, *args: Any) -> None:
        commit = self.commit
        if commit.error is None:
            if name == 'store_blob':
                # whose record most clients send twice, before the blob and with it
                commit.log.take_back('store', args[:2])
            try:
                commit.log.add(name, data, *args)
            except (OSError, TooMuch) as error:
                # nobody waits for an answer to a one-way call: the vote will tell
                commit.fail_at_vote(error)

    def vote(self) -> Later:
        commit = self.commit
        if commit.error is not None:
            error = commit.error
            commit.end(error)
            raise error
        commit.phase = Waiting(commit)
        commit.hosted.lock.acquire(commit, commit.lock_granted, commit.peer)
        return commit.answer


class Waiting(Phase):
    """Others hold the commit lock."""


class Preparing(Phase):
    """The storage is being told; in slices, or in a worker thread."""

    def abort(self) -> None:
        self.commit.abandoned = True  # whoever runs the preparation sees it there


class Resolving(Collecting):
    """The storage holds part of the transaction; the client resolves conflicts, stores again and
    votes again.
    """

    def vote(self) -> Later:
        commit = self.commit
        commit.answer = Later()
        commit.prepare()
        return commit.answer


class Voted(Phase):
    """The storage has promised that it can finish."""

    def finish(self) -> bytes | Later:
        return self.commit.finish()


class Finishing(Phase):
    """The storage is making it permanent, in a worker thread; it is too late for anything else."""

    def abort(self) -> None:
        pass


class Ended(Phase):
    """It is over; `reason` says why when that was not the client's wish."""

    def __init__(self, reason: BaseException | None) -> None:
        # and no commit: it is garbage at once, not when it is looked for
        self._reason = reason

    def add(self, name: str, data: bytes | None, *args: Any) -> None:
        pass

    def abort(self) -> None:
        pass

    def _wrong(self, call: str) -> BaseException:
        if isinstance(self._reason, TransientError):
            # so that whoever tries again after those does so here as well
            return self._reason
        return StorageTransactionError(str(self._reason)) if self._reason else super()._wrong(call)


class Commit:
    """One transaction of one client.

    :param hosted: the storage.
    :param peer: who commits; told apart from those who are told of it.
    :param resolves: whether the client resolves conflicts that the server can't.
    """

    def __init__(
        self,
        hosted: HostedStorage,
        peer: Any,
        transaction: TransactionMetaData,
        tid: bytes | None,
        status: str,
        resolves: bool,
    ) -> None:
        self.hosted = hosted
        self.peer = peer
        self.transaction = transaction
        self.answer = Later()  # to the vote
        self.error: BaseException | None = None  # of an operation that nobody waited for
        self.log = CommitLog(peer.account)
        self.phase: Phase = Collecting(self)
        self.abandoned = False  # aborted while the storage was being told
        self._tid = tid
        self._status = status
        self._resolves = resolves
        self._begun = False  # whether the storage knows of the transaction
        self._timer: Any = None  # of the commit timeout, while the lock is held
        self._changed: dict[bytes, None] = {}  # the oids for the invalidation, in order
        self._new_serials: dict[bytes, None] = {}  # oids whose data is not what the client sent
        self._conflicts: list[dict[str, Any]] = []  # what the client is to resolve
        # bytes of records that conflicts were handed over with
        self._handed_over = 0
        self._blob_files: list[str] = []  # files that the storage did not take yet
        self._blob_bytes = 0  # what they have on the client's account
        hosted.stats.active_txns += 1

    @property
    def is_over(self) -> bool:
        """Whether nothing can be done with it any more."""
        return isinstance(self.phase, Ended)

    def add_blob_file(self, path: str, size: int = 0) -> None:
        """Remember a temporary file, to be removed unless the storage takes it; one that comes too
        late is removed at once.

        :param size: bytes that it has on the client's account.
        """
        self._blob_files.append(path)
        self._blob_bytes += size
        if self.is_over or (self.error is not None and isinstance(self.phase, Collecting)):
            self._remove_blob_files()

    def _remove_blob_files(self) -> None:
        blobs.remove_files(self._blob_files)
        size, self._blob_bytes = self._blob_bytes, 0
        self.peer.account.upload(-size)

    def fail_at_vote(self, error: BaseException) -> None:
        """Remember the error of a one-way call; the vote will raise it."""
        if self.error is None:
            self.peer.report(
                logging.WARNING,
                'transactions that can not be committed',
                'a transaction can not be committed: %s',
                explained(error),
            )
            self.error = error
            self.log.close()
            if isinstance(self.phase, Collecting):  # else the storage may be taking them
                self._remove_blob_files()

    def lock_granted(self) -> None:
        """The commit lock is ours, and the time for holding it begins."""
        if not isinstance(self.phase, Waiting):
            return
        hosted = self.hosted
        hosted.stats.lock_since = hosted.loop.system.wall_clock()
        if hosted.transaction_timeout is not None:
            self._timer = hosted.loop.later(hosted.transaction_timeout, self._timed_out)
        self.prepare()

    def prepare(self) -> None:
        """Tell the storage everything that was collected, and have it vote."""
        self.phase = Preparing(self)
        self.hosted.backend.prepare(self._steps(), self._prepared, self._not_prepared)

    def finish(self) -> bytes | Later:
        """Have the storage make it permanent; tell everybody; return the tid."""
        self.phase = Finishing(self)
        return self.hosted.backend.finish(self.transaction, self._finished, self._not_finished)

    def end(self, reason: BaseException | None) -> Later | None:
        """Be over, without having changed anything; harmless when it is over."""
        if isinstance(self.phase, Ended):
            return None
        self.phase = Ended(reason)
        self.hosted.stats.aborts += 1
        ended = None
        if self._begun:
            ended = self.hosted.backend.abort(self.transaction, partial(self._aborted, reason))
        else:
            self._release()
        self.answer.fail(reason or StorageTransactionError('the transaction was aborted'))
        return ended

    def _aborted(self, reason: BaseException | None, failed: BaseException | None) -> None:
        """The storage has given the transaction up, or failed to do so."""
        try:
            if failed is not None:
                self.hosted.loop.reports.failed(
                    'the storage failed to abort', self.hosted.name, failed
                )
            if failed is not None or not (reason is None or isinstance(reason, ConflictError)):
                self.hosted.forget_failed(self.transaction)
        finally:
            self._release()

    def _release(self) -> None:
        """Give back what it holds; the others get the lock whatever goes wrong with the rest."""
        if self._timer is not None:
            self._timer.cancel()
        if self.hosted.lock.holder is self:
            self.hosted.stats.lock_since = None
        self.hosted.stats.active_txns -= 1
        attempt = self.hosted.loop.attempt
        attempt(self.log.close)
        attempt(self._remove_blob_files)
        self.hosted.lock.release(self, self.peer)

    def _timed_out(self) -> None:
        self.peer.report(
            logging.WARNING,
            'transactions that took too long',
            'held the commit lock of %s for %s s without finishing: aborted',
            self.hosted.name,
            self.hosted.transaction_timeout,
        )
        # The one class that every client restores and that makes its application try again.
        error = ConflictError(
            'the server aborted this transaction: it held the commit lock for '
            f'{self.hosted.transaction_timeout} s '
            '(transaction-timeout)'
        )
        if isinstance(self.phase, Preparing):
            self.error = error
        elif not isinstance(self.phase, Finishing):
            self.end(error)

    def _prepared(self) -> None:
        if self.abandoned or self.error is not None:
            self.end(self.error)
        elif self._conflicts:
            conflicts, self._conflicts = self._conflicts, []
            self.phase = Resolving(self)
            self.answer.answer(conflicts)
        else:
            self.phase = Voted(self)
            self.answer.answer(list(self._new_serials))

    def _not_prepared(self, error: BaseException) -> None:
        if isinstance(error, ConflictError):
            self.hosted.stats.conflicts += 1
        elif not isinstance(error, POSError):
            self.peer.report(
                logging.ERROR,
                'failed commits',
                'the storage %s failed in a commit: %s',
                self.hosted.name,
                explained(error),
            )
        self.end(error)

    def _steps(self) -> Iterator[None]:
        """Tell the storage, a bit between two yields."""
        storage = self.hosted.storage
        if not self._begun:
            if self._tid is not None:
                check_tid(storage, self._tid)
            # before it is: a storage may take its lock first and then refuse what it was given
            self._begun = True
            self.hosted.clean_up()
            begin(storage, self.transaction, self._given())
        for name, data, args in self.log.drain():
            getattr(self, '_' + name)(data, *args)
            yield
            if self.abandoned or self.error is not None:
                return
        if not self._conflicts:
            self._note_new_serials(storage.tpc_vote(self.transaction))

    def _given(self) -> tuple[Any, ...]:
        """The optional arguments of tpc_begin that matter: not every storage knows them."""
        if self._status != ' ':
            return self._tid, self._status
        return () if self._tid is None else (self._tid,)

    def _note_new_serials(self, voted: Any) -> None:
        for oid in voted or ():
            if isinstance(oid, tuple):  # storages of before ZODB 5 say (oid, serial)
                oid = oid[0]
            self._changed[oid] = None  # a storage may tell only now what it has undone
            self._new_serials[oid] = None
            self.hosted.stats.conflicts_resolved += 1

    def _store(self, data: bytes, oid: bytes, serial: bytes) -> None:
        self.hosted.oids.check(oid)
        self._changed[oid] = None
        try:
            self.hosted.storage.store(oid, serial, data, '', self.transaction)
        except ConflictError as error:
            self._hand_over(error, oid, data)

    def _hand_over(self, error: ConflictError, oid: bytes, data: bytes) -> None:
        self._handed_over += len(data)
        if (
            not self._resolves
            or len(error.serials or ()) != 2
            or self._handed_over > self.hosted.limits.commit_memory
        ):
            raise error
        self.hosted.stats.conflicts += 1
        self._conflicts.append({'oid': oid, 'serials': error.serials, 'data': data})

    def _store_blob(self, data: bytes, oid: bytes, serial: bytes, path: str) -> None:
        self.hosted.oids.check(oid)
        self._changed[oid] = None
        try:
            self.hosted.storage.storeBlob(oid, serial, data, path, '', self.transaction)
        except ConflictError as error:
            self._hand_over(error, oid, data)

    def _restore(
        self, data: bytes | None, oid: bytes, serial: bytes, previous: bytes | None
    ) -> None:
        self.hosted.oids.check(oid)
        check_serial(serial, self._tid)
        self._changed[oid] = None
        self.hosted.storage.restore(oid, serial, data, '', previous, self.transaction)

    def _restore_blob(
        self, data: bytes | None, oid: bytes, serial: bytes, previous: bytes | None, path: str
    ) -> None:
        self.hosted.oids.check(oid)
        check_serial(serial, self._tid)
        self._changed[oid] = None
        self.hosted.storage.restoreBlob(oid, serial, data, path, previous, self.transaction)

    def _check_current(self, data: None, oid: bytes, serial: bytes) -> None:
        self.hosted.storage.checkCurrentSerialInTransaction(oid, serial, self.transaction)

    def _delete(self, data: None, oid: bytes, serial: bytes) -> None:
        self._changed[oid] = None
        self.hosted.storage.deleteObject(oid, serial, self.transaction)

    def _undo(self, data: None, undo_id: bytes) -> None:
        undone = self.hosted.storage.undo(undo_id, self.transaction)
        for oid in undone[1] if undone else ():
            self._changed[oid] = None
            self._new_serials[oid] = None

    def _finished(self, tid: bytes) -> None:
        if not isinstance(self.phase, Finishing):
            return
        self.hosted.committed(self.peer, tid, list(self._changed))
        stats = self.hosted.stats
        stats.commits += 1
        stats.stores += len(self._changed)
        self.phase = Ended(None)
        self._release()

    def _not_finished(self, error: BaseException) -> None:
        self.peer.report(
            logging.ERROR,
            'transactions that failed to finish',
            'the storage %s failed to finish a transaction: %s',
            self.hosted.name,
            explained(error),
        )
        self.hosted.backend.forget_records()
        self.end(error)
