"""Anything -> the plain data that a message may hold.

Enters: a value, such as what a storage put into an undo log.  Leaves: the same, with whatever the other side would refuse to
unpickle as text.  Fails: never.
"""
from __future__ import annotations

from typing import Any

_ATOMS = (type(None), bool, int, float, str, bytes)

#: Deeper values become text; a message's receiver bounds the depth too.
_DEPTH = 20


def is_plain(value: Any, depth: int = 0) -> bool:
    """Tell whether `value` may be sent as it is."""
    if type(value) in _ATOMS:
        return True
    if depth >= _DEPTH:
        return False
    if type(value) in (tuple, list):
        return all(is_plain(item, depth + 1) for item in value)
    if type(value) is dict:
        return all(type(key) in _ATOMS and is_plain(item, depth + 1) for key, item in value.items())
    return False


def plain(value: Any, depth: int = 0) -> Any:
    """Return `value` as plain data."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if depth < _DEPTH and isinstance(value, list):
        return [plain(item, depth + 1) for item in value]
    if depth < _DEPTH and isinstance(value, tuple):
        return tuple(plain(item, depth + 1) for item in value)
    if depth < _DEPTH and isinstance(value, dict):
        return {key if type(key) in _ATOMS else str(key): plain(item, depth + 1) for key, item in value.items()}
    return str(value)
