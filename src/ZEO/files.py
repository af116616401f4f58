"""Files whose names other users may know: opened safely, whatever another user has put there.

Enters: a path. Leaves: a descriptor of a regular file, which other users cannot read if it was
created here; a path that is not a symbolic link. Fails: OSError, whose text says what is there
instead of such a file; NotRegular where anything else is.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import NoReturn

#: Opening never waits, not even for the other end of a FIFO.
_FLAGS = (
    getattr(os, 'O_NOFOLLOW', 0)
    | getattr(os, 'O_NONBLOCK', 0)
    | getattr(os, 'O_CLOEXEC', 0)
    | getattr(os, 'O_BINARY', 0)
)
#: How many symbolic links are followed for one path, as many as Linux follows.
_MOST_LINKS = 40
#: The content of a pid file, and the most bytes of it that are looked at. After a power failure the
#: length of a file may be there, and zeros in the place of what was written.
_PID = re.compile(rb'[\s\0]*\d{0,20}[\s\0]*')
_MOST_PID = 64

_KINDS = (
    (stat.S_ISDIR, 'a directory'),
    (stat.S_ISLNK, 'a symbolic link'),
    (stat.S_ISFIFO, 'a FIFO'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISBLK, 'a device'),
    (stat.S_ISCHR, 'a device'),
)


class NotRegular(OSError):
    """There is something else than a regular file."""


def _refuse(path: str, mode: int) -> NoReturn:
    what = next((name for is_one, name in _KINDS if is_one(mode)), 'something else')
    raise NotRegular(errno.EINVAL, f'not a regular file but {what}', path)


def open_regular(path: str, flags: int) -> int:
    """Return a descriptor of the regular file at `path`; with O_CREAT in `flags` it is created, for
    its owner only.

    :raises OSError: when there is anything else, including a symbolic link; it stays as it is.
    """
    try:
        # before it is opened, because a device may act when it is opened
        found = os.lstat(path)
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISREG(found.st_mode):
            _refuse(path, found.st_mode)
    fd = os.open(path, flags | _FLAGS, 0o600)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):  # it was put there in between
            _refuse(path, mode)
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def followed(path: str) -> str:
    """Return the path that `path` leads to by symbolic links; those of its directories stay.

    A link is followed when this process's user or root made it: an operator moves a file to another
    disk that way. One that another user made is refused, since it might name any file that this
    process may write.

    :raises OSError: for such a link, and for links that go in a circle.
    """
    for _ in range(_MOST_LINKS):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return path
        if not stat.S_ISLNK(found.st_mode):
            return path
        if found.st_uid not in (os.geteuid(), 0):
            raise OSError(
                errno.EPERM,
                f'a symbolic link that user {found.st_uid} made is not followed: remove it, or '
                'give the path of the file itself',
                path,
            )
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def opened(path: str, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of the regular file that `path` leads to; to be given to ``open`` as its
    `opener` where others may write into the directory.

    :raises OSError: as :func:`followed` and :func:`open_regular` do.
    """
    return open_regular(followed(path), flags)


def check_way(top: str, path: str) -> None:
    """Make sure that none of the directories between `top` and `path` is a link of another user,
    who could have this process move or remove any of its own files.

    :param top: a directory; where `path` is not in it, nothing is looked at.
    :raises OSError: for such a link.
    """
    parts = os.path.relpath(path, top).split(os.sep) if top else [os.pardir]
    if parts[0] != os.pardir:
        for count in range(1, len(parts)):
            followed(os.path.join(top, *parts[:count]))


def check_below(top: str, path: str) -> None:
    """Make sure that there is a regular file at `path`, in its own place below `top`.

    :raises OSError: where something else is, or as :func:`check_way` does.
    """
    check_way(top, path)
    mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode):
        _refuse(path, mode)


def move_aside(path: str) -> str:
    """Rename a file to ``NAME.bad``, or the first of ``NAME.bad.1``, ``NAME.bad.2`` … that is free;
    return its new path.

    :raises OSError: when that is not possible; then nothing has changed.
    """
    number = 0
    while True:
        aside = f'{path}.bad.{number}' if number else f'{path}.bad'
        try:
            # so that no other process takes the name
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            number += 1
            continue
        try:
            os.rename(path, aside)
        except BaseException:
            os.unlink(aside)
            raise
        return aside


def remove_if_there(path: str) -> bool:
    """Remove a file; return whether it was there and could be removed."""
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def holds_pid(fd: int) -> bool:
    """Return whether a file is empty or holds only a process id."""
    return (
        _PID.fullmatch(os.pread(fd, _MOST_PID, 0)) is not None and os.fstat(fd).st_size < _MOST_PID
    )


def _refuse_content(path: str) -> NoReturn:
    raise OSError(
        errno.EINVAL,
        'the file exists and does not hold a process id: remove it, or name another file',
        path,
    )


def write_pid(path: str, text: str) -> None:
    """Write a process id into the file at `path`.

    :raises OSError: when it cannot be written, or holds anything but a process id, which stays.
    """
    fd = open_regular(path, os.O_RDWR | os.O_CREAT)
    try:
        if not holds_pid(fd):
            _refuse_content(path)
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode('ascii'), 0)
    finally:
        os.close(fd)


def check_pid(path: str) -> None:
    """Look whether :func:`write_pid` would refuse `path` for what is there.

    :raises OSError: when it would, or there is no file, or it cannot be read.
    """
    fd = open_regular(path, os.O_RDONLY)
    try:
        if not holds_pid(fd):
            _refuse_content(path)
    finally:
        os.close(fd)


def read_pid(path: str) -> str:
    """Return the start of the file at `path`.

    :raises OSError: when there is no regular file.
    """
    fd = open_regular(path, os.O_RDONLY)
    try:
        return os.pread(fd, _MOST_PID, 0).decode('ascii', 'replace')
    finally:
        os.close(fd)
