"""How a kind of storage is asked: in the loop's thread, or in others if it waits for a network.

Enters: a storage, when the server starts. Leaves: the :class:`~ZEO.serving.backends.base.Backend`
of its kind; nothing else asks what kind it is. Fails: with what the storage raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZEO.net.loop import Loop
from ZEO.serving.backends.awaiting import AwaitingBackend, AwaitingReplicaBackend
from ZEO.serving.backends.base import Backend
from ZEO.serving.backends.grouping import AwaitingGroupBackend, GroupBackend
from ZEO.serving.backends.instances import is_mvcc
from ZEO.serving.backends.local import FileBackend, LocalBackend
from ZEO.serving.backends.mvcc import MvccBackend
from ZEO.serving.backends.recent import keeps_to_itself
from ZEO.serving.backends.remote import RemoteBackend
from ZEO.serving.backends.replica import ReplicaBackend, WrappedReplicaBackend, replica_within
from ZEO.serving.filestorage import storages_within
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.serving.options import ServingOptions
from ZEO.serving.workers import Workers


def backend_for(
    name: str,
    storage: Any,
    loop: Loop,
    workers: Workers,
    options: ServingOptions,
    reconnected: Callable[[], None],
) -> Backend:
    """Return the backend that asks `storage`.

    :param name: of the storage, for the log.
    :param workers: threads that the server's storages share.
    :param reconnected: called when a storage on a network has a new connection, before it reports
        changes that it has missed.
    """
    if any(hasattr(one, 'is_connected') for one in storages_within(storage)):
        return RemoteBackend(name, storage, loop, workers, reconnected)
    if is_mvcc(storage):
        return MvccBackend(name, storage, loop, workers, options)
    replica = replica_within(storage)
    if isinstance(storage, GroupedFileStorage) and not storage.isReadOnly():
        group = AwaitingGroupBackend if options.replicas.wait_for else GroupBackend
        return group(name, storage, loop, workers, options)
    if options.replicas.wait_for and keeps_to_itself(storage):
        awaiting = AwaitingBackend if replica is None else AwaitingReplicaBackend
        return awaiting(name, storage, loop, workers, options)
    kind: type[LocalBackend]
    if replica is not None:
        kind = ReplicaBackend if keeps_to_itself(storage) else WrappedReplicaBackend
    else:
        kind = FileBackend if keeps_to_itself(storage) else LocalBackend
    return kind(name, storage, loop, workers, options.limits)
