"""A storage that is a view of a database which others may change, such as one in SQL.

Enters: as :class:`~ZEO.serving.backends.base.Backend`. Leaves: Laters, and records that are kept.
Fails: with what the storage raises; ClientDisconnected while its database is away.

Each client sees the storage as of the view: what the clients were sent. A follower moves it, in the
order of the transactions, wherever they were committed; this server's own are answered when it has
passed them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from ZODB.POSException import POSError

from ZEO.Exceptions import ClientDisconnected
from ZEO.net.loop import Loop
from ZEO.serving.backends.base import Backend, Committing, Found, Reader
from ZEO.serving.backends.changes import changes_of
from ZEO.serving.backends.follow import Follower
from ZEO.serving.backends.hanging import Hanging
from ZEO.serving.backends.instances import Instances
from ZEO.serving.backends.listen import Listener
from ZEO.serving.backends.pooled import PooledStorage
from ZEO.serving.backends.readers import Readers
from ZEO.serving.backends.recent import Records
from ZEO.serving.backends.telling import Telling
from ZEO.serving.backends.view import View
from ZEO.serving.backends.writers import Writers
from ZEO.serving.later import Later
from ZEO.serving.options import ServingOptions
from ZEO.serving.read_ahead.source import Source
from ZEO.serving.workers import Client, Workers
from ZEO.wire.quoting import of_database

#: Seconds that a call waits until everything is reported that was committed before.
LONGEST_REFRESH = 5.0

#: Seconds that the threads have to end; those that wait for the database are left alone.
ENDING = 2.0


class MvccBackend(Backend):
    """A storage with instances.

    :param options: of all storages of the server.
    """

    records: Records

    def __init__(
        self, name: str, storage: Any, loop: Loop, workers: Workers, options: ServingOptions
    ) -> None:
        super().__init__(name, storage, loop, workers)
        # threads of its own: those of the other storages must not wait for this database
        self._workers = self.waiting_threads = Workers(loop)
        self._instances = Instances(name, storage, options.policy, loop)
        self.parallel = self._instances.parallel
        changes = changes_of(self._instances)
        self.is_exact = changes.is_exact
        last, self.recent_changes = changes.recent(options.limits.invalidation_oids)
        self._view = View(last)
        self.records = Records(options.limits.record_memory)
        self._readers = Readers(
            self._instances,
            self._view,
            loop,
            self.records.keep,
            self._look_again,
            options.limits.batch,
        )
        self._writers = Writers(self._instances, self._view)
        self.storage = PooledStorage(self._instances, self._view, loop, self._workers)
        self.storage.look()
        listener = (
            Listener(name, self._instances.adapter, loop, self._look_again)
            if options.notify
            else None
        )
        self._telling = Telling(name, loop, self._view, lambda met: self._follower.request(met))
        self._follower = Follower(
            name, changes, loop, self._telling, options.poll_interval, last, listener
        )
        self._hanging = Hanging(self._instances, self._follower, self._readers, self._writers)

    def follow(
        self,
        database: Any,
        heard: Callable[[bytes, list[bytes]], None],
        lost_track: Callable[[], None],
    ) -> None:
        self._instances.database = database
        self._telling.to(heard, lost_track)
        self._follower.start()
        self._hanging.start()

    def close(self) -> None:
        self._hanging.close()
        self._readers.close(ENDING)
        self._writers.close(ENDING)
        self._follower.close(ENDING)
        self._loop.system.spawn('ZEO closing', self._storage.close).join(ENDING)

    # Reading.

    def load(self, oid: bytes, tid: bytes, client: Reader) -> Found | Later:
        client.loads += 1
        found = self.records.find(oid)
        if found is not None and found[1] < tid:
            return found
        self.records.missed += 1
        self._check_database()
        return self._readers.load([oid], tid, client, True)

    def load_many(self, oids: list[bytes], tid: bytes, client: Reader) -> Later:
        self._check_database()
        client.loads += len(oids)
        return self._readers.load(oids, tid, client, False)

    @property
    def reads_ahead(self) -> bool:
        return True

    def source(self, client: Client) -> Source:
        return _Ahead(self, client)

    def guess(self, oids: list[bytes], client: Client, over: Callable[[], None]) -> None:
        """Read the current records of objects into memory, if the database has time for it.

        :param over: called after that.
        """
        if self._follower.is_away():
            over()
        else:
            self._readers.guesses.add(oids, client, over)

    def load_serial(self, oid: bytes, serial: bytes, client: Reader) -> bytes:
        client.loads += 1
        return self.storage.loadSerial(oid, serial)

    def iterate(self, start: bytes | None, stop: bytes | None, client: Client) -> Any:
        return self.storage.iterator(start, stop)

    def compute(self, work: Callable[[], Any], client: Client | None = None) -> Later:
        return self._workers.run(work, client)

    def give_back(self, close: Callable[[], None]) -> None:
        try:
            self._workers.run(close)
        except POSError:  # no thread: the connection is given back with the object
            pass

    def forget(self, client: Client) -> None:
        super().forget(client)
        self._readers.forget(client)

    def _look_again(self) -> None:
        self._follower.request(lambda error: None)

    def _check_database(self) -> None:
        """Refuse at once what would wait for a database that does not answer.

        :raises ClientDisconnected: while the database is away.
        """
        if self._follower.is_away():
            raise self._away()

    def _away(self) -> ClientDisconnected:
        return ClientDisconnected(
            f'the database of storage {self._name!r} is not available: {self.trouble}'
        )

    def view_age(self) -> float | None:
        return self._follower.view_age()

    def queues(self) -> dict[str, int]:
        return {
            **super().queues(),
            'loads': self._readers.waiting,
            'commits': self._writers.busy,
        }

    @property
    def trouble(self) -> str | None:
        if not self._follower.is_away():
            return None
        error = self._follower.trouble
        return 'it does not answer' if error is None else of_database(error)

    def refresh(self) -> Later:
        self._check_database()
        answer = Later()

        def met(error: BaseException | None) -> None:
            timer.cancel()
            answer.answer(None) if error is None else answer.fail(self._away())

        def found(error: BaseException | None) -> None:
            self._telling.when_sent(met) if error is None else met(error)

        def late() -> None:
            answer.fail(
                ClientDisconnected(
                    f'the database of storage {self._name!r} did not answer within '
                    f'{LONGEST_REFRESH:g} s'
                )
            )

        timer = self._loop.later(LONGEST_REFRESH, late)
        self._follower.request(found)
        return answer

    def ping(self) -> Later:
        return self.refresh()

    # Committing.

    def prepare(self, commit: Committing) -> None:
        try:
            self._check_database()
            self._writers.of(commit.transaction).prepare(
                commit,
                lambda: self._prepared(commit),
                lambda error: commit.phase.failed(commit, error),
            )
        except POSError as error:  # no database or no thread: the place must go to the others
            if not commit.is_begun:
                self._writers.give_back(commit.transaction)
            commit.phase.failed(commit, error)

    def finish(self, commit: Committing) -> Later:
        answer = Later()
        self._telling.finishing(commit)

        def permanent(tid: bytes) -> None:
            self._writers.give_back(commit.transaction)
            self._telling.permanent(commit, answer, tid)

        failed = partial(self._telling.failed, commit, answer)
        try:
            self._writers.of(commit.transaction).finish(commit, permanent, failed)
        except POSError as error:
            failed(error)
        return answer

    def abort(self, commit: Committing, over: Callable[[BaseException | None], None]) -> Later:
        ended, transaction = Later(), commit.transaction

        def done(error: BaseException | None = None) -> None:
            self._writers.give_back(transaction)
            over(error)
            ended.answer(None)

        try:
            self._writers.of(transaction).abort(transaction, done, done)
        except POSError as error:  # no thread, so that there was none before
            done(error)
        return ended

    def is_at_work(self, commit: Committing) -> bool:
        return self._writers.is_at_work(commit.transaction)

    # Changes.

    def changed(self, tid: bytes, oids: Collection[bytes]) -> None:
        self._view.advance(tid, oids)
        self.records.changed(tid, oids)

    def forget_records(self, tid: bytes | None = None) -> None:
        if tid is not None:
            self._view.pass_blindly(tid)
        self.records.clear()


class _Ahead:
    """The records in memory, for a client that has not asked for them."""

    is_choosy, fetches = False, True

    def __init__(self, backend: MvccBackend, client: Client) -> None:
        self._backend = backend
        self._client = client
        self.at_hand = backend.records.find

    def may_come(self, oid: bytes) -> bool:
        return True

    def fetch(self, oids: list[bytes], over: Callable[[], None]) -> None:
        self._backend.guess(oids, self._client, over)

    def used(self, oids: list[bytes]) -> None:
        """Nothing follows from that."""
