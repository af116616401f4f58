"""Making a transaction permanent in the database of an MVCC storage.

Enters: a transaction that the storage has voted for, with its mark. Leaves: its tid. Fails: with
what the storage raises; ConflictError where the database has given it up, so that it may be tried
again; ClientDisconnected where it is not known what has become of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ZODB.POSException import ConflictError

from ZEO.Exceptions import ClientDisconnected
from ZEO.serving.backends.instances import Instances, Keeper
from ZEO.serving.backends.outcome import Mark, Unknown
from ZEO.wire.quoting import of_database

log = logging.getLogger('ZEO.StorageServer')

#: Seconds within which it has to be known what has become of a transaction.
LONGEST = 20.0

#: Seconds between two attempts to ask.
AGAIN = 0.25


def finish(
    keeper: Keeper, transaction: Any, changed: tuple[bytes, ...], mark: Mark | None
) -> bytes:
    """Make a transaction permanent; return its tid.

    :param keeper: has the instance.
    :param changed: the objects that it changes.
    :param mark: what the database knows it by; None: it does not.
    """
    tids: list[bytes] = []
    instance = keeper.instance
    try:
        tid = instance.tpc_finish(transaction, tids.append)
        return tid or (tids[0] if tids else instance.lastTransaction())
    except BaseException as error:
        if mark is None:
            raise
        lost = keeper.instances.loop.system.now()
        keeper.drop(transaction)  # so that this process holds it open no more
        return _found_out(keeper.instances, mark, changed, lost, error)


def _found_out(
    instances: Instances, mark: Mark, changed: tuple[bytes, ...], lost: float, error: BaseException
) -> bytes:
    until = lost + LONGEST
    try:
        tid = _persistently(
            instances, until, lambda: instances.outcomes.find(mark, changed, lost, until)
        )
    except BaseException as why:
        _note(instances, f'it is not known whether it was committed: {of_database(why)}', error)
        raise ClientDisconnected(
            'the database, or the connection to it, failed while the transaction was made '
            f'permanent, and it is not known whether it was: {of_database(error)}'
        ) from error
    if tid is not None:
        _note(instances, 'it was committed', error)
        return tid
    _note(instances, 'it was not committed', error)
    if not instances.is_lost(error):
        raise error
    raise ConflictError(
        'the database, or the connection to it, failed before the transaction was permanent: '
        f'nothing was changed; try again: {of_database(error)}'
    ) from error


def _persistently(
    instances: Instances, until: float, ask: Callable[[], bytes | None]
) -> bytes | None:
    """Ask until the database answers, or the time is over."""
    while True:
        try:
            return ask()
        except Unknown:
            raise
        except Exception as error:  # most likely the database is away
            if instances.loop.system.now() > until or not instances.is_lost(error):
                raise
            instances.loop.system.sleep(AGAIN)


def _note(instances: Instances, what: str, error: BaseException) -> None:
    log.warning(
        'storage %s: its database failed while a transaction was made permanent; %s: %s',
        instances.name,
        what,
        of_database(error),
    )
