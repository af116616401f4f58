"""Asks a server for its status, without opening one of its storages.

Enters: an address. Leaves: the server's figures, by the names of its storages, or all that a
registered client may know of one. Fails: :class:`NoAnswer`, one line that says what happened.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_urlsafe
from typing import Any

from ZEO.config import datatypes
from ZEO.Exceptions import AuthError, ClientStorageError, ConfigurationError, ProtocolError
from ZEO.net import connecting
from ZEO.net.addresses import Address
from ZEO.net.system import REAL
from ZEO.net.tls import SSLContext, TlsCodec
from ZEO.net.tls_errors import TlsError
from ZEO.net.tls_socket import TlsSocket
from ZEO.wire import faults, messages
from ZEO.wire.frames import FrameReader, frame
from ZEO.wire.message import FAULT, REPLY, Codec
from ZEO.wire.scram import ClientExchange, salted
from ZEO.wire.session import PROBE

#: Seconds for a whole probe. A server answers at once, whatever its storages do.
TIMEOUT = 10.0

#: What the server's log calls a client that only asks for the status.
LABEL = 'zeo-status'

#: Bytes of a frame: enough for the status of thousands of storages.
_LIMIT = 2**24


class NoAnswer(ClientStorageError):
    """A server did not send its status; the text says what happened instead."""


class Rejected(NoAnswer):
    """There is a server, which does not accept this client."""


class Refused(Rejected):
    """A server has answered a call with an error."""


def parse(text: str) -> Address:
    """Return the address that a command line names: HOST:PORT, [IPV6]:PORT, PORT, or a path.

    :raises ConfigurationError: when it does not name an address.
    """
    try:
        return datatypes.connect_address(text)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def probe(
    address: Address,
    timeout: float = TIMEOUT,
    ssl: SSLContext | None = None,
    server_hostname: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the figures of each storage of a server.

    :param address: ``(host, port)`` or the path of a Unix socket.
    :param timeout: seconds for the whole probe.
    :param ssl: the context of a client, for a server that speaks TLS.
    :param server_hostname: the name that the server's certificate is for, if not the host;
        ``localhost`` for a Unix socket.
    :raises NoAnswer: when there is no answer, or not that of a ZEO server.
    """
    with _connected(address, timeout, ssl, server_hostname) as server:
        return server.figures()


def ask(
    address: Address,
    storage: str,
    timeout: float = TIMEOUT,
    ssl: SSLContext | None = None,
    server_hostname: str | None = None,
    login: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Return the figures that a server shows to a client registered for a storage; the other
    arguments are those of :func:`probe`.

    :param login: a user and its password, for a server with passwords.
    :raises NoAnswer: as :func:`probe`, and when the server refuses the client.
    """
    with _connected(address, timeout, ssl, server_hostname) as server:
        return server.status(storage, login)


def promote(
    address: Address,
    storage: str,
    timeout: float,
    ssl: SSLContext | None = None,
    server_hostname: str | None = None,
    login: tuple[str, str] | None = None,
) -> bytes:
    """Have a server make a replica the primary; return the last transaction that it has. The
    arguments are those of :func:`ask`.

    :raises Refused: with the reason, when the server refuses.
    :raises NoAnswer: as :func:`ask`.
    """
    with _connected(address, timeout, ssl, server_hostname) as server:
        return server.promote(storage, login)


def kick(
    address: Address,
    storage: str,
    which: str,
    timeout: float = TIMEOUT,
    ssl: SSLContext | None = None,
    server_hostname: str | None = None,
    login: tuple[str, str] | None = None,
) -> list[str]:
    """Have a server end connections of clients; return their addresses. The other arguments are
    those of :func:`ask`.

    :param which: the number, address or label of a client.
    :raises Refused: with the reason, when the server refuses.
    :raises NoAnswer: as :func:`ask`.
    """
    with _connected(address, timeout, ssl, server_hostname) as server:
        return server.kick(storage, login, which)


@contextmanager
def _connected(
    address: Address, timeout: float, ssl: SSLContext | None, server_hostname: str | None
) -> Iterator[_Server]:
    deadline = REAL.now() + timeout
    try:
        raw = connecting.connect(address, timeout)
        try:
            yield _Server(_secured(raw, address, ssl, server_hostname), raw, deadline)
        finally:
            raw.close()
    except TimeoutError:
        raise NoAnswer(f'no answer within {timeout:g} seconds') from None
    except OSError as error:
        raise NoAnswer(_with_advice(error)) from None
    except (ProtocolError, ValueError):
        raise Rejected('the peer is not a ZEO server, or it uses TLS') from None
    except TlsError as error:
        raise Rejected(str(error)) from None


def _with_advice(error: OSError) -> str:
    """Return what the system says, and what that mostly means."""
    text = error.strerror or str(error)
    is_down = isinstance(error, (ConnectionRefusedError, FileNotFoundError))
    if is_down and text == os.strerror(error.errno or 0):
        return f'{text}: start the server, or check the address'
    return text


def _secured(
    raw: Any, address: Address, ssl: SSLContext | None, server_hostname: str | None
) -> Any:
    if ssl is None:
        return raw
    host = address[0] if isinstance(address, tuple) else 'localhost'
    codec = TlsCodec(ssl, server_side=False, server_hostname=server_hostname or host)
    return TlsSocket(raw, codec)


class _Server:
    """A server at the other end of a connection.

    :param raw: the socket below `stream`.
    :param deadline: the time by which everything has to be answered.
    """

    def __init__(self, stream: Any, raw: Any, deadline: float) -> None:
        self._stream = stream
        self._raw = raw
        self._deadline = deadline
        self._reader = FrameReader(_LIMIT)
        self._frames: deque[Any] = deque()  # received, not read yet

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return the figures for clients that have not registered."""
        self._greeting()
        self._stream.send(frame(PROBE))
        report = json.loads(bytes(self._next()))
        if not (isinstance(report, dict) and all(isinstance(one, dict) for one in report.values())):
            raise ProtocolError('the answer is not the status of a ZEO server')
        return report

    def status(self, storage: str, login: tuple[str, str] | None) -> dict[str, Any]:
        """Return the figures for clients of a storage.

        :param login: a user and its password, which are proved first.
        """
        codec = self._registered(storage, login, LABEL)
        found = self._call(codec, 2, 'server_status', ())
        if not isinstance(found, dict):
            raise ProtocolError('the answer is not the status of a storage')
        return found

    def promote(self, storage: str, login: tuple[str, str] | None) -> bytes:
        """Promote the replica that is a storage; return its last transaction."""
        codec = self._registered(storage, login, 'zeo promote')
        found = self._call(codec, 2, 'promote', ())
        if not isinstance(found, bytes):
            raise ProtocolError('the answer is not a transaction')
        return found

    def kick(self, storage: str, login: tuple[str, str] | None, which: str) -> list[str]:
        """End connections of clients; return their addresses."""
        codec = self._registered(storage, login, 'zeo kick')
        found = self._call(codec, 2, 'kick', (which,))
        if not isinstance(found, (list, tuple)):
            raise ProtocolError('the answer is not a list of addresses')
        return [str(address) for address in found]

    def _registered(self, storage: str, login: tuple[str, str] | None, label: str) -> Codec:
        """Register for reading, as `label`, which a read-only server allows as well."""
        greeting = self._greeting()
        codec = messages.codec(greeting)
        self._stream.send(frame(greeting))
        if login is not None:
            self._prove(codec, *login)
        self._call(codec, 1, 'register', (storage, True))
        self._stream.send(frame(codec.send('set_client_label', (label,))))
        return codec

    def _prove(self, codec: Codec, user: str, password: str) -> None:
        binding = self._stream.binding() if isinstance(self._stream, TlsSocket) else None
        exchange = ClientExchange(user, token_urlsafe(24), binding)
        try:
            challenge = exchange.challenge(self._text(codec, 3, 'scram_first', exchange.first))
            proof = exchange.final(salted(password, challenge))
            exchange.confirm(self._text(codec, 4, 'scram_final', proof))
        except AuthError as error:
            raise Rejected(str(error)) from None

    def _text(self, codec: Codec, number: int, name: str, text: str) -> str:
        found = self._call(codec, number, name, (text,))
        if not isinstance(found, str):
            raise ProtocolError(f'the answer to {name} is not a text')
        return found

    def _call(self, codec: Codec, number: int, name: str, args: tuple[Any, ...]) -> Any:
        self._stream.send(frame(codec.call(number, name, args)))
        while True:
            message_id, flags, called, result = codec.decode(bytes(self._next()))
            if called == REPLY and message_id == number:
                if flags == FAULT:
                    raise Refused(str(faults.restore(result, 'the server')))
                return result

    def _greeting(self) -> bytes:
        greeting = bytes(self._next())
        if greeting[1:] != b'5':
            raise ProtocolError('the peer did not send a ZEO greeting')
        return greeting

    def _next(self) -> Any:
        """Return the next frame."""
        while not self._frames:
            left = self._deadline - REAL.now()
            if left <= 0:
                raise TimeoutError
            self._raw.settimeout(left)
            count = self._stream.recv_into(self._reader.buffer())
            if not count:
                raise Rejected('the server closed the connection')
            self._frames.extend(self._reader.received(count))
        return self._frames.popleft()
