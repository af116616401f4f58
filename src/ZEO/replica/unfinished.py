"""The end of a replica's file when its process was killed while it copied.

Enters: the path of a file that is not open. Leaves: a file that ends behind the last transaction
that was finished. Fails: OSError where the disk does.

Transactions are copied in groups, the first of which is marked as unfinished until all are on the
disk. A FileStorage cuts off what is behind such a mark, and keeps it in a file of its own, which
takes space that a full disk may not have; here the primary has it all.
"""

from __future__ import annotations

import os
import pickletools
import struct
from typing import BinaryIO

from ZODB.FileStorage.FileStorage import packed_version
from ZODB.FileStorage.format import TRANS_HDR, TRANS_HDR_LEN
from ZODB.utils import u64

_START = len(packed_version)

#: The place in a transaction's header where its status is.
STATUS = 16

#: The status of one that is not finished.
UNFINISHED = b'c'


def cut(path: str) -> int:
    """Cut off what is unfinished at the end of the file at `path`; return how many bytes.

    Where the file ends otherwise than a copy that was stopped, nothing is cut: opening the file as
    a FileStorage takes care of that.
    """
    try:
        file = open(path, 'r+b', buffering=0)
    except FileNotFoundError:
        return 0
    with file:
        size = file.seek(0, os.SEEK_END)
        end = _first_unfinished(file, _saved_position(path, file, size), size)
        if end is None:
            return 0
        file.truncate(end)
        os.fsync(file.fileno())
    return size - end


def _saved_position(path: str, file: BinaryIO, size: int) -> int:
    """Return the end of some transaction, as the saved index says it; else the start."""
    try:
        with open(path + '.index', 'rb') as index:
            found = next(
                argument
                for opcode, argument, _ in pickletools.genops(index)
                if opcode.name != 'PROTO' and type(argument) is int
            )
    except (OSError, ValueError, StopIteration):
        return _START
    return found if _ends_at(file, found, size) else _START


def _ends_at(file: BinaryIO, end: int, size: int) -> bool:
    """Return whether a transaction ends there."""
    if not _START + TRANS_HDR_LEN <= end <= size:
        return False
    length = u64(_read(file, end - 8, 8))
    begin = end - 8 - length
    return begin >= _START and u64(_read(file, begin + 8, 8)) == length


def _first_unfinished(file: BinaryIO, at: int, size: int) -> int | None:
    """Return where the first unfinished transaction begins, None where there is none."""
    while at < size:
        head = _read(file, at, TRANS_HDR_LEN)
        if len(head) < TRANS_HDR_LEN:
            return at
        _, length, status, *_ = struct.unpack(TRANS_HDR, head)
        if status == UNFINISHED:
            return at
        end = at + length + 8
        if end > size or length < TRANS_HDR_LEN or u64(_read(file, end - 8, 8)) != length:
            return None
        at = end
    return None


def _read(file: BinaryIO, at: int, length: int) -> bytes:
    return os.pread(file.fileno(), length, at)
