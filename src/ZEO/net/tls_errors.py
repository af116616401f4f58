"""What went wrong with TLS, in a user's words.

Enters: an error of the ssl module.  Leaves: one line that says what it means and who can do
something about it.  Fails: never; what is not known here is told as OpenSSL tells it.
"""

from __future__ import annotations

import ssl

from ZEO.Exceptions import ClientStorageError

_NOT_TLS = '{peer} does not speak TLS on this address'
_OLD_TLS = '{peer} offers no TLS version of 1.2 or newer'
_UNKNOWN_ISSUER = 'the certificate of {peer} is signed by an unknown issuer'
_NOT_ACCEPTED = '{peer} did not accept our certificate'

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
    18: 'the certificate of {peer} is self-signed and not among those that we authenticate',
    19: _UNKNOWN_ISSUER + ', a self-signed one',
    20: _UNKNOWN_ISSUER + ': name it with authenticate',
    21: _UNKNOWN_ISSUER + ', or its chain is incomplete',
    23: 'the certificate of {peer} has been revoked',
    26: 'the certificate of {peer} is not meant for this purpose',
}

#: Reasons of OpenSSL, among them the alerts by which the other side says what it did not like.
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
    'NO_SHARED_CIPHER': '{peer} offers no cipher that we accept',
    'SSLV3_ALERT_HANDSHAKE_FAILURE': '{peer} refused the handshake: no cipher in common, or it '
    'requires a certificate of ours',
    'PEER_DID_NOT_RETURN_A_CERTIFICATE': '{peer} has shown no certificate, and one is required',
    'TLSV13_ALERT_CERTIFICATE_REQUIRED': '{peer} requires a certificate of ours: configure '
    'certificate and key',
    'SSLV3_ALERT_CERTIFICATE_EXPIRED': '{peer} says that our certificate has expired',
    'SSLV3_ALERT_CERTIFICATE_REVOKED': '{peer} says that our certificate has been revoked',
    'SSLV3_ALERT_CERTIFICATE_UNKNOWN': _NOT_ACCEPTED,
    'SSLV3_ALERT_BAD_CERTIFICATE': _NOT_ACCEPTED,
    'TLSV1_ALERT_ACCESS_DENIED': _NOT_ACCEPTED,
    'SSLV3_ALERT_UNSUPPORTED_CERTIFICATE': _NOT_ACCEPTED + ': it is not meant for this purpose',
    'TLSV1_ALERT_UNKNOWN_CA': '{peer} does not know the issuer of our certificate',
    'TLSV1_ALERT_DECRYPT_ERROR': _NOT_ACCEPTED + ': it may not be the one that it knows',
    'UNEXPECTED_EOF_WHILE_READING': '{peer} ended the connection without a word',
}


class TlsError(ClientStorageError):
    """TLS failed on a connection; the text says why."""


def explain(
    error: BaseException, server_side: bool = False, server_hostname: str | None = None
) -> str:
    """Return what `error` means, in one line.

    :param error: what the ssl module raised.
    :param server_side: whether it happened to a server, which names the other side.
    :param server_hostname: the name that a client checked the server's certificate for.
    """
    peer = 'the client' if server_side else 'the server'
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _NAME_MISMATCH:
            return (
                f'the certificate of {peer} is not for the name {server_hostname!r}: '
                'connect by a name that it has, or configure server-hostname'
            )
        known = _VERIFY.get(error.verify_code)
        if known is None:
            return f'the certificate of {peer} is not valid: {error.verify_message}'
        return known.format(peer=peer)
    if isinstance(error, ssl.SSLError):
        known = _REASONS.get(getattr(error, 'reason', None) or '')
        return known.format(peer=peer) if known else f'TLS with {peer} failed: {reason(error)}'
    return str(error) or type(error).__name__


def reason(error: BaseException) -> str:
    """Return OpenSSL's own reason in plain letters, or the error's text if it has none."""
    code = getattr(error, 'reason', None)
    return code.replace('_', ' ').lower() if code else str(error)
