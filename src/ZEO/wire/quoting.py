"""A peer's text, bytes and values -> short texts for logs and error messages.

Enters: any value, whatever it is made of, and exceptions. Leaves: one line of printable characters,
cut to a length, with a word on how much was cut. Fails: never; a value that can't be shown is
described by its type.

Nobody can forge a line of a log with such a text or write to a terminal by it: line breaks, escape
sequences and characters that change the direction of writing are shown as escapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

#: Characters of a value in a text; enough to see what it is.
MOST = 200

#: Characters of what a client calls itself.
LABEL = 100

#: Items of a container that are shown, and how deep.
_ITEMS, _DEPTH = 6, 3

#: Larger integers are described by their size: Python refuses to write those of more than 4300
#: digits.
_BITS = 256

#: Bytes or characters of a value that an exception's own method may write in full.
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
    except Exception:  # the value's own methods, or no memory for the text
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


def text_of(error: BaseException, most: int = MOST) -> str:
    """Return an exception's text alone; what it quotes is not written out in full where that can be
    seen.
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
    except Exception:  # it quotes what can't be written, or has a __str__ of its own
        pass
    return _arguments(args, most)


def _arguments(args: tuple[Any, ...], most: int) -> str:
    return '' if not args else quoted(args[0] if len(args) == 1 else args, most)


def _is_small(value: Any, depth: int = 0) -> bool:
    """Whether writing `value` in full takes no time: a peer may have chosen it."""
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
    """The `start` of a text of `whole` characters, as far as its escapes fit into `most`."""
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
    """The name of a value's class."""
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
    """A text or bytes in quotes, as much of it as fits."""
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
