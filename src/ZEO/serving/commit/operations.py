"""The operations that a transaction consists of.

Enters: what the client has sent. Leaves: the storage's call for it, by :meth:`Operation.apply`; the
same operation as bytes and back, for a commit log on disk. Fails: with what the storage raises;
StorageTransactionError for an oid or a serial that a client may not use.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ZODB.POSException import ConflictError, UndoError

from ZEO.serving import blobs
from ZEO.serving.oids import LAST
from ZEO.serving.tids import check_serial

if TYPE_CHECKING:
    from ZEO.serving.commit.state import Commit


class Operation:
    """One change, or one condition."""

    __slots__ = ()

    #: The record, as it is stored.
    data: bytes | None

    def apply(self, storage: Any, commit: Commit) -> None:
        """Make the storage's call for it, within the transaction of `commit`."""
        raise NotImplementedError


class _Change(Operation):
    """A change of one object, which the invalidation names."""

    __slots__ = ()

    oid: bytes

    def _announce(self, commit: Commit) -> None:
        """Note the object for the invalidation; its oid has to be one that a client may use."""
        if self.oid > LAST:
            commit.hosted.oids.check(self.oid)
        commit.changed[self.oid] = None


@dataclass(slots=True)
class Store(_Change):
    """A new revision of an object, or a new object."""

    oid: bytes
    serial: bytes
    data: bytes

    def apply(self, storage: Any, commit: Commit) -> None:
        # as _announce does, without a call: nearly all operations come here
        oid = self.oid
        if oid > LAST:
            commit.hosted.oids.check(oid)
        commit.changed[oid] = None
        try:
            storage.store(oid, self.serial, self.data, '', commit.transaction)
        except ConflictError as error:
            commit.hand_over(error, oid, self.data)


def store_all(storage: Any, commit: Commit, stores: Iterable[tuple[bytes, bytes, bytes]]) -> None:
    """Do what :meth:`Store.apply` does for each oid, serial and data, with a third of the steps."""
    store, transaction, changed = storage.store, commit.transaction, commit.changed
    for oid, serial, data in stores:
        if oid > LAST:
            commit.hosted.oids.check(oid)
        changed[oid] = None
        try:
            store(oid, serial, data, '', transaction)
        except ConflictError as error:
            commit.hand_over(error, oid, data)


@dataclass(slots=True)
class StoreBlob(_Change):
    """The same with a blob."""

    oid: bytes
    serial: bytes
    data: bytes
    path: str

    def apply(self, storage: Any, commit: Commit) -> None:
        self._announce(commit)
        blobs.check_file(storage, self.path)
        try:
            storage.storeBlob(self.oid, self.serial, self.data, self.path, '', commit.transaction)
        except ConflictError as error:
            commit.hand_over(error, self.oid, self.data)


@dataclass(slots=True)
class Restore(_Change):
    """A revision that is copied from another storage, with its serial."""

    oid: bytes
    serial: bytes
    data: bytes | None
    previous: bytes | None

    def apply(self, storage: Any, commit: Commit) -> None:
        check_serial(self.serial, commit.tid)
        self._announce(commit)
        storage.restore(self.oid, self.serial, self.data, '', self.previous, commit.transaction)


@dataclass(slots=True)
class RestoreBlob(_Change):
    """The same with a blob."""

    oid: bytes
    serial: bytes
    data: bytes | None
    previous: bytes | None
    path: str

    def apply(self, storage: Any, commit: Commit) -> None:
        check_serial(self.serial, commit.tid)
        self._announce(commit)
        blobs.check_file(storage, self.path)
        storage.restoreBlob(
            self.oid, self.serial, self.data, self.path, self.previous, commit.transaction
        )


@dataclass(slots=True)
class CheckCurrent(Operation):
    """The condition that an object has not changed."""

    data = None

    oid: bytes
    serial: bytes

    def apply(self, storage: Any, commit: Commit) -> None:
        storage.checkCurrentSerialInTransaction(self.oid, self.serial, commit.transaction)


@dataclass(slots=True)
class Delete(Operation):
    """The end of an object."""

    data = None

    oid: bytes
    serial: bytes

    def apply(self, storage: Any, commit: Commit) -> None:
        commit.changed[self.oid] = None
        storage.deleteObject(self.oid, self.serial, commit.transaction)


@dataclass(slots=True)
class Undo(Operation):
    """The reversal of an earlier transaction."""

    data = None

    undo_id: bytes | str

    def apply(self, storage: Any, commit: Commit) -> None:
        backend = commit.hosted.backend
        if backend.is_packing and backend.packs_between_commits:
            raise UndoError('the storage is being packed: undo again when the pack has ended')
        undone = storage.undo(self.undo_id, commit.transaction)
        for oid in undone[1] if undone else ():
            commit.changed[oid] = None
            commit.new_serials[oid] = None


_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (Store, StoreBlob, Restore, RestoreBlob, CheckCurrent, Delete, Undo)
}


def described(operation: Operation) -> bytes:
    """Return what an operation is, without its record, which can be large."""
    kind = type(operation)
    return marshal.dumps((kind.__name__, [getattr(operation, name) for name in _others(kind)]))


def restored(description: bytes, data: bytes | None) -> Operation:
    """Return the operation that :func:`described` has described."""
    name, others = marshal.loads(description)
    kind = _KINDS[name]
    fields = dict(zip(_others(kind), others, strict=True))
    if 'data' in kind.__slots__:
        fields['data'] = data
    return kind(**fields)


def _others(kind: Any) -> list[str]:
    """Return the names of the fields beside the record."""
    return [name for name in kind.__slots__ if name != 'data']
