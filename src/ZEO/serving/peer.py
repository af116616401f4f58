"""One client, as the server sees it: its calls, named as in :mod:`ZEO.wire.calls`.

Enters: messages, by way of :mod:`ZEO.serving.dispatch`. Leaves: answers on its channel; each method
returns its result, or a :class:`~ZEO.serving.later.Later`, or raises. Fails: what a method raises
is answered as a fault; ProtocolError closes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ZODB.POSException import POSKeyError, ReadOnlyError, StorageTransactionError
from ZODB.utils import maxtid

from ZEO.Exceptions import ProtocolError
from ZEO.net.addresses import show
from ZEO.net.channel import Channel
from ZEO.net.loop import Loop, Timer
from ZEO.net.sources import source_of
from ZEO.serving import blobs
from ZEO.serving.account import Account
from ZEO.serving.commit import Commit
from ZEO.serving.dispatch import Streamed, answer_load, dispatch
from ZEO.serving.doors import Metadata
from ZEO.serving.downloads import Downloads, Wanted
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.intake import Intake
from ZEO.serving.iterators import Iterators
from ZEO.serving.later import Later, Workers
from ZEO.serving.status import details
from ZEO.serving.transactions import Transactions
from ZEO.serving.uploads import Uploads
from ZEO.serving.visits import Visit, how_served
from ZEO.wire import session
from ZEO.wire.calls import Does, Method, Waits
from ZEO.wire.extensions import RESOLVES
from ZEO.wire.messages import Codec, Message
from ZEO.wire.plain import plain
from ZEO.wire.quoting import LABEL, cleaned, explained, quoted

#: new_oids gives at most so many at a time.
MAX_OIDS = 100

#: Bytes of the id of a transaction to be undone; storages have some ten.
LONGEST_UNDO_ID = 1000


class Peer:
    """The state of one connection."""

    def __init__(
        self,
        storages: Mapping[str, HostedStorage],
        loop: Loop,
        address: object,
        wire: session.ServerSession,
        intake: Intake,
        gone: Callable[[Peer], None],
    ) -> None:
        self._storages = storages
        self._loop = loop
        self._session = wire
        self._intake = intake  # memory that all clients share
        self._gone = gone  # told at the end
        self.address = show(address)
        # what it has in common with others from there
        self._source = source_of(address)
        self.label = ''  # what the client calls itself
        self._hosted: HostedStorage | None = None  # set by register
        # the same, if its loads never wait for a network
        self._direct: HostedStorage | None = None
        self._read_only = False  # for this client
        self._resolves = False  # whether the client resolves conflicts
        # these three are made when there is the first transaction
        self._account: Account | None = None
        self._transactions: Transactions | None = None
        self._uploads: Uploads | None = None
        self._handshake: Timer | None = None  # runs until register has succeeded
        self._channel: Channel | None = None  # set by start
        self._iterators: Iterators | None = None  # made when there is the first one
        self._downloads: Downloads | None = None  # the same
        self.visit: Visit | None = None  # begun by register
        self.loads = 0  # objects that it has loaded
        self.commits = 0  # transactions that it has committed

    def __str__(self) -> str:
        return f'{self.address} ({self.label})' if self.label else self.address

    @property
    def codec(self) -> Codec:
        """The protocol that this client speaks."""
        return self._session.codec

    @property
    def hosted(self) -> HostedStorage:
        """The storage that this client has registered for."""
        if self._hosted is None:
            raise ProtocolError('it called something before register')
        return self._hosted

    @property
    def is_registered(self) -> bool:
        """Whether it has said which storage it is a client of."""
        return self._hosted is not None

    def start(self, channel: Channel, handshake_time: float) -> None:
        """Greet the client; it has so many seconds to register."""
        self._channel = channel
        self._handshake = self._loop.later(
            handshake_time,
            partial(
                self.close,
                f'closed by us: it did not register within {handshake_time:g} s '
                '(handshake-timeout)',
            ),
        )
        channel.send(self._session.greeting)

    def worker(self, method: Method) -> Workers | None:
        """Return the threads to run a call in, if it may have to wait for a network."""
        hosted = self._hosted
        return (
            hosted.workers
            if hosted is not None and hosted.is_remote and method.waits is Waits.IN_WORKER
            else None
        )

    def close(self, reason: str) -> None:
        """End the connection."""
        if self._channel is not None:
            self._channel.close(reason)

    def push(self, data: bytes) -> None:
        """Send a whole frame that the client did not ask for."""
        assert self._channel is not None
        self._channel.push(data)

    # What the channel tells.

    def handle(self, messages: Iterable[Message]) -> bool:
        """Messages have come; of several some may be left, for when the client has read or the
        others had their turn.
        """
        channel, codec, direct, loop = self._channel, self._session.codec, self._direct, self._loop
        assert channel is not None
        until = None if type(messages) is tuple else loop.slice()
        for message in messages:
            if direct is not None and message[2] == 'loadBefore' and not message[1]:
                answer_load(self, channel, codec, direct, message)
            else:
                dispatch(self, channel, loop, message)
            if until is not None:
                direct = self._direct  # register has set it
                if channel.is_closed:
                    break
                if channel.is_full or loop.system.now() > until:
                    return False
        return True

    def probed(self) -> None:
        """Answer a monitoring program."""
        assert self._channel is not None
        report = {name: hosted.status() for name, hosted in self._storages.items()}
        self._channel.send_last(session.status_report(report))

    def outstanding(self, calls: int) -> None:
        """So many slow calls are not answered yet; past the bound there are to be no more of
        them.
        """
        assert self._channel is not None
        if calls > self.hosted.limits.slow_calls:
            self._channel.hold('slow calls')
        else:
            self._channel.release('slow calls')

    def arrived(self) -> int:
        """Return how many bytes of an unfinished large message have come."""
        return self._session.arrived

    def hold_input(self, hold: bool) -> None:
        """Read no more from this client, since there is no memory for its message now; or go on."""
        assert self._channel is not None
        (self._channel.hold if hold else self._channel.release)('memory')

    def closed(self, reason: str) -> None:
        """The connection has ended: whatever the client held is given back."""
        self._log_end(reason)
        self._session.close()
        if self._handshake is not None:
            self._handshake.cancel()
        attempt = self._loop.attempt  # each of these, whatever the others raise
        attempt(partial(self._intake.left, self))
        if self._hosted is not None:
            self._hosted.left(self)
            attempt(partial(self._hosted.forget_calls, self))
        for commit in self._transactions.take_all() if self._transactions is not None else ():
            attempt(partial(_abort, commit))
        if self._uploads is not None:
            attempt(self._uploads.discard)
        if self._iterators is not None:
            attempt(partial(self.hosted.close_iterators, self._iterators))
        if self._downloads is not None:
            self._downloads.close()
        self._gone(self)

    def _log_end(self, reason: str) -> None:
        by_us = reason.startswith('closed by us')
        if self.visit is None:
            self.report(
                logging.WARNING if by_us else logging.DEBUG,
                'connections that were closed',
                '%s',
                reason,
            )
            return
        holds_lock = getattr(self.hosted.lock.holder, 'peer', None) is self
        if holds_lock:
            reason += '; it held the commit lock'
        self.visit.end(logging.WARNING if by_us or holds_lock else logging.INFO, reason)

    def report(self, level: int, kind: str, text: str, *args: Any) -> None:
        """Write a line about this client into the log, unless there are many of that kind."""
        self._loop.reports.write(level, kind, self._source, '%s: ' + text, self, *args)

    def allow(self, method: Method) -> None:
        """Raise where this client may not make such a call now."""
        if self._hosted is None:
            if method.name != 'register':
                raise ProtocolError(f'it called {method.name} before register')
        elif self._read_only and method.does is Does.WRITES:
            raise ReadOnlyError(
                f'{method.name}: the storage {self._hosted.name!r} was opened read-only'
            )

    def failed_one_way(self, name: str, error: BaseException) -> None:
        """A call that nobody waits for went wrong: the connection can't be trusted to know what it
        asks.
        """
        self.close(f'closed by us: {name} failed: {explained(error)}')

    # About the connection.

    def register(self, name: str, read_only: bool, *credentials: Any) -> bytes:
        """Say which storage, and whether for reading only."""
        if self._hosted is not None:
            raise ProtocolError('it registered twice')
        hosted = self._storages.get(name) if isinstance(name, str) else None
        if hosted is None:
            self.report(
                logging.INFO, 'refused clients', 'refused: there is no storage %s', quoted(name)
            )
            raise ValueError(
                f'there is no storage {quoted(name)} on this server; it serves '
                f'{", ".join(sorted(self._storages))}'
            )
        if hosted.read_only and not read_only:
            self.report(
                logging.INFO,
                'refused clients',
                'refused: it wants to write to storage %s, which is served read-only',
                name,
            )
            raise ReadOnlyError(f'the storage {name!r} is served read-only')
        tid = hosted.storage.lastTransaction()
        self._hosted, self._read_only = hosted, bool(read_only)
        self._direct = None if hosted.is_remote else hosted
        self._resolves = hosted.client_resolves
        assert self._channel is not None
        hosted.peers[self] = self.codec.name, self._channel
        self._session.registered()
        self._session.watch_memory(partial(self._intake.wants, self))
        if self._handshake is not None:
            self._handshake.cancel()
        how = how_served(self._read_only, self.codec.name, self._channel.tls_subject)
        self.visit = Visit(self, name, self._read_only, how, self._loop)
        return tid

    def get_info(self) -> dict[str, Any]:
        """Tell about the storage."""
        return self.hosted.info()

    def server_status(self) -> dict[str, Any]:
        """Tell about the service."""
        return details(self.hosted)

    def ping(self) -> Later | None:
        """Answer when all is told that the storage's server had done, where it is on another
        one.
        """
        return self.hosted.upstream.wait() if self.hosted.is_remote else None

    def set_client_label(self, label: str) -> None:
        """Take note of what the client calls itself; one of ours says behind a line break that it
        resolves conflicts.
        """
        label, _, abilities = (label if isinstance(label, str) else quoted(label)).partition('\n')
        self.label = cleaned(label, LABEL)
        self._resolves = self._resolves or RESOLVES in abilities.split()
        if self.visit is not None:
            self.visit.announce()

    # Reading.

    def lastTransaction(self) -> bytes:
        return self.hosted.storage.lastTransaction()

    def getInvalidations(self, tid: bytes) -> Any:
        hosted = self.hosted
        last = hosted.storage.lastTransaction()
        # a storage's own thread posts what changed before it says that it did
        self._loop.take_posts()
        if hosted.invalidations.knows(tid, last):
            return hosted.invalidations.since(tid, last)
        return hosted.compute(lambda: hosted.invalidations.from_storage(tid), self)

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        hosted = self._one_load()
        return (
            hosted.remote_loads.load(oid, tid, self)
            if hosted.is_remote
            else hosted.load_before(oid, tid)
        )

    def _one_load(self) -> HostedStorage:
        hosted = self.hosted
        self.loads += 1
        return hosted

    def load_many(self, oids: list[bytes], tid: bytes) -> list[Any] | Later:
        """Return what loadBefore returns, for each of some oids; None too where there is no such
        object.

        These are the first of `oids`, as many as a bounded answer holds and time allows; the client
        asks again for the others.
        """
        hosted = self.hosted
        if not oids:
            return []
        if hosted.is_remote:
            return hosted.remote_loads.load_first(oids, tid, self)
        found: list[Any] = []
        space, until = hosted.limits.batch, self._loop.slice()
        for oid in oids:
            found.append(self._load_or_none(oid, tid))
            space -= len(found[-1][0] or b'') if found[-1] is not None else 0
            if space <= 0 or self._loop.system.now() > until:
                break
        return found

    def _load_or_none(self, oid: bytes, tid: bytes) -> Any:
        hosted = self._one_load()
        try:
            return hosted.load_before(oid, tid)
        except POSKeyError:
            return None

    def loadSerial(self, oid: bytes, tid: bytes) -> bytes:
        return self._one_load().storage.loadSerial(oid, tid)

    def getTid(self, oid: bytes) -> bytes:
        storage = self.hosted.storage
        if hasattr(storage, 'getTid'):
            return storage.getTid(oid)
        current = storage.loadBefore(oid, maxtid)
        if current is None:
            raise POSKeyError(oid)
        return current[1]

    def history(self, oid: bytes, size: int) -> Later:
        return self._slowly(lambda storage: plain(list(storage.history(oid, size=size))))

    def undoLog(self, first: int, last: int) -> Later:
        return self._slowly(lambda storage: plain(list(storage.undoLog(first, last))))

    def undoInfo(self, first: int = 0, last: int = -20, specification: Any = None) -> Later:
        return self._slowly(
            lambda storage: plain(list(storage.undoInfo(first, last, specification)))
        )

    def record_iternext(self, next: Any = None) -> Any:
        return self.hosted.storage.record_iternext(next)

    def iterator_start(self, start: bytes | None, stop: bytes | None) -> int | Later:
        hosted = self.hosted
        if self._iterators is None:
            self._iterators = Iterators(hosted.limits.iterators)
        iterators = self._iterators
        if start is None or hosted.is_remote:  # the latter is called in a worker
            return iterators.start(hosted.storage.iterator(start, stop))
        answer = Later()  # to find `start` a storage may go over all its transactions
        hosted.compute(lambda: hosted.storage.iterator(start, stop), self).then(
            lambda transactions: answer.answer(iterators.start(transactions)), answer.fail
        )
        return answer

    def iterator_next(self, number: int) -> Any:
        return self._opened().next_transaction(number)

    def iterator_record_start(self, number: int, tid: bytes) -> int:
        return self._opened().start_records(number, tid)

    def iterator_record_next(self, number: int) -> Any:
        return self._opened().next_record(number)

    def iterator_batch(self, number: int) -> Any:
        """Return many transactions with their records at once."""
        return self._opened().batch(number)

    def iterator_gc(self, numbers: Iterable[int]) -> None:
        if self._iterators is not None:
            self._iterators.forget(numbers)

    def _opened(self) -> Iterators:
        if self._iterators is None:
            raise KeyError('no iterator was started on this connection')
        return self._iterators

    def sendBlob(self, oid: bytes, serial: bytes, announced: bool = False) -> Streamed:
        """Send a blob; a client of this package has its length `announced`."""
        storage = self.hosted.storage
        blobs.require(storage)
        downloads = self._downloads = self._downloads or Downloads(
            self, self.hosted.limits.downloads
        )
        downloads.check()
        wanted = Wanted(storage.loadBlob(oid, serial), oid, serial, bool(announced))
        return Streamed(partial(downloads.start, wanted))

    def pack(self, time: float, wait: bool = True) -> Later | None:
        """Pack to `time`, in seconds since the epoch; the answer comes when it is done, or at
        once.
        """
        answer = self.hosted.packs.start(self, time)
        return answer if wait else None

    def _slowly(self, read: Any) -> Later:
        storage = self.hosted.storage
        return self.hosted.compute(lambda: read(storage), self)

    # Writing.

    def new_oids(self, n: int = MAX_OIDS) -> list[bytes]:
        hosted = self.hosted
        return hosted.oids.note(
            [hosted.storage.new_oid() for _ in range(max(1, min(int(n), MAX_OIDS)))]
        )

    def tpc_begin(
        self,
        txn_id: Any,
        user: bytes,
        description: bytes,
        extension: Any,
        tid: bytes | None = None,
        status: str = ' ',
    ) -> None:
        self._open_transactions().begin(
            txn_id,
            (user, description, extension),
            lambda *said: Commit(self.hosted, self, Metadata(*said), tid, status, self._resolves),
        )

    def storea(self, oid: bytes, serial: bytes, data: bytes, txn_id: Any) -> None:
        self._add('store', txn_id, data, oid, serial)

    def restorea(
        self, oid: bytes, serial: bytes, data: bytes | None, previous: bytes | None, txn_id: Any
    ) -> None:
        self._add('restore', txn_id, data, oid, serial, previous)

    def checkCurrentSerialInTransaction(self, oid: bytes, serial: bytes, txn_id: Any) -> None:
        self._add('check_current', txn_id, None, oid, serial)

    def deleteObject(self, oid: bytes, serial: bytes, txn_id: Any) -> None:
        self._add('delete', txn_id, None, oid, serial)

    def undoa(self, undo_id: bytes, txn_id: Any) -> None:
        if not isinstance(undo_id, (bytes, str)) or len(undo_id) > LONGEST_UNDO_ID:
            raise ProtocolError('it asked to undo what is not the id of a transaction')
        self._commit(txn_id).phase.add('undo', None, undo_id)

    def storeBlobStart(self) -> None:
        blobs.require(self.hosted.storage)
        if self._uploads is None or not self._open_transactions():
            raise ProtocolError('it sent a blob outside of any transaction')
        self._uploads.start()

    def storeBlobChunk(self, chunk: bytes) -> None:
        if self._uploads is None:
            raise ProtocolError('it sent a chunk of a blob that it did not start')
        self._uploads.add(chunk)

    def storeBlobEnd(self, oid: bytes, serial: bytes, data: bytes, txn_id: Any) -> None:
        self._add_upload('store_blob', txn_id, data, oid, serial)

    def storeBlobShared(
        self, oid: bytes, serial: bytes, data: bytes, name: str, txn_id: Any
    ) -> None:
        self._add_shared('store_blob', txn_id, name, data, oid, serial)

    def restoreBlobEnd(
        self, oid: bytes, serial: bytes, data: bytes, previous: bytes | None, txn_id: Any
    ) -> None:
        """As storeBlobEnd, for a transaction that is copied."""
        self._add_upload('restore_blob', txn_id, data, oid, serial, previous)

    def restoreBlobShared(
        self, oid: bytes, serial: bytes, data: bytes, previous: bytes | None, name: str, txn_id: Any
    ) -> None:
        """As storeBlobShared, for a transaction that is copied."""
        self._add_shared('restore_blob', txn_id, name, data, oid, serial, previous)

    def _add_upload(self, operation: str, txn_id: Any, *args: Any) -> None:
        # first: what belongs to no transaction stays with the connection, and ends with it
        commit = self._commit(txn_id)
        assert self._uploads is not None
        uploaded = self._uploads.take()
        commit.add_blob_file(uploaded.path, uploaded.size)
        if uploaded.error is not None:
            commit.fail_at_vote(uploaded.error)
        self._add(operation, txn_id, *args, uploaded.path)

    def _add_shared(
        self, operation: str, txn_id: Any, name: str, data: bytes, oid: bytes, *args: Any
    ) -> None:
        blobs.require(self.hosted.storage)
        path = blobs.shared_path(self.hosted.storage, oid, name)
        try:
            commit = self._commit(txn_id)
        except StorageTransactionError:
            blobs.remove_files([path])
            raise
        commit.add_blob_file(path)
        self._add(operation, txn_id, data, oid, *args, path)

    def _add(
        self, operation: str, txn_id: Any, data: bytes | None, oid: bytes, serial: Any, *args: Any
    ) -> None:
        if type(serial) is str:
            serial = serial.encode('latin-1')  # storages compare it with bytes
        self._commit(txn_id).phase.add(operation, data, oid, serial, *args)

    def vote(self, txn_id: Any) -> Later:
        return self._commit(txn_id).phase.vote()

    def tpc_finish(self, txn_id: Any) -> Any:
        commit = self._commit(txn_id)
        try:
            tid = commit.phase.finish()
        except BaseException:
            if commit.is_over:
                # so that no abort has to come for it, as none does from most clients
                self._forget(txn_id)
            raise
        if isinstance(tid, Later):
            answer = Later()

            def failed(error: BaseException) -> None:
                self._forget(txn_id)
                answer.fail(error)

            tid.then(lambda tid: answer.answer(self._finished(txn_id, tid)), failed)
            return answer
        return self._finished(txn_id, tid)

    def _finished(self, txn_id: Any, tid: bytes) -> bytes:
        self._forget(txn_id)
        self.commits += 1
        self.hosted.tell_sizes(self)
        return tid

    def tpc_abort(self, txn_id: Any) -> Later | None:
        commit = self._forget(txn_id)
        return None if commit is None else commit.phase.abort()

    @property
    def account(self) -> Account:
        """What the transactions of this client hold."""
        if self._account is None:
            self._account = Account(self.hosted.limits, self._intake.budget)
        return self._account

    def _open_transactions(self) -> Transactions:
        if self._transactions is None:
            self._transactions = Transactions(self.account, self.hosted.limits)
            self._uploads = Uploads(self.hosted.storage, self.account)
        return self._transactions

    def _commit(self, txn_id: Any) -> Commit:
        return self._open_transactions().find(txn_id)

    def _forget(self, txn_id: Any) -> Commit | None:
        """A transaction is over; with the last one, so is a blob that belonged to one of them."""
        transactions = self._open_transactions()
        commit = transactions.forget(txn_id)
        if not transactions and self._uploads is not None:
            self._uploads.discard()
        return commit


def _abort(commit: Commit) -> None:
    commit.phase.abort()
