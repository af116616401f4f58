"""One storage as the server serves it: its clients, its commit lock, its recent invalidations.

Enters: peers that come and go, commits, and what the storage itself says of changes that others
made to it. Leaves: invalidations, encoded once and sent to every client but the one who committed.
Fails: ConfigurationError for what is no storage. All in the loop's thread, except what a storage's
own threads call on :class:`_Database`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Any

import zope.interface
from ZODB.interfaces import IStorageWrapper
from ZODB.serialize import referencesf

from ZEO.Exceptions import ConfigurationError
from ZEO.net.channel import Channel
from ZEO.net.loop import ENDS, Loop
from ZEO.serving import blobs, filestorage
from ZEO.serving.backends import backend_for
from ZEO.serving.commit.lock import CommitLock
from ZEO.serving.contention import Contention
from ZEO.serving.invalidations import Invalidations
from ZEO.serving.later import Workers
from ZEO.serving.limits import Limits
from ZEO.serving.moments import lasted
from ZEO.serving.oids import GivenOut
from ZEO.serving.packing import Packs
from ZEO.serving.resolve import ConflictPolicy
from ZEO.serving.stats import Stats
from ZEO.wire import extensions
from ZEO.wire.extensions import EXTENSIONS, MESSAGE_SIZE
from ZEO.wire.frames import frame
from ZEO.wire.quoting import explained

log = logging.getLogger('ZEO.StorageServer')

#: What a storage must have to be served.
NEEDED = """loadBefore lastTransaction tpc_begin store tpc_vote tpc_finish tpc_abort new_oid
    getName""".split()

#: Some storages look at every object to tell their size: that may take one part in so many of the
#: time, unless it takes fewer seconds than the second figure.
SIZES_SHARE, CHEAP = 100, 0.00005


class HostedStorage:
    """`storage`, served under `name`."""

    def __init__(
        self,
        name: str,
        storage: Any,
        loop: Loop,
        workers: Workers,
        limits: Limits,
        read_only: bool,
        transaction_timeout: float | None,
        policy: ConflictPolicy,
        queue_size: int,
        queue_age: float | None,
    ) -> None:
        missing = [method for method in NEEDED if not hasattr(storage, method)]
        if missing:
            raise ConfigurationError(
                f'the storage {name!r} is a {type(storage).__name__}, which is no ZODB storage: '
                f'it has no {missing[0]}'
            )
        self.name = name
        self.storage = storage
        self.loop = loop
        self.workers = workers
        self.limits = limits
        self.read_only = read_only or bool(storage.isReadOnly())
        self.transaction_timeout = transaction_timeout
        self.client_resolves = policy.client_only
        self._files = filestorage.file_storages(storage)
        # a transaction of which something may be left in them
        self._failed: Any = None
        self._settle()
        self.oids = GivenOut(filestorage.storages_within(storage))
        self.backend = backend_for(name, storage, loop, workers, limits, self._connected_again)
        self.lock = CommitLock(loop.soon, Contention(self).one_more)
        self.stats = Stats(loop.system.wall_clock(), loop.system.now())
        self.packs = Packs(self)
        # in order of their registration, with protocol and channel
        self.peers: dict[Any, tuple[bytes, Channel]] = {}
        self.invalidations = Invalidations(
            storage, queue_size, queue_age, loop.system.wall_clock, limits.invalidation_oids
        )
        self._sizes: dict[str, Any] = {'length': 0, 'size': 0}  # as they were found last
        self._sizes_until = 0.0  # when they may be looked for again
        self._owed_sizes: set[Any] = set()  # who will be told then
        policy.apply_to(storage)
        self._database = _Database(self)
        # record data -> oids it refers to, for pack
        self.references = self._database.references
        if hasattr(storage, 'registerDB'):
            storage.registerDB(self._database)

    def _settle(self) -> None:
        """Before anything is told of the storage: do what a process that was killed has left
        undone.
        """
        for files in self._files:
            filestorage.take_last_whole_transaction(files)
        if not self.read_only:
            for one in filestorage.storages_within(self.storage):
                filestorage.skip_oids(one, self.loop.system)

    def forget_failed(self, transaction: Any) -> None:
        """A transaction has failed in the storage: nothing of it is to be served, or to stay."""
        try:
            for files in self._files:
                filestorage.forget_failed(files, transaction)
            self._failed = None
        except Exception as error:
            # the disk is still full, most likely: before the next transaction
            self._failed = transaction
            self.loop.reports.failed('the file could not be cut', self.name, error)

    def clean_up(self) -> None:
        """Before a transaction begins in the storage: see that nothing is left of one that failed.

        :raises Exception: when there still is, and can't be removed.
        """
        if self._failed is not None:
            for files in self._files:
                filestorage.forget_failed(files, self._failed)
            self._failed = None

    def left(self, peer: Any) -> None:
        """A client is gone."""
        if self.peers.pop(peer, None) is not None:
            self.stats.loads += peer.loads

    def info(self) -> dict[str, Any]:
        """Return what get_info answers."""
        storage = self.storage
        return {
            **self.sizes(),
            'name': self._storage_name(),
            'supportsUndo': bool(getattr(storage, 'supportsUndo', bool)()),
            'supports_record_iternext': hasattr(storage, 'record_iternext'),
            'interfaces': blobs.interfaces(storage),
            MESSAGE_SIZE: self.limits.message_size,
            EXTENSIONS: tuple(
                name for name in extensions.ALL if name not in self.backend.without_extensions
            ),
        }

    def _storage_name(self) -> str:
        try:
            return self.storage.getName()
        except ENDS:
            raise
        except BaseException as error:  # a storage's own trouble; clients only show it
            self._report('the storage does not tell its name', error)
            return self.name

    def sizes(self) -> dict[str, Any]:
        """Return what changes with every commit; where the storage can't tell, what it told
        last.
        """
        cost = self._look_for_sizes()
        if cost > CHEAP and not self._sizes_until:  # unless others had the processor meanwhile
            cost = min(cost, self._look_for_sizes())
        self._sizes_until = (
            self.loop.system.now() + cost * (SIZES_SHARE - 1) if cost > CHEAP else 0.0
        )
        return self._sizes

    def _look_for_sizes(self) -> float:
        began = self.loop.system.now()
        try:
            self._sizes = {'length': len(self.storage), 'size': self.storage.getSize()}
        except ENDS:
            raise
        except BaseException as error:
            # of a database that restarts, for one: they are of no importance to anybody's data
            self._report('the storage does not tell its size', error)
        return self.loop.system.now() - began

    def tell_sizes(self, peer: Any) -> None:
        """Send the sizes to a client; those that are dear to find come late instead of often."""
        wait = self._sizes_until - self.loop.system.now()
        if wait <= 0:
            self.tell_one(peer, self.sizes())
            return
        self.tell_one(peer, self._sizes)
        if not self._owed_sizes:
            self.loop.later(wait, self._tell_sizes_late)
        self._owed_sizes.add(peer)

    def tell_one(self, peer: Any, news: dict[str, Any]) -> None:
        """Send news to one client; one that can't be told them does without."""
        try:
            peer.push(frame(peer.codec.send('info', (news,))))
        except Exception as error:
            self._report('a client could not be told the size', error)

    def _tell_sizes_late(self) -> None:
        owed, self._owed_sizes = self._owed_sizes & self.peers.keys(), set()
        sizes = self.sizes()
        for peer in owed:
            self.tell_one(peer, sizes)

    def status(self) -> dict[str, Any]:
        """Return the figures that a monitoring program gets."""
        last, trouble = self._last_transaction()
        return {
            **self.stats.report(),
            **trouble,
            'loads': self.stats.loads + sum(peer.loads for peer in self.peers),
            'waiting': self.lock.waiting,
            'timeout-thread-is-alive': True,
            'last-transaction': last.hex() if last else '',
            'connections': len(self.peers),
            'pack-progress': self._pack_progress(),
        }

    def _last_transaction(self) -> tuple[bytes | None, dict[str, str]]:
        """The last tid, and as `error` why the storage can't tell it."""
        try:
            return self.storage.lastTransaction(), {}
        except ENDS:
            raise
        except BaseException as error:  # the status is wanted above all when something is wrong
            self._report('the storage does not tell its last transaction', error)
            return None, {'error': explained(error)}

    def _report(self, what: str, error: BaseException) -> None:
        self.loop.reports.failed(what, self.name, error)

    def _pack_progress(self) -> float | None:
        """How much of a running pack is done, 0 to 1, by the file that a FileStorage makes; None
        where it can't be seen.
        """
        name = getattr(self.storage, '_file_name', None)
        if self.stats.pack_since is None or not isinstance(name, str):
            return None
        try:
            return min(1.0, os.path.getsize(name + '.pack') / max(1, self.storage.getSize()))
        except ENDS:
            raise
        except BaseException:
            # still looking for what to keep, or just done; or a storage's own trouble
            return 0.0

    def committed(self, committer: Any, tid: bytes, oids: Iterable[bytes]) -> None:
        """Note a transaction, which is permanent, and tell every client but `committer`; whatever
        fails, nothing is raised.
        """
        oids = list(oids)
        self._note(tid, oids)
        self.tell(committer, 'invalidateTransaction', tid, oids)

    def _note(self, tid: bytes, oids: list[bytes]) -> None:
        try:
            self.invalidations.add(tid, oids)
            self.backend.changed(tid, oids)
        except ENDS:
            raise
        except BaseException as error:  # what is not noted must not be taken for complete
            self._report('a transaction was not noted', error)
            self.invalidations.clear()
            self.backend.forget_records()

    def heard(self, tid: bytes, oids: list[bytes]) -> None:
        """The storage tells of a transaction of others."""
        if self.backend.is_catching_up:
            # it may be several, each older than that: clients have to ask
            self._note(tid, oids)
            self._connected_again()
        else:
            self.committed(None, tid, oids)

    def _connected_again(self) -> None:
        self._close_all('the storage has another connection to its own server')

    def _close_all(self, reason: str) -> None:
        for peer in tuple(self.peers):
            peer.close(reason)

    def tell(self, but: Any, name: str, *args: Any) -> None:
        """Send a message to every client except one, encoded once for each protocol that is spoken.

        A client that can't be told is closed: it does not know what it may keep.
        """
        encoded: dict[bytes, bytes] = {}
        for peer, (protocol, channel) in tuple(self.peers.items()):
            # a client that turns out to be gone leaves this very table
            if peer is not but:
                try:
                    data = encoded.get(protocol)
                    if data is None:
                        data = encoded[protocol] = frame(peer.codec.send(name, args))
                    channel.push_now(data)
                except Exception as error:
                    self._report('a client could not be told what changed', error)
                    channel.close('closed by this server: client could not be told what changed')

    def forget_changes(self) -> None:
        """The storage can't say what changed: every client has to check its whole cache."""
        self.invalidations.clear()
        self.backend.forget_records()
        self._close_all('the storage has lost track of its changes')

    def close(self) -> None:
        """Close the storage."""
        began = self.loop.system.now()
        self.storage.close()
        log.info('storage %s is closed after %s', self.name, lasted(self.loop.system.now() - began))


@zope.interface.implementer(IStorageWrapper)
class _Database:
    """What a storage takes for the database it belongs to; its threads call it."""

    def __init__(self, hosted: HostedStorage) -> None:
        self._hosted = hosted
        self.references = referencesf

    def invalidate(self, tid: bytes, oids: Iterable[bytes], version: str = '') -> None:
        oids = list(oids)
        if oids:  # none are told when it is not known what has changed: that is no news to hand on
            self._hosted.loop.from_thread(lambda: self._hosted.heard(tid, oids))

    def invalidateCache(self) -> None:
        self._hosted.loop.from_thread(self._hosted.forget_changes)

    def transform_record_data(self, data: bytes) -> bytes:
        return data

    def untransform_record_data(self, data: bytes) -> bytes:
        return data
