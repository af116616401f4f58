"""Connecting to an address, and the options of every connection.

Enters: an address, as :func:`ZEO.net.addresses.parse` returns it. Leaves: a connected socket.
Fails: OSError, with the reason.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from ZEO.net.addresses import Address

#: Seconds, seconds and a number: the kernel notices a server that has disappeared after about idle
#: + interval * count seconds.
_KEEPALIVE = (('TCP_KEEPIDLE', 60), ('TCP_KEEPINTVL', 15), ('TCP_KEEPCNT', 5))


def candidates(address: Address) -> list[tuple[int, Any]]:
    """Return the (family, socket address) pairs by which `address` may be reached, the likeliest
    first.

    :raises OSError: when a host name has no address.
    """
    if isinstance(address, str):
        return [(socket.AF_UNIX, address)]
    host, port = address
    return [
        (info[0], info[4])
        for info in socket.getaddrinfo(host or 'localhost', port, type=socket.SOCK_STREAM)
    ]


def connect(address: Address, timeout: float) -> socket.socket:
    """Return a connected, blocking socket.

    :param timeout: seconds that each candidate may take.
    :raises OSError: the last candidate's error.
    """
    last: OSError = OSError(errno.EADDRNOTAVAIL, 'no address')
    for family, where in candidates(address):
        stream = None  # which a kernel without IPv6 refuses
        try:
            stream = socket.socket(family, socket.SOCK_STREAM)
            stream.settimeout(timeout)
            stream.connect(where)
            tune(stream)
            return stream
        except OSError as error:
            if stream is not None:
                stream.close()
            last = _with_reason(error, address)
    raise last


def _with_reason(error: OSError, address: Address) -> OSError:
    """Return the error with what is wrong at the path, if that is not a server which is down."""
    if isinstance(error, ConnectionRefusedError) and isinstance(address, str):
        if os.path.isdir(address):
            return OSError(error.errno, 'this is a directory: give the path of the socket in it')
        if os.path.isfile(address):
            return OSError(error.errno, "this is a file: give the path of the server's socket")
    return error


def tune(stream: socket.socket) -> None:
    """Set the options of every connection: no Nagle delay, and keep-alive probes."""
    if stream.family not in (socket.AF_INET, socket.AF_INET6):
        return
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        if hasattr(socket, option):
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
