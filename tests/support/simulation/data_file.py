"""The file of the simulated server's FileStorage.

Enters: a disk. Leaves: the file. Fails: never.
"""

from __future__ import annotations

import os

from ZODB.utils import tid_repr, u64

from support.simulation.disk import Disk
from support.simulation.objects import SETUP_TID

#: Its path, and that of its blob files.
DATA, BLOB_FILES = '/data/data.fs', '/data/blobs'

#: Bytes before the first transaction, and of a transaction's header.
_START, _HEADER = 4, 23


def saved_files(disk: Disk) -> list[str]:
    """Return the paths of files with transactions that another primary lacked."""
    directory, _, name = DATA.rpartition('/')
    names = sorted(disk.find(directory).names or ())
    return [
        f'{directory}/{one}'
        for one in names
        if one.startswith(f'{name}.lost-') and one[-3:] == '.fs'
    ]


def write_file(disk: Disk, path: str, data: bytes) -> None:
    """Put a file on a disk, safely."""
    fd = disk.open_descriptor(path, os.O_CREAT | os.O_WRONLY)
    opened = disk.description(fd)
    disk.write(opened, data, 0)
    disk.sync(opened.inode)
    disk.close(fd)


def write_blobs(disk: Disk, contents: dict[bytes, bytes]) -> None:
    """Put the files of the first revisions of blobs on a disk; they are safe with the next file
    that is.
    """
    disk.make_directory(BLOB_FILES)
    disk.make_directory(f'{BLOB_FILES}/tmp')
    write_file(disk, f'{BLOB_FILES}/.layout', b'bushy')
    for oid, content in contents.items():
        path = BLOB_FILES
        for byte in oid:
            path = f'{path}/0x{byte:02x}'
            try:
                disk.make_directory(path)
            except FileExistsError:
                pass
        write_file(disk, f'{path}/{tid_repr(SETUP_TID)}.blob', content)


def cut_off(disk: Disk) -> None:
    """Cut off what is behind the last whole transaction, as an operator does whose server does not
    start any more: a crash in the middle of a commit may leave zeros in its place.
    """
    fd = disk.open_descriptor(DATA, os.O_RDWR)
    opened = disk.description(fd)
    data = bytes(opened.inode.data)
    place, last = _START, b''
    while place + _HEADER <= len(data):
        tid, length = data[place : place + 8], u64(data[place + 8 : place + 16])
        end = place + length
        if tid <= last or data[end : end + 8] != data[place + 8 : place + 16]:
            break
        if data[place + 16 : place + 17] not in (b' ', b'p', b'u'):
            break
        place, last = end + 8, tid
    disk.resize(opened, place)
    disk.sync(opened.inode)
    disk.close(fd)
