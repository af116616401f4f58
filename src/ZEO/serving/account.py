"""What clients hold on the server until it is committed: memory and disk, each and together.

Enters: sizes that are about to be taken, and given back. Leaves: whether they may be. Fails:
TooMuch past a bound where there is no other way out; its text names the key that sets the bound.

There is one account for each client and one budget for all.
"""

from __future__ import annotations

from typing import Any

from ZODB.POSException import StorageError

from ZEO.serving.limits import Limits

#: Bytes of memory of an operation beyond its record: the object, and the ids that it holds.
OVERHEAD = 300

#: What each transaction has in memory without its account being asked: with the first operations,
#: which are all in most transactions, and bytes of their records. Asking costs 4 % of a commit.
FIRST_OPERATIONS, FIRST_SPACE = 8, 4096

#: Operations of one client that stay in memory, however small their records are: 6 MB.
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
        first = limits.transactions * FIRST_SPACE  # of all transactions that it may have
        #: Bytes of records that each of its transactions may have without asking.
        self.first_space = FIRST_SPACE if first <= limits.commit_memory // 2 else 0
        #: Bytes of memory that they take; on the account from the beginning of each to its end.
        self.prepaid = self.first_space + FIRST_OPERATIONS * OVERHEAD if self.first_space else 0
        self._most_memory = limits.commit_memory - (first if self.first_space else 0)
        self.operations = 0  # in memory
        self.memory = 0  # bytes of their records
        self.records = 0  # bytes in temporary files
        self.blobs = 0  # the same, of blobs that are not committed

    def may_keep(self, operations: int, size: int) -> bool:
        """Take memory for operations, unless there is no more for this client or for all;
        return whether it was taken.
        """
        if (
            self.memory + size > self._most_memory
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
                f'{self._limits.transaction_disk} bytes on the server (max-transaction-size): '
                'commit less at a time'
            )
        self.records += size

    def upload(self, size: int) -> None:
        """The same for blobs."""
        if size > 0 and self.blobs + size > self._limits.blob_disk:
            raise TooMuch(
                'the blobs of the unfinished transactions of this client take more than '
                f'{self._limits.blob_disk} bytes on the server (max-upload-size): commit '
                'fewer at a time'
            )
        self.blobs += size


def size_of(value: Any) -> int:
    """Return roughly how many bytes of memory plain data take."""
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
