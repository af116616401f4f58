"""A profile of the service, in a file for Python's ``pstats``.

Enters: the path that an operator has given. Leaves: the statistics, when the service ends. Fails:
:class:`ConfigurationError` when the file cannot be written, or holds anything but an earlier
profile.
"""

from __future__ import annotations

import cProfile
import errno
import marshal
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ZEO import files
from ZEO.Exceptions import ConfigurationError

#: How a profile begins: a dictionary, whose first key is a tuple of file, line and function. The
#: high bit of a type is marshal's note that the value may be referred to.
_START = re.compile(rb'[{\xfb][)\xa9]\x03')


def check_profile(path: str | None) -> None:
    """Find out before the start whether a profile may be written to a file.

    :raises ConfigurationError: when anything but a profile is there, or its directory is not.
    """
    if path:
        with _reported(path):
            try:
                os.close(_opened(path, os.O_RDONLY))
            except FileNotFoundError:
                _check_directory(files.followed(path))


def _check_directory(path: str) -> None:
    """Find out whether a file can be made there."""
    directory = os.path.dirname(path) or '.'
    if not os.path.isdir(directory):
        raise OSError(errno.ENOENT, f'there is no directory {directory}: create it first')
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, f'this user may not make files in {directory}')


@contextmanager
def profiled(path: str | None) -> Iterator[None]:
    """Write a profile of what happens inside to a file; without a path, do nothing.

    :raises ConfigurationError: when the file cannot be written.
    """
    if not path:
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.create_stats()
        with _reported(path):
            _write(path, marshal.dumps(profile.stats))


def _write(path: str, statistics: bytes) -> None:
    with suppress(FileExistsError):
        open(files.followed(path), 'xb').close()
    with open(_opened(path, os.O_RDWR), 'r+b') as file:  # which may be another file by now
        file.truncate()
        file.write(statistics)


def _opened(path: str, flags: int) -> int:
    """Return a descriptor of a file that is empty or holds a profile.

    :raises OSError: for any other file.
    """
    fd = files.open_regular(files.followed(path), flags)
    if os.fstat(fd).st_size and not _START.match(os.pread(fd, 3, 0)):
        os.close(fd)
        raise OSError(
            errno.EEXIST, 'the file exists and is not a profile: remove it, or name another file'
        )
    return fd


@contextmanager
def _reported(path: str) -> Iterator[None]:
    """Turn errors of the system into what an operator has to know."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f'cannot write the profile to {path}: {error.strerror}') from None
