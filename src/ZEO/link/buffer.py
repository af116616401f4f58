"""What one transaction of this client has changed so far.

Enters: stores, and the oids that conflict resolution or undo changed. Leaves: the (oid, record)
pairs that the cache takes once the server has finished the transaction. Fails: never.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ZEO.link.connection import Connection

#: Bytes of records that are kept for the cache; those beyond it are loaded again when they are
#: wanted.
MEMORY = 16 * 1024 * 1024


class CommitBuffer:
    """A transaction from tpc_begin to its end, bound to the connection on which it was begun.

    :param transaction: kept, so that its id stays its own.
    :param txn_id: what the server calls it.
    :param exclusive: whether it holds the lock of a client whose server accepts one commit at a
        time.
    """

    def __init__(
        self, transaction: Any, txn_id: int, connection: Connection, exclusive: bool
    ) -> None:
        self.transaction = transaction
        self.txn_id = txn_id
        self.connection = connection
        self.exclusive = exclusive
        self.tid: bytes | None = None  # once the database is told that it is committed
        self.has_left = False  # whether its caller does not wait for tpc_finish any more
        # (oid, path of a file to be kept in the blob cache)
        self.blobs: list[tuple[bytes, str]] = []
        # oid -> new record; None: not known to this client
        self._records: dict[bytes, bytes | None] = {}
        self._size = 0  # bytes

    def store(self, oid: bytes, data: bytes | None) -> None:
        """Note a new record; None for one that is not known to this client."""
        if data is not None:
            self._size += len(data)
            if self._size > MEMORY:
                data = None
        self._records[oid] = data

    def resolved(self, oid: bytes) -> None:
        """The server's record is not the one that was stored here."""
        self._records[oid] = None

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield each oid with its record."""
        yield from self._records.items()
