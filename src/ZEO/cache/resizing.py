"""A cache of another size: what fits is copied into a new file, which replaces the old one.

Enters: an open cache, a size. Leaves: the cache in the new file; the old one when that cannot be
made, which is logged. Fails: never; a half-made file is removed, at the next start if the process
was killed.
"""

from __future__ import annotations

import logging
import os
from contextlib import closing

from ZEO.cache import format
from ZEO.cache.cache_file import open_file
from ZEO.cache.index import PLACE_SHIFT, USES
from ZEO.cache.open_cache import OpenCache, create
from ZEO.cache.ring import NotStored
from ZEO.Exceptions import ClientStorageError

log = logging.getLogger('ZEO.cache')

RESIZED = '.resized'  # added to the path while a file of another size is being made


def resized_if_possible(cache: OpenCache, size: int, identity: str) -> OpenCache:
    """Return the cache in a file of `size` bytes that has replaced this one, or this one."""
    try:
        return _resize(cache, size, identity)
    except (OSError, NotStored, ClientStorageError) as error:
        log.warning('Cache file %s keeps its size for now: %s', cache.file.path, error)
        return cache


def remove_half_made(path: str) -> None:
    """Remove what a killed resizing of the cache at path has left, but no other file of that
    name.
    """
    path += RESIZED
    if not os.path.lexists(path):
        return
    try:
        file = open_file(path)
    except ClientStorageError:
        return  # it prevents a resizing, and nothing else
    with closing(file):
        # of the header there may be a part, or what a machine that went down has left: zeros
        head = file.read(0, format.RING_START).rstrip(b'\0')
        if head.startswith(format.MAGIC) or format.MAGIC.startswith(head):
            os.unlink(path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # it was never made, or is removed at the next start


def _resize(cache: OpenCache, size: int, identity: str) -> OpenCache:
    """Copy what fits into a file of the new size, and replace the old one by it."""
    old = cache.file
    assert old.path is not None
    log.info('Resizing cache file %s to %s bytes', old.path, size)
    new_path = old.path + RESIZED
    file = open_file(new_path, new=True)
    try:
        new = create(file, size, identity)
        for place, oid, value in _what_fits(cache, new):
            _copy(cache, new, place, oid, value)
        for name in ('last_tid', 'hits', 'misses', 'stores'):
            setattr(new.file.state, name, getattr(old.state, name))
        new.regions.save()
        new.file.write_state(both=True)
        os.replace(new_path, old.path)
    except BaseException:
        file.close()
        _remove(new_path)
        raise
    new.file.path = old.path
    old.close()
    return new


def _what_fits(cache: OpenCache, new: OpenCache) -> list[tuple[int, int, int | None]]:
    """Return (place, oid, index value or None) of what to copy, in the order of eviction."""
    small, main = cache.regions.small, cache.regions.main

    def turn(entry: tuple[int, int, int | None]) -> tuple[bool, bool, bool, int]:
        place, _, value = entry
        is_main = place >= small.end
        return value is not None, is_main, place < (main if is_main else small).hand, place

    wanted: list[tuple[int, int, int | None]] = []
    wanted += [(place, oid, None) for oid, place in cache.index.closed_items()]
    wanted += [(value >> PLACE_SHIFT, oid, value) for oid, value in cache.index.current_items()]
    wanted.sort(key=turn)
    room = new.file.end - new.file.start
    fitting: list[tuple[int, int, int | None]] = []
    for entry in reversed(wanted):
        header = cache.file.read_header(entry[0])
        if header is None or not new.regions.holds(header.length):
            continue
        room -= header.units
        if room < 0:
            break
        fitting.append(entry)
    fitting.reverse()
    return fitting


def _copy(cache: OpenCache, new: OpenCache, place: int, oid: int, value: int | None) -> None:
    header = cache.file.read_header(place)
    if header is None:
        return
    record = cache.file.read_units(place, format.RECORD_HEADER + header.length)
    if not format.body_checks(header, record[format.BODY :], cache.file.seed(place)):
        return
    fields = header.oid, header.tid, header.end, record[format.RECORD_HEADER :]
    at = new.regions.main.place(
        header.units, lambda at: format.pack_record(*fields, new.file.seed(at))
    )
    if value is None:
        new.index.add_closed(oid, at)
        new.regions.note_closed(at, header.units)
    else:
        new.index.set(oid, at << PLACE_SHIFT | value & USES)
