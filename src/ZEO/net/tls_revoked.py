"""Certificates that an authority has revoked.

Enters: a context, a file or directory with certificate revocation lists. Leaves: the context, which
refuses the certificates that they name. Fails: :class:`ConfigurationError` when there are no such
lists, or certificates beside them, which would become trusted.
"""

from __future__ import annotations

import os
import re
import ssl

from ZEO.Exceptions import ConfigurationError
from ZEO.net.tls_errors import reason

#: The names that ``openssl rehash`` gives to certificates and to lists.
_CERTIFICATE = re.compile(r'[0-9a-f]{8}\.\d+')
_LIST = re.compile(r'[0-9a-f]{8}\.r\d+')


def refuse(context: ssl.SSLContext, crl: str, authenticate: str) -> None:
    """Make `context` refuse revoked certificates, and those whose authority has no valid list in
    `crl`.

    :param crl: a PEM file of lists, or a directory as ``openssl rehash`` makes it.
    :param authenticate: the certificates that the context trusts already.
    :raises ConfigurationError: when `crl` holds no lists, or certificates as well.
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
            f'{crl}: the file that crl names holds certificates, which would be trusted: it may '
            'hold only lists of revoked certificates (CRL)'
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
            'rehash" gives them'
        )
    is_the_same = os.path.isdir(authenticate) and os.path.samefile(crl, authenticate)
    if not is_the_same and any(_CERTIFICATE.fullmatch(name) for name in names):
        raise ConfigurationError(
            f'{crl}: the directory that crl names holds certificates, which would be trusted: move '
            'them away, or name the directory as authenticate, too'
        )
