"""Commits to an MVCC storage: a thread and an instance for each that runs.

Enters: transactions, of which no more run at a time than the database can. Leaves: calls in the
loop's thread: voted, finished, failed. Fails: StorageError where no thread can be started.

A database that does not answer holds its thread. The thread is then left alone, and another one
takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ZODB.POSException import StorageError

from ZEO.Exceptions import ClientDisconnected
from ZEO.serving import blobs
from ZEO.serving.backends import connections
from ZEO.serving.backends.finishing import finish
from ZEO.serving.backends.instances import Instances, Keeper, poll
from ZEO.serving.backends.outcome import Mark
from ZEO.serving.backends.threads import Thread
from ZEO.serving.backends.view import View
from ZEO.serving.commit.phases import PREPARING
from ZEO.serving.commit.replay import replay

#: Threads that are left alone at a time; when there are more, their places stay taken.
MOST_LEFT = 16

#: Times that a transaction is given to the database whose connection is lost before anything was
#: permanent, and seconds within which that begins: after a restart all connections are old ones.
MOST_LOST = 6
LOST_WITHIN = 5.0


class Writers:
    """The threads that commit; all in the loop's thread."""

    def __init__(self, instances: Instances, view: View) -> None:
        self._instances = instances
        self._view = view
        self._free = [Writer(instances, view) for _ in range(instances.parallel)]
        self._writers = list(self._free)
        self._left: list[Writer] = []  # that wait for a database
        self._used: dict[Any, Writer] = {}  # transaction -> who has it

    def of(self, transaction: Any) -> Writer:
        """Return the writer of a transaction: its own, or one that is free.

        :raises StorageError: when there is none.
        """
        writer = self._used.get(transaction)
        if writer is None:
            if not self._free:  # the lock lets no more begin than there are writers
                raise StorageError('all connections to the database are in use; try again later')
            writer = self._used[transaction] = self._free.pop()
        return writer

    @property
    def busy(self) -> int:
        """How many transactions have a writer."""
        return len(self._used)

    def is_at_work(self, transaction: Any) -> bool:
        """Return whether a thread does something for a transaction."""
        writer = self._used.get(transaction)
        return writer is not None and not writer.is_left and writer.thread.busy_since is not None

    def give_back(self, transaction: Any) -> None:
        """A transaction is over; harmless when it has no writer."""
        writer = self._used.pop(transaction, None)
        if writer is not None:
            self._free.append(self._replaced(writer) if writer.is_left else writer)

    def _replaced(self, writer: Writer) -> Writer:
        self._left = [left for left in self._left if left.thread.busy_since is not None]
        if len(self._left) >= MOST_LEFT:
            return writer  # which is busy, and goes on when the database does
        self._left.append(writer)
        writer.thread.end()
        self._writers.remove(writer)
        new = Writer(self._instances, self._view)
        self._writers.append(new)
        return new

    def leave(self, longest: float) -> None:
        """Leave those alone that have been busy for longer than that many seconds."""
        for writer in list(self._writers):
            if writer.thread.busy_for() > longest and not writer.is_left:
                writer.leave()
                if writer in self._free:
                    self._free.remove(writer)
                    self._free.append(self._replaced(writer))

    def overdue(self, longest: float) -> list[Any]:
        """Return the connections of those that have been busy for longer than that."""
        return [
            connection
            for writer in self._writers
            if writer.thread.busy_for() > longest
            for connection in writer.connections()
        ]

    def close(self, seconds: float) -> None:
        """End the threads."""
        for writer in self._writers:
            writer.thread.end()
        for writer in self._writers:
            writer.thread.join(seconds)


class Writer:
    """One thread with its instance. Each method has the thread do one thing, and then calls
    `done` or `failed` in the loop's thread.
    """

    def __init__(self, instances: Instances, view: View) -> None:
        self._view = view
        self._instances = instances
        self._loop = instances.loop
        self._keeper = Keeper(instances)
        self.thread = Thread('ZEO writer', self._loop, self._rest, self._keeper.release)
        self._mark: Mark | None = None  # of the transaction that was voted for
        # what the thread does now, and who hears that it has failed; None: nothing
        self._job: tuple[Callable[[BaseException], None]] | None = None
        self.is_left = False  # whether its thread is not waited for

    def prepare(
        self, commit: Any, done: Callable[[], None], failed: Callable[[BaseException], None]
    ) -> None:
        """Give the storage all operations, and have it vote."""
        self._call(partial(self._prepare, commit), lambda _: done(), failed)

    def finish(
        self, commit: Any, done: Callable[[bytes], None], failed: Callable[[BaseException], None]
    ) -> None:
        """Make a transaction permanent; `done` is given its tid."""
        self._call(partial(self._finish, commit.transaction, tuple(commit.changed)), done, failed)

    def abort(
        self,
        transaction: Any,
        done: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Give a transaction up."""
        if self.is_left:  # the database gives it up by itself, with the connection
            done()
        else:
            self._call(partial(self._abort, transaction), lambda _: done(), failed)

    def leave(self) -> None:
        """The thread is not waited for any more."""
        job, self._job, self.is_left = self._job, None, True
        if job is not None:
            job[0](
                ClientDisconnected(
                    f'the database has not answered for {self.thread.busy_for():.0f} s'
                )
            )

    def connections(self) -> list[Any]:
        """Return the connections that the thread may wait for."""
        return connections.of(self._keeper.instance)

    def _call(
        self,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Have the thread work; it is known by `failed` when it comes back after it was left."""
        self.is_left = self.is_left and self.thread.busy_since is not None
        if self.is_left:
            raise StorageError('the database does not answer; try again later')
        job = self._job = (failed,)
        try:
            self.thread.call(partial(self._work, job, work, done))
        except BaseException:
            self._job = None
            raise

    def _settle(self, job: Any, function: Callable[[Any], None], value: Any) -> None:
        """In the loop's thread: the work is done, or has failed."""
        if self._job is job:
            self._job = None
            function(value)

    # In the thread.

    def _work(
        self,
        job: tuple[Callable[[BaseException], None]],
        work: Callable[[], Any],
        done: Callable[[Any], None],
    ) -> None:
        try:
            result = work()
        # a thread's boundary: whatever a storage raises is the answer
        except BaseException as error:
            self._post(job, job[0], self._instances.disconnected(error))
        else:
            self._post(job, done, result)
            self._rest()

    def _post(self, job: Any, function: Callable[[Any], None], value: Any) -> None:
        self._loop.from_thread(partial(self._settle, job, function, value))

    @property
    def begins_fresh(self) -> bool:
        """Whether an instance has the newest snapshot when a transaction begins: one of RelStorage
        takes it with its first query, and has none open then.
        """
        return self._instances.adapter is not None

    def refresh(self, instance: Any) -> object:
        """Give an instance the newest snapshot."""
        return poll(instance)

    def resolver(self, instance: Any) -> Callable[..., bytes]:
        """Return what resolves conflicts of an instance."""
        return self._instances.resolver(instance)

    def has_changed(self, oid: bytes, since: bytes) -> bool:
        """Return whether clients were sent that an object has changed after a transaction."""
        return self._view.has_changed(oid, since)

    def _prepare(self, commit: Any) -> None:
        """Give a transaction to the database; again, as long as its connections turn out to be
        lost.
        """
        self._mark = None
        until = self._loop.system.now() + LOST_WITHIN
        for left in reversed(range(MOST_LOST)):
            before = self._view.last
            try:
                instance = self._keeper.get()
                replay(commit, instance, self)
                if commit.is_voted:
                    self._mark = self._instances.outcomes.mark(instance, before)
                return
            except BaseException as error:
                if (
                    not left
                    or not self._instances.is_lost(error)
                    or commit.phase is not PREPARING
                    or self._loop.system.now() > until
                ):
                    raise
                commit.is_voted = False
                self._keeper.drop(commit.transaction)

    def _finish(self, transaction: Any, changed: tuple[bytes, ...]) -> bytes:
        mark, self._mark = self._mark, None
        return finish(self._keeper, transaction, changed, mark)

    def _abort(self, transaction: Any) -> None:
        instance = self._keeper.instance
        if instance is None:
            return
        try:
            blobs.forget_stored(instance, transaction)
            instance.tpc_abort(transaction)
        except BaseException as error:  # the next transaction begins anew
            self._keeper.release()
            if not self._instances.is_lost(error):  # else the database has given it up by itself
                raise

    def _rest(self) -> None:
        """End the instance's transaction for reading, which the end of one that was committed does
        not end.
        """
        instance = self._keeper.instance
        if instance is not None and instance.tpc_transaction() is None:
            self._keeper.rest()
