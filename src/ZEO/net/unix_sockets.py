"""Unix sockets to listen on: who may connect, and what becomes of the file.

Enters: a path, and its access rights as configured. Leaves: a bound socket to which clients cannot
connect yet; its file removed again. Fails: OSError; :class:`ConfigurationError` where anything but
a socket is at the path, which is left alone.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass

from ZEO.Exceptions import ConfigurationError

#: The rights that the umask may give, to the owner and the group. A user who may write to a
#: socket's file may connect.
_WITHOUT_OTHERS = 0o770

#: (device, inode): which file it is, whatever its name.
Identity = tuple[int, int]


@dataclass(frozen=True)
class FileRights:
    """Who may connect to a Unix socket.

    :param mode: the file's mode; None for the umask's, without rights for users outside the group.
    :param group: the number of the file's group; None for that of the process.
    """

    mode: int | None = None
    group: int | None = None


#: The user that runs the server, and those in the group as far as the umask lets them.
BY_UMASK = FileRights()


def bind(path: str, access: FileRights) -> socket.socket:
    """Return a socket that is bound to `path`, whose file has its rights before clients can
    connect, which is when the socket listens.

    The file never has more rights than in the end: it takes its mode from the socket's own, less
    the umask, which is not changed since other threads need it.

    :raises OSError: when it cannot be bound.
    :raises ConfigurationError: when the process may not give the file to the group.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        with suppress(OSError):  # only Linux lets a socket without a file have a mode
            os.fchmod(
                listener.fileno(),
                _WITHOUT_OTHERS if access.mode is None else access.mode & _WITHOUT_OTHERS,
            )
        listener.bind(path)
        mine = identity(path)
        try:
            _give_rights(path, access)
        except BaseException:
            remove(path, mine)
            raise
    except BaseException:
        listener.close()
        raise
    return listener


def _give_rights(path: str, access: FileRights) -> None:
    """Set group and mode of the socket file at `path`, but not of another file that has taken its
    place.
    """
    if access.group is not None:
        try:
            os.chown(path, -1, access.group, follow_symlinks=False)
        except PermissionError:
            raise ConfigurationError(
                f'cannot give the socket {path} to the group with number {access.group}: make the '
                'user that runs the server a member of that group'
            ) from None
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    wanted = mode & _WITHOUT_OTHERS if access.mode is None else access.mode
    if mode != wanted:
        _chmod(path, wanted)


def _chmod(path: str, mode: int) -> None:
    if not hasattr(os, 'O_PATH'):  # where os.chmod may follow a link
        os.chmod(path, mode)
        return
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise OSError(errno.EADDRINUSE, 'another file has taken its place')
        os.chmod(f'/proc/self/fd/{fd}', mode)
    finally:
        os.close(fd)


def remove_stale(path: str) -> None:
    """Remove the socket file that a killed server has left, but not that of a running server or any
    other file.

    :raises OSError: when a server listens there.
    :raises ConfigurationError: when another kind of file is there.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigurationError(
            f'cannot listen on {path}: there is a file of that name that is not a socket'
        )
    if _is_refused(path):
        remove(path, (found.st_dev, found.st_ino))
        return
    raise OSError(errno.EADDRINUSE, 'another server is listening there')


def _is_refused(path: str) -> bool:
    """Return whether no server listens on the socket file at `path`."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
    return False


def identity(path: str) -> Identity | None:
    """Return which file is at `path`; None when there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove(path: str, which: Identity | None) -> None:
    """Remove the file at `path` if it is still that file, and not one that another server has made
    since.
    """
    if which is not None and identity(path) == which:
        with suppress(FileNotFoundError):
            os.unlink(path)
