"""The one unpickler, which makes nothing but plain data, and the pickler that matches it.

Enters: the bytes of one pickle.  Leaves: None, bool, numbers, text, bytes, tuples, lists, dicts, sets, and the few harmless
classes of :data:`ALLOWED`.  Fails: :class:`ForbiddenPickle` for a pickle that names any other global, :class:`ProtocolError`
for bytes that are no pickle, or one made to hurt; whatever a pickle says, nothing of it is run.
"""
from __future__ import annotations

import pickle
import pickletools
import re
from functools import partial
from typing import Any

from ZEO.Exceptions import ProtocolError


class ForbiddenPickle(ProtocolError):
    """A pickle asked for a class or function that is not on the list."""


class _Frozen(type):
    """A class that no pickle can change: BUILD may set attributes on whatever the pickle has put on its stack."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise ForbiddenPickle(f'a message tries to change the class {cls.__name__}')


class _Binary(bytes, metaclass=_Frozen):
    """Bytes from bytes; the builtin type would also make as many zeros as a number says, which costs their sender nothing."""

    def __new__(cls, data: bytes = b'') -> Any:
        if type(data) is not bytes:
            raise ForbiddenPickle(f'a message makes bytes of {type(data).__name__}')
        return data


#: (module, name) -> class: what a message may hold beyond plain data.  zodbpickle.binary marks bytes for Python 2 and is
#: bytes otherwise; zodbpickle's class could be changed by a pickle.  Protocol 3 has no opcodes for sets, nor for the dicts that a
#: subclass makes of itself; those three run nothing, and allocate no more than they are given.
ALLOWED: dict[tuple[str, str], Any] = {
    ('zodbpickle', 'binary'): _Binary,
    **{('builtins', kind.__name__): kind for kind in (dict, set, frozenset)},
}

try:
    from ZopeUndo.Prefix import Prefix
except ImportError:   # only where Zope is installed does anybody filter undoInfo by it
    pass
else:
    ALLOWED['ZopeUndo.Prefix', 'Prefix'] = _Frozen('Prefix', (Prefix,), {})

#: A request nests a few tuples; hashing thousands of nested ones would overrun the C stack.
MAX_TUPLES = 1000

#: What a short pickle needs to hurt: one of the opcodes that put something into the memo, or on the stack once more.
_MEMO = re.compile(rb'[2qr\x94]|p[\s\d+_-]')

_TUPLE_MAKERS = frozenset(b'\x85\x86\x87t\x91R\x81\x92o')

#: No peer writes these.  Those that give an object a second time would let a few bytes stand for any number of objects.
_REFUSED = frozenset('GET BINGET LONG_BINGET DUP PUT PERSID EXT1 EXT2 EXT4 NEXT_BUFFER READONLY_BUFFER'.split())

_FORBIDDEN, _COUNTED_1, _COUNTED_4, _COUNTED_8, _LINE, _LINES, _MEMO_4 = -1, -2, -3, -4, -5, -6, -7


def _steps() -> list[int]:
    """For every opcode, how many bytes its argument takes, or one of the negative constants above."""
    kinds = {'uint1': 1, 'uint2': 2, 'int4': 4, 'uint4': 4, 'uint8': 8, 'float8': 8, 'string1': _COUNTED_1,
             'bytes1': _COUNTED_1, 'long1': _COUNTED_1, 'unicodestring1': _COUNTED_1, 'string4': _COUNTED_4,
             'bytes4': _COUNTED_4, 'long4': _COUNTED_4, 'unicodestring4': _COUNTED_4, 'bytes8': _COUNTED_8,
             'unicodestring8': _COUNTED_8, 'bytearray8': _COUNTED_8, 'decimalnl_short': _LINE, 'decimalnl_long': _LINE,
             'floatnl': _LINE, 'stringnl_noescape_pair': _LINES}
    steps = [_FORBIDDEN] * 256
    for opcode in pickletools.opcodes:
        if opcode.name not in _REFUSED:
            steps[ord(opcode.code)] = kinds.get(opcode.arg.name, _FORBIDDEN) if opcode.arg else 0
    steps[ord('r')] = _MEMO_4
    return steps


_STEPS = _steps()


def check(data: bytes | bytearray) -> None:
    """Walk over a pickle from somebody who is not trusted, before the unpickler sees it.

    The unpickler sizes its memo by the largest index that it meets, and hashes nested tuples recursively; and what holds one
    object many times, on many levels, is more than anybody can look through: each lets a few bytes take down the process.

    :raises ProtocolError: for such a pickle, and for bytes that are no pickle.
    """
    position, end, tuples = 0, len(data), 0
    if end < MAX_TUPLES and not _MEMO.search(data):   # each tuple takes a byte
        return
    try:
        while (opcode := data[position]) != 46:   # '.', the end
            position += 1
            step = _STEPS[opcode]
            if step >= 0:
                position += step
                if opcode in _TUPLE_MAKERS:
                    tuples += 1
            else:
                position = _over_argument(step, data, position, end)
    except (IndexError, ValueError):
        raise ProtocolError('a message that is no pickle: it ends too early') from None
    if tuples > MAX_TUPLES:
        raise ProtocolError(f'a message made of {tuples} tuples, when at most {MAX_TUPLES} are accepted')


def _over_argument(step: int, data: bytes | bytearray, position: int, end: int) -> int:
    if step == _COUNTED_1:
        return position + 1 + data[position]
    if step == _COUNTED_4:
        return position + 4 + int.from_bytes(data[position:position + 4], 'little')
    if step == _COUNTED_8:
        return position + 8 + int.from_bytes(data[position:position + 8], 'little')
    if step == _LINE:
        return data.index(b'\n', position) + 1
    if step == _LINES:
        return data.index(b'\n', data.index(b'\n', position) + 1) + 1
    if step == _MEMO_4 and int.from_bytes(data[position:position + 4], 'little') < end:
        return position + 4
    raise ProtocolError('a message that is no plain pickle')


class _Whole:
    """The file that an unpickler reads, of which it sees everything at its first peek: one call instead of one per opcode."""

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
            raise ForbiddenPickle(f'a message names {module}.{name}, which is not plain data') from None


class _AnswerUnpickler(_PlainUnpickler):
    """Reads ZODB's errors as (class name, state): other servers put some into an answer as they are."""

    def find_class(self, module: str, name: str) -> Any:
        if module == 'ZODB.POSException':
            return partial(_description) if name == '_recon' else f'{module}.{name}'
        return super().find_class(module, name)


def _description(name: str, state: dict[str, Any]) -> tuple[str, Any]:
    if type(name) is not str or type(state) is not dict:
        raise ForbiddenPickle('a message makes an error of what is none')
    args = state.pop('args', ())
    return name, state or args


def loads(data: bytes | bytearray, answer: bool = False) -> Any:
    """Return the plain data that the pickle `data` describes.

    :param answer: it is a server's, in which ZODB's errors are read as their descriptions.
    :raises ForbiddenPickle: when it names a global that is not in :data:`ALLOWED`.
    :raises ProtocolError: when it is not a well-formed pickle.
    """
    try:
        return (_AnswerUnpickler if answer else _PlainUnpickler)(_Whole(data)).load()
    except ForbiddenPickle:
        raise
    # The unpickler has no one error for bad bytes: any builtin exception may come out of it.
    except Exception as error:
        raise ProtocolError(f'a message that is no pickle: {type(error).__name__}: {error}') from None


class _Out:
    """What a pickler writes to."""

    __slots__ = ('parts', 'write')

    def __init__(self) -> None:
        self.parts: list[bytes] = []      # large data comes in parts
        self.write = self.parts.append


#: Picklers to be used again, since making one takes several times as long as a short message does.  One that is in use is not
#: here, so that neither other threads nor what it calls can have it as well; one that has failed does not come back.
_idle: list[tuple[pickle.Pickler, list[bytes]]] = []


#: Bytes of a message after which its pickler is not used again: for each later one it would make room for as much.
_SMALL = 16 * 1024


def _new_pickler() -> tuple[pickle.Pickler, list[bytes]]:
    out = _Out()
    pickler = pickle.Pickler(out, 3)
    pickler.fast = True
    return pickler, out.parts


def dumps(value: Any) -> bytes:
    """Return `value` as a pickle of protocol 3 without memo, as every version of the protocol's peers reads it."""
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
