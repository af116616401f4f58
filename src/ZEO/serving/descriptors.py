"""What a process does, and what an operator is told, when few file descriptors are left.

Enters: the limits of this process. Leaves: whether they are enough, a warning. Fails: never.
"""

from __future__ import annotations

import errno
import tempfile
from contextlib import suppress
from types import ModuleType

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None

#: Descriptors that are left to loads, commits, packs and iterators, however many
#: connections there are.
RESERVE = 32

#: What the system says then.
SHORTAGE = (errno.EMFILE, errno.ENFILE)


def is_last(descriptor: int) -> bool:
    """Whether a descriptor is one of the last, which connections may not have; the system gives out
    the lowest that is free.
    """
    if resource is None:
        return False
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most != resource.RLIM_INFINITY and descriptor >= most - min(RESERVE, most // 4)


def most_files() -> int | None:
    """Return how many files this process may have open; None for no limit."""
    if resource is None:
        return None
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if most == resource.RLIM_INFINITY else most


def raise_limit(connections: int) -> str | None:
    """Let this process open as many files as it may; return what to say where that is fewer than
    its connections need.
    """
    if resource is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # some systems say "unlimited" and allow less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY or soft >= connections + RESERVE:
        return None
    return (
        f'this process may open {soft} files, too few for max-connections {connections}: about '
        f'{max(0, soft - RESERVE)} '
        'clients can connect; raise the limit (ulimit -n, LimitNOFILE= of systemd) or lower '
        'max-connections'
    )


def find_temporary_directory() -> None:
    """Look for the directory of temporary files now: with no descriptor left it could not be
    found, and the error would say that instead.
    """
    with suppress(OSError):
        tempfile.gettempdir()
