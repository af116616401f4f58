"""What clients hold on the server until it is done: memory and disk, one account for each client
and one for all.

Enters: sizes that are about to be taken, and given back. Leaves: whether they may be. Fails:
TooMuch for what goes past a bound that has no other way out; its text names the key that sets it.
"""

from __future__ import annotations

from typing import Any

from ZODB.POSException import StorageError

from ZEO.serving.limits import Limits

#: Bytes of memory of an operation beyond its record: two tuples, and the objects that they hold.
OVERHEAD = 300

#: Operations of one client that stay in memory whatever little their records take: 6 MB.
OPERATIONS = 20_000


class TooMuch(StorageError):
    """A client holds more than it may."""


class Budget:
    """Bytes of memory that all clients of a server share."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def has_space(self, size: int) -> bool:
        """Whether something may be kept that could be on disk as well: a quarter stays free for
        messages that arrive.
        """
        return self.used + size <= self.limit // 4 * 3


class Account:
    """What one client's transactions hold; all in the loop's thread.

    :param shared: what all clients have together.
    """

    def __init__(self, limits: Limits, shared: Budget) -> None:
        self._limits = limits
        self._shared = shared
        self.operations = 0  # in memory
        self.memory = 0  # bytes of their records
        self.records = 0  # bytes in temporary files
        self.blobs = 0  # the same, of blobs that are not committed

    def may_keep(self, operations: int, size: int) -> bool:
        """Take memory for operations, unless there is no more for this client or for all; tell
        whether it was taken.
        """
        if (
            self.memory + size > self._limits.commit_memory
            or self.operations + operations > OPERATIONS
            or not self._shared.has_space(size + operations * OVERHEAD)
        ):
            return False
        self.operations += operations
        self.memory += size
        self._shared.used += size + operations * OVERHEAD
        return True

    def drop(self, operations: int, size: int) -> None:
        """Give back what operations have taken."""
        self.operations -= operations
        self.memory -= size
        self._shared.used -= size + operations * OVERHEAD

    def keep(self, size: int) -> None:
        """Take memory that is bounded elsewhere, or with a negative size give it back."""
        self._shared.used += size

    def spool(self, size: int) -> None:
        """Take disk for records, or with a negative size give it back.

        :raises TooMuch: past what a client may have.
        """
        if size > 0 and self.records + size > self._limits.transaction_disk:
            raise TooMuch(
                'the unfinished transactions of this client take more than '
                f'{self._limits.transaction_disk} bytes on the server (max-transaction-size)'
            )
        self.records += size

    def upload(self, size: int) -> None:
        """The same for blobs."""
        if size > 0 and self.blobs + size > self._limits.blob_disk:
            raise TooMuch(
                'the blobs of the unfinished transactions of this client take more than '
                f'{self._limits.blob_disk} bytes on the server (max-upload-size)'
            )
        self.blobs += size


def size_of(value: Any) -> int:
    """Return how much memory plain data take, about."""
    size, rest = 0, [value]
    while rest:
        item = rest.pop()
        size += 64
        if isinstance(item, (bytes, str)):
            size += len(item)
        elif isinstance(item, dict):
            rest += item
            rest += item.values()
        elif isinstance(item, (list, tuple, set, frozenset)):
            rest += item
    return size
