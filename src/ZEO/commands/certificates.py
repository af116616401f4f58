"""Certificates for servers and clients, and the authority that signs them.

Enters: names, days, keys in PEM format. Leaves: certificates, keys and lists of revoked
certificates in PEM format, as the strictest checks want them. Fails: :class:`ConfigurationError`
for names and files that cannot be used, and on import where cryptography is not installed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from ZEO.Exceptions import ConfigurationError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    raise ConfigurationError(
        'making certificates needs the package cryptography, which is not installed: '
        'pip install cryptography, or ZEO with its extra "certs"'
    ) from None

#: The kinds of certificates.
AUTHORITY, SERVER, CLIENT = 'authority', 'server', 'client'

#: How long before they are made they are valid: the clocks of other machines may be behind.
_EARLIER = timedelta(hours=1)

#: Characters that a common name has at most, by RFC 5280.
_LONGEST_NAME = 64

_HOST = re.compile(r'(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*')
_CLIENT = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.@+-]*')


class Pair(NamedTuple):
    """A certificate and its key, in PEM format."""

    certificate: bytes
    key: bytes


class Facts(NamedTuple):
    """What a certificate says."""

    kind: str
    name: str  # its common name
    names: tuple[str, ...]  # the hosts and addresses of a server
    serial: int
    until: datetime


def facts(pem: bytes) -> Facts:
    """Return what a certificate says.

    :raises ValueError: when it is not a certificate in PEM format.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Facts(
        _kind(certificate),
        str(common[0].value) if common else '',
        _names(certificate),
        certificate.serial_number,
        certificate.not_valid_after_utc,
    )


def belong_together(certificate: bytes, key: bytes) -> bool:
    """Return whether a key, in PEM format and not encrypted, is that of a certificate."""
    try:
        found: Any = serialization.load_pem_private_key(key, None)
        public = x509.load_pem_x509_certificate(certificate).public_key()
    except (ValueError, TypeError):  # not whole, or encrypted
        return False
    return bool(public == found.public_key())


def listed(pem: bytes) -> set[int]:
    """Return the serial numbers in a list of revoked certificates.

    :raises ValueError: when it is not such a list in PEM format.
    """
    return {one.serial_number for one in x509.load_pem_x509_crl(pem)}


def _kind(certificate: Any) -> str:
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is not None and basic.ca:
        return AUTHORITY
    uses = _extension(certificate, x509.ExtendedKeyUsage) or ()
    return SERVER if ExtendedKeyUsageOID.SERVER_AUTH in uses else CLIENT


def _names(certificate: Any) -> tuple[str, ...]:
    found = _extension(certificate, x509.SubjectAlternativeName) or ()
    kinds = (x509.DNSName, x509.IPAddress)
    return tuple(str(name.value) for name in found if isinstance(name, kinds))


def _extension(certificate: Any, kind: Any) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def server_names(text: str) -> tuple[str, ...]:
    """Return the hosts and addresses of ``db.example.org,127.0.0.1``.

    :raises ConfigurationError: when there is none, or one of them is neither.
    """
    names = tuple(name for name in text.replace(' ', ',').split(',') if name)
    for name in names:
        if _address(name) is None and not (_HOST.fullmatch(name) and len(name) <= 253):
            raise ConfigurationError(
                f'{name!r} is not the name of a host or an IP address: give the names that clients '
                'connect to, without a port'
            )
    if not names:
        raise ConfigurationError('a server needs a name: give the one that clients connect to')
    return names


def client_name(text: str) -> str:
    """Return the name of a client, checked.

    :raises ConfigurationError: when it cannot be one.
    """
    if not _CLIENT.fullmatch(text) or len(text) > _LONGEST_NAME:
        raise ConfigurationError(
            f'{text!r} cannot be the name of a client: give up to {_LONGEST_NAME} letters, digits '
            'and the characters . _ @ + -'
        )
    return text


def _address(name: str) -> Any:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def new_authority(days: int, now: datetime, before: Pair | None = None) -> Pair:
    """Return an authority: a certificate that has signed itself.

    :param before: one whose key and name it keeps, so that what that one has signed stays valid.
    :raises ConfigurationError: when that one cannot be used.
    """
    if before is None:
        key: Any = ec.generate_private_key(ec.SECP256R1())
        digits = _key_id(key).digest.hex()[:6]  # so that no two authorities have one name
        subject = _subject(f'ZEO authority {digits}')
    else:
        issuer = Issuer(before)
        key, subject = issuer.key, issuer.certificate.subject
    builder = _begun(subject, subject, key.public_key(), now, _end(now, days))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def _end(now: datetime, days: int) -> datetime:
    """Return when something ends that is made now.

    :raises ConfigurationError: when that is after the year 9999.
    """
    try:
        return now + timedelta(days=days)
    except OverflowError:
        raise ConfigurationError(f'{days} days are more than a certificate can last') from None


def _subject(name: str) -> Any:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(subject: Any, issuer: Any, public: Any, now: datetime, end: datetime) -> Any:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(signs: bool) -> Any:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _key_id(key: Any) -> Any:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _pem(signed: Any) -> bytes:
    return signed.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Issuer:
    """An authority that can sign.

    :raises ConfigurationError: when certificate and key cannot be read, or do not belong together.
    """

    def __init__(self, pair: Pair) -> None:
        try:
            self.certificate = x509.load_pem_x509_certificate(pair.certificate)
            self.key: Any = serialization.load_pem_private_key(pair.key, None)
        except TypeError:
            raise ConfigurationError(
                'the key of the authority is encrypted: decrypt it for as long as it is used'
            ) from None
        except ValueError as error:
            raise ConfigurationError(
                f'the certificate or the key of the authority cannot be read: {error}'
            ) from None
        if self.certificate.public_key() != self.key.public_key():
            raise ConfigurationError('the key of the authority is not that of its certificate')

    @property
    def until(self) -> datetime:
        """When the authority expires."""
        return self.certificate.not_valid_after_utc

    def server(self, names: Sequence[str], days: int, now: datetime) -> Pair:
        """Return a certificate for a server with these names and addresses, the first of which
        names the certificate.
        """
        alternatives = x509.SubjectAlternativeName(
            [
                x509.DNSName(name) if _address(name) is None else x509.IPAddress(_address(name))
                for name in names
            ]
        )
        name = names[0] if len(names[0]) <= _LONGEST_NAME else 'ZEO server'
        extensions = [(alternatives, False), (_purpose(ExtendedKeyUsageOID.SERVER_AUTH), False)]
        return self._sign(name, extensions, days, now)

    def client(self, name: str, days: int, now: datetime) -> Pair:
        """Return a certificate for a client with this name."""
        return self._sign(name, [(_purpose(ExtendedKeyUsageOID.CLIENT_AUTH), False)], days, now)

    def _sign(
        self, name: str, extensions: Iterable[tuple[Any, bool]], days: int, now: datetime
    ) -> Pair:
        """Return a certificate; it does not outlive the authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        end = min(_end(now, days), self.until)
        builder = _begun(_subject(name), self.certificate.subject, key.public_key(), now, end)
        for extension, critical in [
            *extensions,
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(signs=False), True),
            (self._authority(), False),
        ]:
            builder = builder.add_extension(extension, critical)
        return Pair(_pem(self._signed(builder)), _key_pem(key))

    def revocations(self, revoked: Iterable[tuple[int, datetime]], now: datetime) -> bytes:
        """Return the list of revoked certificates, which is valid for as long as the authority.

        :param revoked: serial numbers, and since when.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - _EARLIER)
            .next_update(self.until)
            .add_extension(self._authority(), critical=False)
            # grows from list to list, as RFC 5280 wants it
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        )
        for serial, since in revoked:
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since)
            builder = builder.add_revoked_certificate(one.build())
        return _pem(self._signed(builder))

    def _authority(self) -> Any:
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_key_id(self.key))

    def _signed(self, builder: Any) -> Any:
        has_own_hash = type(self.key).__name__ in ('Ed25519PrivateKey', 'Ed448PrivateKey')
        return builder.sign(self.key, None if has_own_hash else hashes.SHA256())


def _purpose(purpose: Any) -> Any:
    return x509.ExtendedKeyUsage([purpose])


def utc(seconds: float) -> datetime:
    """Return a time, given in seconds since the epoch, in whole seconds as certificates have it."""
    return datetime.fromtimestamp(int(seconds), timezone.utc)
