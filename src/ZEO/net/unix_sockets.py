"""Unix sockets to listen on: who may connect, and what becomes of the file.

Enters: a path, and what an operator says about its rights. Leaves: a bound socket to which nobody
can connect yet; its file removed again. Fails: OSError; :class:`ConfigurationError` where something
else than a socket stands at the path, which stays.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass

from ZEO.Exceptions import ConfigurationError

#: What the owner's and the group's users may get by the umask. Who may write to a socket's file may
#: connect.
_WITHOUT_OTHERS = 0o770

#: (device, inode): which file it is, whatever its name.
Identity = tuple[int, int]


@dataclass(frozen=True)
class Access:
    """Who may connect to a Unix socket.

    mode: the file's mode; None for the umask's, without rights for users outside of the group.
    group: the number of the file's group; None for that of the process.
    """

    mode: int | None = None
    group: int | None = None


#: The user that runs the server, and those in the group as far as the umask lets them.
BY_UMASK = Access()


def bind(path: str, access: Access) -> socket.socket:
    """Return a socket that is bound to `path`, whose file has its rights before anybody can
    connect.

    Nobody can before the socket listens; nor has the file ever more rights than it will have, since
    it takes its mode from the socket's own, less the umask, which other threads need.

    :raises OSError: when it can't be bound.
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


def _give_rights(path: str, access: Access) -> None:
    """Set group and mode of the socket file at `path`, and of nothing that may have taken its
    place.
    """
    if access.group is not None:
        try:
            os.chown(path, -1, access.group, follow_symlinks=False)
        except PermissionError:
            raise ConfigurationError(
                f'cannot give the socket {path} to the group with number {access.group}: make the '
                'user that '
                'runs the server a member of it'
            ) from None
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    wanted = mode & _WITHOUT_OTHERS if access.mode is None else access.mode
    if mode != wanted:
        _chmod(path, wanted)


def _chmod(path: str, mode: int) -> None:
    if not hasattr(os, 'O_PATH'):  # os.chmod can't leave a link alone everywhere
        os.chmod(path, mode)
        return
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise OSError(errno.EADDRINUSE, 'something else has taken its place')
        os.chmod(f'/proc/self/fd/{fd}', mode)
    finally:
        os.close(fd)


def remove_stale(path: str) -> None:
    """Remove the socket file that a killed server has left; a live server's stays, and so does any
    other file.

    :raises OSError: when a server listens there.
    :raises ConfigurationError: when there is something else.
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
    """Whether there is nobody behind the socket file at `path`."""
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
    """Remove the file at `path` if it is still that one; another server may have put its own
    there.
    """
    if which is not None and identity(path) == which:
        with suppress(FileNotFoundError):
            os.unlink(path)
