"""Opening a cache file: as it was closed, recovered after a crash, resized, or emptied.

Enters: a path, a size, an identity. Leaves: file, index and regions that agree with each other.
What is wrong with a file is logged, once, and then the cache starts empty. Fails:
ClientStorageError when the file cannot be opened, or plainly is not a cache but a user's data;
OSError when it cannot be written.
"""

from __future__ import annotations

import logging
import os
from zlib import crc32

from ZEO.cache import format
from ZEO.cache.cache_file import UNKNOWN_BOOT, CacheFile, boot_id
from ZEO.cache.index import Index
from ZEO.cache.open_cache import MIN_SIZE, OpenCache, create
from ZEO.cache.ownership import open_cache_file
from ZEO.cache.recovery import recover
from ZEO.cache.regions import Regions
from ZEO.cache.resizing import remove_half_made, resized_if_possible

log = logging.getLogger('ZEO.cache')


def open_cache(path: str | None, size: int, identity: str, linked: bool = False) -> OpenCache:
    """Open or make the cache file at path, whose lock is held.

    :param path: None: a temporary file.
    :param size: bytes it may take.
    :param identity: which storage of which database this is.
    :param linked: a symbolic link has led here, so that a file that is not a cache is not even
        renamed.
    :raises ClientStorageError: when the file cannot be opened or is plainly not a cache.
    :raises OSError: when it cannot be written.
    """
    size = min(max(size, MIN_SIZE), format.MAX_SIZE) // format.UNIT * format.UNIT
    file = open_cache_file(path, linked)
    try:
        if path is not None:
            remove_half_made(path)
        cache = _load(file, identity)
        if cache is None:
            return create(file, size, identity)
        if cache.file.end != size // format.UNIT:
            cache = resized_if_possible(cache, size, identity)
        _mark_open(cache)
        return cache
    except BaseException:
        file.close()
        raise


def _mark_open(cache: OpenCache) -> None:
    """Mark the file as not clean from now on: a saved index is void in both states."""
    state = cache.file.state
    state.clean = False
    state.index_at = 0
    state.boot = boot_id()
    cache.regions.save()
    cache.file.write_state(both=True)


def _load(file: CacheFile, identity: str) -> OpenCache | None:
    """Return what is in the file, or None (and say why in the log) if nothing can be used."""
    page = file.read(0, format.RING_START)
    if not page:
        return None  # new
    try:
        size, owner = format.parse_header(page)
        check_usable(file, size, owner, identity)
    except ValueError as error:
        log.warning('Cache file %s cannot be used: %s; it starts empty', file.path, error)
        return None
    index = Index()
    if not (file.state.clean and load_index(file, index)):
        log.info('Cache file %s has no valid index (not closed?); scanning it', file.path)
        if os.fstat(file.fd).st_size != size:
            os.ftruncate(file.fd, size)
        index.clear()
        recover(file, index)
    return OpenCache(file, index, Regions(file, index))


def check_usable(file: CacheFile, size: int, owner: bytes, identity: str) -> None:
    """Load a file's state, and check whether its contents may be served.

    :param size: bytes, as the header says.
    :param owner: which storage of which database the header names.
    :raises ValueError: when the file may not be used, with the reason.
    """
    if not format.same_identity(owner, identity):
        raise ValueError(f'it belongs to {owner.decode(errors="replace")}, not to {identity}')
    if size < MIN_SIZE or size > format.MAX_SIZE:
        raise ValueError('its header is damaged')
    if not file.load_state():
        raise ValueError('its state is damaged')
    file.set_size(size)
    boot = boot_id()
    if not file.state.clean and (boot == UNKNOWN_BOOT or file.state.boot != boot):
        raise ValueError(
            'it was not closed before the machine went down, and parts may not have reached the '
            'disk'
        )


def load_index(file: CacheFile, index: Index) -> bool:
    """Load the index that close() saved; return whether it could be used."""
    state = file.state
    if not state.index_at or not file.start <= state.hand <= state.gap_end <= file.end:
        return False
    if os.fstat(file.fd).st_size != file.end * format.UNIT:
        return False
    saved = _Saved(file, (state.index_at + 1) * format.UNIT, state.index_length)
    try:
        index.load(saved.read)
    except ValueError:
        return False
    return saved.crc == state.index_crc


class _Saved:
    """The saved index, read piece by piece, and its CRC."""

    def __init__(self, file: CacheFile, offset: int, length: int) -> None:
        self._file = file
        self._offset = offset
        self._left = length  # bytes
        self.crc = 0  # of what has been read

    def read(self, length: int) -> bytes:
        """Return the next `length` bytes, or what is left."""
        piece = self._file.read(self._offset, min(length, self._left))
        self._offset += len(piece)
        self._left -= len(piece)
        self.crc = crc32(piece, self.crc)
        return piece
