"""Contexts for TLS, from the files and names that a configuration has.

Enters: paths of certificates, keys and lists of revoked certificates; whom to trust. Leaves:
``ssl.SSLContext`` objects. Fails: :class:`ConfigurationError` for files that cannot be used.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from importlib import import_module

from ZEO.Exceptions import ConfigurationError
from ZEO.net import tls_revoked as revoked
from ZEO.net.tls_errors import explain_load, reason

#: Value of ``authenticate``: trust what the authorities that this system trusts have signed.
SIGNED = 'SIGNED'

#: Value of ``authenticate``: trust no certificate yet; a program adds those to trust later.
DYNAMIC = 'DYNAMIC'

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
