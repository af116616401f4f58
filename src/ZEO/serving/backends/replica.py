"""A FileStorage that follows another server: what it copies is shown as if it were committed here.

Enters: as :class:`~ZEO.serving.backends.base.Backend`; what the replica has copied, from its own
thread. Leaves: as a FileStorage in this process; in the loop's thread, in one go: the transaction
in the storage, and the report to the clients. Fails: with what the storage raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ZODB.POSException import StorageError

from ZEO.net.loop import ENDS
from ZEO.serving.backends.local import FileBackend, LocalBackend
from ZEO.serving.filestorage import storages_within

#: Seconds between two looks at whether the server ends, while the loop is busy.
_LOOK = 0.2

Heard = Callable[[bytes, list[bytes]], None]


def replica_within(storage: Any) -> Any:
    """Return the replica that `storage` is, or wraps; None where there is none."""
    return next((one for one in storages_within(storage) if hasattr(one, 'run_finish')), None)


class WrappedReplicaBackend(LocalBackend):
    """A storage around a replica."""

    def follow(self, database: Any, heard: Heard, lost_track: Callable[[], None]) -> None:
        self._replica = replica_within(self._storage)
        self._closing = False
        self._run: _Run | None = None  # the last one
        self._reported = _Reported(database, heard, lost_track)
        self._storage.registerDB(self._reported)
        self._replica.run_finish = self._run_finish

    def _run_finish(self, finish: Callable[[], None]) -> None:
        """Call `finish` in the loop's thread, and report; in the thread of the replica.

        :raises StorageError: when the server ends.
        """
        run = self._run = _Run(finish, self._reported, self._loop.system.event())
        self._loop.from_thread(run)
        while not run.done.wait(_LOOK):
            if self._closing and run.give_up():
                raise StorageError('the server is being closed')
        if run.error is not None:
            raise run.error

    def start_afresh(self) -> None:
        """Also have the replica try again what may have been lost."""
        super().start_afresh()
        run = self._run
        if run is not None and run.give_up():
            run.error = StorageError('there was no memory for a task of the server')
            run.done.set()

    def replica_status(self) -> dict[str, Any]:
        return self._replica.replica_status()

    def where_to_write(self) -> str:
        if self._replica.is_promoted:
            return ''
        primary = ', '.join(self.replica_status()['primary'])
        return f', since it is a replica: write to its primary, {primary}'

    def close(self) -> None:
        self._closing = True
        super().close()


class ReplicaBackend(WrappedReplicaBackend, FileBackend):
    """A replica; the records that clients loaded last are kept in memory."""


class _Run:
    """One call in the loop's thread that another thread waits for."""

    def __init__(self, finish: Callable[[], None], reported: _Reported, done: Any) -> None:
        self._waits = [finish]  # until it is taken, by one of two threads
        self._reported = reported
        self.done = done
        self.error: BaseException | None = None

    def give_up(self) -> bool:
        """Return whether it will not be called any more."""
        return self._take() is not None

    def _take(self) -> Callable[[], None] | None:
        try:
            return self._waits.pop()
        except IndexError:
            return None

    def __call__(self) -> None:
        finish = self._take()
        if finish is None:
            return
        try:
            finish()
        except ENDS:
            raise
        except BaseException as error:  # it is raised in the thread that waits
            self.error = error
            self._reported.forget(error)
        finally:
            try:
                self._reported.send()
            finally:
                self.done.set()


class _Reported:
    """What the replica takes for its database: reports wait for the end of a call in the loop's
    thread.
    """

    def __init__(self, database: Any, heard: Heard, lost_track: Callable[[], None]) -> None:
        self._heard = heard
        self._lost_track = lost_track
        self._waiting: list[tuple[bytes, list[bytes]]] = []
        self._lost = False
        self.transform_record_data = database.transform_record_data
        self.untransform_record_data = database.untransform_record_data

    def invalidate(self, tid: bytes, oids: Iterable[bytes], version: str = '') -> None:
        """The replica is about to show a transaction; in the loop's thread."""
        self._waiting.append((tid, list(oids)))

    def invalidateCache(self) -> None:
        """Transactions have gone."""
        self._lost = True

    def forget(self, error: BaseException) -> None:
        """What was to be shown is not: it is reported again when it is. Where memory was short, it
        may be shown in part.
        """
        self._waiting.clear()
        self._lost = self._lost or isinstance(error, MemoryError)

    def send(self) -> None:
        """Report everything, in the loop's thread."""
        lost, self._lost = self._lost, False
        waiting, self._waiting = self._waiting, []
        for tid, oids in waiting:
            self._heard(tid, oids)
        if lost:
            self._lost_track()
