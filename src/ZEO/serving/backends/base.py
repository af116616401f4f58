"""What the server asks of a storage of any kind.

Enters: loads and slow calls of clients, steps and ends of their transactions, what has changed.
Leaves: results, at once or as :class:`~ZEO.serving.later.Later`. Fails: with what the storage
raises; StorageError where a call needs a thread and none can be started.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, Protocol

from ZODB.POSException import POSError

from ZEO.net.loop import ENDS, Loop
from ZEO.serving import blobs
from ZEO.serving.backends.recent import Records
from ZEO.serving.later import Later
from ZEO.serving.many import ManyOids
from ZEO.serving.read_ahead.source import LocalSource, Source
from ZEO.serving.syncing import Syncing
from ZEO.serving.workers import Client, Workers
from ZEO.wire.big_invalidation import BigInvalidation

#: How often a storage that has no memory to give a transaction up is asked to, a tenth of a second
#: apart.
MOST_TRIES = 50

#: What loadBefore returns: data, its tid, the tid of the next revision or None.
Found = tuple[bytes, bytes, Any]


class Committing(Protocol):
    """A transaction that holds the server's commit lock: a
    :class:`~ZEO.serving.commit.state.Commit`.
    """

    transaction: Any
    peer: Any  # the client
    hosted: Any  # the storage as it is served
    answer: Later  # to its vote
    changed: dict[bytes, None] | ManyOids  # the objects that it changes
    announced: BigInvalidation | None  # what other clients are sent of these, if they are many
    is_begun: bool  # whether it has to be aborted in the storage
    at_work: Later | None  # what a thread does for it, or has done last
    tries: int  # how often the storage had no memory to give it up
    is_chained: bool  # whether its client has sent, or sends, the next one without a wait for it

    #: Its methods `prepared`, `failed` and `finished` are called with what happens in the storage.
    phase: Any

    def oids(self) -> list[bytes]:
        """Return what it has changed."""

    now: Callable[[], float]  # the loop's clock

    #: Its stores, where they came with the vote.
    together: list[tuple[bytes, bytes, bytes]] | None

    def steps(self) -> Iterator[None]:
        """Give the storage everything, a bit between two yields, and have it vote."""

    def take_together(self) -> None:
        """Do the same at once, where the stores came with the vote."""

    def end(self, reason: BaseException | None) -> Later | None:
        """Be over, without having changed anything."""


def is_tried_again(commit: Committing, error: BaseException) -> bool:
    """Return whether a transaction that could not be given up is given up again, since its storage
    had no memory to do so, and may still have its own lock for it.
    """
    commit.tries += 1
    return isinstance(error, MemoryError) and commit.tries <= MOST_TRIES


class Reader(Client, Protocol):
    """A client that loads."""

    loads: int  # objects that it has loaded


class Backend(ABC):
    """One storage, asked as its kind has to be asked. All in the loop's thread.

    A kind of storage is a subclass, which :func:`~ZEO.serving.backends.backend_for` chooses once.

    :param name: of the storage, for the log.
    :param workers: threads that the server's storages share.
    """

    #: loadBefore in the loop's thread; None where a load may wait for a network.
    load_now: Callable[[bytes, bytes], Found | None] | None = None

    #: Threads for the calls that may wait for a network; None where none of them does.
    waiting_threads: Workers | None = None
    #: Whether a vote ends in any case: False where it waits for another server, which may never
    #: answer.
    votes_end = True

    #: Extensions of the protocol that this kind of storage does not have.
    without_extensions: frozenset[str] = frozenset()

    #: Whether it takes at once what came together, see :mod:`ZEO.serving.calls.small_commits`.
    takes_together = False

    #: How many transactions may be committed at a time.
    parallel = 1

    #: Returns a Later that is answered once clients were sent all that was committed before,
    #: wherever; it fails where that can't be said. None where clients always are.
    refresh: Callable[[], Later] | None = None

    #: The last transactions, the oldest first, where the backend has read them anyway.
    recent_changes: list[tuple[bytes, list[bytes]]] | None = None

    #: What is wrong where there is :attr:`trouble`.
    trouble_with = 'its database, or its own server, is away'

    #: The syncs of a FileStorage for several transactions; else None.
    syncing: Syncing | None = None

    #: Whether a transaction that clients hear of has changed its objects then; False where some
    #: may have changed at any time since the transaction that was told before.
    is_exact = True

    #: The records that clients have loaded last, where they are kept.
    records: Records | None = None

    #: Whether a pack runs, which may hold the storage's own commit lock.
    is_packing = False

    #: Whether a pack has to begin between two commits, and nothing can be undone while it runs.
    packs_between_commits = False

    #: Returns what is known of a replica; None where the storage is not one.
    replica_status: Callable[[], dict[str, Any]] | None = None

    def __init__(self, name: str, storage: Any, loop: Loop, workers: Workers) -> None:
        self._name = name
        self._storage = storage
        #: What calls ask that have no method here.
        self.storage = storage
        #: The same for calls that read, where there is what clients may not see yet; else None.
        self.seen: Any = None
        self._loop = loop
        self._workers = workers

    def follow(
        self,
        database: Any,
        heard: Callable[[bytes, list[bytes]], None],
        lost_track: Callable[[], None],
    ) -> None:
        """Begin to report what others change.

        :param database: what a storage takes for its database.
        :param heard: called with a tid and the oids that it has changed.
        :param lost_track: called when it cannot be said what has changed.
        """
        if hasattr(self._storage, 'registerDB'):
            self._storage.registerDB(database)

    def attach(self, followers: Any, clients: Any) -> None:
        """Know the followers of the storage, and its clients; before it has any."""
        self._followers, self._clients = followers, clients

    def awaits(self, client: Any) -> bool:
        """Return whether a commit of this client is written, and waits for a sync or followers."""
        return False

    def replication(self) -> dict[str, Any] | None:
        """Return the figures of waiting for followers; None where commits do not wait."""
        return None

    def where_to_write(self) -> str:
        """Return what to add to the error for a client that wants to write."""
        return ''

    @property
    def trouble(self) -> str | None:
        """Why the storage can't be asked now; None when it can."""
        return None

    def close(self) -> None:
        """Close the storage, and end what runs for it."""
        self._storage.close()

    def view_age(self) -> float | None:
        """Return how many seconds ago the storage was last asked what others have committed; None
        where it says that by itself.
        """
        return None

    def queues(self) -> dict[str, int]:
        """Return how much waits for threads, by what it is."""
        return {'calls': self._workers.waiting}

    # Reading.

    @abstractmethod
    def load(self, oid: bytes, tid: bytes, client: Reader) -> Found | None | Later:
        """Return what the storage's loadBefore returns."""

    @abstractmethod
    def load_many(
        self, oids: list[bytes], tid: bytes, client: Reader
    ) -> list[Found | None] | Later:
        """Return what loadBefore returns for the first of `oids`: at least one, as many as a
        bounded answer holds and time allows. None stands for an object that is not there.
        """

    def load_serial(self, oid: bytes, serial: bytes, client: Reader) -> bytes:
        """Return the data of one revision; called in `waiting_threads` where there are some."""
        client.loads += 1
        return self._storage.loadSerial(oid, serial)

    @abstractmethod
    def iterate(self, start: bytes | None, stop: bytes | None, client: Client) -> Any:
        """Return the storage's iterator over transactions, or a Later with one; called in
        `waiting_threads` where there are some.
        """

    @abstractmethod
    def compute(self, work: Callable[[], Any], client: Client | None = None) -> Later:
        """Do what takes long in another thread.

        :param client: who has a turn among others; None: the server itself.
        """

    def give_back(self, close: Callable[[], None]) -> None:
        """Call `close`, which gives back what a client that is gone has open in the storage."""
        close()

    def forget(self, client: Client) -> None:
        """Drop the slow calls of a client that is gone, as far as they did not begin yet."""
        self._workers.forget(client)

    def ping(self) -> Later | None:
        """Return None, or a Later that is answered once all is reported that was done before."""
        return None

    def size(self) -> int | None:
        """Return the storage's size in bytes; None where that is not known at once."""
        return None

    @property
    def is_on_network(self) -> bool:
        """Whether a load may wait for a network."""
        return self.load_now is None

    @property
    def reads_ahead(self) -> bool:
        """Whether there is a :meth:`source`."""
        return self.load_now is not None

    def source(self, client: Client) -> Source:
        """Return where records come from that a client has not asked for."""
        assert self.load_now is not None
        return LocalSource(self.load_now)

    # Committing.

    @abstractmethod
    def prepare(self, commit: Committing) -> None:
        """Go through the steps of a transaction, and call its phase's `prepared`, or `failed` with
        what one of them raises.
        """

    @abstractmethod
    def finish(self, commit: Committing) -> bytes | Later:
        """Make a transaction permanent and call its phase's `finished`, before any later
        transaction is reported; return the tid. Or call `failed`, and raise the error.

        A Later is answered or fails after that.
        """

    def abort(
        self, commit: Committing, over: Callable[[BaseException | None], None]
    ) -> Later | None:
        """Give a transaction up and call `over`, with the error where the storage fails to.

        :returns: a Later that is answered after that, or None when it has happened already.
        """
        try:
            self._abort(commit.transaction)
        except BaseException as error:
            if is_tried_again(commit, error):
                raise
            over(error)
            if isinstance(error, ENDS):
                raise
            # else `over` reports it: the storage's trouble must not keep the lock from others
        else:
            over(None)
        return None

    def is_at_work(self, commit: Committing) -> bool:
        """Return whether a thread does something for a transaction."""
        return commit.at_work is not None and not commit.at_work.is_done

    def start_afresh(self) -> None:
        """A task was lost for want of memory: trust in nothing that it may have left undone."""
        self.forget_records()

    def hand_over(self, commit: Committing, conflicts: list[Any]) -> None:
        """Answer a vote with the conflicts that the client is to resolve."""
        commit.answer.answer(conflicts)

    def fail_vote(self, answer: Later, error: BaseException) -> None:
        """Answer a vote with the error of a transaction that is over."""
        answer.fail(error)

    def _abort(self, transaction: Any) -> None:
        blobs.forget_stored(self._storage, transaction)
        self._storage.tpc_abort(transaction)

    def _prepared(self, commit: Committing) -> None:
        """The storage has voted for a transaction; its client is answered, whatever fails."""
        try:
            commit.phase.prepared(commit)
        except ENDS:
            raise
        except BaseException as error:
            commit.end(error)

    def _prepare_in_worker(self, commit: Committing) -> None:
        try:
            # a deque of no length goes through all steps
            done = self._workers.run(partial(deque, commit.steps(), 0))
        except POSError as error:  # no thread: the lock must go to the others
            commit.phase.failed(commit, error)
        else:
            commit.at_work = done
            done.then(
                lambda _: self._prepared(commit),
                lambda error: commit.phase.failed(commit, error),
            )

    # Changes.

    @property
    def is_catching_up(self) -> bool:
        """Whether what the storage reports now may have happened long ago."""
        return False

    @abstractmethod
    def changed(self, tid: bytes, oids: Collection[bytes]) -> None:
        """Take note of a transaction, before clients are sent its invalidation."""

    @abstractmethod
    def forget_records(self, tid: bytes | None = None) -> None:
        """Forget what was read: the storage may hold less than it did, or something else.

        :param tid: a transaction that clients are sent, of which it was not noted what it changes.
        """

    def _report(self, what: str, error: BaseException) -> None:
        self._loop.reports.failed(what, self._name, error)
