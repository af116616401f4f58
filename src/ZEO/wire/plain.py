"""Any value -> the plain data that a message may hold.

Enters: a value, such as an entry of a storage's undo log. Leaves: the same, with text in place of
objects that the other side would refuse to unpickle. Fails: never; a value that is nested too
deeply, contains itself, or has no text becomes a short text about it.
"""

from __future__ import annotations

from typing import Any

from ZEO.wire.quoting import cleaned, quoted

_ATOMS = (type(None), bool, int, float, str, bytes)

#: Levels of nesting; deeper values become text. The receiver of a message limits them as well.
_DEPTH = 20

#: Parts of one value, far more than any undo log has. Without a limit a list that is shared again
#: and again would unfold without end.
_MOST_PARTS = 1_000_000

#: Stands for parts beyond these limits.
_LEFT_OUT = '...'

#: Characters of a text that stands for an object.
_MOST_TEXT = 1000


def is_key(value: Any) -> bool:
    """Return whether `value` may be a key of a dictionary. A receiver accepts few others, since a
    peer could choose them for equal hashes.
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
    """Return whether `value` may be sent unchanged."""
    return type(value) in _ATOMS or _Plain().accepts(value, 0)


def plain(value: Any) -> Any:
    """Return `value` as plain data."""
    return value if type(value) in _ATOMS else _Plain().of(value, 0)


class _Plain:
    """Walks through one value, and counts its parts."""

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
    """Return an object's own text."""
    if isinstance(value, (int, tuple, set, frozenset)):  # whose text may be very long
        return quoted(value)
    try:
        return cleaned(str(value), _MOST_TEXT)
    except Exception:  # its own method, which may do anything
        return quoted(value)
