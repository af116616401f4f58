"""Errors of TLS in a user's words: the one place where they become readable.

Enters: an error of the ssl module, or the end of a connection that came too early. Leaves: one line
that says what it means and who can mend it. Fails: never; an error that is not known here is
described as OpenSSL does.
"""

from __future__ import annotations

import ssl

from ZEO.Exceptions import ClientStorageError

# In these texts {peer} is the other side and {me} this side: 'the server' and 'this client', say.

_NOT_TLS = '{peer} does not speak TLS on this address'
_OLD_TLS = '{peer} offers no TLS version of 1.2 or newer'
_UNKNOWN_ISSUER = 'the certificate of {peer} is signed by an unknown issuer'
_NOT_ACCEPTED = '{peer} did not accept the certificate of {me}'

#: X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_NAME_MISMATCH = (62, 64)

#: Other X509_V_ERR_* numbers of OpenSSL.
_VERIFY = {
    3: 'crl has no list of revoked certificates from the authority that has signed the certificate '
    'of {peer}',
    8: 'the list of revoked certificates that crl names has a wrong signature',
    11: 'the list of revoked certificates that crl names is not valid yet: is the clock right?',
    12: 'the list of revoked certificates that crl names has expired: get a new one from the '
    'authority',
    9: 'the certificate of {peer} is not valid yet: is the clock right?',
    10: 'the certificate of {peer} has expired',
    18: 'the certificate of {peer} is self-signed and is not one that authenticate names',
    19: _UNKNOWN_ISSUER + ', a self-signed one',
    20: _UNKNOWN_ISSUER + ': name it with authenticate',
    21: _UNKNOWN_ISSUER + ', or its chain is incomplete',
    23: 'the certificate of {peer} has been revoked',
    26: 'the certificate of {peer} is not meant for this purpose',
}

#: Reasons of OpenSSL, among them the alerts by which the other side says what it did not accept.
_REASONS = {
    'WRONG_VERSION_NUMBER': _NOT_TLS,
    'UNKNOWN_PROTOCOL': _NOT_TLS,
    'PACKET_LENGTH_TOO_LONG': _NOT_TLS,
    'RECORD_LAYER_FAILURE': _NOT_TLS,
    'BAD_RECORD_TYPE': _NOT_TLS,
    'HTTP_REQUEST': _NOT_TLS + ' (it sent an HTTP request)',
    'HTTPS_PROXY_REQUEST': _NOT_TLS + ' (it sent an HTTP request)',
    'UNSUPPORTED_PROTOCOL': _OLD_TLS,
    'NO_PROTOCOLS_AVAILABLE': _OLD_TLS,
    'TLSV1_ALERT_PROTOCOL_VERSION': '{peer} accepts no TLS version of 1.2 or newer',
    'NO_SHARED_CIPHER': '{peer} offers no cipher that {me} accepts',
    'SSLV3_ALERT_HANDSHAKE_FAILURE': '{peer} refused the handshake: there is no cipher in common, '
    'or it requires a certificate from {me}',
    'PEER_DID_NOT_RETURN_A_CERTIFICATE': '{peer} sent no certificate, and one is required',
    'TLSV13_ALERT_CERTIFICATE_REQUIRED': '{peer} requires a certificate from {me}: configure '
    'certificate and key',
    'SSLV3_ALERT_CERTIFICATE_EXPIRED': '{peer} says that the certificate of {me} has expired',
    'SSLV3_ALERT_CERTIFICATE_REVOKED': '{peer} says that the certificate of {me} has been revoked',
    'SSLV3_ALERT_CERTIFICATE_UNKNOWN': _NOT_ACCEPTED,
    'SSLV3_ALERT_BAD_CERTIFICATE': _NOT_ACCEPTED,
    'TLSV1_ALERT_ACCESS_DENIED': _NOT_ACCEPTED,
    'SSLV3_ALERT_UNSUPPORTED_CERTIFICATE': _NOT_ACCEPTED + ': it is not meant for this purpose',
    'TLSV1_ALERT_UNKNOWN_CA': '{peer} does not know the issuer of the certificate of {me}',
    'TLSV1_ALERT_DECRYPT_ERROR': _NOT_ACCEPTED + ': it may not be the one that {peer} expects',
    'UNEXPECTED_EOF_WHILE_READING': '{peer} closed the connection without giving a reason',
}


class TlsError(ClientStorageError):
    """TLS failed on a connection; the text says why."""


class TlsCut(TlsError):
    """The connection ended before the other side has said anything that explains it: a network or
    a server that fails, or a side that refuses in silence. Trying again may help.
    """


def explain(
    error: BaseException, server_side: bool = False, server_hostname: str | None = None
) -> str:
    """Return what `error` means, in one line.

    :param error: what the ssl module raised.
    :param server_side: whether this side is the server.
    :param server_hostname: the name that a client checked the server's certificate for.
    """
    peer, me = _sides(server_side)
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _NAME_MISMATCH:
            return (
                f'the certificate of {peer} is not for the name {server_hostname!r}: '
                'connect by a name that it names, or configure server-hostname'
            )
        known = _VERIFY.get(error.verify_code)
        if known is None:
            return f'the certificate of {peer} is not valid: {error.verify_message}'
        return known.format(peer=peer, me=me)
    if isinstance(error, ssl.SSLError):
        known = _REASONS.get(getattr(error, 'reason', None) or '')
        if known is None:
            return f'TLS with {peer} failed: {reason(error)}'
        return known.format(peer=peer, me=me)
    return str(error) or type(error).__name__


def explain_end(server_side: bool, handshaken: bool) -> str:
    """Return what it means that the other side closed a connection too early.

    :param handshaken: whether the handshake was done.
    """
    peer, me = _sides(server_side)
    if handshaken:
        return (
            f'{peer} closed the connection right after the TLS handshake: it may not accept the '
            f'certificate of {me}, or require one; the log of {peer} says why'
        )
    return (
        f'{peer} closed the connection during the TLS handshake: it does not speak TLS, or has '
        f'refused {me}, and the log of {peer} says why'
    )


def explain_load(
    error: BaseException, certificate: str, key: str | None, has_password: bool
) -> str:
    """Return why a certificate and its key could not be loaded.

    :param key: the key's own file, if it has one.
    :param has_password: whether a password-function was configured.
    """
    code = getattr(error, 'reason', None)
    if code == 'KEY_VALUES_MISMATCH':
        return (
            f'the SSL key in {key or certificate} does not belong to the certificate in '
            f'{certificate}'
        )
    if has_password and (code is None or 'DECRYPT' in code or 'CIPHERFINAL' in code):
        return (
            f'the SSL key in {key or certificate} cannot be decrypted with what the '
            'password-function returns'
        )
    files = f'{certificate} and {key}' if key else certificate
    return f'{files}: no certificate with its private key in PEM format there ({reason(error)})'


def _sides(server_side: bool) -> tuple[str, str]:
    """Return what the other side and this side are called."""
    return ('the client', 'this server') if server_side else ('the server', 'this client')


def reason(error: BaseException) -> str:
    """Return OpenSSL's own reason in lower case, or the error's text if it has none."""
    code = getattr(error, 'reason', None)
    return code.replace('_', ' ').lower() if code else str(error)
