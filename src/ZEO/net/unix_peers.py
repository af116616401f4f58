"""Who is at the other end of a Unix socket: the user and the groups that the kernel vouches for.

Enters: an accepted connection. Leaves: numbers of a user and of groups, as they were when the
client connected. Fails: OSError where the kernel does not say it.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import NamedTuple, Protocol

#: Whether this system says who is at the other end.
KNOWN = hasattr(socket, 'SO_PEERCRED') and hasattr(socket, 'AF_UNIX')

#: The option of Linux (4.13) for all groups of the other end; Python has no name for it.
_SO_PEERGROUPS = 59

_USER = struct.Struct('=iII')  # process, user, group
_GROUP = struct.Struct('=I')

#: Groups that are asked for: what Python's getsockopt can return.
_MOST_GROUPS = 256

#: What the kernel says where there is no user.
_NONE = 2**32 - 1


class UnixPeer(NamedTuple):
    """The user of the other end's process, and its groups, the first of them its own."""

    uid: int
    groups: tuple[int, ...]


class Stream(Protocol):
    """What is asked of a connection."""

    @property
    def family(self) -> int:
        """As a socket has it."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Do as a socket does."""


def unix_peer(stream: Stream) -> UnixPeer | None:
    """Return who is at the other end; None for TCP, and where the system does not say it.

    :raises OSError: when it cannot be found out, as for a user in more than 256 groups.
    """
    if not KNOWN or stream.family != socket.AF_UNIX:
        return None
    _, uid, gid = _USER.unpack(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _USER.size))
    if uid == _NONE:
        return None
    return UnixPeer(uid, (gid, *_more_groups(stream)))


def _more_groups(stream: Stream) -> tuple[int, ...]:
    try:
        found = stream.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS * _GROUP.size)
    except OSError as error:
        if error.errno in (errno.ENOPROTOOPT, errno.ENODATA, errno.EOPNOTSUPP):
            return ()  # another kernel, or one that does not know
        raise
    return tuple(group for (group,) in _GROUP.iter_unpack(found))
