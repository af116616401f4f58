"""Asking a server for its status without opening a storage of it.

Enters: an address.  Leaves: the server's figures, by the names of its storages.  Fails:
:class:`NoAnswer` of one line that says what happened instead.
"""
from __future__ import annotations

import json
from typing import Any

from ZEO.config import datatypes
from ZEO.Exceptions import ClientStorageError, ConfigurationError, ProtocolError
from ZEO.net import addresses
from ZEO.net.addresses import Address
from ZEO.net.system import REAL
from ZEO.net.tls import SSLContext, TlsCodec, TlsError
from ZEO.net.tls_socket import TlsSocket
from ZEO.wire.frames import FrameReader, frame
from ZEO.wire.session import PROBE

#: Seconds for all of a probe.  A server answers at once, whatever its storages do.
TIMEOUT = 10.0

#: A status of thousands of storages fits; what is longer is none.
_LIMIT = 2**24


class NoAnswer(ClientStorageError):
    """A server has not told its status; the text says what happened instead."""


def parse(text: str) -> Address:
    """Return the address that a command line names: HOST:PORT, [IPV6]:PORT, PORT, or a path.

    :raises ConfigurationError: when it names none.
    """
    try:
        return datatypes.connect_address(text)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def probe(address: Address, timeout: float = TIMEOUT, ssl: SSLContext | None = None,
          server_hostname: str | None = None) -> dict[str, dict[str, Any]]:
    """Return what a server says about each of its storages.

    :param address: ``(host, port)`` or the path of a Unix socket.
    :param timeout: seconds for all of it.
    :param ssl: the context of a client, for a server that speaks TLS.
    :param server_hostname: the name that the server's certificate is for, if not the host;
        ``localhost`` for a Unix socket.
    :raises NoAnswer: when there is no answer, or none that a ZEO server gives.
    """
    deadline = REAL.now() + timeout
    try:
        raw = addresses.connect(address, timeout)
        try:
            return _ask(_secured(raw, address, ssl, server_hostname), raw, deadline)
        finally:
            raw.close()
    except TimeoutError:
        raise NoAnswer(f'no answer within {timeout:g} seconds') from None
    except OSError as error:
        raise NoAnswer(error.strerror or str(error)) from None
    except (ProtocolError, ValueError):
        raise NoAnswer('what listens there is no ZEO server, or speaks TLS') from None
    except TlsError as error:
        raise NoAnswer(str(error)) from None


def _secured(raw: Any, address: Address, ssl: SSLContext | None,
             server_hostname: str | None) -> Any:
    if ssl is None:
        return raw
    host = address[0] if isinstance(address, tuple) else 'localhost'
    codec = TlsCodec(ssl, server_side=False, server_hostname=server_hostname or host)
    return TlsSocket(raw, codec)


def _ask(stream: Any, raw: Any, deadline: float) -> dict[str, dict[str, Any]]:
    reader = FrameReader(_LIMIT)
    greeting, *rest = _frames(reader, stream, raw, deadline)
    if greeting[1:] != b'5':
        raise ProtocolError('no greeting of a ZEO server')
    stream.send(frame(PROBE))
    answer = rest[0] if rest else _frames(reader, stream, raw, deadline)[0]
    report = json.loads(bytes(answer))
    if not (isinstance(report, dict) and all(isinstance(one, dict) for one in report.values())):
        raise ProtocolError('no status of a ZEO server')
    return report


def _frames(reader: FrameReader, stream: Any, raw: Any, deadline: float) -> list[Any]:
    """Return the next frames, at least one."""
    while True:
        left = deadline - REAL.now()
        if left <= 0:
            raise TimeoutError
        raw.settimeout(left)
        count = stream.recv_into(reader.buffer())
        if not count:
            raise OSError('the server has closed the connection')
        found = reader.received(count)
        if found:
            return found
