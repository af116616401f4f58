"""Which of ZODB's test classes belong together, to be put on each kind of storage."""

from __future__ import annotations

from typing import Any

from ZODB.tests import (
    BasicStorage,
    ConflictResolution,
    HistoryStorage,
    IteratorStorage,
    MTStorage,
    PackableStorage,
    PersistentStorage,
    ReadOnlyStorage,
    RecoveryStorage,
    RevisionStorage,
    Synchronization,
    TransactionalUndoStorage,
)

from support.served import Served


class Basics(
    Served,
    BasicStorage.BasicStorage,  # and with it racetest
    ConflictResolution.ConflictResolvingStorage,
    MTStorage.MTStorage,
    PackableStorage.PackableStorage,
    PersistentStorage.PersistentStorage,
    ReadOnlyStorage.ReadOnlyStorage,
    RevisionStorage.RevisionStorage,
    Synchronization.SynchronizedStorage,
):
    """What every storage can do."""

    testLoadBeforeUndo = None  # belongs to Undo

    def testResolve(self) -> None:
        """Two changes that the class can bring together are both kept."""
        self.checkResolve()  # its name keeps it from being found as a test


class Undo(
    Served,
    ConflictResolution.ConflictResolvingTransUndoStorage,
    PackableStorage.PackableUndoStorage,
    TransactionalUndoStorage.TransactionalUndoStorage,
):
    """What storages with undo can do as well."""

    conflict_modules = ['ZODB.tests.ConflictResolution']  # those of an undo are the server's

    testLoadBeforeUndo = RevisionStorage.RevisionStorage.testLoadBeforeUndo


class Iteration(
    Served,
    HistoryStorage.HistoryStorage,
    IteratorStorage.ExtendedIteratorStorage,
    IteratorStorage.IteratorStorage,
):
    """History, and walking over all transactions."""

    use_extension_bytes = True  # a server of ours sends them as its storage has them


class PackWithoutGC(Served, PackableStorage.PackableStorageBase):
    """Packing on a server whose storage does not collect garbage.

    That is the storage's setting; the wire has no word for it.
    """

    testPackAllRevisionsNoGC = (
        PackableStorage.PackableStorageWithOptionalGC.testPackAllRevisionsNoGC
    )

    def open(self, **options: Any) -> None:
        """Open a client that takes ``gc=False`` for what the server does anyway."""
        super().open(**options)
        pack = self._storage.pack
        self._storage.pack = lambda time, references, gc: pack(time, references)


class Recovery(Served, RecoveryStorage.RecoveryStorage):
    """Copying from one server to another."""

    def setUp(self) -> None:
        """Serve and open a second storage, the one to copy to."""
        super().setUp()
        address, blobs = self.serve('destination')
        self._dst = self.servers.open(self.kind, address, blobs)


class Everything(Basics, Undo, Iteration):
    """All but copying, for storages with undo."""

    testLoadBeforeUndo = Undo.testLoadBeforeUndo
