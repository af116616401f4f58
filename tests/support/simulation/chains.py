"""Chained commits of one client: each is sent without a wait for the one before, and only committed
behind it, as when a database is copied.

Enters: a client without connections of ZODB, which would not hear of these commits; the objects to
change, one for each transaction. Leaves: attempts in a recorder, of which each names the one
before. Fails: never by what the storage raises, which the attempt says.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from ZODB.Connection import TransactionMetaData
from ZODB.POSException import StorageTransactionError
from ZODB.utils import p64, u64

from support.simulation import objects
from support.simulation.clients import LONGEST, Client
from support.simulation.history import COMMITTED, REFUSED, Attempt

#: What the server says of those that were to follow one that has failed.
_NOT_COMMITTED = 'this transaction is not committed'


class _Sent(NamedTuple):
    """A transaction that is not answered yet."""

    attempt: Attempt
    call: Any
    buffer: Any


class Chain:
    """One chain.

    :param pause: seconds between two transactions.
    """

    def __init__(self, client: Client, pause: float) -> None:
        self._client = client
        self._commits = client.storage._commits
        self._pause = pause
        self._sent: deque[_Sent] = deque()
        self._last: _Sent | None = None
        self._is_broken = False  # by one that was not committed

    def run(self, keys: list[str]) -> None:
        """Commit a transaction for each key, and wait for all of them."""
        if self._client.storage.begin_copy(keeps_blobs=False) is None:
            return  # as one that reads from a follower, or of a server that cannot do it
        for key in keys:
            self._send(key)
            while self._sent and self._sent[0].call.done:
                self._settle()
            if self._is_broken:
                break
            if self._pause:
                self._client.sleep(self._pause)
        while self._sent:
            self._settle()

    def _send(self, key: str) -> None:
        client = self._client
        attempt = client.recorder.begin('transaction', LONGEST)
        transaction = TransactionMetaData(description=attempt.id.encode())
        try:
            self._change(attempt, transaction, key)
            self._commit(attempt, transaction)
        except Exception as error:
            self._is_broken = True
            client.failed(attempt, error)
            client.storage.tpc_abort(transaction)

    def _change(self, attempt: Attempt, transaction: Any, key: str) -> None:
        storage, oid = self._client.storage, objects.OIDS[key]
        snapshot = storage.lastTransaction()
        self._client.recorder.started(attempt, snapshot)
        data, serial, _ = storage.loadBefore(oid, p64(u64(snapshot) + 1))
        before = objects.value_of(oid, data)[1]
        attempt.steps.append(['r', key, before])
        value: Any = attempt.id
        if key in objects.LISTS:
            element = f'{attempt.id}:{key}'
            value = [*before, element]
            attempt.steps.append(['append', key, element])
        else:
            attempt.steps.append(['w', key, value])
        storage.tpc_begin(transaction)
        storage.store(oid, serial, objects.record(key, value), '', transaction)

    def _commit(self, attempt: Attempt, transaction: Any) -> None:
        """Have the server commit a transaction behind the last one."""
        buffer, last = self._commits.find(transaction), self._last
        if last is not None:
            attempt.after = last.attempt.id
        if last is not None and last.buffer.connection is not buffer.connection:
            while self._sent:  # this server knows nothing of those that another one was sent
                self._settle()
            last = None
        if self._is_broken:
            raise StorageTransactionError(_NOT_COMMITTED)
        self._client.recorder.committing(attempt)
        after = None if last is None else last.buffer.txn_id
        self._last = _Sent(attempt, self._commits.commit_after(transaction, after), buffer)
        self._sent.append(self._last)

    def _settle(self) -> None:
        """Wait for the oldest that was sent."""
        attempt, call, buffer = self._sent.popleft()
        recorder = self._client.recorder
        try:
            if not call.done:
                buffer.connection.flush()
            tid = call.wait()
        except StorageTransactionError as error:
            self._is_broken = True
            if _NOT_COMMITTED not in str(error):
                self._client.failed(attempt, error)
            else:
                recorder.ended(attempt, REFUSED, error=f'{type(error).__name__}: {error}')
        except Exception as error:
            self._is_broken = True
            self._client.failed(attempt, error)
        else:
            recorder.ended(attempt, COMMITTED, tid)
