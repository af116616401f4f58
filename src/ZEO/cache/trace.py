"""A trace of the calls of a cache, for `zeo-cache trace` and `zeo-cache simulate`.

Enters: events. Leaves: a file of fixed-size entries beside the cache file, or events read from one.
Fails: when the file cannot be written, writing stops, with one line in the log; reading raises
ValueError for a file that is not a trace.

ZEO_CACHE_TRACE turns it on, set to anything but an empty string, for caches that have a path.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ZEO import files

log = logging.getLogger('ZEO.cache')

SUFFIX = '.trace'  # added to the cache file's path
_MAGIC = b'ZEOtrc1\n'
# seconds since the epoch, what, size in bytes, oid, tid, end or before
_ENTRY = struct.Struct('<dBI8s8s8s')

#: Seconds since the epoch, before which every event was: the end of the year 9999, past which some
#: systems do not know a date.
_LATEST = 253_402_300_800
_NO_TID = b'\0' * 8

LOAD_HIT, LOAD_MISS, BEFORE_HIT, BEFORE_MISS, STORE, INVALIDATE, CLEAR, OPEN = range(8)
NAMES = (
    'load hit',
    'load miss',
    'loadBefore hit',
    'loadBefore miss',
    'store',
    'invalidate',
    'clear',
    'open',
)


@dataclass(frozen=True)
class Event:
    """One call of a cache."""

    time: float  # seconds since 1970
    what: int  # index of NAMES
    size: int  # of the data in bytes, 0 where there is none
    oid: bytes
    tid: bytes | None  # of the revision, or of the invalidation
    end: bytes | None  # when the revision ended; for loadBefore, the tid asked for


class Trace:
    """Writes events to a file.

    :param path: of a trace, which is continued, or of a new file.
    :raises OSError: also for a file that is not a trace.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: BinaryIO | None = open(_open(path), 'ab')
        if self._file.tell() == 0:
            self._file.write(_MAGIC)
        self.record(OPEN)

    def record(
        self,
        what: int,
        oid: bytes = b'',
        tid: bytes | None = None,
        end: bytes | None = None,
        size: int = 0,
    ) -> None:
        """Write one event; never raise OSError."""
        file = self._file
        if file is None:
            return
        try:
            file.write(_ENTRY.pack(time.time(), what, size, oid, tid or _NO_TID, end or _NO_TID))
        except (OSError, ValueError) as error:  # ValueError: another thread has closed it
            self._file = None
            log.warning('Cache trace %s ends, it cannot be written: %s', self._path, error)

    def close(self) -> None:
        """Write what is buffered and close the file; never raise OSError."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                log.warning('Cache trace %s is incomplete: %s', self._path, error)


def _open(path: str) -> int:
    """Return a descriptor that appends to the trace at `path`.

    :raises OSError: also for a file that is not a trace.
    """
    fd = files.open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    if os.fstat(fd).st_size and os.pread(fd, len(_MAGIC), 0) != _MAGIC:
        os.close(fd)
        raise OSError(errno.EEXIST, 'there is a file of that name that is not a cache trace', path)
    return fd


def wanted(path: str | None) -> Trace | None:
    """Return a trace for the cache file at `path` if ZEO_CACHE_TRACE turns it on, else None."""
    if path is None or not os.environ.get('ZEO_CACHE_TRACE'):
        return None
    try:
        return Trace(path + SUFFIX)
    except OSError as error:
        log.warning('No cache trace %s: %s', path + SUFFIX, error.strerror or error)
        return None


def read(path: str) -> Iterator[Event]:
    """Yield the events of the trace at `path`.

    :raises OSError: when it cannot be read.
    :raises ValueError: when it is damaged or not a trace.
    """
    with open(path, 'rb') as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(f'{path} is not a cache trace')
        while len(entry := file.read(_ENTRY.size)) == _ENTRY.size:
            when, what, size, oid, tid, end = _ENTRY.unpack(entry)
            if what >= len(NAMES) or not 0 <= when < _LATEST:
                raise ValueError(f'{path} is damaged')
            yield Event(when, what, size, oid, _or_none(tid), _or_none(end))


def _or_none(tid: bytes) -> bytes | None:
    return None if tid == _NO_TID else tid
