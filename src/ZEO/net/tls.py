"""TLS without a socket: contexts from certificate files, and a codec for one connection.

Enters: file names from a configuration; the bytes of a stream. Leaves: ``ssl.SSLContext`` objects;
plaintext and ciphertext. Fails: :class:`ConfigurationError` for files that cannot be used,
:class:`~ZEO.net.tls_errors.TlsError` in a user's words for errors on a connection.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.net import tls_revoked as revoked
from ZEO.net.tls_errors import TlsCut, TlsError, explain, explain_end, explain_load, reason
from ZEO.net.tls_names import SHORT_NAMES, names_in
from ZEO.wire.quoting import cleaned

__all__ = [
    'DYNAMIC',
    'SIGNED',
    'SSLContext',
    'TlsCodec',
    'asks_for_certificates',
    'client_context',
    'server_context',
    'verifies_certificates',
]

#: The class of the contexts, for modules that may not import the ssl module.
SSLContext = ssl.SSLContext

#: Value of ``authenticate``: trust what the authorities that this system trusts have signed.
SIGNED = 'SIGNED'

#: Value of ``authenticate``: trust no certificate yet; a program adds those to trust later.
DYNAMIC = 'DYNAMIC'

#: Bytes of plaintext that one TLS record holds at most.
_RECORD = 16 * 1024

PasswordFunction = str | Callable[[], str | bytes]


def server_context(
    certificate: str,
    key: str | None = None,
    password_function: PasswordFunction | None = None,
    authenticate: str | None = None,
    crl: str | None = None,
) -> ssl.SSLContext:
    """Return the context of a server.

    :param certificate: a PEM file with the server's certificate, and those between it and the
        authority.
    :param key: a PEM file with the private key; without it, the key is in the certificate's file.
    :param password_function: a callable that returns the key's password, or one's dotted name.
    :param authenticate: whose certificates clients must have: a PEM file, a directory as
        ``openssl rehash`` makes it, ``SIGNED``, or ``DYNAMIC``; without it, clients need none.
    :param crl: which certificates of clients have been revoked: a PEM file, or such a directory.
    :raises ConfigurationError: when a file or function cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    # Each connection shows its certificate, see TlsCodec._check_session.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    _load_certificate(context, certificate, key, password_function)
    if authenticate:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, authenticate, ssl.Purpose.CLIENT_AUTH)
    if crl:
        if not authenticate:
            raise ConfigurationError(
                'crl names revoked certificates of clients, but without authenticate the server '
                'does not ask clients for certificates: add authenticate'
            )
        revoked.refuse(context, crl, authenticate)
    return context


def client_context(
    certificate: str | None = None,
    key: str | None = None,
    password_function: PasswordFunction | None = None,
    authenticate: str | None = None,
    check_hostname: bool = True,
    crl: str | None = None,
) -> ssl.SSLContext:
    """Return the context of a client.

    :param certificate: the client's own certificate, for a server that asks for one; it, `key`
        and `password_function` are as for :func:`server_context`.
    :param authenticate: whose certificate the server must have, as for :func:`server_context`;
        without it, ``SIGNED``.
    :param check_hostname: whether that must also be for the name that is connected to.
    :param crl: which certificates have been revoked, as for :func:`server_context`.
    :raises ConfigurationError: when a file or function cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = bool(check_hostname)
    if certificate:
        _load_certificate(context, certificate, key, password_function)
    elif key:
        raise ConfigurationError(
            f'there is an SSL key, {key}, but no certificate: add the one that belongs to it'
        )
    _trust(context, authenticate or SIGNED, ssl.Purpose.SERVER_AUTH)
    if crl:
        revoked.refuse(context, crl, authenticate or SIGNED)
    return context


def asks_for_certificates(context: ssl.SSLContext) -> bool:
    """Return whether a server with this context requires a certificate of each client."""
    return context.verify_mode == ssl.CERT_REQUIRED


def verifies_certificates(context: ssl.SSLContext) -> bool:
    """Return whether a server with this context verifies the certificates that clients have."""
    return context.verify_mode != ssl.CERT_NONE


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _load_certificate(
    context: ssl.SSLContext,
    certificate: str,
    key: str | None,
    password_function: PasswordFunction | None,
) -> None:
    _check_readable('certificate', certificate)
    if key:
        _check_readable('key', key)
    try:
        context.load_cert_chain(certificate, key or None, _password(password_function))
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(
            explain_load(error, certificate, key, bool(password_function))
        ) from None


def _password(function: PasswordFunction | None) -> Callable[[], str | bytes]:
    """Return a function that returns a key's password; without one OpenSSL asks on the terminal."""
    if function is None:
        return _no_password
    name = function if isinstance(function, str) else getattr(function, '__name__', 'given')
    called = _find(function) if isinstance(function, str) else function

    def password() -> str | bytes:
        try:
            return called()
        except Exception as error:  # the operator's own code, which may raise anything
            raise ConfigurationError(
                f'the SSL password-function {name} failed: {type(error).__name__}: {error}'
            ) from error

    return password


def _no_password() -> str:
    raise ConfigurationError(
        'the SSL key is encrypted: name a password-function that returns its password'
    )


def _find(name: str) -> Callable[[], str | bytes]:
    module, _, attribute = name.rpartition('.')
    if not module:
        raise ConfigurationError(
            f'the SSL password-function {name!r} is not a dotted name: write module.function'
        )
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f'the SSL password-function {name!r} cannot be imported: {error}'
        ) from None
    if not callable(found):
        raise ConfigurationError(f'the SSL password-function {name!r} is not a function')
    return found


def _trust(context: ssl.SSLContext, authenticate: str, purpose: ssl.Purpose) -> None:
    if authenticate == SIGNED:
        context.load_default_certs(purpose)
        return
    # What is named is trusted without the certificates above it, such as a client's certificate
    # that an authority has signed, or an intermediate authority.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if os.path.isdir(authenticate):
        context.load_verify_locations(capath=authenticate)
    elif authenticate != DYNAMIC:
        _check_readable('authenticate', authenticate)
        try:
            context.load_verify_locations(cafile=authenticate)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                f'{authenticate}: no certificates in PEM format to '
                f'authenticate with there ({reason(error)})'
            ) from None


def _check_readable(what: str, path: str) -> None:
    try:
        with open(path, 'rb'):
            pass
    except OSError as error:
        raise ConfigurationError(
            f'the SSL {what} file {path} cannot be read: {error.strerror}'
        ) from None


class TlsCodec:
    """One end of a TLS connection, without a socket.

    The handshake runs inside :meth:`receive`; data that is sent before it is done waits for it. Not
    thread-safe: the caller lets one thread in at a time.

    :param context: from :func:`server_context`, :func:`client_context`, or an application's own.
    :param server_side: which end this is.
    :param server_hostname: on the client, the name that the server's certificate must be for,
        where the context checks names.
    :raises ConfigurationError: when the context checks names and there is none.
    """

    def __init__(
        self, context: ssl.SSLContext, server_side: bool, server_hostname: str | None = None
    ) -> None:
        if context.check_hostname and not server_side and not server_hostname:
            raise ConfigurationError(
                'there is no host name to check the certificate of the server for: '
                'configure server-hostname, or set check-hostname off'
            )
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._server_side = server_side
        self._hostname = server_hostname
        self._waiting: list[bytes] = []  # plaintext, until the handshake is done
        self._has_read = False  # whether plaintext has been received
        self.handshaken = False  # whether the handshake is done
        self.closed = False  # whether the other side has ended the stream
        if not server_side:
            self.do_handshake()  # makes the first message, for take()

    def do_handshake(self) -> bool:
        """Continue the handshake as far as the received bytes allow; return whether it is done.

        :raises TlsCut: when the other side ends the stream before.
        :raises TlsError: when it fails; :meth:`take` may hold an alert for the other side.
        """
        if not self.handshaken:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                return False
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                raise self._cut() from None
            except ssl.SSLError as error:
                raise self._failed(error) from None
            self._check_session()
            self.handshaken = True
            waiting, self._waiting = self._waiting, []
            for data in waiting:
                self.send(data)
        return True

    def _check_session(self) -> None:
        """Make sure that a client whose certificate counts has shown it on this connection.

        :raises TlsError: when it continues an earlier session instead: nothing would notice that
            its certificate has expired or was revoked meanwhile.
        """
        needs_certificate = self._tls.context.verify_mode != ssl.CERT_NONE
        if self._server_side and needs_certificate and self._tls.session_reused:
            raise TlsError(
                'the client continues an earlier TLS session instead of showing its certificate'
            )

    def receive(self, data: bytes | memoryview) -> bytes:
        """Take ciphertext; return the plaintext that is complete now, often none.

        :param data: what came from the stream; empty at its end.
        :raises TlsError: when the handshake or the stream is broken; :meth:`take` may hold an
            alert for the other side.
        """
        if data:
            self._incoming.write(data)
        else:
            self._end()
        if not self.do_handshake():
            return b''
        plain = self._read_all()
        self._has_read = self._has_read or bool(plain)
        return plain

    def _end(self) -> None:
        """Note that the stream has ended.

        :raises TlsCut: when that came too early.
        """
        # In TLS 1.3 the handshake is done before a server has said whether it accepts the client's
        # certificate, and some servers never say so.
        if not self.handshaken or not (self._server_side or self._has_read):
            raise self._cut()
        self._incoming.write_eof()

    def _read_all(self) -> bytes:
        pieces: list[bytes] = []
        try:
            while piece := self._tls.read(_RECORD):
                pieces.append(piece)
            self.closed = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self.closed = True
        except ssl.SSLError as error:
            raise self._failed(error) from None
        return pieces[0] if len(pieces) == 1 else b''.join(pieces)

    def send(self, data: bytes | memoryview) -> None:
        """Take plaintext; :meth:`take` has its ciphertext once the handshake is done."""
        if not self.handshaken:
            self._waiting.append(bytes(data))
        elif data:
            self._tls.write(data)

    def take(self) -> bytes:
        """Return the ciphertext that waits to be written to the stream."""
        return self._outgoing.read()

    def subject(self) -> str:
        """Return the subject of the other side's certificate, ``CN=…``; empty if it sent none."""
        found: Any = (self._tls.getpeercert() or {}).get('subject', ()) if self.handshaken else ()
        names = [f'{SHORT_NAMES.get(key, key)}={value}' for part in found for key, value in part]
        return cleaned(', '.join(names))

    def binding(self) -> bytes:
        """Return what only the two ends of this connection can know: TLS's Finished message, which
        covers the whole handshake, so also the server's certificate.

        :raises TlsError: when the connection continues an earlier one, whose handshake alone has
            shown the certificate.
        """
        finished = self._tls.get_channel_binding('tls-unique') if self.handshaken else None
        if finished is None or self._tls.session_reused:
            raise TlsError(
                'a password is accepted only on a TLS connection with a handshake of its own'
            )
        return f'{self._tls.version()} '.encode() + finished

    def names(self) -> tuple[str, ...]:
        """Return the names in the other side's certificate, the whole subject first; none where it
        sent no certificate, or its certificate was not verified.

        :raises TlsError: when they cannot be read.
        """
        try:
            found = self._tls.getpeercert() if self.handshaken else None
        except (ssl.SSLError, ValueError) as error:  # a text that is not one
            raise TlsError(
                f'the names in the certificate of the other side cannot be read: {error}'
            ) from None
        return names_in(found or {})

    def close(self) -> None:
        """End what is sent: :meth:`take` returns the alert that informs the other side."""
        if self.handshaken:
            try:
                self._tls.unwrap()
            except ssl.SSLError:  # the other side has not done so yet, and need not
                pass

    def _failed(self, error: ssl.SSLError) -> TlsError:
        return TlsError(explain(error, self._server_side, self._hostname))

    def _cut(self) -> TlsCut:
        return TlsCut(explain_end(self._server_side, self.handshaken))
