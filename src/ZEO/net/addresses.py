"""Addresses: reading and listening; TCP over IPv4 and IPv6, and Unix sockets.

Enters: an address as users write it: ``(host, port)``, a port number, ``'host:port'``, or a path.
Leaves: the same as ``(host, port)`` or a path; listening sockets, non-blocking. Fails:
:class:`ConfigurationError` for what is not an address or cannot be listened on.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ZEO.Exceptions import ConfigurationError, Unavailable
from ZEO.net import unix_sockets
from ZEO.net.unix_sockets import BY_UMASK, FileRights

Address = tuple[str, int] | str

_FORMS = 'use (host, port), a port number, or the path of a Unix socket'

_PORT = re.compile(r'\d{1,9}', re.ASCII)

_HOST_AND_PORT = re.compile(r'(?:\[([^][/]+)]|([^][:/]*)):(\d{1,9})', re.ASCII)

_IPV6 = re.compile(r'[\da-f.]*:[\da-f.:]*:[\da-f]*', re.ASCII | re.IGNORECASE)

#: Bytes of a Unix socket's path, its end included, on the systems that give it the least.
_PATH_SIZE = 104

#: Connections that may wait to be accepted: a thousand clients reconnect at once after a server's
#: restart.
BACKLOG = 1024

#: Errors for which an address cannot be listened on until an operator changes something; after any
#: other error it may work later.
_LASTING = (
    None,
    errno.EADDRINUSE,
    errno.EACCES,
    errno.EPERM,
    errno.EAFNOSUPPORT,
    errno.EINVAL,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
)

#: What a kernel without IPv6 says to a socket of it.
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)

#: The type of what a supervisor may have opened.
_SOCKET = socket.socket


def parse(address: object) -> Address:
    """Return `address` as ``(host, port)`` or the path of a Unix socket.

    :raises ConfigurationError: when it is neither, nor a port number.
    """
    if isinstance(address, _SOCKET):  # which a supervisor has opened
        return address  # type: ignore[return-value]
    if isinstance(address, (bytes, os.PathLike)):
        address = os.fsdecode(address)
    if isinstance(address, int) and not isinstance(address, bool):
        return _checked('', address)
    if isinstance(address, str) and address:
        return _read(address)
    if isinstance(address, (tuple, list)) and _is_pair(address):
        return _checked(address[0] or '', int(address[1]))
    raise ConfigurationError(f'{address!r} is not an address: {_FORMS}')


def parse_all(addresses: object) -> list[Address]:
    """Return one address, or an iterable of addresses, as a list without repetitions.

    :raises ConfigurationError: as :func:`parse`, and when there is none.
    """
    one = (
        isinstance(addresses, (str, bytes, int, os.PathLike))
        or (isinstance(addresses, tuple) and len(addresses) in (2, 4) and _is_pair(addresses))
        or (
            isinstance(addresses, list)
            and len(addresses) == 2
            and _is_pair(addresses)
            and not _is_path(addresses[0])
        )
    )
    if one or not isinstance(addresses, Iterable):
        addresses = [addresses]
    found = list(dict.fromkeys(parse(address) for address in addresses))
    if not found:
        raise ConfigurationError(f'no address given: {_FORMS}')
    return found


def absolute(address: Address) -> Address:
    """Return an address that means the same when the process changes its directory.

    A path that would become too long for a socket stays as it is.
    """
    if not isinstance(address, str) or address.startswith('\0'):  # which is not in any directory
        return address
    path = os.path.abspath(address)
    return path if len(os.fsencode(path)) < _PATH_SIZE else address


def _read(text: str) -> Address:
    """Return TCP for a port, or a host and a port, unless a file has that name; anything else is a
    path.
    """
    if not _is_path(text):
        if _PORT.fullmatch(text):
            return _checked('', int(text))
        found = _HOST_AND_PORT.fullmatch(text)
        if found is not None:
            return _checked(found[1] or found[2], int(found[3]))
        if _IPV6.fullmatch(text):
            raise ConfigurationError(
                f'{text!r} is not an address: write an IPv6 address as [ADDRESS]:PORT'
            )
    return text


def _is_pair(address: Any) -> bool:
    """Return whether it begins with a host and a port, which may be a text of digits."""
    host, port = address[:2] if len(address) >= 2 else (None, None)
    return (
        isinstance(host, (str, type(None)))
        and not isinstance(port, bool)
        and (isinstance(port, int) or (isinstance(port, str) and _PORT.fullmatch(port) is not None))
    )


def _is_path(text: str | None) -> bool:
    return bool(text) and ('/' in text or '\0' in text or os.path.exists(text))  # type: ignore[operator, arg-type]


def checked_host(host: str) -> str:
    """Return `host`.

    :raises ConfigurationError: when no resolver can take it.
    """
    try:
        host.encode('idna')  # as every connection does that looks the name up
    except UnicodeError:
        raise ConfigurationError(
            f'{host!r} is not the name of a host: give a name, an IP address, or, in place of host '
            'and port, the path of a Unix socket'
        ) from None
    return host


def _checked(host: str, port: int) -> Address:
    checked_host(host)
    if not 0 <= port <= 65535:
        raise ConfigurationError(
            f'{port} is not a port number: use 1 to 65535, or 0 for any free port'
        )
    return host, port


def show(address: object) -> str:
    """Return an address as a person would write it: ``host:port``, ``[::1]:port``, or the path."""
    if isinstance(address, (tuple, list)) and len(address) >= 2:
        host = address[0] or ''
        return f'[{host}]:{address[1]}' if ':' in host else f'{host}:{address[1]}'
    return str(address) or 'a Unix socket'


def listen(address: Any, access: FileRights = BY_UMASK) -> list[socket.socket]:
    """Return sockets that listen on `address`; several where a name stands for several, as an empty
    host does.

    :param address: a socket that listens already stands for itself.
    :param access: who may connect to a Unix socket.
    :raises ConfigurationError: when that is not possible, with the reason.
    :raises Unavailable: when it is not possible now, but may be later.
    """
    if isinstance(address, _SOCKET):
        return [address]
    with _explained(address):
        return (
            [_listen_unix(address, access)] if isinstance(address, str) else _listen_tcp(*address)
        )


def check(address: Any) -> None:
    """Check that `address` can be listened on, before work that takes long; clients do not notice.

    :raises ConfigurationError: as :func:`listen`.
    """
    if isinstance(address, _SOCKET):
        return
    with _explained(address):
        if isinstance(address, str):
            unix_sockets.remove_stale(address)
            os.stat(os.path.dirname(os.path.abspath(address)))
        else:
            for listener in _bound_tcp(*address):
                listener.close()


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Turn errors inside into what the operator has to know."""
    text = f'cannot listen on {show(address)}'
    try:
        yield
    except ConfigurationError:
        raise
    except OSError as error:
        lasting = not isinstance(error, socket.gaierror) and error.errno in _LASTING
        kind = ConfigurationError if lasting else Unavailable
        raise kind(f'{text}: {_described(error)}') from None
    except ValueError as error:
        # too long for a host name, or with a zero byte
        raise ConfigurationError(f'{text}: {error}') from None


def _described(error: OSError) -> str:
    text = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        text += '; stop the program that listens there, or choose another address'
    return text


def _listen_unix(path: str, access: FileRights) -> socket.socket:
    unix_sockets.remove_stale(path)
    listener = unix_sockets.bind(path, access)
    try:
        return _listening(listener)
    except BaseException:
        listener.close()
        raise


def _listen_tcp(host: str, port: int) -> list[socket.socket]:
    bound = _bound_tcp(host, port)
    try:
        return [_listening(listener) for listener in bound]
    except BaseException:
        for listener in bound:
            listener.close()
        raise


def _bound_tcp(host: str, port: int) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, where in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            if listeners and port == 0:  # all families of one server listen on one port
                where = (where[0], listeners[0].getsockname()[1], *where[2:])
            try:
                listener = socket.socket(family, kind, protocol)
            except OSError as error:
                if error.errno in _NO_FAMILY:
                    continue
                raise  # short of memory or descriptors: it would listen for a part of its clients
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                listener.bind(where)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL or len(listeners) == 1:
                    raise
                # the name has an address that this machine lacks, as ::1 without IPv6
                listeners.pop().close()
                continue
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    if not listeners:
        raise OSError(errno.EADDRNOTAVAIL, 'no usable address')
    return listeners


def _listening(listener: socket.socket) -> socket.socket:
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def bound(listener: socket.socket) -> Address:
    """Return the address that a listening socket has, with the port that was chosen for port 0."""
    name = listener.getsockname()
    return (name[0], name[1]) if isinstance(name, tuple) else name


def is_exposed(address: Address) -> bool:
    """Return whether other machines may reach what listens on `address`, as returned by
    :func:`bound`.
    """
    if isinstance(address, str):
        return False
    try:
        where = ipaddress.ip_address(address[0].partition('%')[0])
    except ValueError:  # a name, or an empty one for every network
        return address[0] != 'localhost'
    mapped = getattr(where, 'ipv4_mapped', None)
    return not (mapped or where).is_loopback


def same(address: Address) -> str:
    """Return a text that is equal for addresses that mean the same server, for ``sortKey``."""
    if isinstance(address, str):
        return address
    host, port = address
    return f'{"127.0.0.1" if host in ("", "localhost", "::1") else host}:{port}'
