"""An MVCC storage as the server's calls ask it, from any thread.

Enters: calls of the storage's methods. Leaves: what an instance with the newest snapshot returns;
the last transaction that clients were sent; sizes that were looked up a while ago. Fails: with what
the storage raises; ClientDisconnected where its database is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import zope.interface
from ZODB.POSException import POSKeyError, ReadConflictError
from ZODB.utils import p64

from ZEO.net.loop import Loop
from ZEO.serving.backends.instances import Instances, poll, release, rest
from ZEO.serving.backends.view import View
from ZEO.serving.workers import Workers

#: Methods for which an instance is borrowed.
_BORROWING = frozenset('loadBefore loadSerial getTid history undoLog undoInfo new_oid'.split())

#: Instances that are kept for the next call.
MOST_KEPT = 2

#: Iterations over records at a time; each has a connection to the database.
MOST_CURSORS = 4

#: Seconds after which sizes are looked up again when a client wants them: that takes a database
#: some milliseconds.
SIZES_AGE = 10.0


class PooledStorage:
    """Stands for the storage of `instances`; what is not here is asked of that.

    :param workers: threads in which sizes are looked up.
    """

    def __init__(self, instances: Instances, view: View, loop: Loop, workers: Workers) -> None:
        self._instances = instances
        self._pooled = instances.storage
        self._view = view
        self._loop = loop
        self._workers = workers
        self._guard = loop.system.lock()  # of what follows
        self._kept: list[Any] = []
        self._cursors: dict[bytes, tuple[Any, Any]] = {}  # the oldest first
        self._last_cursor = 0
        self._sizes = 0, 0
        self._sizes_at: float | None = None  # when they were looked up last
        zope.interface.directlyProvides(self, zope.interface.providedBy(self._pooled))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._pooled, name)
        if name == 'record_iternext':
            return self._next_record
        return partial(self._borrowed, name) if name in _BORROWING else method

    def __bool__(self) -> bool:
        return True

    @property
    def keeps_history(self) -> bool:
        """Whether transactions stay as they were when others change the same objects."""
        adapter = self._instances.adapter
        return adapter is None or bool(adapter.keep_history)

    def loadBlob(self, oid: bytes, serial: bytes) -> str:
        """Return the path of a blob's file.

        :raises POSKeyError: when the database does not have that revision (any more);
            ReadConflictError when it keeps the last one only.
        """
        try:
            return self._borrowed('loadBlob', oid, serial)
        except AssertionError:  # RelStorage expects that there is one
            if self.keeps_history:
                raise POSKeyError(oid) from None
            raise ReadConflictError(oid=oid) from None

    def lastTransaction(self) -> bytes:
        """Return the last transaction that clients were sent."""
        return self._view.last

    def iterator(self, start: bytes | None = None, stop: bytes | None = None) -> Iterator[Any]:
        """Return an iterator with a connection of its own."""
        instance = self._instances.new()
        try:
            poll(instance)
            return _Iterator(instance, instance.iterator(start, stop))
        except BaseException as error:
            release(instance)
            raise self._instances.disconnected(error) from None

    def _borrowed(self, name: str, *args: Any, **named: Any) -> Any:
        """Call a method of an instance; once more with another one, if its connection is lost."""
        try:
            try:
                return self._called(self._take(), name, *args, **named)
            except BaseException as error:
                if not self._instances.is_lost(error):
                    raise
            return self._called(self._instances.new(), name, *args, **named)
        except BaseException as error:
            raise self._instances.disconnected(error) from None

    def _called(self, instance: Any, name: str, *args: Any, **named: Any) -> Any:
        try:
            poll(instance)
            try:
                result = getattr(instance, name)(*args, **named)
            finally:
                rest(instance)
        except BaseException as error:
            if self._instances.is_lost(error):
                release(instance)
            else:
                self._give_back(instance)
            raise
        self._give_back(instance)
        return result

    def _take(self) -> Any:
        with self._guard:
            if self._kept:
                return self._kept.pop()
        return self._instances.new()

    def _give_back(self, instance: Any) -> None:
        with self._guard:
            if len(self._kept) < MOST_KEPT:
                self._kept.append(instance)
                return
        release(instance)

    # Records one after the other.

    def _next_record(self, cursor: bytes | None = None) -> tuple[bytes, bytes, bytes, bytes | None]:
        """Return what record_iternext does, with a number for the storage's own cursor, which may
        not be plain data.
        """
        try:
            instance, its_cursor = (
                (self._instances.new(), None) if cursor is None else self._cursors.pop(cursor)
            )
        except KeyError:
            raise ValueError(
                'this iteration over records has ended, or others were started; begin anew'
            ) from None
        try:
            if cursor is None:
                poll(instance)
            oid, tid, data, its_cursor = instance.record_iternext(its_cursor)
        except BaseException as error:
            release(instance)
            raise self._instances.disconnected(error) from None
        if its_cursor is None:
            release(instance)
            return oid, tid, data, None
        return oid, tid, data, self._kept_cursor(instance, its_cursor)

    def _kept_cursor(self, instance: Any, its_cursor: Any) -> bytes:
        with self._guard:
            self._last_cursor += 1
            cursor = p64(self._last_cursor)
            self._cursors[cursor] = instance, its_cursor
            gone = next(iter(self._cursors)) if len(self._cursors) > MOST_CURSORS else None
        if gone is not None:
            release(self._cursors.pop(gone)[0])
        return cursor

    # Sizes.

    def __len__(self) -> int:
        self._look_soon()
        return self._sizes[0]

    def getSize(self) -> int:
        """Return the size of the database in bytes, as it was lately."""
        return self._sizes[1]

    def look(self) -> None:
        """Look up the sizes; in any thread."""
        self._sizes = len(self._pooled), self._pooled.getSize()

    def _look_soon(self) -> None:
        now = self._loop.system.now()
        if self._sizes_at is None or now - self._sizes_at > SIZES_AGE:
            self._sizes_at = now
            self._workers.run(self.look)  # whatever it raises: the last known ones are shown


class _Iterator:
    """An iterator over transactions, with the instance that it reads from."""

    def __init__(self, instance: Any, transactions: Any) -> None:
        self._instance = instance
        self._transactions = transactions
        self._iterator = iter(transactions)

    def __iter__(self) -> _Iterator:
        return self

    def __next__(self) -> Any:
        return next(self._iterator)

    def close(self) -> None:
        """Give back the connection."""
        transactions, self._transactions = self._transactions, None
        if hasattr(transactions, 'close'):
            transactions.close()
        instance, self._instance = self._instance, None
        release(instance)
