"""Close ZODB's own ways into an unpickler where bytes of clients reach them.

Enters: what storages and ZODB's helpers read: the class of a record that lost a conflict, the
extension of a transaction, whether a record is a blob's, and what it refers to. Leaves: the same,
read by :mod:`ZEO.wire.guarded`. Fails: as what it replaces does.

A storage reads such bytes deep within itself, wherever it is: wrapped, or the base of another. So
the functions are replaced where ZODB looks them up, once in a process, when its first server is
made. Most answer as before for every record that ZODB writes. The extension of a transaction may
hold an application's objects: an embedding program still reads them in its own threads; the threads
of a server, see :func:`entered`, get what is plain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import ZODB._compat
import ZODB.blob
import ZODB.ConflictResolution
import ZODB.serialize
import ZODB.utils
from ZODB.Connection import TransactionMetaData, overridable_property
from ZODB.POSException import ConflictError

from ZEO.wire import guarded
from ZEO.wire.plain import is_plain
from ZEO.wire.tame import is_tame

log = logging.getLogger('ZEO.StorageServer')

_entered: ContextVar[bool] = ContextVar('ZEO.serving.doors', default=False)


@contextmanager
def entered() -> Iterator[None]:
    """Mark this thread as a server's: what it reads was stored by clients."""
    token = _entered.set(True)
    try:
        yield
    finally:
        _entered.reset(token)


def within(function: Callable[[], Any]) -> Callable[[], Any]:
    """Return `function` for a thread of its own, which is a server's."""

    def run() -> Any:
        with entered():
            return function()

    return run


def close() -> None:
    """Replace ZODB's functions; harmless when that is done."""
    if isinstance(ZODB.serialize.PersistentUnpickler, partial):
        return
    ZODB.utils.get_pickle_metadata = guarded.class_name
    ZODB.blob.is_blob_record = guarded.is_blob
    ZODB.serialize.PersistentUnpickler = partial(
        _reference_reader, ZODB.serialize.PersistentUnpickler
    )
    ZODB.ConflictResolution.PersistentUnpickler = partial(
        _state_reader, ZODB.ConflictResolution.PersistentUnpickler
    )
    # what ZODB's loads calls, wherever that has been imported already
    original = ZODB._compat.zodbpickle.pickle
    pickle = SimpleNamespace(
        **{name: value for name, value in vars(original).items() if not name.startswith('__')}
    )
    pickle.loads = partial(_loads, original.loads)
    ZODB._compat.zodbpickle = SimpleNamespace(pickle=pickle)


class Metadata(TransactionMetaData):
    """A transaction that a client has begun; its extension stays the bytes that it sent, for
    storages that keep bytes.
    """

    @classmethod
    def of_bytes(cls, user: bytes, description: bytes, extension: bytes) -> Metadata:
        """Return one of what are bytes already, in fewer steps."""
        new = cls.__new__(cls)
        new.user, new.description, new.extension_bytes = user, description, extension
        return new

    @overridable_property
    def extension(self) -> dict[str, Any]:
        """What is plain data in it."""
        return _plain_extension(self.extension_bytes)


def extension_of(transaction: Any) -> Any:
    """Return the extension of a transaction in a storage: a dictionary if all of it is plain data,
    else the bytes that it is.
    """
    if 'extension' not in getattr(transaction, '__dict__', ()):
        data = getattr(transaction, 'extension_bytes', None)
        if isinstance(data, bytes):
            plain, is_all = guarded.extension(data)
            return plain if is_all else data
    return _plain_items(transaction.extension)


def _plain_items(extension: Any) -> dict[str, Any]:
    """What is plain data in an extension that a storage keeps as a dictionary."""
    if not isinstance(extension, dict):
        return {}
    plain = {key: value for key, value in extension.items() if type(key) is str and is_plain(value)}
    if len(plain) < len(extension):
        _left_out()
    return plain


def _plain_extension(data: bytes) -> dict[str, Any]:
    plain, is_all = guarded.extension(data)
    if not is_all:
        _left_out()
    return plain


_warned: list[bool] = []


def _left_out() -> None:
    """Warn once that there is such data; after that it is logged for debugging only."""
    log.log(
        logging.DEBUG if _warned else logging.WARNING,
        'the extension of a transaction holds data that is not plain '
        '(objects of an application, maybe): this server keeps it, and leaves it out where it '
        'shows extensions',
    )
    _warned.append(True)
    del _warned[1:]


def _loads(original: Callable[..., Any], data: bytes, **options: Any) -> Any:
    """What ZODB's ``loads`` calls, by which storages read extensions."""
    return _plain_extension(data) if _entered.get() else original(data, **options)


def _state_reader(original: Callable[..., Any], *args: Any) -> Any:
    """What ZODB's own conflict resolution reads records with; a server has another, see
    :mod:`ZEO.serving.resolve`.
    """
    if _entered.get():
        raise ConflictError("ZODB's own conflict resolution would load any class")
    return original(*args)


def _reference_reader(
    original: Callable[..., Any], find_global: Any, load_persistent: Any, file: Any
) -> Any:
    """What ZODB finds references with, which happens without classes."""
    if find_global is None and type(file) is BytesIO and not is_tame(data := file.getvalue()):
        return _Noload(data, load_persistent)
    return original(find_global, load_persistent, file)


class _Noload:
    """Finds the references in a record that could hurt ZODB's own search."""

    def __init__(self, data: bytes, found: Callable[[Any], None]) -> None:
        self._oids: list[bytes] | None = guarded.references(data)
        self._found = found

    def noload(self) -> None:
        """As the unpickler's, for each of the two pickles of a record."""
        oids, self._oids = self._oids, None
        for oid in oids or ():
            self._found((oid, None))
