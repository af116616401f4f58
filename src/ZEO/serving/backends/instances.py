"""Instances of an MVCC storage: each is a view of its database, for one thread at a time.

Enters: a storage that provides ``IMVCCStorage``, maybe with wrappers around it. Leaves: instances
with the same wrappers, on which no client's bytes run anything; what is known of its database.
Fails: with what the storage raises.

Nothing of RelStorage is imported here: its storages are known by their adapter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from transaction.interfaces import TransientError
from ZODB.interfaces import IMVCCStorage
from ZODB.POSException import ConflictError, POSError, POSKeyError
from ZODB.utils import load_current, maxtid, z64

from ZEO.Exceptions import ClientDisconnected
from ZEO.net.loop import Loop
from ZEO.serving.backends.connections import Connections
from ZEO.serving.backends.outcome import Outcomes
from ZEO.serving.backends.rows import RowReader
from ZEO.serving.filestorage import storages_within
from ZEO.serving.resolve import ConflictPolicy
from ZEO.wire.quoting import of_database

log = logging.getLogger('ZEO.StorageServer')

#: Errors after which a client tries again, whatever class derived from them they have.
_KNOWN = ConflictError, ClientDisconnected

#: RelStorage says so, and no more, when it cannot abort or release with a connection that is lost.
_CANNOT_CLEAN_UP = 'Failed to close one or more resources'

#: Commits at a time where the database locks objects instead of everything; more than two gain
#: little, but one may wait for a row that another server has locked.
PARALLEL = 4


def is_mvcc(storage: Any) -> bool:
    """Return whether `storage` is one view of a database that others may change."""
    return bool(IMVCCStorage.providedBy(storage)) and hasattr(storage, 'poll_invalidations')


class Instances:
    """Makes instances of `storage`.

    :param policy: which conflicts the server resolves.
    """

    def __init__(self, name: str, storage: Any, policy: ConflictPolicy, loop: Loop) -> None:
        self.storage = storage
        self.name = name
        self.loop = loop
        self._policy = policy
        #: What registerDB is called with, once there is a database.
        self.database: Any = None
        #: RelStorage's adapter of its database; None for other storages.
        self.adapter = _adapter(storage)
        self.connections = Connections(self.adapter, loop)
        self.outcomes = Outcomes(self.adapter, loop.system)
        driver = getattr(self.adapter, 'driver', None)
        self._lost: tuple[type[BaseException], ...] = (
            OSError,
            *getattr(driver, 'disconnected_exceptions', ()),
            *getattr(driver, 'close_exceptions', ()),
        )
        # of DB-API; what a database says itself is an error of a subclass
        self._unspecific = {
            base for lost in self._lost for base in lost.__mro__ if base.__name__ == 'DatabaseError'
        }

    @property
    def parallel(self) -> int:
        """How many transactions may be committed at a time."""
        if self.adapter is None or getattr(self.adapter, 'WRITING_REQUIRES_EXCLUSIVE_LOCK', True):
            return 1
        return PARALLEL

    def new(self) -> Any:
        """Return a new instance."""
        instance = _new_instance(self.storage)
        self._policy.apply_to(instance)
        if self.database is not None and hasattr(instance, 'registerDB'):
            instance.registerDB(self.database)
        return instance

    def new_reader(self) -> Any:
        """Return what records are read from: an instance, or something like it."""
        reader = self._rows_of(self.storage)
        return self.new() if reader is None else reader

    def _rows_of(self, storage: Any) -> Any:
        """Return a reader of the tables, with the wrappers that `storage` has; None where it is not
        known what one of them is wrapped around.
        """
        adapter = self.adapter
        its_own = getattr(storage, '__dict__', {}).get('_adapter')
        if adapter is not None and its_own is not None and its_own is adapter:
            return RowReader(adapter.new_instance())
        name, inner = _within(storage)
        reader = self._rows_of(inner) if name else None
        return None if reader is None else _wrapped_again(storage, name, inner, reader)

    def resolver(self, instance: Any) -> Callable[..., bytes]:
        """Return what resolves a conflict as the server may, or raises ConflictError."""
        return self._policy.resolver(_Untransformed(instance))

    def is_lost(self, error: BaseException) -> bool:
        """Return whether an error says that the connection to the database is lost, or has come
        of one that does.
        """
        one: BaseException | None = error
        while one is not None and not isinstance(one, POSError):
            if isinstance(one, self._lost) or type(one) in self._unspecific:
                return True
            if type(one) is Exception and str(one).startswith(_CANNOT_CLEAN_UP):
                return True
            one = one.__cause__ or one.__context__
        return False

    def disconnected(self, error: BaseException) -> BaseException:
        """Return the error that a client gets for one of the database: it may try again."""
        if not self.is_lost(error):
            return plain(error)
        away = ClientDisconnected(
            f'the database of storage {self.name!r} is not available: {of_database(error)}'
        )
        away.__cause__ = error
        return away


class Keeper:
    """The instance of one thread, given back when its connection is lost.

    :param make: makes one; None: an instance that reads and writes.
    """

    def __init__(self, instances: Instances, make: Callable[[], Any] | None = None) -> None:
        self.instances = instances
        self._make = make
        #: None where there is none at the moment.
        self.instance: Any = None

    def get(self) -> Any:
        """Return the instance; make one if there is none."""
        if self.instance is None:
            self.instance = (self._make or self.instances.new)()
        return self.instance

    def rest(self) -> None:
        """End its transaction in the database; it has to be polled before its next use."""
        if self.instance is None:
            return
        try:
            rest(self.instance)
        except BaseException as error:
            self.release()
            if not self.instances.is_lost(error):
                raise

    def drop(self, transaction: Any) -> None:
        """Abort a transaction, as well as that is possible, and give the instance back."""
        try:
            if self.instance is not None:
                self.instance.tpc_abort(transaction)
        except Exception:  # as in release: most likely its connection is lost
            log.debug('an instance failed to abort', exc_info=True)
        finally:
            self.release()

    def release(self) -> None:
        """Give the instance back."""
        instance, self.instance = self.instance, None
        release(instance)


class _Untransformed:
    """An instance as conflict resolution asks it: its records are as clients have them."""

    def __init__(self, instance: Any) -> None:
        self.loadSerial = instance.loadSerial

    def _crs_untransform_record_data(self, data: bytes) -> bytes:
        return data

    _crs_transform_record_data = _crs_untransform_record_data


def _adapter(storage: Any) -> Any:
    for one in storages_within(storage):
        adapter = getattr(one, '_adapter', None)
        if hasattr(adapter, 'connmanager') and hasattr(adapter, 'poller'):
            return adapter
    return None


def _new_instance(storage: Any) -> Any:
    """Return a new instance with the wrappers that `storage` has.

    Some wrappers pass ``new_instance`` on to what they are wrapped around, so that it returns one
    that is not wrapped: such a wrapper is copied, with a new instance in it.
    """
    name, inner = _within(storage)
    if not name or getattr(storage.new_instance, '__self__', storage) is storage:
        return storage.new_instance()
    return _wrapped_again(storage, name, inner, _new_instance(inner))


def _within(storage: Any) -> tuple[str, Any]:
    """Return what a wrapper is wrapped around, and under which name; a storage that is not one has
    none.
    """
    for name, inner in list(getattr(storage, '__dict__', {}).items()):
        if hasattr(inner, 'loadBefore') and IMVCCStorage.providedBy(inner):
            return name, inner
    return '', None


def _wrapped_again(wrapper: Any, name: str, inner: Any, instance: Any) -> Any:
    # not copy.copy, which asks a wrapper that is empty yet for what it passes on
    again = object.__new__(type(wrapper))
    vars(again).update(vars(wrapper))
    for attribute, value in list(vars(wrapper).items()):
        if getattr(value, '__self__', None) is inner:  # a method that the wrapper has copied
            # a reader has less than an instance
            setattr(again, attribute, getattr(instance, value.__name__, None))
    setattr(again, name, instance)
    return again


def poll(instance: Any) -> bytes:
    """Give an instance the newest snapshot; return its last transaction."""
    instance.poll_invalidations()
    return instance.lastTransaction() or z64


def rest(instance: Any) -> None:
    """End the instance's transaction in the database; it has to be polled before its next use."""
    if hasattr(instance, 'afterCompletion'):
        instance.afterCompletion()
    elif hasattr(instance, 'sync'):
        instance.sync()


def read(instance: Any, oid: bytes, tid: bytes) -> tuple[bytes, bytes, Any] | None:
    """Return what loadBefore returns; a current record costs the storage less than others."""
    load = getattr(instance, 'load', None)
    try:
        data, serial = load(oid) if load is not None else load_current(instance, oid)
    except KeyError:  # there may be an older revision
        if tid == maxtid:
            raise
        return instance.loadBefore(oid, tid)
    return (data, serial, None) if serial < tid else instance.loadBefore(oid, tid)


def release(instance: Any) -> None:
    """Give back an instance's connections."""
    try:
        if hasattr(instance, 'release'):
            instance.release()
    except Exception:  # most likely they are lost, which is why it is given back
        log.debug('an instance failed to give back its connections', exc_info=True)


def plain(error: BaseException) -> BaseException:
    """Return the error that a client gets for one of a storage: RelStorage's KeyErrors show all
    that the storage holds, such as its password, and what may be tried again must stay so where a
    client does not know its class.
    """
    if isinstance(error, TransientError) and not isinstance(error, _KNOWN):
        return TransientError(of_database(error))
    if isinstance(error, POSKeyError) and type(error) is not POSKeyError:
        return POSKeyError(*error.args[:1])
    return error
