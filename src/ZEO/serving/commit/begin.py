"""Beginning a transaction in a storage so that a failure leaves no lock behind.

Enters: a storage and what its ``tpc_begin`` is given. Leaves: nothing. Fails: as ``tpc_begin``
does, with the storage free for the next transaction.
"""

from __future__ import annotations

from typing import Any

from ZODB.DemoStorage import DemoStorage


def begin(storage: Any, transaction: Any, given: tuple[Any, ...]) -> None:
    """Begin `transaction` in `storage`.

    :param given: the optional arguments of ``tpc_begin``.
    """
    try:
        storage.tpc_begin(transaction, *given)
    except BaseException:
        _unlock(storage, transaction)
        raise


def _unlock(storage: Any, transaction: Any) -> None:
    """Give back the locks that DemoStorages, one on the other, have taken.

    A DemoStorage takes its lock before it asks the storage of its changes, and takes note of the
    transaction afterwards: when that storage refuses, as a MappingStorage does a status, no abort
    gives the lock back, and the next ``tpc_begin`` waits without an end.
    """
    while isinstance(storage, DemoStorage):
        if storage._transaction is not transaction and storage._commit_lock.locked():
            storage._commit_lock.release()
        storage = storage.changes
