"""Exceptions <-> their description on the wire, ``(class name, args)``.

Enters: an exception, or a description. Leaves: a description, or an exception. Fails:
:class:`ProtocolError` for a description of another shape.

The class name is dotted; `args` is the exception's ``__dict__`` where that is not empty, else its
``args``. Exceptions of :mod:`ZODB.POSException` and builtin ones keep their class; those of other
modules become the nearest of these classes that they are derived from, or :class:`ServerException`.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from itertools import islice
from typing import Any

import transaction.interfaces
import ZODB.interfaces
import ZODB.POSException
from ZODB.POSException import ConflictError, MultipleUndoErrors, UndoError

from ZEO import Exceptions
from ZEO.Exceptions import ProtocolError, ServerException
from ZEO.wire import guarded
from ZEO.wire.plain import is_key
from ZEO.wire.quoting import cleaned, quoted, text_of

#: Modules whose exceptions are made again on the receiving side, besides builtins.
_MODULES = (ZODB.POSException, Exceptions, ZODB.interfaces, transaction.interfaces)

#: Classes that are too general: no error of a derived class is sent as one of them.
_GENERAL = (Exception, Warning)

#: Errors of other modules that clients of ZEO 6 know by their names.
_THEIR_OWN = ('BTrees.Interfaces.BTreesConflictError',)

#: Limits of a description: levels of nesting, parts, and characters of a text that stands for an
#: object.
MAX_DEPTH, MOST_PARTS, MOST_TEXT = 8, 10_000, 1000

#: Arguments of an unknown error that are shown.
_SHOWN = 20

#: These would end a loop of the caller without an error.
_END_A_LOOP = (StopIteration, StopAsyncIteration)


def _known() -> dict[str, type[Exception]]:
    known: dict[str, type[Exception]] = {}
    for module in (builtins, *_MODULES):
        for name, value in vars(module).items():
            if (
                isinstance(value, type)
                and issubclass(value, Exception)
                and not issubclass(value, _END_A_LOOP)
            ):
                known[f'{module.__name__}.{name}'] = value
    return known


_KNOWN = _known()


def describe(error: BaseException) -> tuple[str, Any]:
    """Return the description of `error`, with text in place of what is not plain data."""
    name, args = _as_known(error)
    try:
        return name, _Description().of(args, 0)
    except Exception:  # attributes that raise when they are read, or no memory
        return name, (text_of(error),)


def _as_known(error: BaseException) -> tuple[str, Any]:
    """Return name and arguments of an error, as of the nearest class that the other side knows."""
    kind = type(error)
    name = _name_of(kind)
    for base in () if name in _KNOWN or name in _THEIR_OWN else kind.__mro__[1:]:
        if base not in _GENERAL and _KNOWN.get(_name_of(base)) is base:
            return _name_of(base), _as_base(error, base, name)
    return name, error.__dict__ or error.args


def _name_of(kind: type) -> str:
    return f'{kind.__module__}.{kind.__qualname__}'


def _as_base(error: BaseException, base: type, name: str) -> Any:
    """Return what an error of the class `base` would hold; a text in it begins with the name of the
    error's own class.
    """
    for kind, text, others in _BY_ATTRIBUTES:
        if issubclass(base, kind):
            own = error.__dict__
            said = (
                own.get(text)
                or next((arg for arg in error.args if isinstance(arg, str)), None)
                or text_of(error)
            )
            return {text: f'{name}: {said}', **{other: own.get(other) for other in others}}
    first = error.args[:1]
    if first and not isinstance(first[0], str):  # probably an oid, which text must not replace
        return error.args
    return (f'{name}: {first[0]}' if first and first[0] else name, *error.args[1:])


#: Known classes that are described by their attributes: the one that is a text, and the others.
_BY_ATTRIBUTES: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (ConflictError, 'message', ('oid', 'class_name', 'serials')),
    (MultipleUndoErrors, '_reason', ('_oid', '_errs')),
    (UndoError, '_reason', ('_oid',)),
)


class _Description:
    """Turns an error's parts into data that both encodings can send, as far as the limits allow.

    MultipleUndoErrors holds other errors.
    """

    def __init__(self) -> None:
        self._left = MOST_PARTS

    def of(self, value: Any, depth: int) -> Any:
        self._left -= 1
        kind = type(value)
        if value is None or kind in (bool, float, bytes):
            return value
        if kind is int:
            return value if -(2**63) <= value < 2**64 else quoted(value)
        if kind is str:  # M5 cannot send surrogates
            return (
                value
                if value.isascii()
                else value.encode('utf-8', 'backslashreplace').decode('utf-8')
            )
        if depth >= MAX_DEPTH or self._left <= 0:
            return '...'
        if isinstance(value, BaseException):
            name, args = _as_known(value)
            return name, self.of(args, depth + 1)
        if isinstance(value, dict):
            return {
                self._key(key, depth): self.of(item, depth + 1)
                for key, item in self._some(value.items())
            }
        if isinstance(value, (tuple, list)):
            return tuple([self.of(item, depth + 1) for item in self._some(value)])
        return self._text(value)

    def _key(self, key: Any, depth: int) -> Any:
        return self.of(key, depth + 1) if is_key(key) else quoted(key)

    def _some(self, items: Iterable[Any]) -> Iterable[Any]:
        return islice(items, max(0, self._left))

    @staticmethod
    def _text(value: Any) -> Any:
        """Return an object's own text, cut at MOST_TEXT characters."""
        if isinstance(value, (bytes, bytearray)):
            return bytes(value)
        if isinstance(value, (set, frozenset, int)):
            return quoted(value)
        try:
            return cleaned(str(value), MOST_TEXT)
        except Exception:
            return quoted(value)


def restore(description: Any, server: str) -> Exception:
    """Return the exception that `description` describes.

    :param server: the server's address, for the text of a :class:`ServerException`.
    :raises ProtocolError: when it is not a description.
    """
    if not (
        isinstance(description, tuple) and len(description) == 2 and isinstance(description[0], str)
    ):
        raise ProtocolError(f'server {server} sent a malformed description of an error')
    name, args = description
    error = _restored(description, 0)
    if error is None:
        return ServerException(
            f'{cleaned(name, MOST_TEXT)}: {_text(args)} (raised on the server {server})'
        )
    return error


def _restored(value: Any, level: int) -> Exception | None:
    """Return the exception that `value` describes, or None where this side can make none."""
    if not (
        type(value) is tuple
        and len(value) == 2
        and type(value[0]) is str
        and isinstance(value[1], (dict, tuple))
    ):
        return None
    kind = _KNOWN.get(value[0])
    if kind is None or level >= MAX_DEPTH:
        return None
    if (
        issubclass(kind, ConflictError)
        and isinstance(value[1], dict)
        and not _is_conflict(value[1])
    ):
        return None
    try:
        return _make(kind, _errors_restored(value[1], level + 1))
    except Exception:
        # some classes need other arguments: an ExceptionGroup needs exceptions
        return None


def _is_conflict(attributes: dict[str, Any]) -> bool:
    """Return whether these are valid attributes of a conflict error."""
    oid, serials = attributes.get('oid'), attributes.get('serials')
    return (oid is None or type(oid) is bytes) and (
        serials is None
        or (
            type(serials) in (tuple, list)
            and len(serials) == 2
            and all(type(tid) is bytes and len(tid) == 8 for tid in serials)
        )
    )


def _errors_restored(value: Any, level: int) -> Any:
    """Reverse what :class:`_Description` does with errors, down to the same depth."""
    if level > MAX_DEPTH:
        return '...' if isinstance(value, (tuple, list, dict)) else value
    if type(value) is dict:
        return {key: _errors_restored(item, level + 1) for key, item in value.items()}
    if type(value) is list:
        return [_errors_restored(item, level + 1) for item in value]
    if type(value) is tuple:
        error = _restored(value, level)
        return (
            tuple(_errors_restored(item, level + 1) for item in value) if error is None else error
        )
    return value


def _make(kind: type[Exception], args: dict[str, Any] | tuple[Any, ...]) -> Exception:
    """Return an exception of that class. Its constructor is not called, since it may take other
    arguments.
    """
    if isinstance(args, dict):
        error = kind.__new__(kind)
        error.__dict__.update(args)
        return error
    if kind.__module__ == 'builtins':
        # some keep arguments where only their constructor can put them
        return kind(*args)
    error = kind.__new__(kind, *args)
    error.args = args
    return error


def conflict(oid: bytes, serials: tuple[bytes, bytes], data: bytes) -> ConflictError:
    """Return the error for a record that lost against another.

    :param serials: the tids of the committed record and of the one that `data` was made from.
    :param data: the lost record, for the name of its class; it is not given to ZODB, which would
        unpickle it.
    """
    error = ConflictError(oid=oid, serials=serials)
    module, name = guarded.class_name(data)
    if name:
        error.class_name = f'{module}.{name}'
    return error


def _text(args: Any) -> str:
    """Return the arguments of an error of an unknown class, as a text of limited length."""
    if isinstance(args, dict):
        parts = [
            f'{cleaned(key)}={quoted(value, MOST_TEXT)}'
            for key, value in islice(args.items(), _SHOWN)
        ]
    elif isinstance(args, tuple):
        parts = [cleaned(value, MOST_TEXT) for value in args[:_SHOWN]]
    else:
        return cleaned(args, MOST_TEXT)
    return ', '.join(parts)
