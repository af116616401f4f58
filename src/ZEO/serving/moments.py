"""Moments, durations and sizes as operators read them.

Enters: numbers, some of them from clients. Leaves: short texts. Fails: never; what is not a moment
is quoted.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from persistent.TimeStamp import TimeStamp
from ZODB.utils import z64

from ZEO.wire.quoting import quoted

#: Seconds or bytes; what is more, or not even a number, is nonsense that a server has sent.
_LARGEST = 1e18


def iso(moment: Any) -> str:
    """Return a moment, in seconds since the epoch, as ISO 8601 writes it, in UTC."""
    try:
        return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec='seconds')
    except (TypeError, ValueError, OverflowError, OSError):
        return quoted(moment)


def time_of(tid: bytes | None) -> float | None:
    """Return when a transaction was committed, in seconds since the epoch; None for none."""
    return None if not tid or tid == z64 else TimeStamp(tid).timeTime()


def lasted(seconds: float) -> str:
    """Return a duration: ``0.3 s``, ``12 s``, ``5 min``, ``3 h 20 min``, ``12 d 3 h``."""
    if not -_LARGEST < seconds < _LARGEST:
        return 'unknown'
    if seconds < 10:
        return f'{max(0.0, seconds):.1f} s'
    if seconds < 120:
        return f'{seconds:.0f} s'
    minutes = int(seconds // 60)
    if minutes < 60:
        return f'{minutes} min'
    if minutes < 48 * 60:
        return f'{minutes // 60} h {minutes % 60} min'
    return f'{minutes // 1440} d {minutes // 60 % 24} h'


def size(count: Any) -> str:
    """Return a number of bytes: ``512 bytes``, ``12.3 MB``."""
    if not isinstance(count, (int, float)) or not -_LARGEST < count < _LARGEST:
        return 'unknown'
    for unit, name in (2**30, 'GB'), (2**20, 'MB'), (2**10, 'KB'):
        if count >= unit:
            return f'{count / unit:.1f} {name}'
    return f'{count:.0f} bytes'
