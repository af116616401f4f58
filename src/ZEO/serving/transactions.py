"""The transactions that one client has open, by the ids that it gives them.

Enters: ids, and what a transaction says about itself. Leaves: commits. Fails: ProtocolError for
what is not an id, and for a client that goes on beginning transactions past its bound;
StorageTransactionError for an id that was not begun, or twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZODB.POSException import StorageTransactionError

from ZEO.Exceptions import ProtocolError
from ZEO.serving.account import Account, TooMuch, size_of
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
        self._limits = limits
        self.commits: dict[Any, Commit] = {}  # by the ids that the client gives
        self._sizes: dict[Any, int] = {}  # what each takes beside its operations
        self._held = 0  # the sum of that

    def __len__(self) -> int:
        return len(self.commits)

    def begin(self, txn_id: Any, said: tuple[Any, ...], new_commit: Callable[..., Commit]) -> None:
        """Begin a transaction; one that may not be fails at its vote, since nobody waits for an
        answer here.

        :param said: its user, description and extension, which `new_commit` takes.
        :raises ProtocolError: for a client that begins as many again as it may have, which shows
            that it does not vote.
        """
        if not _is_id(txn_id):
            raise ProtocolError(
                'it began a transaction with an id that is not a number or a short text'
            )
        if txn_id in self.commits:
            raise StorageTransactionError(f'transaction {quoted(txn_id)} was begun already')
        most = self._limits.transactions
        if len(self.commits) >= 2 * most:
            raise ProtocolError(
                f'it has {len(self.commits)} transactions open; at most {most} are accepted '
                '(max-transactions)'
            )
        size = OVERHEAD + size_of(said)
        refusal = self._refusal(size)
        if refusal is not None:
            said, size = (b'', b'', {}), OVERHEAD
        commit = self.commits[txn_id] = new_commit(*said)
        self._take(txn_id, size)
        if refusal is not None:
            commit.phase.fail(commit, refusal)

    def _refusal(self, size: int) -> TooMuch | None:
        """Return why there may not be another transaction, of which so much is said."""
        most = self._limits.transactions
        if len(self.commits) >= most:
            return TooMuch(
                f'this client has {most} transactions open already (max-transactions): finish or '
                'abort some first'
            )
        if self._held + size > METADATA:
            return TooMuch(
                'users, descriptions and extensions of the open transactions of this client take '
                'more than '
                f'{METADATA} bytes'
            )
        return None

    def find(self, txn_id: Any) -> Commit:
        """Return a transaction."""
        commit = self.commits.get(txn_id) if _is_id(txn_id) else None
        if commit is None:
            raise StorageTransactionError(
                f'transaction {quoted(txn_id)} was not begun on this connection'
            )
        return commit

    def forget(self, txn_id: Any) -> Commit | None:
        """Remove and return a transaction; None if there is no such."""
        if not _is_id(txn_id) or txn_id not in self.commits:
            return None
        self._take(txn_id, -self._sizes[txn_id])
        return self.commits.pop(txn_id)

    def take_all(self) -> list[Commit]:
        """Remove and return all."""
        return [
            commit for txn_id in list(self.commits) if (commit := self.forget(txn_id)) is not None
        ]

    def _take(self, txn_id: Any, size: int) -> None:
        self._held += size
        self._account.keep(size)
        if size > 0:
            self._sizes[txn_id] = size
        else:
            del self._sizes[txn_id]


def _is_id(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() <= 8 * LONGEST_ID
    return isinstance(value, (str, bytes)) and len(value) <= LONGEST_ID
