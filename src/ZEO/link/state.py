"""What this client knows: its cache, the last transaction, and the database to be informed.

Enters: what the server sends, in the order in which it arrived, by whichever thread reads the
connection. Leaves: an up to date cache, calls of the database's ``invalidate``. Fails:
ProtocolError for a message that makes no sense.

One order holds throughout: first the cache, then the database, then :attr:`ClientState.last_tid`. A
ZODB connection that sees the new tid knows what changed, and a process that is killed in between
finds a cache that claims less than it has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from ZODB.utils import z64

from ZEO.cache.memory_cache import MemoryCache
from ZEO.cache.protocol import Cache
from ZEO.Exceptions import ProtocolError
from ZEO.link.held import HeldMessages
from ZEO.link.read_ahead import ReadAhead
from ZEO.locks import under
from ZEO.net.system import REAL, System
from ZEO.wire import shapes
from ZEO.wire.answer_templates import Invalidations
from ZEO.wire.calls import OF_SERVER
from ZEO.wire.extensions import EXACT, EXTENSIONS, PACKED, STOPPING

log = logging.getLogger('ZEO.ClientStorage')

Loaded = tuple[bytes, bytes, Any]  # data, tid, end tid or None

#: The keys of ``info`` that say how large the storage is.
_SIZES = {'length', 'size'}


class NullDatabase:
    """The database of a storage that has none, or has been closed."""

    def invalidate(self, tid: bytes, oids: Iterable[bytes]) -> None:
        """Ignore the invalidation."""

    def invalidateCache(self) -> None:
        """Ignore it."""


class ClientState:
    """Takes all arrivals.

    :param cache: the client cache.
    """

    def __init__(self, cache: Cache, system: System = REAL) -> None:
        self.cache = cache
        self.ahead = ReadAhead(cache, system)  # what came without being asked for
        self.database: Any = NullDatabase()  # set by registerDB
        # the last transaction that was applied
        self.last_tid: bytes | None = cache.getLastTid()
        # a read before this tid can't miss what may have arrived meanwhile
        self.covered = _next(self.last_tid or z64)
        self._system = system
        # held while a commit of this client is applied
        self._committing = system.reentrant_lock()
        self.info: dict[str, Any] = {}  # what get_info said, kept up to date
        self._follow_info()
        # what it said of its abilities, and the same as a set
        self._abilities: tuple[Any, frozenset[str]] = ((), frozenset())
        self.blob_arrived: Callable[[str, Any], None] | None = None  # takes receiveBlob… messages
        # is called when a cache check begins, and when it has ended
        self.on_check: Callable[[bool], None] = lambda begins: None
        # is called when the server is about to stop, with the seconds until then
        self.on_stopping: Callable[[float], None] = lambda seconds: None
        self.is_resetting = False  # whether everything is being forgotten
        # invalidations that came during a cache check
        self._held: HeldMessages | None = None

    @property
    def abilities(self) -> frozenset[str]:
        """What the server can do beyond the protocol."""
        said, known = self.info.get(EXTENSIONS, ()), self._abilities
        if known[0] is not said:  # another server, mostly; it is asked for in each transaction
            known = self._abilities = said, frozenset(said)
        return known[1]

    @property
    def changes_are_exact(self) -> bool:
        """Whether an object that the server names with a transaction has changed in that one, and
        not before, too.
        """
        return self.info.get(EXACT, True) is not False

    def introduced(self, info: dict[str, Any]) -> dict[str, Any]:
        """Another server has answered get_info; returns what it says."""
        self.info = info
        self._follow_info()
        return info

    def _follow_info(self) -> None:
        """Apply changes from now on as exactly as the server knows them."""
        cache, is_exact = self.cache, self.changes_are_exact
        # ends the current revision of an object that a transaction has changed; chosen here, so
        # that an invalidation costs no further call
        self._end: Callable[[bytes, bytes], None]
        self._end = cache.invalidate if is_exact else self._end_early
        # do what that and `store` do, and that for each, where the cache can
        quick = cache if is_exact and isinstance(cache, MemoryCache) else None
        self._replace = None if quick is None else quick.replace
        self._invalidate_all = None if quick is None else quick.invalidate_all

    def _end_early(self, oid: bytes, tid: bytes) -> None:
        """An object has changed at `tid`, and maybe before: at any time since the last transaction
        that is known. Up to that one its record was current.
        """
        self.cache.end_early(oid, min(tid, self.covered), tid)

    # What arrives.

    def on_message(self, name: str, args: Any) -> None:
        """Apply a one-way message of the server.

        :raises ProtocolError: when it makes no sense.
        """
        if name == 'invalidateTransaction':
            if type(args) is Invalidations:
                transactions = args
            else:
                transactions = Invalidations([shapes.invalidation(args)])
            if self._held is None:
                self._invalidate(transactions)
            else:
                self._held.add(name, transactions)
        elif name == 'readAhead':
            self.ahead.arrived(*shapes.ahead(args))
        elif name == 'info':
            self._on_info(shapes.news(args))
        elif name in OF_SERVER and self.blob_arrived is not None:
            self.blob_arrived(name, args)
        else:
            raise ProtocolError(f'the server sent an unknown message {name[:60]!r}')

    def loaded(self, oid: bytes, result: Loaded | None) -> Loaded | None:
        """Apply the answer to a loadBefore, and return it.

        :raises UnrecognizedResult: when it is not one.
        """
        if type(result) is tuple and len(result) == 3:
            data, tid, end = result
            # What most answers are is looked at here: shapes.loaded takes 20 bytecodes and 2 calls
            # more; tests/link/test_loaded_answers.py holds that it says the same.
            if end is None and type(data) is type(tid) is bytes and len(tid) == 8:
                self.cache.store(oid, tid, None, data)
                return result
        result = shapes.loaded(result)
        if result is not None:
            data, tid, end = result
            self.cache.store(oid, tid, end, data)
        return result

    def committed(
        self,
        tid: bytes,
        changes: Iterable[tuple[bytes, bytes | None]],
        callback: Callable[[bytes], Any],
    ) -> None:
        """Apply a commit of this client.

        :param changes: the oids, each with its new record, or None where that is not known.
        :param callback: is called with the tid before any other thread can see it.
        """
        with self._committing: self._commit(tid, changes, callback)  # noqa: E701  # fmt: skip

    def _commit(
        self,
        tid: bytes,
        changes: Iterable[tuple[bytes, bytes | None]],
        callback: Callable[[bytes], Any],
    ) -> None:
        # A server that is a client itself may announce a later transaction first, which may have
        # ended what this one stores.
        is_latest = self.last_tid is None or tid > self.last_tid
        ahead, cache = self.ahead, self.cache
        for oid, data in changes:
            if ahead.staged:
                ahead.forget((oid,))
            if data is None or not is_latest:
                self._end(oid, tid)
            elif self._replace is not None:
                self._replace(oid, tid, data)
            else:
                self._end(oid, tid)
                cache.store(oid, tid, None, data)
        callback(tid)
        self._advance(tid)

    def forget_objects(self) -> None:
        """Have the connections of the database read all objects again, from the next transaction
        on.
        """
        if getattr(self.database, 'keeps_objects', True):
            self.database.invalidateCache()

    def unsure_of(self, oids: list[bytes]) -> None:
        """It is not known whether a commit of this client has changed these: load them again, and
        do not rely on being told in time by a server that could not even answer.
        """
        for oid in oids:
            self.cache.invalidate(oid, None)
        self.forget_objects()

    def settled_tid(self) -> bytes | None:
        """Return the last transaction; wait while a commit of this client is being applied."""
        return under(self._committing, self._get_last_tid)

    def _get_last_tid(self) -> bytes | None:
        return self.last_tid

    def packed(self, result: Any = None) -> None:
        """A pack is done: revisions that are not current may be gone from the storage."""
        self.cache.drop_noncurrent()

    def _on_info(self, news: dict[str, Any]) -> None:
        if news.keys() == _SIZES:  # as after each commit
            self.info = {**self.info, **news}
            return
        if news.pop(PACKED, False):
            self.packed()
        if STOPPING in news:
            self.on_stopping(news.pop(STOPPING))
        self.info = {**self.info, **news}
        if EXACT in news:
            self._follow_info()

    def _invalidate(self, transactions: Invalidations) -> None:
        ahead, last = self.ahead, self.last_tid or b''
        if ahead.staged:
            for _, oids in transactions:
                ahead.forget(oids)  # first, see there
        if self._invalidate_all is not None:
            self._invalidate_all(transactions)
        else:
            for tid, oids in transactions:
                for oid in oids:
                    self._end(oid, tid)
        invalidate = self.database.invalidate
        try:
            for tid, oids in transactions:
                invalidate(tid, oids)
                if tid > last:
                    last = tid
        except BaseException:
            # a connection may take the tid for seen, and not know what has changed with it
            self.database.invalidateCache()
            raise
        if last > (self.last_tid or b''):
            self._set_last(last)

    def _advance(self, tid: bytes) -> None:
        if self.last_tid is None or tid > self.last_tid:
            self._set_last(tid)

    def _set_last(self, tid: bytes) -> None:
        self.cache.setLastTid(tid)
        self.last_tid = tid
        self.covered = _next(tid)

    def after_fork(self) -> None:
        """In a forked child: have a lock that no thread of the parent holds."""
        self._committing = self._system.reentrant_lock()
        self._follow_info()  # the cache may have other methods now
        self.ahead.start_afresh()

    # The cache check on connect.

    def hold(self) -> None:
        """A cache check begins: hold invalidations back until :meth:`release`."""
        self.on_check(True)
        self.ahead.clear()  # nothing of another connection is under way any more
        self._held = HeldMessages()

    def catch_up(self, tid: bytes, oids: list[bytes]) -> None:
        """These oids have changed while there was no connection, once or more often.

        :param tid: the last transaction that is taken into account.
        """
        for oid in oids:
            self.cache.invalidate(oid, None)  # it is not known since when
        try:
            self.database.invalidate(tid, oids)
        except BaseException:  # as in _invalidate
            self.database.invalidateCache()
            raise
        self._set_last(tid)

    def reset_to(self, tid: bytes) -> None:
        """Anything may have changed while there was no connection: forget everything.

        :param tid: the last transaction that is taken into account.
        """
        self.is_resetting = True  # the next cache check begins again where this one does not end
        self.cache.clear()
        self.database.invalidateCache()
        self.database.invalidate(tid, [])  # from now on its snapshots are as new as that
        self._set_last(tid)
        # again, for connections that have taken an older snapshot since the first time
        self.database.invalidateCache()
        self.is_resetting = False

    def release(self) -> None:
        """Apply what was held back and is newer than the check."""
        held, self._held = self._held, None
        for _, transactions in held.take() if held is not None else ():
            known = self.last_tid or z64
            self._invalidate(Invalidations(one for one in transactions if one[0] > known))
        self.on_check(False)


def _next(tid: bytes) -> bytes:
    """Return the tid that follows."""
    return min(int.from_bytes(tid, 'big') + 1, 2**64 - 1).to_bytes(8, 'big')
