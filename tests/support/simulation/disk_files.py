"""Open files of a simulated disk, with Python's own buffers in front of them.

Enters: a disk, a path, a mode. Leaves: what ``open`` returns. Fails: OSError as the disk says;
PowerCut for a file of a process that is gone, which writes nothing any more, not even when it is
collected as garbage.
"""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, Any

from support.simulation.disk_faults import PowerCut, error

if TYPE_CHECKING:
    from support.simulation.disk import Disk

_FLAGS = {
    'r': os.O_RDONLY,
    'w': os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    'a': os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    'x': os.O_WRONLY | os.O_CREAT | os.O_EXCL,
}


class RawFile(io.RawIOBase):
    """An open file without a buffer.

    :param fd: a descriptor of the disk to take over.
    :param mode: as for ``open``.
    """

    def __init__(self, disk: Disk, fd: int, name: Any, mode: str) -> None:
        self._disk = disk
        self._fd = fd
        self._open = disk.description(fd)
        self.name = name
        self.mode = mode
        self._reads = 'r' in mode or '+' in mode
        self._writes = mode.strip('rbt') != ''
        if 'a' in mode:
            self._open.position = len(self._open.inode.data)

    def readable(self) -> bool:
        return self._reads

    def writable(self) -> bool:
        return self._writes

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        self._check()
        return self._fd

    def isatty(self) -> bool:
        return False

    def readinto(self, buffer: Any) -> int:
        self._check()
        found = self._disk.read(self._open, len(buffer), self._open.position)
        buffer[: len(found)] = found
        self._open.position += len(found)
        return len(found)

    def write(self, data: Any) -> int:
        self._check()
        if not self._writes:
            raise io.UnsupportedOperation('write')
        return self._disk.append_or_write(self._open, bytes(data))

    def seek(self, offset: int, whence: int = 0) -> int:
        self._check()
        return self._open.seek(offset, whence)

    def tell(self) -> int:
        self._check()
        return self._open.position

    def truncate(self, size: int | None = None) -> int:
        self._check()
        size = self._open.position if size is None else size
        self._disk.resize(self._open, size)
        return size

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._disk.has(self._fd, self._open):
                self._disk.close(self._fd)

    def _check(self) -> None:
        if self.closed:
            raise ValueError('I/O operation on closed file')
        if self._open.is_gone:
            raise PowerCut
        if not self._disk.has(self._fd, self._open):
            raise error(errno.EBADF)


def open_file(
    disk: Disk,
    path: Any,
    mode: str = 'r',
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    opener: Any = None,
) -> Any:
    """Return what ``open`` returns for a file of `disk`, or for a descriptor."""
    if isinstance(path, int):
        fd = path
    elif opener is not None:
        fd = opener(path, flags_of(mode))
    else:
        fd = disk.open_descriptor(path, flags_of(mode), 0o666)
    return buffered(RawFile(disk, fd, path, mode), mode, buffering, encoding, errors, newline)


def flags_of(mode: str) -> int:
    """Return the flags of ``os.open`` for a mode of ``open``."""
    flags = _FLAGS[next(letter for letter in mode if letter in 'rwax')]
    if '+' in mode:
        flags = flags & ~os.O_WRONLY | os.O_RDWR
    return flags


def buffered(
    raw: RawFile,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> Any:
    """Return a raw file with the buffer and the encoding that a mode asks for."""
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    binary: Any
    if '+' in mode:
        binary = io.BufferedRandom(raw, size)
    elif 'r' in mode:
        binary = io.BufferedReader(raw, size)
    else:
        binary = io.BufferedWriter(raw, size)
    if 'b' in mode:
        return binary
    text = io.TextIOWrapper(binary, encoding or 'utf-8', errors, newline)
    text.mode = mode  # type: ignore[misc]
    return text
