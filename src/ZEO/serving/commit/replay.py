"""A transaction that is given to an MVCC storage as often as it takes to have no conflict.

Enters: a transaction whose operations are all in its log, and an instance of the storage. Leaves:
one that was voted on, or whose conflicts are left to the client. Fails: with what the storage
raises; ConflictError where neither the server nor the client can resolve one.

A database finds conflicts when it votes, with everything that it was given, and then has given the
transaction up. RelStorage would resolve them itself, with whatever class a record names, which
:mod:`ZEO.serving.doors` keeps it from. So the record that lost is resolved here, and everything is
given once more.

RelStorage takes for granted that an instance has not seen what it conflicts with. One that has may
find that its cache is inconsistent, and clear it: slow, but harmless. Conflicts with what is known
to have changed are therefore found here, before everything is given to it.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from transaction.interfaces import TransientError
from ZODB.POSException import ConflictError, ReadConflictError
from ZODB.utils import maxtid, p64, u64, z64

from ZEO.serving.commit.begin import begin
from ZEO.serving.commit.operations import Operation, RestoreBlob, Store, StoreBlob
from ZEO.serving.commit.phases import PREPARING
from ZEO.serving.tids import check_tid
from ZEO.wire.faults import conflict

if TYPE_CHECKING:
    from ZEO.serving.commit.state import Commit

#: Before which everything is; for ``maxtid`` RelStorage asks its cache, which may be behind.
_LAST = p64(u64(maxtid) - 1)

#: Times that a transaction is given to the storage, each of which may find one conflict.
MOST = 100

#: Times that an instance may find itself inconsistent.
OTHERWISE_FAILED = 3


class Ways(Protocol):
    """How an instance of the storage is dealt with."""

    @property
    def begins_fresh(self) -> bool:
        """Whether an instance has the newest snapshot when a transaction begins."""

    def refresh(self, instance: Any) -> object:
        """Give it the newest snapshot."""

    def resolver(self, instance: Any) -> Callable[..., bytes]:
        """Return what resolves conflicts, or raises ConflictError."""

    def has_changed(self, oid: bytes, since: bytes) -> bool:
        """Return whether it is known that an object has changed after a transaction."""


def replay(commit: Commit, instance: Any, ways: Ways) -> None:
    """Give a transaction to `instance` until it votes for it, or the client has a conflict."""
    commit.is_begun = True  # from here on it has to be aborted
    has_changed = ways.has_changed
    inconsistent = 0  # times that it was
    is_fresh = ways.begins_fresh
    for left in reversed(range(MOST)):
        if not is_fresh:  # it costs a database some time
            ways.refresh(instance)
        is_fresh = False
        for lost in list(_conflicts(commit, instance, has_changed)):
            _resolve(commit, lost, ways.resolver(instance))
        if commit.conflicts:
            _hand_over(commit, instance)
            return
        has_changed = ways.has_changed
        try:
            _give(commit, instance)
        except ConflictError as error:
            if not left or not _has_two_serials(error):
                raise
            instance.tpc_abort(commit.transaction)
            ways.refresh(instance)
            _resolve(commit, error, ways.resolver(instance))
        except TransientError:
            inconsistent += 1
            if inconsistent > OTHERWISE_FAILED or not left:
                raise
            instance.tpc_abort(commit.transaction)
            has_changed = _maybe  # the instance has found its cache inconsistent: look at all
        if commit.phase is not PREPARING or commit.is_voted:
            return


def _maybe(oid: bytes, since: bytes) -> bool:
    return True


def _conflicts(
    commit: Commit, instance: Any, has_changed: Callable[[bytes, bytes], bool]
) -> Iterator[ConflictError]:
    """Yield the conflicts of records whose objects have changed, as the snapshot says."""
    seen: set[tuple[bytes, bytes]] = set()
    for number, operation in enumerate(commit.log.again()):
        if (
            isinstance(operation, (Store, StoreBlob))
            and operation.serial not in (None, z64)
            and has_changed(operation.oid, operation.serial)
            and number not in commit.superseded
            and (operation.oid, operation.serial) not in seen
        ):
            seen.add((operation.oid, operation.serial))
            current = _current(instance, operation.oid)
            if current not in (None, operation.serial):
                yield conflict(operation.oid, (current, operation.serial), operation.data)


def _current(instance: Any, oid: bytes) -> bytes | None:
    try:
        found = instance.loadBefore(oid, _LAST)
    except KeyError:
        return None
    return found and found[1]


def _give(commit: Commit, instance: Any) -> None:
    """Give it everything once."""
    if commit.tid is not None:
        check_tid(instance, commit.tid)
    begin(instance, commit.transaction, commit.given())
    for number, operation in enumerate(commit.log.again()):
        if number not in commit.superseded:
            _own_file(commit, operation).apply(instance, commit)
        if commit.phase is not PREPARING:
            return
    if not commit.conflicts:
        commit.note_new_serials(instance.tpc_vote(commit.transaction))
        commit.is_voted = True


def _own_file(commit: Commit, operation: Operation) -> Operation:
    """Return an operation whose file may be taken: that of a blob may be needed once more."""
    if not isinstance(operation, (StoreBlob, RestoreBlob)):
        return operation
    commit.files_taken += 1
    path = f'{operation.path}.{commit.files_taken}'
    try:
        os.link(operation.path, path)
    except OSError:  # a file system without links
        shutil.copyfile(operation.path, path)
    commit.keep_file(path, 0)
    return dataclasses.replace(operation, path=path)


def _has_two_serials(error: BaseException) -> bool:
    """Whether it says which record lost, and against which one."""
    return (
        isinstance(error, ConflictError)
        and not isinstance(error, ReadConflictError)
        and isinstance(error.oid, bytes)
        and len(error.serials or ()) == 2
    )


def _resolve(commit: Commit, error: ConflictError, resolve: Callable[..., bytes]) -> None:
    """Resolve one conflict, or leave it to the client.

    :raises ConflictError: when neither can.
    """
    oid, (committed, old) = error.oid, error.serials
    data = _supersede(commit, oid, old)
    if data is None:  # by another operation, such as a deletion
        raise error
    try:
        resolved = resolve(oid, committed, old, data)
    except ConflictError as unresolved:
        commit.hand_over(unresolved, oid, data)
        return
    commit.log.add(Store(oid, committed, resolved))
    commit.note_new_serials([oid])


def _supersede(commit: Commit, oid: bytes, serial: bytes) -> bytes | None:
    """Leave out from now on what stores an object with that serial; return the record.

    Later operations may have the same serial again, where a database has answered from a cache
    that was behind: they are others.
    """
    data = None
    for number, operation in enumerate(commit.log.again()):
        if (
            isinstance(operation, (Store, StoreBlob))
            and (operation.oid, operation.serial) == (oid, serial)
            and number not in commit.superseded
        ):
            if not isinstance(commit.superseded, set):
                commit.superseded = set()
            commit.superseded.add(number)
            data = operation.data if isinstance(operation, Store) else data
    return data


def _hand_over(commit: Commit, instance: Any) -> None:
    """The client stores the records once more that have conflicts; the rest is in the log."""
    for handed in commit.conflicts:
        _supersede(commit, handed['oid'], handed['serials'][1])
    instance.tpc_abort(commit.transaction)
