"""What stands for globals and objects in the data that :mod:`ZEO.wire.machine` reads.

Enters: names of globals. Leaves: marks without an effect, and makers of plain data for the few
globals by which picklers write it. Fails: :class:`Unreadable` for arguments that picklers do not
write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZEO.wire.opcodes import Unreadable


class Named:
    """Stands for a global: its name, and nothing that could be called."""

    __slots__ = ('module', 'name')

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name


class Opaque:
    """Stands for an object that was not made."""

    __slots__ = ()


class Maker:
    """Stands for a global that makes plain data of plain data."""

    __slots__ = ('make',)

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make


def _encoded(text: str, encoding: str = 'latin1') -> bytes:
    if type(text) is not str or encoding not in ('latin1', 'latin-1'):
        raise Unreadable('bytes that are not encoded as picklers do')
    return text.encode('latin-1')


def _binary(data: bytes = b'') -> bytes:
    if type(data) is not bytes:
        raise Unreadable('bytes that are made of another kind of value')
    return data


#: Globals by which older protocols write plain data; sets are made by the machine, which checks
#: their items.
MAKERS: dict[tuple[str, str], Maker] = {
    ('_codecs', 'encode'): Maker(_encoded),
    ('zodbpickle', 'binary'): Maker(_binary),
    ('builtins', 'bytes'): Maker(_binary),
    ('__builtin__', 'bytes'): Maker(_binary),
    ('builtins', 'set'): Maker(set),
    ('builtins', 'frozenset'): Maker(frozenset),
    ('__builtin__', 'set'): Maker(set),
    ('__builtin__', 'frozenset'): Maker(frozenset),
}

#: Stands for a dictionary, or a class like it, where a reader accepts those as plain data.
DICTIONARY = Maker(dict)
