"""Certificates that an authority has revoked.

Enters: a context, a file or directory with certificate revocation lists. Leaves: the context, which
refuses what they name. Fails: :class:`ConfigurationError` when there are no such lists, or
something besides that would be trusted.
"""

from __future__ import annotations

import os
import re
import ssl

from ZEO.Exceptions import ConfigurationError
from ZEO.net.tls_errors import reason

#: How ``openssl rehash`` names what it finds: certificates, and lists.
_CERTIFICATE = re.compile(r'[0-9a-f]{8}\.\d+')
_LIST = re.compile(r'[0-9a-f]{8}\.r\d+')


def refuse(context: ssl.SSLContext, crl: str, authenticate: str) -> None:
    """Have `context` refuse certificates that have been revoked, and those whose authority has no
    valid list in `crl`.

    :param crl: a PEM file of lists, or a directory as ``openssl rehash`` makes it.
    :param authenticate: whom the context trusts already.
    """
    if os.path.isdir(crl):
        _check_directory(crl, authenticate)
        context.load_verify_locations(capath=crl)
    else:
        _load_file(context, crl)
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _load_file(context: ssl.SSLContext, crl: str) -> None:
    before = context.cert_store_stats()
    try:
        context.load_verify_locations(cafile=crl)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(
            f'{crl}: no lists of revoked certificates (CRL) in PEM format there ({reason(error)})'
        ) from None
    found = context.cert_store_stats()
    if found['x509'] > before['x509']:
        raise ConfigurationError(
            f'{crl}: there are certificates in the file that crl names, which would be trusted: it '
            'may hold '
            'lists of revoked certificates (CRL) only'
        )
    if found['crl'] == before['crl']:
        raise ConfigurationError(
            f'{crl}: no lists of revoked certificates (CRL) in PEM format there'
        )


def _check_directory(crl: str, authenticate: str) -> None:
    names = os.listdir(crl)
    if not any(_LIST.fullmatch(name) for name in names):
        raise ConfigurationError(
            f'{crl}: no lists of revoked certificates (CRL) there under the names that "openssl '
            'rehash" '
            'gives them'
        )
    is_the_same = os.path.isdir(authenticate) and os.path.samefile(crl, authenticate)
    if not is_the_same and any(_CERTIFICATE.fullmatch(name) for name in names):
        raise ConfigurationError(
            f'{crl}: there are certificates in the directory that crl names, which would be '
            'trusted: move '
            'them away, or name the directory as authenticate, too'
        )
