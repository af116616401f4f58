"""A peer's text, bytes and values -> short texts for logs and error messages.

Enters: any value, and exceptions. Leaves: one line of printable characters, cut to a length, with
the number of characters that were cut. Fails: never; a value that cannot be shown is described by
its type.

A peer cannot forge a line of a log or control a terminal with such a text: line breaks, escape
sequences and characters that change the direction of writing are shown as escapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

#: Characters of a value in a text; enough to recognise it.
MOST = 200

#: Characters of a client's label.
LABEL = 100

#: Items of a container that are shown, and levels of nesting.
_ITEMS, _DEPTH = 6, 3

#: Bits of an integer; larger ones are described by their size, since Python refuses to write more
#: than 4300 digits.
_BITS = 256

#: Bytes or characters of a value that an exception's own ``__str__`` may write in full.
_SMALL = 10_000

_BRACKETS: dict[type, tuple[str, str]] = {
    list: ('[', ']'),
    tuple: ('(', ')'),
    set: ('{', '}'),
    frozenset: ('{', '}'),
    dict: ('{', '}'),
}


def quoted(value: Any, most: int = MOST) -> str:
    """Return `value` as Python would write it, cut at `most` characters."""
    try:
        text = _shown(value, most, 0)
        return text if isinstance(value, (str, bytes, bytearray)) else _cut(text, most)
    except Exception:  # the value's own methods may raise anything, and memory may be short
        return f'<{_kind(value)}>'


def cleaned(text: Any, most: int = MOST) -> str:
    """Return a text without quotes around it, in one line, cut at `most` characters."""
    if not isinstance(text, str):
        return quoted(text, most)
    try:
        start = str(text[:most])
        if start.isprintable():
            return start if len(text) <= most else f'{start}... ({len(text) - most} more)'
        return _escaped(start, most, len(text))
    except Exception:
        return f'<{_kind(text)}>'


def explained(error: BaseException, most: int = MOST) -> str:
    """Return an exception's class and text."""
    text = text_of(error, most)
    return f'{_kind(error)}: {text}' if text else _kind(error)


def of_database(error: BaseException, most: int = MOST) -> str:
    """Return the class and text of an error of a database's driver, whose texts have several lines,
    in one line without escapes.
    """
    try:
        text = cleaned(' '.join(str(error).split()), most)
    except Exception:
        return explained(error, most)
    return f'{_kind(error)}: {text}' if text else _kind(error)


def text_of(error: BaseException, most: int = MOST) -> str:
    """Return an exception's text without its class; values that it quotes are shortened where that
    is possible.
    """
    args = error.args
    writes = type(error).__str__
    try:
        if writes is BaseException.__str__ or writes is KeyError.__str__:
            plain_text = (
                writes is BaseException.__str__ and len(args) == 1 and isinstance(args[0], str)
            )
            return cleaned(args[0], most) if plain_text else _arguments(args, most)
        if _is_small((args, error.__dict__)):
            return cleaned(str(error), most)
    except Exception:  # it quotes a value that has no text, or has a __str__ of its own
        pass
    return _arguments(args, most)


def _arguments(args: tuple[Any, ...], most: int) -> str:
    return '' if not args else quoted(args[0] if len(args) == 1 else args, most)


def _is_small(value: Any, depth: int = 0) -> bool:
    """Return whether `value`, which a peer may have chosen, can be written in full quickly."""
    if isinstance(value, (str, bytes, bytearray)):
        return len(value) <= _SMALL
    if isinstance(value, (tuple, list, set, frozenset, dict)):
        return (
            depth < _DEPTH
            and len(value) <= _SMALL // 100
            and all(
                _is_small(item, depth + 1)
                for item in (value.values() if isinstance(value, dict) else value)
            )
        )
    return True


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f'{text[:most]}... ({len(text) - most} more)'


def _escaped(start: str, most: int, whole: int) -> str:
    """Return the `start` of a text of `whole` characters, escaped, and cut at `most`."""
    pieces: list[str] = []
    size = 0
    for char in start:
        piece = char if char.isprintable() else char.encode('unicode_escape').decode('ascii')
        size += len(piece)
        if size > most:
            break
        pieces.append(piece)
    more = whole - len(pieces)
    return ''.join(pieces) + (f'... ({more} more)' if more else '')


def _kind(value: Any) -> str:
    """Return the name of a value's class."""
    name = type(value).__name__
    return cleaned(name, LABEL) if type(name) is str else 'object'


def _shown(value: Any, most: int, depth: int) -> str:
    kind = type(value)
    if kind is str or kind is bytes or kind is bytearray:
        return _literal(value, most)
    if kind is int:
        return (
            repr(value)
            if value.bit_length() <= _BITS
            else f'<an integer of {value.bit_length()} bits>'
        )
    if value is None or kind is bool or kind is float:
        return repr(value)
    if kind in _BRACKETS:
        return _container(value, most, depth)
    if isinstance(value, BaseException):
        return explained(value, most)
    return f'<{_kind(value)}>'


def _literal(value: Any, most: int) -> str:
    """Return as much of a text or bytes as fits, in quotes."""
    taken = min(len(value), most)
    text = repr(value[:taken])
    while len(text) > most + 20 and taken:
        taken = min(taken - 1, taken * most // len(text))
        text = repr(value[:taken])
    more = len(value) - taken
    return f'{text}... ({more} more)' if more else text


def _container(value: Any, most: int, depth: int) -> str:
    opening, closing = _BRACKETS[type(value)]
    if depth >= _DEPTH:
        return f'{opening}...{closing}'
    if type(value) is dict:
        parts = [
            f'{_shown(key, most, depth + 1)}: {_shown(item, most, depth + 1)}'
            for key, item in _first(value.items())
        ]
    else:
        parts = [_shown(item, most, depth + 1) for item in _first(value)]
    more = len(value) - len(parts)
    if more:
        parts.append(f'... {more} more')
    elif type(value) is tuple and len(parts) == 1:
        parts.append('')
    return opening + ', '.join(parts).rstrip(' ') + closing


def _first(value: Iterable[Any]) -> list[Any]:
    return list(islice(value, _ITEMS))
