"""The ZODB storage that lives on a server: ZODB's storage interfaces over a link and a cache.

Enters: calls of ZODB's storage interfaces, from any thread. Leaves: objects, from the cache where
it has them; transactions on the server; invalidations of the database, as they arrive. Fails:
ClientDisconnected where a call needs the server and there is none; what the server raises, as
ZODB's own exceptions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import zope.interface
from ZODB import interfaces
from ZODB.blob import copyTransactionsFromTo
from ZODB.ConflictResolution import ConflictResolvingStorage
from ZODB.POSException import POSKeyError, ReadOnlyError
from ZODB.utils import maxtid, z64

from ZEO.cache.protocol import Cache
from ZEO.Exceptions import ClientDisconnected
from ZEO.interfaces import StaleCache, notify
from ZEO.link.blob_store import BlobStore, no_blobs
from ZEO.link.cached_blobs import open_blobs
from ZEO.link.caches import open_cache
from ZEO.link.connection import Connection
from ZEO.link.copying import Copy
from ZEO.link.introducing import Connected
from ZEO.link.iterators import StorageIterator
from ZEO.link.oids import Oids
from ZEO.link.options import CACHE_SIZE, BlobOptions, ClientOptions, addresses_of
from ZEO.link.outbox import NotSent
from ZEO.link.parts import Events, assemble
from ZEO.link.prefetch import Prefetched
from ZEO.link.provided import provided
from ZEO.link.state import NullDatabase
from ZEO.net.addresses import show
from ZEO.net.system import REAL, System
from ZEO.wire.extensions import (
    BATCHES,
    BLOB_LENGTH,
    COMMIT_AFTER,
    EXTENSIONS,
    HISTORY,
    RESTORE_BLOB,
)

__all__ = ['ClientStorage']

log = logging.getLogger('ZEO.ClientStorage')


@zope.interface.implementer(interfaces.IMultiCommitStorage)
class ClientStorage(ConflictResolvingStorage):
    """A storage that a ZEO server serves.

    Any thread may call any method. A method that needs the server waits for a connection for at
    most `wait_timeout` seconds, and for the answer for at most `timeout` seconds; then it raises
    :class:`~ZEO.Exceptions.ClientDisconnected`; trying the transaction again later may succeed.
    Oids and tids are 8 bytes each.

    :param addr: where the server listens: ``(host, port)``, ``'host:port'``, a port number, the
        path of a Unix socket, or a list of these.
    :param storage: the name of the storage on the server.
    :param cache_size: bytes that the client cache may take.
    :param name: the storage's name for people, instead of one made of the address.
    :param client: the name of a persistent cache; without it, the environment's ``ZEO_CLIENT``.
    :param var: the directory of persistent caches; without it, ``$INSTANCE_HOME/var`` or the
        working directory.
    :param cache: a cache file's path, or an object with the methods of
        :class:`ZEO.cache.protocol.BasicCache`.
    :param debug: a non-empty text has this client log what it does.
    :param wait: whether to wait for a connection before the constructor returns.
    :param wait_for_server_on_startup: the same, by an older name; it goes before `wait`.
    :param wait_timeout: seconds that a call waits for a connection (30).
    :param timeout: seconds that any call waits for its answer while the server is alive; 0 for no
        limit. By default 300, and no limit for a pack and for votes, which wait for the commits of
        other clients. A call whose time is over fails with ClientDisconnected and ends the
        connection, since it is not known how far the server got with it.
    :param read_only: open the storage for reading only.
    :param read_only_fallback: use a read-only server while no writable one is found.
    :param blob_dir: the directory of blob files: with `shared_blob_dir` the server's own, otherwise
        that of a cache.
    :param shared_blob_dir: whether `blob_dir` is the server's own blob directory.
    :param blob_cache_size: bytes that a cache of blob files may take; None for no bound.
    :param blob_cache_size_check: per cent of `blob_cache_size` that come in between two looks at
        the bound.
    :param client_label: what the server's log calls this client.
    :param ssl: an ``ssl.SSLContext`` to speak TLS.
    :param ssl_server_hostname: the name that the server's certificate must have, instead of the
        host of `addr`.
    :param server_sync: whether :meth:`sync` makes a round trip to the server.
    :param min_disconnect_poll: seconds between the first attempts to connect.
    :param max_disconnect_poll: seconds between later attempts, at most.
    :param disconnect_poll: seconds for each of these two that is not given.
    :param drop_cache_rather_verify: drop the cache whenever it is not up to date on connect.
    :param drop_cache_if_older: drop the cache, instead of refusing to work, when the server has
        gone back in time.
    :param username: the user that this client is to be for the server; it proves that it knows the
        user's password, which is never sent, and has the server prove the same.
    :param password: that password, which ``zeo passwd`` sets on the server.
    :param realm: accepted for old configurations and ignored, like `credentials`.
    :param prefer: from which server to read, when `addr` names a primary and its followers:
        ``'replica'``, a follower if there is one; ``'nearest'``, the server that answers first;
        ``'primary'``, a follower only while there is no primary. Writes go to the primary,
        whichever it is.
    :param prefer_wait: seconds for which a commit waits for the follower to have it, before reads
        move to the primary (1).
    :param read_ahead: whether the server may send records that it expects to be asked for next,
        which saves round trips.
    :param system: the clock and the threads, for tests.
    :raises ClientDisconnected: with `wait`, when no server answers in time.
    :raises ClientStorageError: when the server does not serve that storage.
    :raises AuthError: when the server denies this client access, or does not accept the password.
    :raises ProtocolError: when the peer is not a ZEO server.
    :raises ReadOnlyError: when the storage can only be read.
    :raises StaleServerError: when the server has gone back in time.
    :raises ConfigurationError: when an argument is wrong.
    """

    def __init__(
        self,
        addr: object,
        storage: str = '1',
        cache_size: int | None = CACHE_SIZE,
        name: str | None = '',
        wait_timeout: float | None = None,
        wait: bool | None = True,
        read_only: bool | None = False,
        read_only_fallback: bool | None = False,
        client: str | None = None,
        var: str | None = None,
        cache: Any = None,
        debug: str | None = None,
        blob_dir: str | None = None,
        shared_blob_dir: bool | None = False,
        blob_cache_size: int | None = None,
        blob_cache_size_check: int | None = 10,
        client_label: str | None = None,
        ssl: Any = None,
        ssl_server_hostname: str | None = None,
        server_sync: bool | None = False,
        min_disconnect_poll: float | None = None,
        max_disconnect_poll: float | None = None,
        disconnect_poll: float | None = None,
        drop_cache_rather_verify: bool | None = False,
        drop_cache_if_older: bool = False,
        username: str | None = None,
        password: str | None = None,
        realm: str | None = None,
        credentials: Any = None,
        wait_for_server_on_startup: bool | None = None,
        timeout: float | None = None,
        prefer: str | None = None,
        prefer_wait: float | None = None,
        read_ahead: bool | None = True,
        system: System = REAL,
    ) -> None:
        given = locals()  # each argument by its name
        if debug:
            log.setLevel(logging.DEBUG)
        if credentials or (realm and username):
            log.warning('realm and credentials are ignored: username and password are enough')
        wanted = ClientOptions.from_arguments(given)
        self._name_it(wanted, system)
        self._begin(wanted)

    def _name_it(self, wanted: ClientOptions, system: System) -> None:
        self.__name__ = wanted.title
        self._name = wanted.name
        self._storage = wanted.registration.storage
        self._sort_key = wanted.sort_key
        self._is_read_only = wanted.registration.read_only
        self._server_sync = wanted.server_sync
        self._system = system
        self._closed = True  # there is nothing to close yet

    def _begin(self, wanted: ClientOptions) -> None:
        """Make the parts of a client and begin to connect; leave nothing open when that fails, or
        is interrupted.
        """
        held: list[Cache] = []
        try:
            open_cache(wanted.cache, held.append)
            self._cache = held[-1]
            self._assemble(wanted)
            self._closed = False
            self._system.after_fork_in_child(self._after_fork)
            self._start(wanted.wait)
        except BaseException:
            if not self._closed:
                self.close()
            elif held:
                held[-1].close()
            raise

    def _assemble(self, wanted: ClientOptions) -> None:
        """Make what uses the cache, and connect the parts to each other."""
        system = self._system
        self._oids = Oids(lambda: self._primary.call('new_oids'))
        events = Events(
            self._on_connected,
            self._oids.forget,
            self._on_missing,
            self._merge,
            self._check_writable,
        )
        # The primary is the server, unless another one is preferred for reading.
        self._state, self._server, self._primary, self._commits = assemble(
            wanted, self._cache, events, system
        )
        self._state.on_check = self._on_check
        self._blobs = self._open_blobs(wanted.blobs)
        self._prefetched = Prefetched()
        self._watchers: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._is_read_only_fallback = False  # connected to a read-only server for now

    def _open_blobs(self, wanted: BlobOptions | None) -> BlobStore | None:
        if wanted is None:
            return None
        blobs = open_blobs(wanted, self._fetch_blob, self._system)
        self._state.blob_arrived = blobs.arrived
        self.fshelper = blobs.fshelper  # where programs that know FileStorage look for blob files
        return blobs

    def _start(self, wait: bool) -> None:
        if wait:
            self._server.wait()
        else:
            self._server.connector.try_to_start()

    def __repr__(self) -> str:
        where = ', '.join(map(show, self._server.addresses))
        return f'<ClientStorage of {where}, storage {self._storage!r}: {self._server.state.value}>'

    def __enter__(self) -> ClientStorage:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Connections, in the link's connecting thread.

    def watch_checks(self, begins: Callable[[], None], ended: Callable[[], None]) -> None:
        """Have two functions called around the cache check of every connection from now on.

        What the database is asked to invalidate in between has changed at some time since the last
        connection ended, not just now. Both are called in the connecting thread.

        :param begins: is called without arguments before the check.
        :param ended: is called without arguments after it.
        """
        self._watchers.append((begins, ended))

    def _on_check(self, begins: bool) -> None:
        if begins:
            self._oids.forget()
        for watcher in self._watchers:
            watcher[0 if begins else 1]()

    def _on_connected(self, connected: Connected) -> None:
        if self._server is self._primary:
            self._on_missing(connected.is_fallback)
        self._prefetched.clear()
        zope.interface.directlyProvides(self, *provided(connected.info.get('interfaces', ())))
        if self._blobs is not None:
            self._blobs.connected(BLOB_LENGTH in connected.info.get(EXTENSIONS, ()))
        if connected.cache_dropped:
            try:
                notify(StaleCache(self))
            except Exception:  # the application's own; the connection is good
                log.exception('a subscriber of StaleCache failed')

    def _on_missing(self, missing: bool) -> None:
        """Note whether there is no server that takes writes, and reading has to do."""
        self._is_read_only_fallback = missing

    def _after_fork(self) -> None:
        """Share neither the connection nor the cache file with the parent; in a forked child."""
        self._cache.detach()
        self._state.after_fork()
        self._commits.start_afresh()
        self._oids.forget()
        self._prefetched.clear()
        if self._blobs is not None:
            self._blobs.start_afresh()
        self._server.after_fork()
        if self._primary is not self._server:
            self._primary.after_fork()

    # Names and figures.

    def getName(self) -> str:
        """Return the storage's name, and whether it is connected."""
        return f'{self._name} ({"connected" if self.is_connected() else "disconnected"})'

    def sortKey(self) -> str:
        """Return a text that is the same in every client of the same storage.

        Two-phase commit orders storages by it.
        """
        return self._sort_key

    def getSize(self) -> int:
        """Return the size of the server's storage in bytes, as the server said last.

        It is 0 before the first connection.
        """
        return self._state.info.get('size', 0)

    def __len__(self) -> int:
        """Return the number of objects in the server's storage, as the server said last.

        It is 0 before the first connection.
        """
        return self._state.info.get('length', 0)

    def supportsUndo(self) -> bool:
        """Return whether transactions can be undone; False before the first connection."""
        return bool(self._state.info.get('supportsUndo', False))

    @property
    def keeps_history(self) -> bool:
        """Whether older revisions stay until a pack, as far as the server has said."""
        return bool(self._state.info.get(HISTORY, True))

    @property
    def changes_are_exact(self) -> bool:
        """Whether each transaction that the database is informed of has changed those objects; not
        if some may have changed in earlier ones, which the server has not told apart.
        """
        return self._state.changes_are_exact

    def isReadOnly(self) -> bool:
        """Return whether the storage can only be read now.

        It was opened so, or no writable server was found yet.
        """
        return self._is_read_only or self._is_read_only_fallback

    is_read_only = isReadOnly

    def is_connected(self, test: bool = False) -> bool:
        """Return whether there is a connection.

        :param test: make sure by asking the server.
        """
        if test:
            try:
                self.ping()
            except ClientDisconnected:
                return False
        connection = self._server.connection
        return connection is not None and connection.lost is None

    def server_status(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the server's figures about this storage; see :class:`ZEO.serving.stats.Stats`.

        :param timeout: seconds to wait for a connection, and then for the answer, instead of the
            constructor's `wait_timeout` and `timeout`; 0 for no limit of the answer.
        :raises ClientDisconnected: when there is no connection, or no answer in time.
        """
        if timeout is None:
            return self._server.call('server_status')
        return self._server.wait(timeout or None).call_within(timeout, 'server_status', ())

    def ping(self) -> None:
        """Return when the server has answered.

        :raises ClientDisconnected: when there is no connection.
        """
        self._server.call('ping')

    def sync(self, force: bool = True) -> None:
        """Apply what the server has sent so far; with `server_sync`, what it has done so far.

        Without a connection, nothing happens.

        :param force: accepted, since ZODB passes it, and ignored: this takes microseconds, or what
            the user of `server_sync` has asked for.
        """
        if self._server_sync:
            try:
                self._server.synchronize()
            except ClientDisconnected:  # there is nothing newer
                pass
            return
        self._catch_up()

    def _catch_up(self) -> None:
        """Apply what the server has sent so far, without waiting for more."""
        connection = self._server.connection
        if connection is None:
            self._server.connector.try_to_start()  # in a forked child no call has done so yet
        else:
            connection.drain()

    def registerDB(self, db: Any) -> None:
        """Report invalidations to a database from now on, instead of the one before.

        :param db: a ``ZODB.DB``, or another object with its methods ``invalidate(tid, oids)`` and
            ``invalidateCache()``.
        """
        known = self._state.database
        if not (known is db or isinstance(known, NullDatabase)):
            log.warning(
                '%s: a second database is opened on this client storage. The first one does not '
                'learn of changes any more and reads old data: open a ClientStorage for each '
                'database',
                self._name,
            )
        super().registerDB(db)
        self._state.database = db

    def new_addr(self, addr: object) -> None:
        """Use the server at another address from now on.

        A connection is kept if its address is among the new ones.

        :param addr: one or several addresses, as for the constructor.
        :raises ConfigurationError: when one is not an address.
        """
        addresses = addresses_of(addr)
        self._server.new_addresses(addresses)
        if self._primary is not self._server:
            self._primary.new_addresses(addresses)

    def close(self) -> None:
        """End the connection and close the cache; harmless when that was done before.

        Where an exception has interrupted it, such as KeyboardInterrupt, call it again.
        """
        if self._closed:
            return
        self._state.database = NullDatabase()  # the database may be half closed already
        if self._primary is not self._server:
            self._primary.close()
        self._server.close()
        self._cache.close()
        if self._blobs is not None:
            for buffer in self._commits.all():
                self._blobs.aborted(buffer.blobs)
        self._closed = True  # last, so that it may be done again until then

    # Reading.

    def loadBefore(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return the revision of an object that was current just before a transaction.

        :param oid: the object.
        :param tid: the transaction.
        :returns: ``(data, tid, end tid)``; the end tid is None for the current revision. None when
            the object did not exist yet.
        :raises POSKeyError: when there is no such object.
        :raises ClientDisconnected: when it is not in the cache, and there is no connection.
        """
        state = self._state
        # Asked before the cache is: what that finds may end in between.
        is_covered = tid <= state.covered
        found = self._cache.loadBefore(oid, tid)
        if found is not None and is_covered:  # as mostly
            return found
        ahead = state.ahead
        if found is None and (self._prefetched.pending or ahead.staged or ahead.expected):
            found = self._brought(oid, tid)
        if found is not None:
            if is_covered:
                return found
            self._catch_up()  # it may have ended by now
            found = self._cache.loadBefore(oid, tid)
            if found is not None:
                return found
        if ahead.used:
            ahead.report(self._server.connection)
        return self._server.load_before(oid, tid, state)

    def _brought(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Wait for what is on its way without having been asked for by a load, or has come."""
        found = None
        if self._prefetched.pending and self._prefetched.wait_for(oid, tid):
            found = self._cache.loadBefore(oid, tid)
        if found is None and self.comes_ahead(oid):
            self._state.ahead.bring(oid, self._server.connection)
            found = self._cache.loadBefore(oid, tid)
        return found

    def cached(self, oid: bytes) -> tuple[bytes, bytes, None] | None:
        """Return the current revision of an object where the cache has it; ask no server.

        :param oid: the object.
        :returns: as :meth:`loadBefore`; it may be newer than :meth:`lastTransaction`.
        """
        found = self._cache.loadBefore(oid, maxtid)
        return None if found is None or found[2] is not None else (found[0], found[1], None)

    def comes_ahead(self, oid: bytes) -> bool:
        """Return whether the server sends an object that it was not asked for, or has sent it, and
        it is not in the cache yet.

        :param oid: the object.
        """
        ahead = self._state.ahead
        return oid in ahead.staged or oid in ahead.expected

    def bring_ahead(self, oids: Iterable[bytes]) -> None:
        """Have such objects in the cache, for others who may use them; wait for those that are
        under way.

        :param oids: the objects.
        """
        for oid in oids:
            if self.comes_ahead(oid):
                self._state.ahead.bring_unused(oid, self._server.connection)

    def used_ahead(self, oids: Iterable[bytes]) -> None:
        """Tell the server that others have used such objects, so that it sends more of them.

        :param oids: the objects; those that :meth:`bring_ahead` has not brought do not count.
        """
        self._state.ahead.used_by_others(oids, self._server.connection)

    def read_ahead_status(self) -> dict[str, int]:
        """Return what came of the records that the server has sent without being asked.

        :returns: ``came``, ``used``, ``wasted`` (they have changed, or there was no room, before
            they were used) and ``waiting``: numbers of records, since the storage was opened.
        """
        return self._state.ahead.status()

    def load(self, oid: bytes, version: str = '') -> tuple[bytes, bytes]:
        """Return ``(data, tid)`` of the current revision of an object.

        :param oid: the object.
        :param version: accepted for compatibility and ignored.
        :raises POSKeyError: when there is no such object.
        :raises ClientDisconnected: when it is not in the cache, and there is no connection.
        """
        self._catch_up()
        found = self._cache.load(oid) or self.loadBefore(oid, maxtid)
        if found is None:
            raise POSKeyError(oid)
        return found[0], found[1]

    def loadSerial(self, oid: bytes, serial: bytes) -> bytes:
        """Return the record of an object that one transaction has stored.

        :param oid: the object.
        :param serial: the transaction's tid.
        :raises POSKeyError: when there is no such record.
        :raises ClientDisconnected: when there is no connection.
        """
        return self._server.call('loadSerial', oid, serial)

    def getTid(self, oid: bytes) -> bytes:
        """Return the tid of the current revision of an object.

        :param oid: the object.
        :raises POSKeyError: when there is no such object.
        :raises ClientDisconnected: when there is no connection.
        """
        return self._server.call('getTid', oid)

    def lastTransaction(self) -> bytes:
        """Return the tid of the last transaction that the database was informed of.

        :raises ClientDisconnected: when there was no connection yet, and none is made in time.
        """
        if self._state.last_tid is None:
            self._server.wait()
        self._catch_up()
        return self._state.settled_tid() or z64

    def history(self, oid: bytes, size: int = 1) -> list[dict[str, Any]]:
        """Return descriptions of the last transactions that changed an object, the newest first.

        :param oid: the object.
        :param size: how many transactions at most.
        :raises POSKeyError: when there is no such object.
        :raises ClientDisconnected: when there is no connection.
        """
        return self._server.call('history', oid, size)

    def prefetch(self, oids: Iterable[bytes], tid: bytes) -> None:
        """Fetch objects into the cache, without waiting for them; without a connection, do nothing.

        :param oids: the objects.
        :param tid: a transaction: the revisions that were current just before it are fetched.
        """
        wanted = [oid for oid in oids if self._cache.loadBefore(oid, tid) is None]
        connection = self._server.connection
        if wanted and connection is not None:
            try:
                self._prefetched.start(
                    connection, self._state, wanted, tid, BATCHES in self._state.abilities
                )
            except ClientDisconnected:  # no caller waits for them yet
                pass

    def undoLog(self, first: int = 0, last: int = -20, filter: Any = None) -> list[dict[str, Any]]:
        """Return descriptions of transactions that can be undone, the newest first.

        :param first: how many of the newest transactions to leave out.
        :param last: the number of the first transaction that is not described any more; negative:
            the number of descriptions at most.
        :param filter: a function can't be sent to a server: with one, nothing is returned.
        :raises ClientDisconnected: when there is no connection.
        """
        if filter is not None:  # a function can't be sent
            return []
        return self._server.call('undoLog', first, last)

    def undoInfo(
        self, first: int = 0, last: int = -20, specification: Any = None
    ) -> list[dict[str, Any]]:
        """Return descriptions of transactions that can be undone and match a specification.

        :param first: as for :meth:`undoLog`.
        :param last: as for :meth:`undoLog`.
        :param specification: a dict; each description returned has all of its items.
        :raises ClientDisconnected: when there is no connection.
        """
        return self._server.call('undoInfo', first, last, specification)

    def iterator(self, start: bytes | None = None, stop: bytes | None = None) -> StorageIterator:
        """Return an iterator over transactions, the oldest first.

        :param start: the tid of the first one; None: from the beginning.
        :param stop: the tid of the last one, which is included; None: to the end.
        :raises ClientDisconnected: when there is no connection, also later, when it is lost.
        """
        return StorageIterator(self._server.wait(), start, stop, BATCHES in self._state.abilities)

    def record_iternext(self, next: Any = None) -> tuple[bytes, bytes, bytes, Any]:
        """Return one current record after another, in the order of the storage.

        :param next: what the last call returned last; None for the first record.
        :returns: ``(oid, tid, data, next)``; the `next` of the last record is None.
        :raises ClientDisconnected: when there is no connection.
        """
        return self._server.call('record_iternext', next)

    def pack(
        self, t: float | None = None, referencesf: Any = None, wait: bool = True, days: float = 0
    ) -> None:
        """Remove the revisions and objects that nothing needs any more.

        :param t: the time up to which revisions may go, in seconds since the epoch; now by default.
        :param referencesf: accepted for compatibility and ignored: the server has its own.
        :param wait: whether to return only when the pack is done.
        :param days: days to go back from `t`.
        :raises ClientDisconnected: when there is no connection.
        """
        self._primary.call(
            'pack',
            (self._system.wall_clock() if t is None else t) - days * 86400,
            wait,
            applied=self._state.packed if wait else None,
        )

    # Writing.

    def new_oid(self) -> bytes:
        """Return an oid that no object has.

        :raises ReadOnlyError: when the storage can only be read.
        :raises ClientDisconnected: when there is no connection.
        """
        self._check_writable()
        return self._oids.take()

    def tpc_begin(self, transaction: Any, tid: bytes | None = None, status: str = ' ') -> None:
        """Begin a transaction.

        :param transaction: an object that names it in all other calls, with the attributes
            ``user``, ``description`` and ``extension``.
        :param tid: the tid that it gets, when transactions are copied; None: a new one.
        :param status: the status with which it is stored, one character.
        :raises ReadOnlyError: when the storage can only be read.
        :raises StorageTransactionError: when it was begun before.
        :raises ClientDisconnected: when there is no connection.
        """
        self._check_writable()
        self._commits.begin(transaction, tid, status)

    def store(self, oid: bytes, serial: bytes, data: bytes, version: str, transaction: Any) -> None:
        """Store a record in a transaction.

        :param oid: the object.
        :param serial: the tid of the revision that the record replaces; 8 zero bytes for a new
            object.
        :param data: the record.
        :param version: accepted for compatibility and ignored.
        :param transaction: as given to :meth:`tpc_begin`.
        :raises StorageTransactionError: when that transaction was not begun.
        :raises MessageTooLarge: when the server does not accept records of that size.
        :raises ClientDisconnected: when the connection on which it was begun is lost.
        """
        self._commits.store(transaction, oid, serial, data)

    def restore(
        self,
        oid: bytes,
        serial: bytes,
        data: bytes | None,
        version: str,
        prev_txn: bytes | None,
        transaction: Any,
    ) -> None:
        """Store a record as it was in another storage, without a look at what is there.

        :param oid: the object.
        :param serial: the tid of the revision.
        :param data: the record; None for a deletion.
        :param version: accepted for compatibility and ignored.
        :param prev_txn: the tid of a transaction that stored the same data, or None.
        :param transaction: as given to :meth:`tpc_begin`.
        :raises StorageTransactionError: when that transaction was not begun.
        :raises MessageTooLarge: when the server does not accept records of that size.
        :raises ClientDisconnected: when the connection on which it was begun is lost.
        """
        buffer = self._commits.send(transaction, 'restorea', oid, serial, data, prev_txn)
        buffer.store(oid, None)  # a program that copies a database does not read it

    def checkCurrentSerialInTransaction(self, oid: bytes, serial: bytes, transaction: Any) -> None:
        """Have the vote fail with ReadConflictError if an object has another revision by then.

        :param oid: the object.
        :param serial: the tid of the revision that it must have.
        :param transaction: as given to :meth:`tpc_begin`.
        :raises StorageTransactionError: when that transaction was not begun.
        :raises ClientDisconnected: when the connection on which it was begun is lost.
        """
        self._commits.send(transaction, 'checkCurrentSerialInTransaction', oid, serial)

    def deleteObject(self, oid: bytes, serial: bytes, transaction: Any) -> None:
        """Delete an object.

        :param oid: the object.
        :param serial: the tid of its current revision.
        :param transaction: as given to :meth:`tpc_begin`.
        :raises StorageTransactionError: when that transaction was not begun.
        :raises ClientDisconnected: when the connection on which it was begun is lost.
        """
        self._commits.send(transaction, 'deleteObject', oid, serial).store(oid, None)

    def undo(self, transaction_id: bytes, transaction: Any) -> tuple[None, list[bytes]]:
        """Undo a transaction; the vote says which objects that changes.

        :param transaction_id: the ``id`` of one of the descriptions of :meth:`undoLog`.
        :param transaction: as given to :meth:`tpc_begin`.
        :raises StorageTransactionError: when that transaction was not begun.
        :raises ClientDisconnected: when the connection on which it was begun is lost.
        """
        self._commits.send(transaction, 'undoa', transaction_id)
        return None, []

    def _merge(self, *conflict: Any) -> bytes:
        """Resolve a conflict that the server leaves to this client.

        The method is looked up each time: a server that serves this client storage sets its own.
        """
        return self.tryToResolveConflict(*conflict)

    def tpc_vote(self, transaction: Any) -> list[bytes]:
        """Have the server make sure that it can commit a transaction.

        :param transaction: as given to :meth:`tpc_begin`.
        :returns: the oids whose new record is not the one that was stored.
        :raises ConflictError: when another transaction has changed an object, and that can't be
            resolved.
        :raises StorageTransactionError: when the transaction was not begun.
        :raises ClientDisconnected: when the connection on which it was begun is lost.
        :raises Exception: what else the server's storage says against it.
        """
        return self._commits.vote(transaction)

    def tpc_finish(self, transaction: Any, f: Callable[[bytes], Any] | None = None) -> bytes:
        """Commit a transaction.

        :param transaction: as given to :meth:`tpc_begin`.
        :param f: is called with the tid before another thread of this client can see the changes;
            without it, an open database is told what has changed.
        :returns: the tid.
        :raises StorageTransactionError: when the transaction was not begun.
        :raises ClientDisconnected: when the connection is lost before the answer has come. Whether
            the transaction is committed is not known then.
        """
        if self._blobs is None:
            return self._commits.finish(transaction, f)
        buffer = self._commits.find(transaction)
        try:
            tid = self._commits.finish(transaction, f)
        except BaseException:
            # it is not known whether they are in the database: who wants one fetches it
            self._blobs.aborted(buffer.blobs)
            raise
        try:
            self._blobs.committed(buffer.blobs, tid)
        except BaseException:
            self._commits.has_failed(buffer)
            raise
        return tid

    def tpc_abort(self, transaction: Any, timeout: float | None = None) -> None:
        """Give a transaction up; harmless when it was not begun, or the connection is lost.

        :param transaction: as given to :meth:`tpc_begin`.
        :param timeout: seconds to wait for the answer, instead of the constructor's `timeout`. When
            they are over, the connection ends, and the server aborts the transaction.
        """
        try:
            blobs = self._commits.blobs(transaction)
            try:
                self._commits.abort(transaction, timeout)
            finally:
                if self._blobs is not None:
                    self._blobs.aborted(blobs)
        except BaseException as error:
            self._commits.abort_has_failed(transaction, error)
            # ZODB does not go on to have its objects read again, which are as they were changed
            self._state.forget_objects()
            raise

    def tpc_transaction(self) -> Any:
        """Return the transaction that is being committed, or None; of several, one."""
        return self._commits.any()

    def copyTransactionsFrom(self, other: Any) -> None:
        """Copy all transactions of another storage, blobs included.

        :param other: the storage, which is iterated over.
        :raises ReadOnlyError: when this storage can only be read.
        :raises ClientDisconnected: when the connection is lost. What has come to the server by then
            is a first part of the transactions.
        :raises Exception: what the server's storage says against a transaction; none behind it is
            copied then.
        """
        copy = self.begin_copy(keeps_blobs=True)
        if copy is None:
            copyTransactionsFromTo(other, self)
        else:
            copy.run(other, self)

    def begin_copy(self, keeps_blobs: bool) -> Copy | None:
        """Return what commits transactions of another storage without a wait for each; None where
        this client or its server cannot do that.

        :param keeps_blobs: whether this client keeps the files of blobs that it has sent.
        """
        is_able = self._commits.abilities.issuperset((COMMIT_AFTER, RESTORE_BLOB))
        if is_able and self._server is self._primary:
            return Copy(self._commits, self._blobs, keeps_blobs)
        return None

    def _check_writable(self) -> None:
        if self.isReadOnly():
            raise ReadOnlyError(f'{self._name} was opened read-only')

    # Blobs.

    def storeBlob(
        self,
        oid: bytes,
        serial: bytes,
        data: bytes,
        blobfilename: str,
        version: str,
        transaction: Any,
    ) -> None:
        """Store a record with the file of its blob.

        :param oid: the object.
        :param serial: the tid of the revision that the record replaces; 8 zero bytes for a new
            object.
        :param data: the record.
        :param blobfilename: the path of the file, which is moved away.
        :param version: accepted for compatibility and ignored.
        :param transaction: as given to :meth:`tpc_begin`.
        :raises Unsupported: when this client storage was opened without `blob_dir`.
        :raises StorageTransactionError: when that transaction was not begun.
        :raises ClientDisconnected: when the connection on which it was begun is lost.
        """
        buffer = self._commits.find(transaction)
        self._need_blobs().send(buffer, 'storeBlob', oid, serial, data, blobfilename)
        buffer.store(oid, data)

    def restoreBlob(
        self,
        oid: bytes,
        serial: bytes,
        data: bytes,
        blobfilename: str,
        prev_txn: bytes | None,
        transaction: Any,
    ) -> None:
        """Store a record with the file of its blob as they were in another storage.

        :param oid: the object.
        :param serial: the tid of the revision.
        :param data: the record.
        :param blobfilename: the path of the file, which is moved away.
        :param prev_txn: the tid of a transaction that stored the same data, or None.
        :param transaction: as given to :meth:`tpc_begin`.
        :raises Unsupported: when this client storage was opened without `blob_dir`.
        :raises StorageTransactionError: when that transaction was not begun.
        :raises ClientDisconnected: when the connection on which it was begun is lost.
        """
        buffer = self._commits.find(transaction)
        if RESTORE_BLOB in self._commits.abilities:
            self._need_blobs().send(
                buffer, 'restoreBlob', oid, serial, data, blobfilename, prev_txn
            )
        else:  # the protocol has no other way to bring a blob
            self._need_blobs().send(
                buffer, 'storeBlob', oid, self._current_serial(oid), data, blobfilename
            )
        buffer.store(oid, data)

    def _current_serial(self, oid: bytes) -> bytes:
        try:
            return self._primary.call('getTid', oid)
        except POSKeyError:
            return z64

    def loadBlob(self, oid: bytes, serial: bytes) -> str:
        """Return the path of a committed blob's file.

        :param oid: the blob's object.
        :param serial: the tid of the revision.
        :raises POSKeyError: when there is no such blob.
        :raises Unsupported: when this client storage was opened without `blob_dir`.
        :raises ClientDisconnected: when it is not in the blob cache, and there is no connection.
        """
        return self._need_blobs().load(oid, serial)

    def openCommittedBlobFile(self, oid: bytes, serial: bytes, blob: Any = None) -> Any:
        """Return a committed blob's file, open for reading.

        :param oid: the blob's object.
        :param serial: the tid of the revision.
        :param blob: the ``ZODB.blob.Blob`` to which a ``BlobFile`` is to belong; None: an ordinary
            file is returned.
        :raises POSKeyError: when there is no such blob.
        :raises Unsupported: when this client storage was opened without `blob_dir`.
        :raises ClientDisconnected: when it is not in the blob cache, and there is no connection.
        """
        return self._need_blobs().open(oid, serial, blob)

    def temporaryDirectory(self) -> str:
        """Return the directory in which to make files that are to become blobs.

        :raises Unsupported: when this client storage was opened without `blob_dir`.
        """
        blobs = self._need_blobs()
        return blobs.temporary_directory if self.isReadOnly() else blobs.prepare()

    def _fetch_blob(self, oid: bytes, serial: bytes) -> None:
        try:
            self._fetch_blob_from(self._server.wait(), oid, serial)
        except NotSent:
            self._fetch_blob_from(self._server.wait(), oid, serial)

    def _fetch_blob_from(self, connection: Connection, oid: bytes, serial: bytes) -> None:
        blobs = self._need_blobs()
        asked = connection.begin(
            'sendBlob',
            (oid, serial, True) if blobs.announces_lengths else (oid, serial),
            lambda _: None,
        )
        try:
            connection.flush()
            asked.wait()
        finally:
            if not asked.done:  # interrupted: no caller waits for what still comes
                blobs.give_up(oid, serial)

    def _need_blobs(self) -> BlobStore:
        return self._blobs if self._blobs is not None else no_blobs()
