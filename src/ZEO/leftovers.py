"""Temporary files and directories whose names say which process has made them.

Enters: a kind of temporary file; a directory, which several processes may share, also on other
machines. Leaves: how the names of new ones begin; at a start, the removal of those whose owner is
gone. Fails: never; what cannot be removed stays.

A process of this machine and of this container is gone when no process has its number and began at
the same time. For files of others, and for files that do not name an owner,
only their age counts. What is not a regular file of this user stays.

A directory is removed by the next process that makes one like it there, once its owner is gone;
those of other machines and containers, and of the time before the machine's start, stay.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from functools import cache
from zlib import crc32

#: Seconds after which a file is a leftover if nothing is known about its owner: no transaction
#: takes a day.
FORGOTTEN = 86_400.0

_NAME = re.compile(r'([a-z]+)-(?:([0-9a-f]{8})-(\d+)-(\d+)-)?[^-]*\.(?:tmp|blob)')


def prefix(kind: str) -> str:
    """Return how the name of a temporary file of this process begins."""
    pid = os.getpid()
    return f'{kind}-{_scope()}-{pid}-{_began(pid) or 0}-'


def remove_leftovers(directory: str, kinds: tuple[str, ...], now: float) -> tuple[int, int]:
    """Remove the temporary files of processes that are gone.

    :param kinds: of files that are looked at.
    :param now: seconds since the epoch.
    :returns: how many files those were, and their bytes.
    """
    files = size = 0
    try:
        names = os.listdir(directory)
    except OSError:  # there is none yet
        return 0, 0
    for name in names:
        found = _NAME.fullmatch(name)
        if found is None or found[1] not in kinds:
            continue
        path = os.path.join(directory, name)
        try:
            status = os.lstat(path)
            # the file of a blob may have been renamed, which keeps the time of its last change
            changed = max(status.st_mtime, status.st_ctime)
            if _is_ours(status) and _is_left(found, changed, now):
                os.unlink(path)
                files, size = files + 1, size + status.st_size
        except OSError:  # another process has removed it, or it is another user's
            continue
    return files, size


def make_directory(kind: str, parent: str | None = None) -> str:
    """Make a temporary directory, whose name says its owner, and remove those that killed processes
    have left beside it.

    :param kind: how its name begins.
    :param parent: where to make it; where Python makes temporary files by default.
    :returns: its path.
    """
    parent = tempfile.gettempdir() if parent is None else parent
    of_kind = re.compile(rf'{kind}-{_scope()}-(\d+)-(\d+)-[^-]*')
    with suppress(OSError):  # it may be one that cannot be listed, or is missing, as mkdtemp says
        for name in os.listdir(parent):
            found = of_kind.fullmatch(name)
            if found is not None and _began(int(found[1])) != int(found[2]):
                _remove_directory(os.path.join(parent, name))
    return tempfile.mkdtemp(prefix=prefix(kind), dir=parent)


def _remove_directory(path: str) -> None:
    try:
        status = os.lstat(path)
    except OSError:  # another process has removed it
        return
    if stat.S_ISDIR(status.st_mode) and _is_own(status):
        shutil.rmtree(path, ignore_errors=True)


def _is_ours(status: os.stat_result) -> bool:
    """Whether it is a regular file of this user."""
    return stat.S_ISREG(status.st_mode) and _is_own(status)


def _is_own(status: os.stat_result) -> bool:
    return not hasattr(os, 'geteuid') or status.st_uid == os.geteuid()


def _is_left(name: re.Match[str], changed: float, now: float) -> bool:
    _, scope, pid, began = name.groups()
    if scope == _scope():
        return _began(int(pid)) != int(began)
    return now - changed > FORGOTTEN


@cache
def _scope() -> str:
    """Return what distinguishes this machine since its start, and this container, from others:
    within them a process has a number of its own.
    """
    parts = [platform.node()]
    try:
        with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as file:
            parts.append(file.read())
        parts.append(os.readlink('/proc/self/ns/pid'))
    except OSError:  # a system without them
        pass
    return f'{crc32(repr(parts).encode()):08x}'


def _began(pid: int) -> int | None:
    """When a process began, in a figure that another process of its number does not have; None for
    one that is gone.
    """
    try:
        with open(f'/proc/{pid}/stat', 'rb') as file:
            # a name in front may hold spaces
            return int(file.read().rpartition(b')')[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None if os.path.isdir('/proc/self') else _is_alive(pid)


def _is_alive(pid: int) -> int | None:
    """The same for a system that does not know when it began."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:  # another user's
        pass
    return 0
