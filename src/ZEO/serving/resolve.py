"""Conflict resolution on the server, with no more code loaded than the operator allows.

Enters: a storage that resolves conflicts, and the three records of a conflict.  Leaves: the resolved record.  Fails:
ConflictError where the class is not one that the server may load, or has no resolution, or does not succeed: then the
client, who has the code, is asked (see :mod:`ZEO.serving.commit`).
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from ZODB import ConflictResolution
from ZODB._compat import PersistentPickler, PersistentUnpickler
from ZODB.POSException import ConflictError

from ZEO.wire.faults import conflict

log = logging.getLogger('ZEO.StorageServer')

#: Packages whose classes a server loads unless told otherwise: data structures with a resolution of their own, no application.
DEFAULT_MODULES = ('BTrees', 'persistent', 'ZODB', 'zope.interface', 'copyreg', 'copy_reg')


class _NotAllowed(Exception):
    """A record names a class that the server may not load."""


class ConflictPolicy:
    """Which conflicts the server resolves.

    :param client_only: none; every one goes to the client.
    :param modules: packages and modules whose classes may be loaded.
    """

    def __init__(self, client_only: bool = False, modules: Iterable[str] = DEFAULT_MODULES) -> None:
        self.client_only = client_only
        self._modules = tuple(modules)

    def apply_to(self, storage: Any) -> None:
        """Have `storage` ask this policy instead of loading whatever class a record names."""
        while storage is not None:
            if isinstance(storage, ConflictResolution.ConflictResolvingStorage):
                storage.tryToResolveConflict = self._refuse if self.client_only else self._resolver(storage)
            storage = vars(storage).get('base') if hasattr(storage, '__dict__') else None

    def _refuse(self, oid: bytes, committed: bytes, old: bytes, data: bytes, committed_data: bytes = b'') -> bytes:
        raise conflict(oid, (committed, old), data)

    def _resolver(self, storage: Any) -> Callable[..., bytes]:
        def resolve(oid: bytes, committed: bytes, old: bytes, data: bytes, committed_data: bytes = b'') -> bytes:
            try:
                return self._resolve(storage, oid, committed, old, data, committed_data)
            except (ConflictError, _NotAllowed, ConflictResolution.BadClassName) as error:
                log.debug('a conflict on %s is not resolved here: %s', oid.hex(), error)
            # A class's own code: whatever it raises, the conflict stands.
            except Exception:
                log.exception('conflict resolution on %s failed', oid.hex())
            raise conflict(oid, (committed, old), storage._crs_untransform_record_data(data))
        return resolve

    def _resolve(self, storage: Any, oid: bytes, committed: bytes, old: bytes, data: bytes, committed_data: bytes) -> bytes:
        references = ConflictResolution.PersistentReferenceFactory()
        meta, new_state = self._load(storage, references, data)
        resolve = getattr(self._instance(meta), '_p_resolveConflict', None)
        if resolve is None:
            raise ConflictError('the class has no conflict resolution')
        _, old_state = self._load(storage, references, storage.loadSerial(oid, old))
        _, committed_state = self._load(storage, references, committed_data or storage.loadSerial(oid, committed))
        out = BytesIO()
        pickler = PersistentPickler(ConflictResolution.persistent_id, out, 3)
        pickler.dump(meta)
        pickler.dump(resolve(old_state, committed_state, new_state))
        return storage._crs_transform_record_data(out.getvalue())

    def _load(self, storage: Any, references: Any, data: bytes) -> tuple[Any, Any]:
        """Return the two parts of a record: what the class is, and the state."""
        plain = storage._crs_untransform_record_data(data)
        unpickler = PersistentUnpickler(self._find_class, references.persistent_load, BytesIO(plain))
        return unpickler.load(), unpickler.load()

    def _instance(self, meta: Any) -> Any:
        kind, args = meta if isinstance(meta, tuple) else (meta, ())
        if isinstance(kind, tuple):
            kind = self._find_class(*kind)
        return kind.__new__(kind, *(args or ()))

    def _find_class(self, module: str, name: str) -> Any:
        if not any(module == allowed or module.startswith(allowed + '.') for allowed in self._modules):
            raise _NotAllowed(f'{module}.{name} is not of the packages that this server loads')
        return ConflictResolution.find_global(module, name)
