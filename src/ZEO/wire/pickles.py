"""The one unpickler, which makes nothing but plain data, and the pickler that matches it.

Enters: the bytes of one pickle. Leaves: None, bool, numbers, text, bytes, tuples, lists, dicts,
sets, and the few harmless classes of :data:`ALLOWED`. Fails: :class:`ForbiddenPickle` for a pickle
that names any other global, :class:`ProtocolError` for bytes that are not a pickle, or for one that
could do harm; whatever a pickle says, nothing of it is run.
"""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

from ZEO.Exceptions import ProtocolError
from ZEO.wire.checks import check, check_answer, check_first
from ZEO.wire.key_checks import MAX_ODD_KEYS

__all__ = ['ALLOWED', 'ForbiddenPickle', 'check', 'check_answer', 'check_first', 'dumps', 'loads']


class ForbiddenPickle(ProtocolError):
    """A pickle names a class or function that is not in :data:`ALLOWED`."""


class _Frozen(type):
    """A class that no pickle can change: BUILD may set attributes of any value on the stack."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise ForbiddenPickle(f'a message tries to change the class {cls.__name__}')


class _Binary(bytes, metaclass=_Frozen):
    """Bytes from bytes. The builtin type would also make as many zeros as a number says, which
    costs a sender nothing.
    """

    def __new__(cls, data: bytes = b'') -> Any:
        if type(data) is not bytes:
            raise ForbiddenPickle(f'a message makes bytes of {type(data).__name__}')
        return data


def _few_odd(keys: Any) -> None:
    """Refuse many keys that are neither text nor bytes: the sender may have chosen them for equal
    hashes.
    """
    if len(keys) - sum(type(key) in (str, bytes) for key in keys) > MAX_ODD_KEYS:
        raise ForbiddenPickle(f'a message with more than {MAX_ODD_KEYS} keys that are not text')


class _Dict(metaclass=_Frozen):
    """A dictionary."""

    def __new__(cls, items: Any = ()) -> Any:
        if type(items) not in (tuple, list, dict):
            raise ForbiddenPickle(f'a message makes a dictionary of {type(items).__name__}')
        pairs = list(items.items()) if type(items) is dict else items
        if not all(type(pair) in (tuple, list) and len(pair) == 2 for pair in pairs):
            raise ForbiddenPickle('a message makes a dictionary of values that are not pairs')
        _few_odd([key for key, _ in pairs])
        return dict(pairs)


class _Set(metaclass=_Frozen):
    """A set."""

    _kind: Any = set

    def __new__(cls, items: Any = ()) -> Any:
        if type(items) not in (tuple, list, set, frozenset):
            raise ForbiddenPickle(f'a message makes a set of {type(items).__name__}')
        _few_odd(items)
        return cls._kind(items)


class _FrozenSet(_Set):
    _kind = frozenset


#: (module, name) -> class: what a message may hold besides plain data. zodbpickle.binary marks
#: bytes for Python 2 and is bytes otherwise; zodbpickle's own class could be changed by a pickle.
#: Protocol 3 has no opcodes for sets, nor for dicts that a subclass is reduced to; the three
#: classes for them run nothing, and allocate no more than they are given.
ALLOWED: dict[tuple[str, str], Any] = {
    ('zodbpickle', 'binary'): _Binary,
    ('builtins', 'dict'): _Dict,
    ('builtins', 'set'): _Set,
    ('builtins', 'frozenset'): _FrozenSet,
}

try:
    from ZopeUndo.Prefix import Prefix
except ImportError:  # only Zope filters undoInfo by it
    pass
else:
    ALLOWED['ZopeUndo.Prefix', 'Prefix'] = _Frozen('Prefix', (Prefix,), {})


class _Whole:
    """The file that an unpickler reads. The first `peek` returns everything, so that there is one
    call instead of one for each opcode.
    """

    __slots__ = ('_data',)

    def __init__(self, data: bytes | bytearray) -> None:
        self._data: bytes | bytearray = data

    def peek(self, size: int) -> bytes | bytearray:
        data, self._data = self._data, b''
        return data

    def read(self, size: int) -> bytes:
        return b''

    def readline(self) -> bytes:
        return b''


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise ForbiddenPickle(
                f'a message names {module}.{name}, which is not plain data'
            ) from None


class _AnswerUnpickler(_PlainUnpickler):
    """Reads ZODB's errors as (class name, state): other servers pickle some of them as they are."""

    def find_class(self, module: str, name: str) -> Any:
        if module == 'ZODB.POSException':
            return partial(_description) if name == '_recon' else f'{module}.{name}'
        return super().find_class(module, name)


def _description(name: str, state: dict[str, Any]) -> tuple[str, Any]:
    if type(name) is not str or type(state) is not dict:
        raise ForbiddenPickle('a message makes an error of values that do not describe one')
    args = state.pop('args', ())
    return name, state or args


def loads(data: bytes | bytearray, answer: bool = False) -> Any:
    """Return the plain data that the pickle `data` describes.

    :param answer: whether a server sent it; then ZODB's errors are read as their descriptions.
    :raises ForbiddenPickle: when it names a global that is not in :data:`ALLOWED`.
    :raises ProtocolError: when it is not a well-formed pickle.
    """
    try:
        return (_AnswerUnpickler if answer else _PlainUnpickler)(_Whole(data)).load()
    except ForbiddenPickle:
        raise
    # The unpickler raises any builtin exception for bad bytes.
    except Exception as error:
        raise ProtocolError(
            f'a message that is not a pickle: {type(error).__name__}: {error}'
        ) from None


class _Out:
    """The file that a pickler writes to."""

    __slots__ = ('parts', 'write')

    def __init__(self) -> None:
        self.parts: list[bytes] = []  # large data comes in parts
        self.write = self.parts.append


#: Picklers to be used again, since making one takes several times as long as a short message. One
#: that is in use is not here, so that neither another thread nor code that it calls can use it at
#: the same time; one that has failed is not put back.
_idle: list[tuple[pickle.Pickler, list[bytes]]] = []


#: Bytes of a message after which its pickler is not used again: it would allocate as much for each
#: later message.
_SMALL = 16 * 1024


def _new_pickler() -> tuple[pickle.Pickler, list[bytes]]:
    out = _Out()
    pickler = pickle.Pickler(out, 3)
    pickler.fast = True
    return pickler, out.parts


def dumps(value: Any) -> bytes:
    """Return `value` as a pickle of protocol 3 without memo, which all versions of ZEO read."""
    try:
        pickler, parts = _idle.pop()
    except IndexError:
        pickler, parts = _new_pickler()
    pickler.dump(value)
    data = parts[0] if len(parts) == 1 else b''.join(parts)
    parts.clear()
    if len(data) <= _SMALL:
        _idle.append((pickler, parts))
    return data
