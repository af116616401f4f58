"""The transactions that one client has open, by the ids that it gives them.

Enters: ids and commits. Leaves: commits. Fails: ProtocolError for what is not an id, and for a
client that goes on beginning transactions past its bound; StorageTransactionError for an id that
was not begun, or twice.
"""

from __future__ import annotations

from typing import Any

from ZODB.POSException import StorageTransactionError

from ZEO.Exceptions import ProtocolError
from ZEO.serving.account import Account, TooMuch
from ZEO.serving.commit import Commit
from ZEO.serving.limits import Limits
from ZEO.wire.quoting import quoted

#: Bytes or characters of a transaction's id; clients count.
LONGEST_ID = 100

#: Bytes of memory of a transaction with nothing in it.
OVERHEAD = 3_000

#: Bytes of users, descriptions and extensions of a client's open transactions; of one a FileStorage
#: takes 64 KB each.
METADATA = 10 * 2**20


class Transactions:
    """What is begun and neither finished nor aborted; all of it ends with the connection."""

    def __init__(self, account: Account, limits: Limits) -> None:
        self._account = account
        self._most = limits.transactions
        self.commits: dict[Any, Commit] = {}  # by the ids that the client gives
        self._held = 0  # bytes that they take, without their operations

    def __len__(self) -> int:
        return len(self.commits)

    def refusal(self, txn_id: Any, size: int) -> TooMuch | None:
        """Return the error that another transaction has to fail with at its vote, since no client
        waits for an answer here; None if it may be begun.

        :param size: bytes of what it says about itself.
        :raises ProtocolError: for a client that begins as many again as it may have, which shows
            that it does not vote.
        """
        if not _is_id(txn_id):
            raise ProtocolError(
                'client began a transaction with an id that is not a number or a short text'
            )
        if txn_id in self.commits:
            raise StorageTransactionError(f'transaction {quoted(txn_id)} was begun already')
        most, count = self._most, len(self.commits)
        if count >= 2 * most:
            raise ProtocolError(
                f'client has {count} transactions open; at most {most} are accepted '
                '(max-transactions)'
            )
        if count >= most:
            return TooMuch(
                f'this client has {most} transactions open already (max-transactions): finish or '
                'abort some first'
            )
        if self._held + size + OVERHEAD > METADATA:
            return TooMuch(
                'users, descriptions and extensions of the open transactions of this client take '
                f'more than {METADATA} bytes: finish or abort some first'
            )
        return None

    def add(self, txn_id: Any, commit: Commit, size: int) -> None:
        """Take note of a transaction that was begun.

        :param size: bytes of what it says about itself.
        """
        self.commits[txn_id] = commit
        commit.size, commit.prepaid = OVERHEAD + size, self._account.prepaid
        self._held += commit.size
        self._account.keep(commit.size + commit.prepaid)

    def find(self, txn_id: Any) -> Commit:
        """Return a transaction."""
        try:
            return self.commits[txn_id]
        except (KeyError, TypeError):  # the latter for what cannot be a key
            raise StorageTransactionError(
                f'transaction {quoted(txn_id)} was not begun on this connection'
            ) from None

    def get(self, txn_id: Any) -> Commit | None:
        """Return a transaction; None if it is not open."""
        try:
            return self.commits.get(txn_id)
        except TypeError:
            return None

    def forget(self, txn_id: Any) -> Commit | None:
        """Remove and return a transaction; None if it is not open."""
        try:
            commit = self.commits.pop(txn_id, None)
        except TypeError:
            return None
        if commit is not None and commit.size:
            self._held -= commit.size
            self._account.keep(-commit.size - commit.prepaid)
        return commit


def _is_id(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() <= 8 * LONGEST_ID
    return isinstance(value, (str, bytes)) and len(value) <= LONGEST_ID
