"""The guarded reader: what a server may know of stored bytes, without running anything.

Enters: a record, or a transaction's extension, as a client sent it or as the database holds it.
Leaves: the name of a record's class, the oids that it refers to, the plain data of an extension.
Fails: :class:`Unreadable` from :func:`references`; the other functions return something for any
bytes.

No module of a server gives such bytes to an unpickler of ZODB, zodbpickle or Python; see
:mod:`ZEO.wire.machine` for what keeps them from taking memory or time.
"""

from __future__ import annotations

import re
from typing import Any

from ZEO.wire.machine import Machine
from ZEO.wire.marks import DICTIONARY, Maker, Named, Opaque
from ZEO.wire.opcodes import Unreadable
from ZEO.wire.plain import is_plain

__all__ = ['Unreadable', 'class_name', 'extension', 'is_blob', 'references']

#: The class part of nearly every record.
_CLASS = re.compile(rb'(?:\x80[\1-\3])?\(?c([!-~]{1,200})\n([!-~]{1,200})\n')

#: Opcodes in the class part of any record.
_CLASS_OPCODES = 200

#: Characters of a module or class name; longer ones are not of classes.
_LONGEST_NAME = 200

#: Opcodes in an extension; FileStorage does not keep longer ones.
_EXTENSION_OPCODES = 64 * 1024


def class_name(data: bytes) -> tuple[str, str]:
    """Return module and name of a record's class, as ZODB's ``get_pickle_metadata`` does; ``('',
    '')`` if they cannot be read.
    """
    found = _CLASS.match(data)
    if found is not None:
        return found[1].decode('ascii'), found[2].decode('ascii')
    try:
        return _names(_class_part(data))
    except Unreadable:
        return '', ''


def _class_part(data: bytes) -> Any:
    return Machine(data, _CLASS_OPCODES).load()


def _names(part: Any) -> tuple[str, str]:
    if type(part) is tuple and part and type(part[0]) is not str:
        part = part[0]
    if type(part) is Named:
        part = part.module, part.name
    if (
        type(part) is tuple
        and len(part) == 2
        and all(type(name) is str and len(name) <= _LONGEST_NAME for name in part)
    ):
        return part
    return '', ''


def is_blob(data: bytes | None) -> bool:
    """Return whether a record is a blob's, as ZODB's ``is_blob_record`` does."""
    if not data or b'ZODB.blob' not in data:
        return False
    try:
        part = _class_part(data)
    except Unreadable:
        return False
    return type(part) is Named and (part.module, part.name) == ('ZODB.blob', 'Blob')


#: Classes that are read as a dictionary in an extension: subclasses are pickled as a call of these.
_DICTIONARIES = frozenset(
    [('builtins', 'dict'), ('__builtin__', 'dict'), ('collections', 'OrderedDict')]
)


class _Extension(Machine):
    """Reads the extension of a transaction, which may be any kind of dictionary."""

    def named(self, module: str, name: str) -> Any:
        return DICTIONARY if (module, name) in _DICTIONARIES else super().named(module, name)


def extension(data: bytes) -> tuple[dict[str, Any], bool]:
    """Return the plain data in the extension of a transaction, and whether that is all of it."""
    if not data:
        return {}, True
    try:
        found = _Extension(data, _EXTENSION_OPCODES, text_or_bytes=True).load()
    except Unreadable:
        return {}, False
    if type(found) is not dict:
        return {}, False
    plain = {key: value for key, value in found.items() if type(key) is str and is_plain(value)}
    return plain, len(plain) == len(found)


class _References(Machine):
    """Finds persistent references, and keeps no other data."""

    bounded = False

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.found: list[Any] = []

    def persistent(self, reference: Any) -> Any:
        self.found.append(reference)
        return Opaque()

    def push_new(self, value: Any, weight: int = 1, depth: int = 1) -> None:
        """Put a mark for what can grow, and ignore what goes into it."""
        self.push(Opaque())

    def mapping(self, start: int) -> Any:
        return Opaque()

    def filled(self, target: Any, items: list[Any]) -> None:
        """Drop the items."""

    def built(self, value: Any, state: Any) -> None:
        """Drop the state."""

    def make(self, start: int, function: Any, args: Any, new: bool) -> None:
        is_data = (
            type(function) is Maker
            and type(args) is tuple
            and function.make not in (set, frozenset)
        )
        self.replace(start, function.make(*args) if is_data else Opaque())


def references(data: bytes) -> list[bytes]:
    """Return the oids that a record refers to, as ZODB's ``referencesf`` does: without weak
    references and those to other databases.

    :raises Unreadable: for a record that is not pickled as ZODB does, whose references are unknown.
    """
    reader = _References(data)
    reader.load()
    reader.load()
    return [oid for oid in map(_oid, reader.found) if oid is not None]


def _oid(reference: Any) -> bytes | None:
    """Return the oid of a reference; None for a value that is not a strong reference."""
    if type(reference) is tuple and reference:
        reference = reference[0]
    if type(reference) is str and reference.isascii():  # written by Python 2
        reference = reference.encode('ascii')
    return reference if type(reference) is bytes and len(reference) == 8 else None
