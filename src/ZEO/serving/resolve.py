"""Conflict resolution on the server, which loads no more code than the operator allows.

Enters: a storage that resolves conflicts, and the three records of a conflict. Leaves: the resolved
record. Fails: ConflictError where the server may not load the class, or the class has no
resolution or does not succeed: then the client, which has the code, is asked (see
:mod:`ZEO.serving.commit`).

The records are read by :class:`ZEO.wire.machine.Machine`, which runs nothing but what
:class:`_Record` allows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any

from ZODB import ConflictResolution
from ZODB._compat import PersistentPickler
from ZODB.POSException import ConflictError, POSKeyError
from zope.proxy import getProxiedObject, isProxy

from ZEO.serving.allowed import Allowed, NotAllowed
from ZEO.wire.faults import conflict
from ZEO.wire.machine import Machine, Unreadable

log = logging.getLogger('ZEO.StorageServer')

#: Modules whose classes a server loads by default, besides ZODB's own data structures: none.
DEFAULT_MODULES: tuple[str, ...] = ()

#: Attributes in which storages keep others that they are wrapped around, or lay changes over.
_INNER = ('base', 'changes', '_storage', 'storage')

#: Opcodes of a record that are read in the loop's thread; each takes about a microsecond.
MAX_OPCODES = 200_000


class ConflictPolicy:
    """Which conflicts the server resolves.

    :param client_only: whether every conflict goes to the client.
    :param modules: modules and classes that may be loaded besides ZODB's own.
    :param opcodes: of the largest record that is read.
    """

    def __init__(
        self,
        client_only: bool = False,
        modules: Iterable[str] = DEFAULT_MODULES,
        opcodes: int = MAX_OPCODES,
    ) -> None:
        self.client_only = client_only
        self._allowed = Allowed(modules)
        self._opcodes = opcodes

    def apply_to(self, storage: Any) -> None:
        """Have `storage` ask this policy instead of loading whatever class a record names."""
        for layer in _layers(storage):
            if isinstance(layer, ConflictResolution.ConflictResolvingStorage):
                layer.tryToResolveConflict = self.resolver(layer)

    def resolver(self, storage: Any) -> Callable[..., bytes]:
        """Return what resolves conflicts of `storage`, or raises ConflictError; its arguments are
        those of ZODB's tryToResolveConflict.
        """
        return self._refuse if self.client_only else self._resolver(storage)

    def _refuse(
        self,
        oid: bytes,
        committedSerial: bytes,
        oldSerial: bytes,
        newpickle: bytes,
        committedData: Any = b'',
    ) -> bytes:
        raise conflict(oid, (committedSerial, oldSerial), newpickle)

    def _resolver(self, storage: Any) -> Callable[..., bytes]:
        def resolve(
            oid: bytes,
            committedSerial: bytes,
            oldSerial: bytes,
            newpickle: bytes,
            committedData: bytes = b'',
        ) -> bytes:
            try:
                return self._resolve(
                    storage, oid, committedSerial, oldSerial, newpickle, committedData
                )
            except (
                ConflictError,
                NotAllowed,
                Unreadable,
                POSKeyError,  # a storage that does not keep the old revision
                ConflictResolution.BadClassName,
            ) as error:
                log.debug('a conflict on %s is not resolved here: %s', oid.hex(), error)
            # A class's own code: whatever it raises, the conflict stands.
            except Exception:
                log.exception('conflict resolution on %s failed', oid.hex())
            raise conflict(
                oid, (committedSerial, oldSerial), storage._crs_untransform_record_data(newpickle)
            )

        return resolve

    def _resolve(
        self,
        storage: Any,
        oid: bytes,
        committed: bytes,
        old: bytes,
        data: bytes,
        committed_data: bytes,
    ) -> bytes:
        references = ConflictResolution.PersistentReferenceFactory()

        def read(record: bytes) -> tuple[Any, Any]:
            reader = _Record(
                storage._crs_untransform_record_data(record),
                self._allowed,
                references,
                self._opcodes,
            )
            return reader.load(), reader.load()

        meta, new_state = read(data)
        resolve = getattr(self._instance(meta), '_p_resolveConflict', None)
        if resolve is None:
            raise ConflictError('the class has no conflict resolution')
        _, old_state = read(storage.loadSerial(oid, old))
        _, committed_state = read(committed_data or storage.loadSerial(oid, committed))
        try:
            resolved = resolve(old_state, committed_state, new_state)
        except Exception as error:
            if self._allowed.makes(type(resolve.__self__)):
                # an application's own: its author wants to know
                raise
            raise ConflictError(f'not resolved: {type(error).__name__}') from error
        out = BytesIO()
        pickler = PersistentPickler(ConflictResolution.persistent_id, out, 3)
        pickler.dump(meta)
        pickler.dump(resolved)
        return storage._crs_transform_record_data(out.getvalue())

    def _instance(self, meta: Any) -> Any:
        kind, args = meta if type(meta) is tuple and len(meta) == 2 else (meta, ())
        if type(kind) is tuple and len(kind) == 2:
            kind = self._allowed.find(*kind)
        if not isinstance(kind, type):
            raise NotAllowed('the record does not begin with a class')
        if args and not self._allowed.makes(kind):  # ZODB's own take none
            raise NotAllowed(f'the class {kind.__name__} is not made of arguments')
        return kind.__new__(kind, *(args or ()))


def _layers(storage: Any) -> Iterator[Any]:
    """Yield a storage, and those that it consists of."""
    seen: set[int] = set()
    waiting = [storage]
    while waiting:
        layer = waiting.pop()
        if layer is None or id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        if isProxy(layer):
            waiting.append(getProxiedObject(layer))
        attributes = getattr(layer, '__dict__', None)
        if isinstance(attributes, dict):
            waiting += [
                attributes[name] for name in _INNER if hasattr(attributes.get(name), 'loadBefore')
            ]


class _Reconstructor:
    """What stands for the function by which protocol 1 makes objects, and for its base class."""


_RECONSTRUCT, _OBJECT = _Reconstructor(), _Reconstructor()

#: Globals of protocol 1 that stand for no class of a record.
_OF_PROTOCOL_1 = {
    ('copy_reg', '_reconstructor'): _RECONSTRUCT,
    ('copyreg', '_reconstructor'): _RECONSTRUCT,
    ('__builtin__', 'object'): _OBJECT,
    ('builtins', 'object'): _OBJECT,
}


class _Record(Machine):
    """Reads one record: references, and objects of allowed classes."""

    def __init__(self, data: bytes, allowed: Allowed, references: Any, opcodes: int) -> None:
        super().__init__(data, opcodes)
        self._allowed = allowed
        self._references = references
        self._made_here: set[int] = set()  # ids of the objects that may be given a state

    def named(self, module: str, name: str) -> Any:
        return _OF_PROTOCOL_1.get((module, name)) or self._allowed.find(module, name)

    def called(self, function: Any, args: tuple[Any, ...]) -> Any:
        if function is _RECONSTRUCT:
            kind, base, state = args
            if base is not _OBJECT or state is not None:
                raise NotAllowed('an object that is made of a builtin one')
            return self.new(kind, ())
        return self._remembered(self._makeable(function)(*args))

    def new(self, kind: Any, args: tuple[Any, ...]) -> Any:
        kind = self._makeable(kind)
        return self._remembered(kind.__new__(kind, *args))

    def built(self, value: Any, state: Any) -> None:
        if id(value) not in self._made_here:
            raise NotAllowed('a state for something that is not an object')
        if hasattr(value, '__setstate__'):
            value.__setstate__(state)
        elif type(state) is dict and all(type(name) is str for name in state):
            value.__dict__.update(state)
        else:
            raise NotAllowed('a state that is not a dictionary')

    def filled(self, target: Any, items: list[Any]) -> None:
        raise NotAllowed('an object that holds items')

    def persistent(self, reference: Any) -> Any:
        if not _is_reference(reference):
            raise Unreadable('a persistent reference that is not one')
        return self._references.persistent_load(reference)

    def _makeable(self, kind: Any) -> Any:
        if not (isinstance(kind, type) and self._allowed.makes(kind)):
            raise NotAllowed(
                f'{getattr(kind, "__name__", kind)} is not a class whose objects this server makes'
            )
        return kind

    def _remembered(self, value: Any) -> Any:
        self._made_here.add(id(value))  # the machine keeps it
        return value


def _is_reference(reference: Any) -> bool:
    """Whether it is of one of the forms that :class:`ZODB.ConflictResolution.PersistentReference`
    knows.
    """
    if type(reference) is tuple:
        return len(reference) == 2 and _is_name(reference[0])
    if type(reference) is list:
        parts = reference[1] if len(reference) == 2 else reference
        return (
            type(parts) in (tuple, list) and 1 <= len(parts) <= 3 and all(map(_is_name, parts[:2]))
        )
    return _is_name(reference)


def _is_name(value: Any) -> bool:
    """Whether it can be an oid, or the name of a database."""
    return type(value) is bytes or (type(value) is str and value.isascii())
