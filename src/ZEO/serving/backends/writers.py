"""Commits to an MVCC storage: a thread and an instance for each that runs.

Enters: transactions, of which no more run at a time than the database can. Leaves: calls in the
loop's thread: voted, finished, failed. Fails: StorageError where no thread can be started.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ZODB.POSException import StorageError

from ZEO.net.loop import Loop
from ZEO.serving import blobs
from ZEO.serving.backends.instances import Instances, poll, release, rest
from ZEO.serving.backends.threads import Thread
from ZEO.serving.backends.view import View
from ZEO.serving.commit.replay import replay


class Writers:
    """The threads that commit; all in the loop's thread."""

    def __init__(self, instances: Instances, view: View, loop: Loop) -> None:
        self._free = [Writer(instances, view, loop) for _ in range(instances.parallel)]
        self._writers = tuple(self._free)
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

    def give_back(self, transaction: Any) -> None:
        """A transaction is over; harmless when it has no writer."""
        writer = self._used.pop(transaction, None)
        if writer is not None:
            self._free.append(writer)

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

    def __init__(self, instances: Instances, view: View, loop: Loop) -> None:
        self._view = view
        self.thread = Thread('ZEO writer', loop, self._rest, self._release)
        self._instances = instances
        self._loop = loop
        self._instance: Any = None

    def prepare(
        self, commit: Any, done: Callable[[], None], failed: Callable[[BaseException], None]
    ) -> None:
        """Give the storage all operations, and have it vote."""
        self.thread.call(partial(self._prepare, commit, done, failed))

    def finish(
        self,
        transaction: Any,
        done: Callable[[bytes], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Make a transaction permanent; `done` is given its tid."""
        self.thread.call(partial(self._finish, transaction, done, failed))

    def abort(
        self,
        transaction: Any,
        done: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Give a transaction up."""
        self.thread.call(partial(self._abort, transaction, done, failed))

    # In the thread.

    def refresh(self, instance: Any) -> object:
        """Give an instance the newest snapshot."""
        return poll(instance)

    def resolver(self, instance: Any) -> Callable[..., bytes]:
        """Return what resolves conflicts of an instance."""
        return self._instances.resolver(instance)

    def has_changed(self, oid: bytes, since: bytes) -> bool:
        """Return whether clients were sent that an object has changed after a transaction."""
        return self._view.has_changed(oid, since)

    def _prepare(
        self, commit: Any, done: Callable[[], None], failed: Callable[[BaseException], None]
    ) -> None:
        try:
            if self._instance is None:
                self._instance = self._instances.new()
            replay(commit, self._instance, self)
        # a thread's boundary: anything that a storage raises fails the vote
        except BaseException as error:
            self._post(partial(failed, self._instances.disconnected(error)))
        else:
            self._post(done)

    def _finish(
        self,
        transaction: Any,
        done: Callable[[bytes], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        tids: list[bytes] = []
        try:
            tid = self._instance.tpc_finish(transaction, tids.append)
            tid = tid or (tids[0] if tids else self._instance.lastTransaction())
        except BaseException as error:  # as in _prepare
            self._post(partial(failed, self._instances.disconnected(error)))
        else:
            self._post(partial(done, tid))
            self._rest()

    def _abort(
        self,
        transaction: Any,
        done: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        try:
            if self._instance is not None:
                blobs.forget_stored(self._instance, transaction)
                self._instance.tpc_abort(transaction)
        except BaseException as error:  # as in _prepare; the next transaction begins anew
            self._release()
            lost = self._instances.is_lost(error)  # then the database has given it up by itself
            self._post(done if lost else partial(failed, error))
        else:
            self._post(done)
            self._rest()

    def _post(self, function: Callable[[], None]) -> None:
        self._loop.from_thread(function)

    def _rest(self) -> None:
        """End the instance's transaction for reading, which the end of one that was committed does
        not end.
        """
        if self._instance is not None and self._instance.tpc_transaction() is None:
            try:
                rest(self._instance)
            except BaseException as error:
                self._release()
                if not self._instances.is_lost(error):
                    raise

    def _release(self) -> None:
        instance, self._instance = self._instance, None
        release(instance)
