"""The last commit in a FileStorage's file, of which a power failure may have kept a part.

Enters: the path of a FileStorage that is not open. Leaves: a file without that commit, if something
of it is missing; what there was is kept beside it. Fails: OSError where the disk does.

A commit is acknowledged when all of it is on the disk. If the power fails before that, any of its
sectors may be missing, in any order, and zeros are in their place: FileStorage may take the rest
for a whole commit, or refuse to open the file. Nothing is cut off but what is behind the last whole
commit, and only if sectors of it hold nothing but zeros and something there cannot be right.

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
        begin = _torn(file, size) if file.read(_START) == packed_version else None
        if begin is None:
            return
        aside = _keep(file, path, begin)
        file.truncate(begin)
        file.flush()
        os.fsync(file.fileno())
    log.error(
        'the last commit in %s, %d bytes from byte %d on, is not whole: the power failed before it '
        'was acknowledged; it was moved to %s',
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


def _torn(file: BinaryIO, size: int) -> int | None:
    """Return where a torn commit begins, or None."""
    if size < _START + TRANS_HDR_LEN:
        return None  # FileStorage itself cuts that off
    file.seek(size - 8)
    begin = size - 8 - u64(file.read(8))
    if begin >= _START and _end_of(file, begin, size) == size:
        lost = _lost(file, begin, size)
        return begin if lost and not _may_be_whole(file, begin, lost) else None
    begin = _first_broken(file, size)
    lost = _lost(file, begin, size)
    header = _header(file, begin)
    if not lost or header is None or header[2] == b'c' or begin + header[1] + 8 > size:
        return None  # nothing is torn, or FileStorage itself cuts it off
    # Else it is damage of another kind: neither this commit nor the end of the file can be read.
    is_last = lost[0] < begin + TRANS_HDR_LEN or begin + header[1] + 8 == size
    return begin if is_last else None


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
