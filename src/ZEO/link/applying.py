"""What a commit of this client brings to its cache and its database, also where its caller is gone.

Enters: the answer to a tpc_finish, by whichever thread reads; that its caller has got an exception.
Leaves: an up to date cache, and a database all of whose connections read what they should. Fails:
never: the connection ends where something could not be applied, and the next one checks the cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from ZEO.link.buffer import CommitBuffer

log = logging.getLogger('ZEO.ClientStorage')


class CommitState(Protocol):
    """What commits bring to, such as a :class:`ZEO.link.state.ClientState`."""

    @property
    def database(self) -> Any:
        """What is to be informed of changes."""

    @property
    def abilities(self) -> frozenset[str]:
        """What the server can do beyond the protocol."""

    def committed(
        self,
        tid: bytes,
        changes: Iterable[tuple[bytes, bytes | None]],
        callback: Callable[[bytes], Any],
    ) -> None:
        """Apply a commit of this client."""

    def forget_objects(self) -> None:
        """Have the connections of the database read all objects again."""

    def unsure_of(self, oids: list[bytes]) -> None:
        """A commit of this client has changed these, or has not."""


class Applying:
    """Applies the commits of one client."""

    def __init__(self, state: CommitState) -> None:
        self._state = state

    def has_failed(self, buffer: CommitBuffer) -> None:
        """The caller of tpc_finish gets an exception, though the answer may have been applied, or
        may be later: then its own database connection, too, has to forget what it knows.
        """
        buffer.has_left = True
        try:
            if buffer.tid is not None:
                # not of this transaction alone: others may have been told of later ones by now
                self._state.forget_objects()
            else:
                self._state.unsure_of([oid for oid, _ in buffer.changes()])
        except Exception as error:  # of the cache, which the next connection checks
            buffer.connection.lose(f'a failed commit could not be forgotten: {error}', error)

    def _tell_all(self, buffer: CommitBuffer, tid: bytes) -> None:
        """Tell all connections of the database what a transaction has changed, as if it were one of
        others.
        """
        try:
            self._state.database.invalidate(tid, [oid for oid, _ in buffer.changes()])
        except BaseException as error:
            # a connection that was not told has to forget everything
            self._state.database.invalidateCache()
            if not isinstance(error, Exception):
                raise
            log.exception('transaction %s was not told: all object caches are emptied', tid.hex())

    def apply(
        self, buffer: CommitBuffer, callback: Callable[[bytes], Any] | None, tid: bytes
    ) -> bytes:
        """The server has committed a transaction; returns the tid.

        :param callback: of tpc_finish; None: the database is told by itself.
        """
        call_back = partial(self._call_back, buffer, callback)
        try:
            self._state.committed(tid, buffer.changes(), call_back)
        except Exception as error:
            # the transaction is committed; the next connection finds out what changed
            log.exception('transaction %s is committed, but could not be applied here', tid.hex())
            self._apply_without_records(buffer, call_back, tid)
            buffer.connection.lose(f'a commit could not be applied: {error}', error)
        return tid

    def _apply_without_records(
        self, buffer: CommitBuffer, call_back: Callable[[bytes], Any], tid: bytes
    ) -> None:
        """Apply a commit as if another client had made it: until there is a connection again, who
        has made it would read what there was before.
        """
        try:
            self._state.committed(tid, ((oid, None) for oid, _ in buffer.changes()), call_back)
        except Exception:
            log.exception('transaction %s could not be applied as a change either', tid.hex())

    def _call_back(
        self, buffer: CommitBuffer, callback: Callable[[bytes], Any] | None, tid: bytes
    ) -> None:
        """Call the callback of tpc_finish; the transaction is committed, whatever goes wrong there.

        The callback is the database's, and tells all of its connections but the committing one: if
        it fails, they may not know what has changed, and have to forget everything.
        """
        buffer.tid = tid  # first: who leaves from now on tells all by itself
        try:
            if callback is None or buffer.has_left:
                # before the callback, with which the new tid may come to be seen
                self._tell_all(buffer, tid)
            if callback is not None:
                callback(tid)
        except Exception:
            self._state.database.invalidateCache()  # first: there may be no memory for the log
            log.exception(
                'transaction %s is committed, but its callback failed: all object caches are '
                'emptied',
                tid.hex(),
            )
