"""The transactions of one client that are under way, from tpc_begin to their end.

Enters: transaction objects, by which callers name their transactions, and what is to be stored in
them. Leaves: messages to the server; the oids whose records were changed by the server; the tid.
Fails: StorageTransactionError for a transaction that was not begun, or was begun twice;
ClientDisconnected when its connection is lost, since it can't be continued on another; what the
vote raises.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from ZODB.POSException import ConflictError, ReadOnlyError, StorageTransactionError

from ZEO.Exceptions import ClientDisconnected, ClientStorageError, ProtocolError
from ZEO.link.applying import Applying, CommitState
from ZEO.link.buffer import CommitBuffer
from ZEO.link.connection import Connection
from ZEO.link.link import Link
from ZEO.link.metadata import metadata
from ZEO.link.waiting import PendingCall
from ZEO.net.system import System
from ZEO.wire.extensions import MULTI_COMMIT
from ZEO.wire.faults import conflict

log = logging.getLogger('ZEO.ClientStorage')

#: Votes after which a transaction fails, if its server keeps finding conflicts for the client to
#: resolve.
ROUNDS = 100

#: Seconds that one thread waits for another's commit, on a server that accepts one at a time.
TURN = 300.0

#: Seconds between two looks whether that has ended.
LOOK_AGAIN = 0.005


class Commits:
    """All transactions of a client storage.

    :param merge: resolves a conflict that the server leaves to this client: ``(oid, committed, old,
        data) -> data``.
    :param check_writable: raises ReadOnlyError where the storage can only be read.
    """

    def __init__(
        self,
        server: Link,
        state: CommitState,
        merge: Callable[..., bytes],
        check_writable: Callable[[], None],
        system: System,
    ) -> None:
        self._server = server
        self._state = state
        self._applying = Applying(state)
        self._merge = merge
        self._check_writable = check_writable
        self._system = system
        server.leaving.is_committing = self.are_on
        self._ids = count(1)  # by which the server knows this client's transactions
        self.start_afresh()

    def start_afresh(self) -> None:
        """Have no transactions: new, or in a forked child, whose parent keeps them."""
        # id of the transaction object -> what it has changed
        self._buffers: dict[int, CommitBuffer] = {}
        # at 0: whose turn it is, on a server that accepts one commit at a time
        self._turn: dict[int, CommitBuffer] = {}

    def begin(self, transaction: Any, tid: bytes | None, status: str) -> None:
        """Begin a transaction."""
        if id(transaction) in self._buffers:
            raise StorageTransactionError('this transaction was already begun on this storage')
        connection = self._server.leaving.to_begin()
        if connection.read_only:
            # a fallback since a moment ago; it would close the connection for a tpc_begin
            raise ReadOnlyError(
                f'{connection.where}: this server is read-only, and no writable one was found: try '
                'again later'
            )
        abilities = self._state.abilities
        described = metadata(transaction, abilities)
        exclusive = MULTI_COMMIT not in abilities
        buffer = CommitBuffer(transaction, next(self._ids), connection, exclusive)
        try:
            if exclusive:
                self._take_turn(buffer)
            self._buffers[id(transaction)] = buffer
            if connection.is_stopping:  # since a moment ago: the next server may take it
                self._forget(buffer)
                self.begin(transaction, tid, status)
                return
            if tid is None and status == ' ':  # as all but copies of transactions
                connection.send_begin(buffer.txn_id, *described)
            else:
                connection.send('tpc_begin', (buffer.txn_id, *described, tid, status))
        except BaseException as error:
            self._forget(buffer)
            _end_if_interrupted(buffer, error, 'tpc_begin')
            raise

    def are_on(self, connection: Connection) -> bool:
        """Return whether a transaction is under way on this connection."""
        return any(buffer.connection is connection for buffer in self.all())

    def _take_turn(self, buffer: CommitBuffer) -> None:
        until = self._system.now() + TURN
        while (holder := self._turn.setdefault(0, buffer)) is not buffer:
            if holder.connection.lost is not None:
                # it can only be aborted, and the server has done so
                self._give_turn(holder)
            elif self._system.now() > until:
                raise ClientStorageError(
                    f'another thread has been committing for {TURN:.0f} s, and this server accepts '
                    'one commit at a time'
                )
            else:
                self._system.sleep(LOOK_AGAIN)

    def _give_turn(self, buffer: CommitBuffer) -> None:
        if self._turn.get(0) is buffer:
            self._turn.pop(0, None)

    def find(self, transaction: Any) -> CommitBuffer:
        """Return what a transaction has changed so far."""
        buffer = self._buffers.get(id(transaction))
        if buffer is None:
            raise StorageTransactionError('this transaction was not begun on this storage')
        return buffer

    def _not_begun(self, transaction: Any) -> CommitBuffer:
        """Raise for a transaction that is not under way. One that is has a connection of its own,
        whatever has become of the client since it began.
        """
        self._check_writable()
        return self.find(transaction)

    @property
    def abilities(self) -> frozenset[str]:
        """What the server that takes writes can do beyond the protocol."""
        return self._state.abilities

    def any(self) -> Any:
        """Return a transaction that is under way, or None."""
        return next((buffer.transaction for buffer in list(self._buffers.values())), None)

    def send(self, transaction: Any, call: str, *args: Any) -> CommitBuffer:
        """Send a one-way message of a transaction; its id comes behind `args`."""
        buffer = self._buffers.get(id(transaction)) or self._not_begun(transaction)
        buffer.connection.send(call, (*args, buffer.txn_id))
        return buffer

    def store(self, transaction: Any, oid: bytes, serial: bytes, data: bytes) -> None:
        """Store a record; the same as :meth:`send`, for the hot path."""
        buffer = self._buffers.get(id(transaction)) or self._not_begun(transaction)
        buffer.connection.send_store(oid, serial, data, buffer.txn_id)
        buffer.store(oid, data)

    def vote(self, transaction: Any) -> list[bytes]:
        """Have the server make sure that it can commit a transaction.

        :returns: the oids whose new record is not the one that was stored.
        :raises ConflictError: when a conflict can't be resolved.
        """
        buffer = self._buffers.get(id(transaction)) or self._not_begun(transaction)
        changed: list[bytes] = []
        # (oid, committed serial) of the conflicts that were resolved
        settled: set[tuple[bytes, bytes]] = set()
        for _ in range(ROUNDS):
            answer = buffer.connection.vote(buffer.txn_id)
            if not answer:  # as mostly
                return changed
            conflicts = [item for item in answer if isinstance(item, dict)]
            if not conflicts:
                for oid in answer:
                    buffer.resolved(oid)
                return changed + list(answer)
            for lost in conflicts:
                self._resolve(buffer, settled, **lost)
                changed.append(lost['oid'])
        raise ConflictError(
            f'after {ROUNDS} votes the server still has conflicts for this client to resolve'
        )

    def _resolve(
        self,
        buffer: CommitBuffer,
        settled: set[tuple[bytes, bytes]],
        oid: bytes,
        serials: tuple[bytes, bytes],
        data: bytes,
    ) -> None:
        """Resolve a conflict that the server leaves to this client: merge the records, and store
        the result over the committed one.
        """
        committed, old = serials
        if (oid, committed) in settled:
            raise ConflictError(
                'the server reported a conflict that this client has resolved before',
                oid=oid,
                serials=(committed, old),
            )
        settled.add((oid, committed))
        try:
            merged = self._merge(oid, committed, old, data)
        except ConflictError:
            raise
        except Exception as error:
            # ZODB wants to raise a ConflictError, but can't read the name of the class
            raise conflict(oid, serials, data) from error
        buffer.connection.send_store(oid, committed, merged, buffer.txn_id)
        buffer.store(oid, merged)

    def commit_after(self, transaction: Any, after: Any) -> PendingCall:
        """Have the server vote on a transaction and finish it, and do not wait for that.

        :param after: what the server calls the transaction without which it is not to be
            committed, or None.
        :returns: what waits for the tid; the transaction is over for this client.
        """
        buffer = self.find(transaction)
        try:
            return buffer.connection.begin(
                'commit_after', (buffer.txn_id, after), partial(self._applying.apply, buffer, None)
            )
        except BaseException as error:
            _end_if_interrupted(buffer, error, 'commit_after')
            raise
        finally:
            self._forget(buffer)

    def finish(self, transaction: Any, callback: Callable[[bytes], Any] | None) -> bytes:
        """Commit; returns the tid.

        :param callback: see :meth:`ZEO.ClientStorage.ClientStorage.tpc_finish`.
        """
        buffer = self.find(transaction)
        waiting = buffer.connection.finishing(partial(self._applying.apply, buffer, callback))
        try:
            return buffer.connection.finish(buffer.txn_id, waiting)
        except ProtocolError as error:
            # committed, most likely, but with which tid? The next connection finds out
            buffer.connection.lose(str(error), error)
            raise
        except BaseException as error:
            is_under_way = waiting.sent or waiting.done or isinstance(error, ClientDisconnected)
            if not (is_under_way and isinstance(error, Exception)):
                # it is not known what the server has received: others might wait for its lock
                buffer.connection.lose(f'{buffer.connection.where}: tpc_finish has failed', error)
            self.has_failed(buffer)
            raise
        finally:
            self._forget(buffer)

    def has_failed(self, buffer: CommitBuffer) -> None:
        """The caller of tpc_finish gets an exception, whatever the server has done."""
        self._applying.has_failed(buffer)

    def blobs(self, transaction: Any) -> list[tuple[bytes, str]]:
        """Return the blob files of a transaction, none for one that is not under way."""
        buffer = self._buffers.get(id(transaction))
        return [] if buffer is None else buffer.blobs

    def abort(self, transaction: Any, timeout: float | None) -> None:
        """Give a transaction up; harmless when there is none.

        :param timeout: seconds that it may take, instead of the connection's own limit.
        """
        buffer = self._buffers.get(id(transaction))
        if buffer is not None:
            try:
                if timeout is None:
                    buffer.connection.call('tpc_abort', (buffer.txn_id,))
                else:
                    buffer.connection.call_within(timeout, 'tpc_abort', (buffer.txn_id,))
            except ClientDisconnected:  # which aborts as well
                pass
            self._forget(buffer)

    def abort_has_failed(self, transaction: Any, error: BaseException) -> None:
        """The caller of tpc_abort gets an exception, and does not abort a second time. Others might
        wait for the lock: so the connection ends, with which the server aborts.
        """
        buffer = self._buffers.get(id(transaction))
        if buffer is not None:
            # first: a transaction on a connection that has ended gives its turn up in any case
            try:
                buffer.connection.lose(f'{buffer.connection.where}: tpc_abort has failed', error)
            finally:
                self._forget(buffer)

    def all(self) -> list[CommitBuffer]:
        """Return what all transactions that are under way have changed so far."""
        return list(self._buffers.values())

    def _forget(self, buffer: CommitBuffer) -> None:
        self._buffers.pop(id(buffer.transaction), None)
        self._give_turn(buffer)


def _end_if_interrupted(buffer: CommitBuffer, error: BaseException, call: str) -> None:
    """End the connection after an interrupt: it is not known what the server has received, which
    might wait for the end of the transaction, and other clients for its lock.
    """
    if not isinstance(error, Exception):
        buffer.connection.lose(f'{buffer.connection.where}: {call} was interrupted', error)
