"""Anything -> the plain data that a message may hold.

Enters: a value, such as what a storage put into an undo log. Leaves: the same, with whatever the
other side would refuse to unpickle as text. Fails: never; what is too deep, or part of itself, or
can't be written, becomes a short text about it.
"""

from __future__ import annotations

from typing import Any

from ZEO.wire.quoting import cleaned, quoted

_ATOMS = (type(None), bool, int, float, str, bytes)

#: Deeper values become text; a message's receiver bounds the depth too.
_DEPTH = 20

#: Parts of one value: far more than any undo log has; without this, lists in lists that are all the
#: same one have no end.
_MOST_PARTS = 1_000_000

#: What stands for more than that.
_LEFT_OUT = '...'

#: Characters of the text that stands for something else.
_MOST_TEXT = 1000


def is_key(value: Any) -> bool:
    """Tell whether `value` may be a key of a dictionary: others could be made for their hashes, and
    few are accepted.
    """
    kind = type(value)
    return (
        kind is str
        or kind is bytes
        or value is None
        or kind is bool
        or (kind is int and -(2**31) <= value < 2**31)
    )


def is_plain(value: Any) -> bool:
    """Tell whether `value` may be sent as it is."""
    return type(value) in _ATOMS or _Plain().accepts(value, 0)


def plain(value: Any) -> Any:
    """Return `value` as plain data."""
    return value if type(value) in _ATOMS else _Plain().of(value, 0)


class _Plain:
    """One value's way through; counts its parts."""

    def __init__(self) -> None:
        self._left = _MOST_PARTS

    def accepts(self, value: Any, depth: int) -> bool:
        kind = type(value)
        if kind in _ATOMS:
            return True
        if depth >= _DEPTH or kind not in (tuple, list, dict):
            return False
        self._left -= len(value)
        if self._left < 0:
            return False
        if kind is dict:
            return all(is_key(key) and self.accepts(item, depth + 1) for key, item in value.items())
        return all(self.accepts(item, depth + 1) for item in value)

    def of(self, value: Any, depth: int) -> Any:
        if type(value) in _ATOMS:
            return value
        if isinstance(value, (bytes, bytearray)):
            return bytes(value)
        if isinstance(value, (list, tuple, dict)):
            self._left -= len(value)
            if depth >= _DEPTH or self._left < 0:
                return _LEFT_OUT
            if isinstance(value, dict):
                return {
                    key if is_key(key) else _text(key): self.of(item, depth + 1)
                    for key, item in value.items()
                }
            items = [self.of(item, depth + 1) for item in value]
            return items if isinstance(value, list) else tuple(items)
        return _text(value)


def _text(value: Any) -> str:
    """What an object calls itself."""
    if isinstance(value, (int, tuple, set, frozenset)):  # whose text may be endless
        return quoted(value)
    try:
        return cleaned(str(value), _MOST_TEXT)
    except Exception:  # its own method, which may do anything
        return quoted(value)
