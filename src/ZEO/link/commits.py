"""The transactions of one client that are under way, from tpc_begin to their end.

Enters: transaction objects, by which callers name their transactions, and what is to be stored in them.  Leaves: messages to
the server; the oids whose record became another; the tid.  Fails: StorageTransactionError for a transaction that was not
begun, or twice; ClientDisconnected when its connection is lost: it can't be continued on another; what the vote raises.
"""
from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from ZODB.POSException import ConflictError, StorageTransactionError

from ZEO.Exceptions import ClientDisconnected, ClientStorageError
from ZEO.link import options
from ZEO.link.buffer import CommitBuffer
from ZEO.link.link import Link
from ZEO.link.state import ClientState
from ZEO.net.system import System
from ZEO.wire.faults import conflict

#: Seconds that one thread waits for another's commit, on a server that takes one at a time.
TURN = 300.0


class Commits:
    """All transactions of a client storage.

    :param merge: resolves a conflict that the server leaves to us: ``(oid, committed, old, data) -> data``.
    """

    def __init__(self, server: Link, state: ClientState, merge: Callable[..., bytes], system: System) -> None:
        self._server = server
        self._state = state
        self._merge = merge
        self._system = system
        self._ids = count(1)                    # the server tells our transactions by them
        self.start_afresh()

    def start_afresh(self) -> None:
        """Have no transactions: new, or in a forked child, whose parent keeps them."""
        self._buffers: dict[int, CommitBuffer] = {}   # id of the transaction object -> what it has changed
        self._turn = self._system.lock()              # held from begin to end, for servers that can do one at a time

    def begin(self, transaction: Any, tid: bytes | None, status: str) -> None:
        """Begin a transaction."""
        if id(transaction) in self._buffers:
            raise StorageTransactionError('this transaction was begun already')
        connection = self._server.wait()
        abilities = self._state.abilities
        exclusive = 'multi_commit' not in abilities
        if exclusive and not self._turn.acquire(timeout=TURN):
            raise ClientStorageError(f'another thread has been committing for {TURN:.0f} s, and the server takes one at a time')
        try:
            buffer = CommitBuffer(transaction, next(self._ids), connection, exclusive)
            connection.send('tpc_begin', (buffer.txn_id, transaction.user, transaction.description,
                                          options.extension(transaction, abilities), tid, status))
        except BaseException:
            if exclusive:
                self._turn.release()
            raise
        self._buffers[id(transaction)] = buffer

    def find(self, transaction: Any) -> CommitBuffer:
        """Return what a transaction has changed so far."""
        buffer = self._buffers.get(id(transaction))
        if buffer is None:
            raise StorageTransactionError('this transaction was not begun on this storage')
        return buffer

    def any(self) -> Any:
        """Return a transaction that is under way, or None."""
        return next((buffer.transaction for buffer in list(self._buffers.values())), None)

    def send(self, transaction: Any, call: str, *args: Any) -> CommitBuffer:
        """Send a one-way message of a transaction; its id comes behind `args`."""
        buffer = self.find(transaction)
        buffer.connection.send(call, (*args, buffer.txn_id))
        return buffer

    def vote(self, transaction: Any) -> list[bytes]:
        """Have the server make sure that it can commit; returns the oids whose new record is not the one that was stored."""
        buffer = self.find(transaction)
        changed: list[bytes] = []
        while True:
            answer = buffer.connection.call('vote', (buffer.txn_id,)) or []
            conflicts = [item for item in answer if isinstance(item, dict)]
            if not conflicts:
                for oid in answer:
                    buffer.resolved(oid)
                return changed + list(answer)
            for lost in conflicts:
                self._resolve(buffer, **lost)
                changed.append(lost['oid'])

    def _resolve(self, buffer: CommitBuffer, oid: bytes, serials: tuple[bytes, bytes], data: bytes) -> None:
        """The server leaves a conflict to us: merge the records, and store again over the committed one."""
        committed, old = serials
        try:
            merged = self._merge(oid, committed, old, data)
        except ConflictError:
            raise
        except Exception as error:   # ZODB means to say that it is a conflict, but can't read the name of the class
            raise conflict(oid, serials, data) from error
        buffer.connection.send('storea', (oid, committed, merged, buffer.txn_id))
        buffer.store(oid, merged)

    def finish(self, transaction: Any, callback: Callable[[bytes], Any]) -> tuple[bytes, CommitBuffer]:
        """Commit; returns the tid, and what was changed."""
        buffer = self.find(transaction)

        def applied(tid: bytes) -> bytes:
            self._state.committed(tid, buffer.changes(), callback)
            return tid
        try:
            return buffer.connection.call('tpc_finish', (buffer.txn_id,), applied), buffer
        finally:
            self._forget(buffer)

    def abort(self, transaction: Any) -> CommitBuffer | None:
        """Give a transaction up; returns what it had changed, None if there is no such transaction."""
        buffer = self._buffers.get(id(transaction))
        if buffer is not None:
            try:
                buffer.connection.call('tpc_abort', (buffer.txn_id,))
            except ClientDisconnected:   # which aborts as well
                pass
            finally:
                self._forget(buffer)
        return buffer

    def _forget(self, buffer: CommitBuffer) -> None:
        if self._buffers.pop(id(buffer.transaction), None) is not None and buffer.exclusive:
            self._turn.release()
