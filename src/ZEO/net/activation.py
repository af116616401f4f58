"""Listening sockets that a supervisor has opened: systemd's socket activation.

Enters: LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES of the environment. Leaves: the sockets, to which
clients can connect while no server runs. Fails: :class:`ConfigurationError` for a descriptor that
is not a stream socket that listens.

The supervisor keeps the sockets: their files are never removed here, and a client that connects
while the server is restarted waits instead of being refused.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import Address, absolute, bound
from ZEO.net.notifications import number

#: The descriptor of the first socket.
FIRST = 3

#: What the supervisor calls those that show figures over HTTP: FileDescriptorName= of their unit.
MONITOR = 'monitor'

#: Sockets that are taken at most: a unit file has a few.
MOST = 100

_VARIABLES = ('LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES')


class InheritedSocket(socket.socket):
    """A listening socket that another process has opened, and keeps."""

    #: What the supervisor calls it.
    name = ''


def inherited() -> tuple[InheritedSocket, ...]:
    """Return the sockets for clients that this process was started with, each time the same.

    :raises ConfigurationError: when one of them cannot be listened on.
    """
    return tuple(one for one in _inherited() if one.name != MONITOR)


def for_monitor() -> tuple[InheritedSocket, ...]:
    """Return the sockets for figures over HTTP that this process was started with, likewise.

    :raises ConfigurationError: when one of them cannot be listened on.
    """
    return tuple(one for one in _inherited() if one.name == MONITOR)


@lru_cache(maxsize=1)
def _inherited() -> tuple[InheritedSocket, ...]:
    return tuple(take(os.environ))


def take(environ: MutableMapping[str, str]) -> list[InheritedSocket]:
    """Return the sockets that the environment announces to this process, and remove what announces
    them, for the processes that it starts.

    :raises ConfigurationError: when one of them cannot be listened on.
    """
    said = [environ.pop(name, '') for name in _VARIABLES]
    if number(said[0]) != os.getpid():  # of a process before this one
        return []
    count = min(number(said[1]), MOST)
    names = said[2].split(':') + [''] * count
    return [_listening(FIRST + place, names[place]) for place in range(count)]


def _listening(fd: int, name: str) -> InheritedSocket:
    try:
        os.set_inheritable(fd, False)
        found = InheritedSocket(fileno=fd)
        if found.type != socket.SOCK_STREAM or not _accepts(found):
            raise OSError(0, 'it is not a stream socket that listens')
        found.setblocking(False)
    except OSError as error:
        raise ConfigurationError(
            f'cannot listen on descriptor {fd}, which LISTEN_FDS announces: {error.strerror}; a '
            'socket unit needs ListenStream= with Accept=no'
        ) from None
    found.name = name
    return found


def _accepts(found: socket.socket) -> bool:
    """Return whether it listens, as far as this system says."""
    option = getattr(socket, 'SO_ACCEPTCONN', None)
    return option is None or bool(found.getsockopt(socket.SOL_SOCKET, option))


def join(wanted: Iterable[Address], inherited: Iterable[socket.socket]) -> list[Any]:
    """Return all that is to be listened on: sockets that listen already, and those addresses that
    none of them has.
    """
    sockets = list(inherited)
    has = [bound(listener) for listener in sockets]
    return [*sockets, *(one for one in wanted if not any(_covers(other, one) for other in has))]


def _covers(listening: Address, wanted: Address) -> bool:
    """Return whether clients of an address come to another one, which is listened on."""
    if isinstance(listening, str) or isinstance(wanted, str):
        return listening == wanted or (isinstance(wanted, str) and absolute(wanted) == listening)
    (host, port), (wanted_host, wanted_port) = listening, wanted
    return port == wanted_port and (
        host in ('::', '0.0.0.0', wanted_host) or {host, wanted_host} == {'127.0.0.1', 'localhost'}
    )
