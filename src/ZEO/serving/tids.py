"""Transaction ids that clients give, as they do to copy a database: only what a storage can go on
from is accepted.

Enters: the tid of a transaction that is about to begin in a storage, the serials of its records.
Leaves: nothing. Fails: StorageTransactionError for a tid that would put the storage's transactions
out of order, or leave none after it.

A tid in the future is fine, since a database whose clock was ahead can be copied: the storage's
next tids come after it.
"""

from __future__ import annotations

from typing import Any

from ZODB.POSException import StorageTransactionError
from ZODB.utils import z64

#: The last tid that is accepted. ZODB's clients can't read beyond 7fffffffffffffff; this leaves
#: room for those that follow.
LAST = b'\x7f\xff\xff\xfe' + 4 * b'\xff'


def check_tid(storage: Any, tid: bytes) -> None:
    """Make sure that `tid` can be the storage's next one.

    :raises StorageTransactionError: when it can not.
    """
    if tid > LAST:
        raise StorageTransactionError(
            f'a transaction can not have the tid {tid.hex()}: the last one that clients can read '
            f'beyond is {LAST.hex()}'
        )
    last = storage.lastTransaction() or z64
    if tid <= last:
        raise StorageTransactionError(
            f'a transaction can not have the tid {tid.hex()}: it is not after the last one of the '
            'storage, '
            f'{last.hex()}; copy into an empty storage, the oldest transaction first'
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
