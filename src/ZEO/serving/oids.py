"""Check object ids that clients choose: they must leave oids for new objects.

Enters: the oid of a record that is to be stored, the oids that the server has given out. Leaves:
nothing. Fails: StorageTransactionError for an oid that no client could have been given.

A storage gives out the oids after the highest that it has seen. A client that stores one record
under ffffffffffffffff would leave no oid for any client, permanently: it stays the highest one
after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ZODB.POSException import StorageTransactionError
from ZODB.utils import z64

#: The highest oid that a client may choose itself, as it does to copy a database. A DemoStorage
#: gives out oids up to 4000000000000000; other storages count from zero or from the time.
LAST = b'\x6f' + 7 * b'\xff'


class GivenOut:
    """The highest oid that a storage has given out here, or had seen before."""

    def __init__(self, storages: Iterable[Any]) -> None:
        self.highest = max(
            (one._oid for one in storages if isinstance(getattr(one, '_oid', None), bytes)),
            default=z64,
        )

    def note(self, oids: list[bytes]) -> list[bytes]:
        """Record oids that are given out; return them."""
        self.highest = max(self.highest, *oids)
        return oids

    def check(self, oid: bytes) -> None:
        """Make sure that a client may store a record under `oid`.

        :raises StorageTransactionError: when it may not.
        """
        if oid > LAST and oid > self.highest:
            raise StorageTransactionError(
                f'a record cannot be stored under the oid {oid.hex()}, which this server has not '
                'given out: no oids would be left for new objects; '
                f'{LAST.hex()} is the last one that a client may choose'
            )
