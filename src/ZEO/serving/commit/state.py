"""What one transaction holds on the server.

Enters: as in :mod:`ZEO.serving.commit`. Leaves: the steps by which a storage takes it; what was
held, given back at the end. Fails: with what the storage raises.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError, StorageTransactionError

from ZEO.serving import blobs
from ZEO.serving.commit.begin import begin
from ZEO.serving.commit.log import CommitLog
from ZEO.serving.commit.operations import Operation, Store, store_all
from ZEO.serving.commit.phase import Phase
from ZEO.serving.commit.phases import COLLECTING, ENDED, PREPARING
from ZEO.serving.commit.times import Times
from ZEO.serving.later import Later
from ZEO.serving.many import ManyOids
from ZEO.serving.tids import check_tid
from ZEO.wire.big_invalidation import MANY, BigInvalidation
from ZEO.wire.quoting import explained

if TYPE_CHECKING:
    from ZEO.serving.hosted import HostedStorage


class Commit(Times):
    """One transaction of one client, with the moments of its phases.

    Events are methods of its phase, which are given this object: ``commit.phase.vote(commit)``.

    :param hosted: the storage.
    :param peer: the client; all others are sent the invalidation.
    :param resolves: whether the client resolves conflicts that the server can't.
    """

    # What few transactions have is here, so that the others need not be given it.

    #: Whether its client does not wait for it before it sends the next one.
    is_chained = False

    phase: Phase = COLLECTING
    error: BaseException | None = None  # why it will fail, or has ended
    #: Bytes that it has on the client's account: without its operations, and for the first of them.
    size = prepaid = 0
    is_begun = False  # whether the storage knows of the transaction
    is_voted = False  # whether an MVCC storage has voted for it
    until = inf  # when it has held the commit lock for too long
    #: Its stores as oid, serial and data, where they came with the vote; None once they are given.
    together: list[tuple[bytes, bytes, bytes]] | None = None
    # what other clients are sent of the changes, where it takes long to encode
    announced: BigInvalidation | None = None
    waited = 0.0  # seconds for the client, until it had resolved conflicts
    handed_over = 0.0  # when it was sent them
    progress = 0  # objects that a storage on a network had taken, when that was looked at
    files_taken = 0  # the number of files, where it is given to its storage more than once
    #: For a transaction that is given to its storage more than once: which operations of the log
    #: lost a conflict that was resolved.
    superseded: frozenset[int] | set[int] = frozenset()
    conflicts: Sequence[dict[str, Any]] = ()  # what the client is to resolve
    _files: list[str] | None = None  # files of blobs that the storage did not take yet
    _answer: Later | None = None
    _log: CommitLog | None = None
    _handed_over = 0  # bytes of records that conflicts were handed over with
    _files_size = 0  # bytes that its files have on the client's account
    is_counted = True  # among the active transactions
    #: What a thread does for it, or has done last.
    at_work: Later | None = None
    tries = 0  # how often its storage had no memory to give it up

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
        self.tid = tid  # one that the client has chosen
        self.now = now = hosted.loop.system.now
        self.begun = now()
        # the oids for the invalidation, in order
        self.changed: dict[bytes, None] | ManyOids = {}
        self.new_serials: dict[bytes, None] = {}  # oids whose data is not what the client sent
        self._status = status
        self._resolves = resolves
        hosted.stats.active_txns += 1

    @property
    def answer(self) -> Later:
        """The answer to the vote."""
        if self._answer is None:
            self._answer = Later()
        return self._answer

    @answer.setter
    def answer(self, later: Later) -> None:
        self._answer = later

    @property
    def is_awaited(self) -> bool:
        """Whether something waits for the answer to the vote."""
        return self._answer is not None

    @property
    def log(self) -> CommitLog:
        """What the client wants to change."""
        if self._log is None:
            account = self.peer.account
            first_space = account.first_space if self.prepaid else 0
            self._log = CommitLog(account, first_space, self.hosted.backend.compute)
        return self._log

    @property
    def has_log(self) -> bool:
        """Whether what the client wants to change has come in parts."""
        return self._log is not None

    # Events, from callers that know this object only.

    def lock_granted(self) -> None:
        """The commit lock is held by this transaction."""
        self.phase.lock_granted(self)

    def timed_out(self) -> None:
        """It has held the commit lock for too long, unless its client was not waited for all the
        time: what its storage takes does not count.
        """
        hosted = self.hosted
        timeout = hosted.transaction_timeout
        if timeout is None:  # by now
            return
        left = timeout - self.phase.waited(self)
        if left > 0:
            hosted.deadlines.begin(self, self.now() + left)
            return
        self.peer.report(
            logging.WARNING,
            'transactions that took too long',
            'held the commit lock of %s for %s s without finishing: aborted',
            hosted.name,
            timeout,
        )
        # The one class that every client restores and that makes its application try again.
        self.phase.timed_out(
            self,
            ConflictError(
                f'the server aborted this transaction: it held the commit lock for {timeout} s '
                '(transaction-timeout)'
            ),
        )

    # What phases do with it.

    def fail(self, error: BaseException) -> None:
        """Keep the error of a one-way call, for the vote."""
        self.error = error
        self.peer.report(
            logging.WARNING,
            'transactions that cannot be committed',
            'a transaction cannot be committed: %s',
            explained(error),
        )

    def keep_file(self, path: str, size: int) -> None:
        """Remember a temporary file, to be removed unless the storage takes it."""
        if self._files is None:
            self._files = []
        self._files.append(path)
        self._files_size += size

    def remove_files(self) -> None:
        """Remove the temporary files that the storage did not take."""
        if self._files:
            blobs.remove_files(self.hosted.storage, self._files)
            size, self._files_size = self._files_size, 0
            self.peer.account.upload(-size)

    def start_timer(self) -> None:
        """The time for holding the commit lock begins."""
        hosted = self.hosted
        hosted.stats.lock_since = hosted.loop.system.wall_clock()
        granted = self.granted = self.now()
        if hosted.transaction_timeout is not None:
            hosted.deadlines.begin(self, granted + hosted.transaction_timeout)

    def release(self) -> None:
        """Give back what it holds; the next transaction gets the lock even if the rest fails."""
        hosted = self.hosted
        stats, lock = hosted.stats, hosted.lock
        try:
            if lock.holder is self:
                stats.lock_since = None
            if self.is_counted:
                self.is_counted = False
                stats.active_txns -= 1
            now = self.now()
            stats.durations.add(self, now)
            if 0 < hosted.slow.times.commit <= now - self.asked:
                hosted.slow.commit(self, now)
            if self._log is not None:
                hosted.loop.attempt(self._log.close)
            if self._files:
                hosted.loop.attempt(self.remove_files)
        except MemoryError:
            hosted.loop.lost_task = True
            raise
        finally:
            lock.release(self, self.peer)

    def end(self, reason: BaseException | None) -> Later | None:
        """Be over, without having changed anything.

        :returns: what is answered once the storage has aborted, if that is not at once.
        """
        self.phase, self.error = ENDED, reason
        hosted = self.hosted
        hosted.stats.aborts += 1
        try:
            ended = self._give_up(reason)
            why = reason or StorageTransactionError('the transaction was aborted')
            hosted.backend.fail_vote(self.answer, why)
        except MemoryError:
            hosted.loop.lost_task = True
            raise
        return ended

    def give_up(self) -> None:
        """Be over, and give back what it holds, also where that was tried before."""
        self.phase = ENDED
        self._give_up(None)

    def _give_up(self, reason: BaseException | None) -> Later | None:
        if self.is_begun:
            return self.hosted.backend.abort(self, partial(self.aborted, reason))
        self.release()
        return None

    def aborted(self, reason: BaseException | None, failed: BaseException | None) -> None:
        """The storage has given the transaction up, or failed to do so."""
        hosted = self.hosted
        try:
            if failed is not None:
                hosted.loop.reports.failed('the storage failed to abort', hosted.name, failed)
            if failed is not None or not (reason is None or isinstance(reason, ConflictError)):
                hosted.files.forget_failed(self.transaction)
        finally:
            self.release()

    # Giving it to the storage.

    def steps(self) -> Iterator[None]:
        """Give all operations to the storage, one between two yields, and have it vote; in the
        loop's thread or in a worker.
        """
        storage = self.hosted.storage
        if not self.is_begun:
            if self.tid is not None:
                check_tid(storage, self.tid)
            # before it is: a storage may take its lock first and then refuse what it was given
            self.is_begun = True
            self.hosted.files.clean_up()
            begin(storage, self.transaction, self.given())
        if self._log is not None and len(self._log) > MANY:
            self.changed = ManyOids(self.hosted.freeing, self.changed)
        for operation in self._operations():
            operation.apply(storage, self)
            yield
            if self.phase is not PREPARING:
                return
        if not self.conflicts:
            if getattr(storage, 'is_large', False):  # only ours says so
                for _ in storage.voting(self.transaction):
                    yield
                    if self.phase is not PREPARING:
                        return
            self.note_new_serials(storage.tpc_vote(self.transaction))
            if len(self.changed) > MANY:
                changed = self.changed
                self.announced = BigInvalidation(
                    changed.order if isinstance(changed, ManyOids) else list(changed),
                    self.hosted.peers.protocols(),
                )
                yield from self.announced.steps()

    def _operations(self) -> Iterable[Operation]:
        together, self.together = self.together, None
        if together is not None:
            return [Store(*one) for one in together]
        return self.log.drain()

    def take_together(self) -> None:
        """Do the same at once, where the stores came with the vote."""
        hosted, transaction = self.hosted, self.transaction
        stores, self.together = self.together or (), None
        storage = hosted.storage
        self.is_begun = True
        hosted.files.clean_up()
        begin(storage, transaction, ())
        store_all(storage, self, stores)
        if not self.conflicts:
            voted = storage.tpc_vote(transaction)
            if voted:
                self.note_new_serials(voted)

    def given(self) -> tuple[Any, ...]:
        """The optional arguments of tpc_begin that matter: not every storage knows them."""
        if self._status != ' ':
            return self.tid, self._status
        return () if self.tid is None else (self.tid,)

    def oids(self) -> list[bytes]:
        """Return what it has changed."""
        return list(self.changed) if self.announced is None else self.announced.oids

    def note_new_serials(self, voted: Any) -> None:
        """Note what tpc_vote returns: the objects whose data is not what the client sent."""
        for oid in voted or ():
            if isinstance(oid, tuple):  # storages of before ZODB 5 say (oid, serial)
                oid = oid[0]
            self.changed[oid] = None  # a storage may say only now what it has undone
            self.new_serials[oid] = None
            self.hosted.stats.conflicts_resolved += 1

    def hand_over(self, error: ConflictError, oid: bytes, data: bytes) -> None:
        """Leave a conflict to the client.

        :raises ConflictError: `error`, when the client cannot resolve it.
        """
        self._handed_over += len(data)
        if (
            not self._resolves
            or len(error.serials or ()) != 2
            or self._handed_over > self.hosted.limits.commit_memory
        ):
            raise error
        self.hosted.stats.conflicts += 1
        if not isinstance(self.conflicts, list):
            self.conflicts = []
        self.conflicts.append({'oid': oid, 'serials': error.serials, 'data': data})
