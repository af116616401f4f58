"""Check transaction ids that clients choose, as they do to copy a database.

Enters: the tid of a transaction that is about to begin in a storage, the serials of its records.
Leaves: nothing. Fails: StorageTransactionError for a tid that would put the storage's transactions
out of order, or leave no tid after it.

A tid in the future is accepted, so that a database whose clock was ahead can be copied: the
storage's next tids come after it.
"""

from __future__ import annotations

from typing import Any

from ZODB.POSException import StorageTransactionError
from ZODB.utils import z64

#: The last tid that is accepted. ZODB's clients cannot read beyond 7fffffffffffffff; this
#: leaves room for the tids that follow.
LAST = b'\x7f\xff\xff\xfe' + 4 * b'\xff'


def check_tid(storage: Any, tid: bytes) -> None:
    """Make sure that `tid` can be the storage's next one.

    :raises StorageTransactionError: when it cannot.
    """
    if tid > LAST:
        raise StorageTransactionError(
            f'a transaction cannot have the tid {tid.hex()}: clients could not read beyond it; the '
            f'last possible one is {LAST.hex()}'
        )
    last = storage.lastTransaction() or z64
    if tid <= last:
        raise StorageTransactionError(
            f'a transaction cannot have the tid {tid.hex()}: it is not after {last.hex()}, the '
            'last one of the storage; copy into an empty storage, the oldest transaction first'
        )


def check_serial(serial: bytes | None, tid: bytes | None) -> None:
    """Make sure that a restored record is not newer than its transaction, which has the tid `tid`
    or is of now.

    :raises StorageTransactionError: when it is.
    """
    if not isinstance(serial, bytes) or len(serial) != 8 or serial > (tid or LAST):
        raise StorageTransactionError(
            'a restored record has no serial, or one that is newer than its transaction'
        )
