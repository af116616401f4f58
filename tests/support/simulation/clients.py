"""What the threads of one simulated client share, and what its errors mean.

Enters: a recorder, and what makes a client storage. Leaves: an open database. Fails: never by what
the storage raises, which the attempt says; an error that a program has no reason to expect is
marked with :data:`UNEXPECTED`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ZODB
from transaction.interfaces import TransientError
from ZODB.POSException import (
    ConflictError,
    POSKeyError,
    ReadConflictError,
    ReadOnlyError,
    StorageError,
    StorageTransactionError,
    UndoError,
)

from support.simulation.history import COMMITTED, READ, REFUSED, UNKNOWN, Attempt, Recorder
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected

#: How the text of an error begins that a program has no reason to expect.
UNEXPECTED = 'unexpected '

#: Virtual seconds that any attempt may take: more than all limits on its way together.
LONGEST = 900.0

#: What every program has to expect.
_EXPECTED: tuple[type[BaseException], ...] = (ConflictError, ClientDisconnected)


class GivenUp(Exception):
    """Another resource of the transaction votes against it."""


class Interrupted(BaseException):
    """As KeyboardInterrupt: applications do not catch it by accident."""


class TimeIsUp(Exception):
    """As the exceptions by which programs end what takes too long."""


#: What a program's attempt may end with.
FAILURES = (Exception, Interrupted)


class WatchedStorage(ClientStorage):
    """A client storage that says when the server may commit, and when a round trip has ended."""

    client: Client

    def ping(self) -> None:
        self.client.recorder.round_trip(super().ping, self.client.path)

    def tpc_finish(self, transaction: Any, f: Any = lambda tid: None) -> bytes:
        attempt = self.client.watched.get(transaction.description.decode())
        if attempt is not None:
            self.client.recorder.committing(attempt)
        tid = super().tpc_finish(transaction, f)
        if attempt is not None:
            attempt.tid = tid.hex()
        return tid


class Resource:
    """One more resource in a transaction, which votes last."""

    transaction_manager = None

    def __init__(self, vote: Callable[[], None]) -> None:
        self._vote = vote

    def sortKey(self) -> str:
        return '~'

    def tpc_vote(self, transaction: Any) -> None:
        self._vote()

    def nothing(self, transaction: Any) -> None:
        """Every other event."""

    abort = tpc_begin = commit = tpc_finish = tpc_abort = nothing


class Client:
    """What the threads of one client share.

    :param expected: classes of errors that this plan may lead to, besides the usual ones.
    :param packs: whether old revisions may go.
    :param path: see :meth:`Recorder.round_trip`.
    """

    def __init__(
        self,
        recorder: Recorder,
        sleep: Callable[[float], None],
        wall_clock: Callable[[], float],
        expected: tuple[type[BaseException], ...] = (),
        packs: bool = False,
        path: Callable[[], object] | None = None,
    ) -> None:
        self.recorder = recorder
        self.sleep = sleep
        self.wall_clock = wall_clock
        self.expected = _EXPECTED + expected
        self.packs = packs
        self.path = path
        self.watched: dict[str, Attempt] = {}
        self.packed = ''  # the newest tid up to which it has had the storage packed
        self.db: Any = None
        self.workers: list[Any] = []  # its threads, those that have ended as well

    def open(self, make: Callable[[], WatchedStorage], cache_size: int) -> bool:
        """Open the storage and a database on it; return whether that has succeeded.

        :param cache_size: objects that a connection keeps.
        """
        attempt = self.recorder.begin('open', LONGEST)
        storage: list[WatchedStorage] = []

        def opened() -> None:
            storage.append(make())

        try:
            self.recorder.round_trip(opened, self.path)
            storage[0].client = self
            self.db = ZODB.DB(storage[0], cache_size=cache_size, large_record_size=2**30)
        except FAILURES as error:
            self.failed(attempt, error)
            for one in storage:
                one.close()
            return False
        self.recorder.ended(attempt, READ)
        return True

    @property
    def storage(self) -> WatchedStorage:
        return self.db.storage

    def failed(self, attempt: Attempt, error: BaseException) -> None:
        """An attempt has raised: say what that means."""
        text = f'{type(error).__name__}: {error}'
        expected = isinstance(error, self.expected)
        if isinstance(error, ReadConflictError) and 'object deleted' in str(error):
            expected = self.packs
        if isinstance(error, StorageError) and 'Already packing' in str(error):
            expected = True
        if not expected:
            text = UNEXPECTED + text
        outcome = REFUSED
        if attempt.tid is not None:
            outcome = COMMITTED
        elif attempt.committing is not None and not isinstance(error, ConflictError):
            outcome = UNKNOWN
        self.recorder.ended(attempt, outcome, bytes.fromhex(attempt.tid or ''), text)


def expected_errors(*names: str) -> tuple[type[BaseException], ...]:
    """Return classes of errors that a plan may lead to, from what is in it."""
    found: tuple[type[BaseException], ...] = (GivenUp,)
    for name in names:
        found += _REASONS[name]
    return found


_REASONS: dict[str, tuple[type[BaseException], ...]] = {
    'strikes': (Interrupted, TimeIsUp),
    'undo': (UndoError,),
    'pack': (POSKeyError, UndoError),
    'fallback': (ReadOnlyError,),
    'followers': (ReadOnlyError, TransientError),
    'timeout': (StorageTransactionError,),
    'chain': (StorageTransactionError,),
    'faults': (OSError, MemoryError, RuntimeError, StorageError),
    'disk': (ValueError,),  # a FileStorage that has failed to finish closes its file
}
