"""The last commits in a FileStorage's file, of which a power failure may have kept parts.

Enters: the path of a FileStorage that is not open. Leaves: a file without the first of them of
which something is missing, and what is behind it; what there was is kept beside it. Fails: OSError
where the disk does.

A commit is acknowledged when all of it is on the disk. If the power fails before that, any of its
sectors may be missing, in any order, and zeros are in their place: FileStorage may take the rest
for a whole commit, or refuse to open the file. A GroupedFileStorage syncs several commits at once,
so it may be any of the last ones. Nothing is cut off but what one sync would have made permanent,
and only if sectors of it hold nothing but zeros and something there cannot be right.

What is missing within a long text of a record cannot be told from zeros that were stored.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from io import BytesIO
from pickletools import genops
from typing import BinaryIO

from ZODB.FileStorage.FileStorage import packed_version
from ZODB.FileStorage.format import DATA_HDR, DATA_HDR_LEN, TRANS_HDR, TRANS_HDR_LEN
from ZODB.utils import u64, z64

log = logging.getLogger('ZEO.StorageServer')

_SECTOR = 512  # bytes that a disk writes as a whole, or not at all
_START = len(packed_version)
_AT_ONCE = 1 << 20  # bytes copied at once

#: Commits, and their bytes, that are not synced at a time; a single one may have more bytes. Each
#: start of a server reads them.
MOST_TRANSACTIONS, MOST_BYTES = 256, 16 << 20


def cut(path: str) -> None:
    """Cut off a torn commit at the end of the file at `path`.

    :raises OSError: when the file cannot be read, or what is cut off cannot be kept.
    """
    with open(path, 'r+b') as file:
        size = file.seek(0, os.SEEK_END)
        if size <= _START:
            _look_at_start(file, size)
            return
        file.seek(0)
        is_one = file.read(_START) == packed_version
        begin = _torn(file, size, _indexed(path)) if is_one else None
        if begin is None:
            return
        aside = _keep(file, path, begin)
        file.truncate(begin)
        file.flush()
        os.fsync(file.fileno())
    log.error(
        'the end of %s, %d bytes from byte %d on, is not whole: the power failed before it was '
        'acknowledged; it was moved to %s',
        path,
        size - begin,
        begin,
        aside,
    )


def _look_at_start(file: BinaryIO, size: int) -> None:
    """Empty a file that was just made, if its first bytes did not all reach the disk."""
    file.seek(0)
    found = file.read(size)
    if size and found != packed_version and packed_version.startswith(found.rstrip(b'\0')):
        file.truncate(0)


def _indexed(path: str) -> int | None:
    """Return where the commits end that an index knows, all of which were on the disk before it;
    None where there is none.
    """
    try:
        with open(path + '.index', 'rb') as file:
            numbers = (arg for code, arg, _ in genops(file.read(32)) if code.name != 'PROTO')
            return next((number for number in numbers if type(number) is int), None)
    except Exception:  # genops raises whatever it comes to
        return None


def _torn(file: BinaryIO, size: int, indexed: int | None) -> int | None:
    """Return where the first torn commit begins, or None.

    :param indexed: a place up to which nothing is torn.
    """
    if size < _START + TRANS_HDR_LEN:
        return None  # FileStorage itself cuts that off
    last, is_sound = _last_ones(file, size, indexed)
    broken = size
    if not is_sound:
        broken = _first_broken(file, size)
        last, _ = _last_ones(file, broken, indexed)
    for begin, end in last:
        lost = _lost(file, begin, end)
        if lost and not _may_be_whole(file, begin, lost):
            return begin
    return broken if broken < size and _is_torn(file, broken, size) else None


def _last_ones(file: BinaryIO, end: int, indexed: int | None) -> tuple[list[tuple[int, int]], bool]:
    """Return where the commits in front of `end` begin and end that may not have been synced, the
    oldest first; and whether all of them have a header and an end that are right.

    :param indexed: a place in front of which everything was synced.
    """
    found: list[tuple[int, int]] = []
    stop, last = end, b'\xff' * 8
    while stop > _START and len(found) < MOST_TRANSACTIONS:
        if found and indexed in (stop, end):
            break
        file.seek(stop - 8)
        begin = stop - 8 - u64(file.read(8))
        if found and end - begin > MOST_BYTES:
            break
        if begin < _START or _end_of(file, begin, stop) != stop:
            return found[::-1], False
        file.seek(begin)
        tid = file.read(8)
        if tid >= last:  # of a clock that was set back long ago
            break
        found.append((begin, stop))
        stop, last = begin, tid
    return found[::-1], True


def _is_torn(file: BinaryIO, begin: int, size: int) -> bool:
    """Return whether a commit that cannot be right is torn, and not damaged otherwise."""
    lost = _lost(file, begin, size)
    header = _header(file, begin)
    if not lost or header is None or header[2] == b'c' or begin + header[1] + 8 > size:
        return False  # nothing is torn, or FileStorage itself cuts it off
    # Else, if it is damage of another kind, neither it nor the end of the file can be read.
    return lost[0] < begin + TRANS_HDR_LEN or _is_one_group(file, begin, size)


def _is_one_group(file: BinaryIO, begin: int, size: int) -> bool:
    """Return whether what begins there, with a header that is right, may all be unsynced."""
    at = begin
    for number in range(MOST_TRANSACTIONS):
        header = _header(file, at)
        if header is None or header[2] not in b' pu' or header[1] < TRANS_HDR_LEN:
            return True  # the rest cannot be told apart, or was not finished
        at += header[1] + 8
        if number and at - begin > MOST_BYTES:
            return False
        if at >= size:
            return True
    return False


def _header(file: BinaryIO, begin: int) -> tuple[bytes, int, bytes, int, int, int] | None:
    """Return tid, length, status and the lengths of user, description and extension."""
    file.seek(begin)
    data = file.read(TRANS_HDR_LEN)
    return struct.unpack(TRANS_HDR, data) if len(data) == TRANS_HDR_LEN else None


def _end_of(file: BinaryIO, begin: int, size: int, after: bytes = z64) -> int | None:
    """Return where the commit ends that begins there; None: there is none that is right.

    :param after: the tid of the one in front.
    """
    header = _header(file, begin)
    if header is None:
        return None
    tid, length, status, *lengths = header
    end = begin + length
    if tid <= after or status not in b' pu' or length < TRANS_HDR_LEN + sum(lengths):
        return None
    if end + 8 > size:
        return None
    file.seek(end)
    return end + 8 if u64(file.read(8)) == length else None


def _first_broken(file: BinaryIO, size: int) -> int:
    """Return where the first commit begins that is not right."""
    begin, last = _START, z64
    while begin < size:
        end = _end_of(file, begin, size, last)
        if end is None:
            break
        file.seek(begin)
        begin, last = end, file.read(8)
    return begin


def _lost(file: BinaryIO, begin: int, end: int) -> list[int]:
    """Return where the sectors between two places begin that hold zeros only."""
    lost = []
    at = begin // _SECTOR * _SECTOR
    file.seek(begin)
    while at < end:
        low = max(at, begin)
        data = file.read(min(at + _SECTOR, end) - low)
        if not data.strip(b'\0'):
            lost.append(low)
        at += _SECTOR
    return lost


def _may_be_whole(file: BinaryIO, begin: int, lost: list[int]) -> bool:
    """Return whether everything in a commit fits together, and what is missing may be zeros that
    were stored.
    """
    header = _header(file, begin)
    assert header is not None  # it was right before
    tid, length, _, *lengths = header
    at, end = begin + TRANS_HDR_LEN + sum(lengths), begin + length
    while at < end:
        file.seek(at)
        head = file.read(DATA_HDR_LEN)
        if len(head) < DATA_HDR_LEN:
            return False
        _, serial, _, back, versions, size = struct.unpack(DATA_HDR, head)
        record = at + DATA_HDR_LEN
        at = record + (size or 8)
        if serial != tid or back != begin or versions or at > end:
            return False
        missing = [place - record for place in lost if record <= place < at]
        if size and missing and not _may_be_record(file.read(size), missing[0]):
            return False
    return True


def _may_be_record(data: bytes, missing: int) -> bool:
    """Return whether a record's pickles can be read beyond the place where zeros begin; True for
    what is not a pickle.
    """
    stream = BytesIO(data)
    try:
        while stream.tell() < len(data):
            for _ in genops(stream):
                pass
    except Exception:  # genops raises whatever it comes to
        return stream.tell() <= missing
    return True


def _keep(file: BinaryIO, path: str, begin: int) -> str:
    """Copy what is cut off into a file of its own, as FileStorage does; return its path."""
    aside = next(name for name in _names(path) if not os.path.exists(name))
    file.seek(begin)
    with open(aside, 'wb') as copy:
        while piece := file.read(_AT_ONCE):
            copy.write(piece)
    return aside


def _names(path: str) -> Iterator[str]:
    number = 0
    while True:
        yield f'{path}.tr{number}'
        number += 1
