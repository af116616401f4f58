"""SHA-256 of files, and of what is written into them.

Enters: the path of a file, or bytes on their way into one. Leaves: size and digest. Fails: OSError
where the disk does.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any, BinaryIO

from ZEO.files import opened

#: Bytes read at once.
_AT_ONCE = 1 << 20


def _at_once(path: str, flags: int) -> int:
    """Open a file; a FIFO is as empty, instead of waiting for its other end."""
    return os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))


def create(path: str) -> int:
    """Return a descriptor of a new file, which only its owner may read: records are secret.

    :raises FileExistsError: when there is anything of that name, also a symbolic link.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, 'O_CLOEXEC', 0), 0o600)


def file_digest(path: str) -> tuple[int, str]:
    """Return the size of a file, and its SHA-256 in hexadecimal digits."""
    with open(path, 'rb', buffering=0, opener=_at_once) as file:
        return _copied(file, None)


def copy_digest(path: str, target: BinaryIO) -> tuple[int, str]:
    """Copy a file into an open one; return its size and its SHA-256.

    :raises OSError: also for what is not a file, and for a link of another user.
    """
    with open(path, 'rb', buffering=0, opener=opened) as file:
        return _copied(file, target)


def _copied(file: Any, target: BinaryIO | None) -> tuple[int, str]:
    size, found = 0, sha256()
    while piece := file.read(_AT_ONCE):
        size += len(piece)
        found.update(piece)
        if target is not None:
            target.write(piece)
    return size, found.hexdigest()


def sync_directory(path: str) -> None:
    """Have the names in a directory reach the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
