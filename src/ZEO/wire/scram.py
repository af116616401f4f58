"""Proving a secret that is never sent: SCRAM-SHA-256 (RFC 5802 and 7677), both ends.

Enters: names, secrets, nonces, and the texts that the other side has sent. Leaves: the texts to
send, and at the end the certainty of each side that the other knows the secret (client) or its
verifier (server). Fails: ProtocolError for a text that is not one of the exchange;
:class:`~ZEO.Exceptions.AuthError` where the other side does not know the secret, does not see the
same TLS connection, or demands too much or too little work.

The client sends a name and a nonce, and gets a nonce, a salt and a number of iterations. Each then
sends a proof, which covers all that was said, both nonces, and the TLS connection: it is worth
nothing on another connection. A server keeps a :class:`Verifier` instead of the secret: who steals
it can guess weak secrets and pretend to be the server, but cannot log in with it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from typing import NamedTuple

from ZEO.Exceptions import AuthError, ProtocolError
from ZEO.wire.saslprep import prepared

#: Iterations of new verifiers. A client computes them once for each secret, in about 0.1 s; who has
#: stolen a verifier does so for each guess.
ITERATIONS = 200_000

#: What a client computes for a server: with fewer, a false server would learn a proof for which
#: secrets can be guessed fast; more could occupy the client for minutes.
LEAST_ITERATIONS, MOST_ITERATIONS = 50_000, 2_000_000

#: Characters of a user's name; bytes of a salt, and of a new one; characters of a nonce.
MOST_NAME = 100
LEAST_SALT, MOST_SALT, SALT = 8, 64, 16
LEAST_NONCE, MOST_NONCE = 16, 128

#: How the header of the first message says whether the client sees TLS. The name of this binding
#: is that of no standard: tls-unique is not defined for TLS 1.3.
_PLAIN, _TLS = 'n,,', 'p=tls-finished,,'

_NONCE = r'[!-+\--~]'  # printable characters without a comma
_BASE64 = '[A-Za-z0-9+/]+={0,2}'
_FIRST = re.compile(rf'(n,,|p=[A-Za-z0-9.-]{{1,40}},,)(n=([^,]+),r=({_NONCE}+))')
_CHALLENGE = re.compile(rf'r=({_NONCE}+),s=({_BASE64}),i=([1-9][0-9]{{0,9}})')
_FINAL = re.compile(rf'(c=({_BASE64}),r=({_NONCE}+)),p=({_BASE64})')
_CONFIRMED = re.compile(f'v=({_BASE64})')


class Verifier(NamedTuple):
    """What a server keeps of a secret."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return '<a verifier>'


class Challenge(NamedTuple):
    """What a client hashes its secret with."""

    salt: bytes
    iterations: int


def checked_name(name: str) -> str:
    """Return a user's name in the form in which it is compared.

    :raises ValueError: when it cannot be one; the text says why.
    """
    form = prepared(name)
    if not form:
        raise ValueError('a name is needed')
    if len(form) > MOST_NAME:
        raise ValueError(f'it is longer than {MOST_NAME} characters')
    if ':' in form or any(character.isspace() for character in form):
        raise ValueError('blanks and colons are not accepted')
    return form


def salted(secret: str, challenge: Challenge) -> bytes:
    """Return the hash of a secret from which all keys are made; this is what takes time.

    :raises ValueError: when the secret has characters that it may not have.
    """
    return hashlib.pbkdf2_hmac(
        'sha256', prepared(secret).encode(), challenge.salt, challenge.iterations
    )


def verifier(secret: str, challenge: Challenge) -> Verifier:
    """Return what a server is to keep of a secret."""
    hashed = salted(secret, challenge)
    return Verifier(
        challenge.iterations,
        challenge.salt,
        _hash(_mac(hashed, b'Client Key')),
        _mac(hashed, b'Server Key'),
    )


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, 'sha256')


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _text(data: bytes) -> str:
    return b64encode(data).decode('ascii')


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise ProtocolError('a proof of a secret that is not base64') from None


def _header(binding: bytes | None) -> str:
    return _PLAIN if binding is None else _TLS


def _bound(binding: bytes | None) -> str:
    """What the last message of a client says about its TLS connection."""
    return _text(_header(binding).encode('ascii') + (binding or b''))


class ClientExchange:
    """A client's side, once.

    :param name: the user, as :func:`checked_name` returns it.
    :param nonce: printable characters without a comma, never used before.
    :param binding: what only the two ends of this TLS connection know; None without TLS.
    """

    def __init__(self, name: str, nonce: str, binding: bytes | None) -> None:
        self._nonce = nonce
        self._bound = _bound(binding)
        self._bare = f'n={name.replace("=", "=3D").replace(",", "=2C")},r={nonce}'
        self.first = _header(binding) + self._bare  # the first text to send
        self._said = self._both = ''
        self._confirmation = b''

    def challenge(self, text: str) -> Challenge:
        """Take the server's first text; return what the secret is to be hashed with.

        :raises ProtocolError: when it is not one.
        :raises AuthError: when the server demands too much or too little work.
        """
        found = _CHALLENGE.fullmatch(text)
        if found is None:
            raise ProtocolError('the server answered with what is not a challenge')
        self._both, salt, iterations = found[1], _bytes(found[2]), int(found[3])
        if not self._both.startswith(self._nonce) or not (
            len(self._nonce) + LEAST_NONCE <= len(self._both) <= len(self._nonce) + MOST_NONCE
        ):
            raise ProtocolError('the server answered with a nonce that is not accepted')
        if not LEAST_SALT <= len(salt) <= MOST_SALT:
            raise ProtocolError(f'the server answered with a salt of {len(salt)} bytes')
        if not LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise AuthError(
                f'the server asks for {iterations} iterations for the password; from '
                f'{LEAST_ITERATIONS} to {MOST_ITERATIONS} are accepted: set the password again '
                'with this version of "zeo passwd"'
            )
        self._said = f'{self._bare},{text}'
        return Challenge(salt, iterations)

    def final(self, hashed: bytes) -> str:
        """Return the second text to send, the proof.

        :param hashed: the result of :func:`salted`.
        """
        without = f'c={self._bound},r={self._both}'
        said = f'{self._said},{without}'.encode()
        client_key = _mac(hashed, b'Client Key')
        proof = _xor(client_key, _mac(_hash(client_key), said))
        self._confirmation = _mac(_mac(hashed, b'Server Key'), said)
        return f'{without},p={_text(proof)}'

    def confirm(self, text: str) -> None:
        """Take the server's second text.

        :raises ProtocolError: when it is not one.
        :raises AuthError: when the server has not proved that it knows the verifier.
        """
        found = _CONFIRMED.fullmatch(text)
        if found is None:
            raise ProtocolError('the server answered with what is not a proof')
        if not hmac.compare_digest(_bytes(found[1]), self._confirmation):
            raise AuthError(
                'the server accepted the password without a proof that it knows it: it is not the '
                'right server, or something between it and this client pretends to be it'
            )


class ServerExchange:
    """A server's side, once.

    :param first: the client's first text.
    :param nonce: as the client's.
    :param binding: as the client's.
    :raises ProtocolError: when it is not one.
    :raises AuthError: when only one of the two sides sees TLS.
    """

    def __init__(self, first: str, nonce: str, binding: bytes | None) -> None:
        found = _FIRST.fullmatch(first)
        if found is None or not LEAST_NONCE <= len(found[4]) <= MOST_NONCE:
            raise ProtocolError('client sent what does not begin the proof of a secret')
        self._bare = found[2]
        self._both = found[4] + nonce
        self._bound = _bound(binding)
        self._said = ''
        self._verifier: Verifier | None = None
        self.name = _named(found[3])
        if found[1] != _header(binding):
            raise AuthError(_other_view(found[1] == _PLAIN, binding is None))

    def challenge(self, found: Verifier) -> str:
        """Return the first text to send, for the user :attr:`name`."""
        self._verifier = found
        text = f'r={self._both},s={_text(found.salt)},i={found.iterations}'
        self._said = f'{self._bare},{text}'
        return text

    def confirm(self, final: str) -> tuple[bool, str]:
        """Take the client's second text; return whether it proves the secret, and the second text
        to send, which is for a client that has.

        Both take the same work whether it does or not.

        :raises ProtocolError: when it is not such a text.
        """
        found = _FINAL.fullmatch(final)
        proof = _bytes(found[4]) if found else b''
        if found is None or self._verifier is None or len(proof) != hashlib.sha256().digest_size:
            raise ProtocolError('client sent what does not prove a secret')
        said = f'{self._said},{found[1]}'.encode()
        stored_key = self._verifier.stored_key
        client_key = _xor(proof, _mac(stored_key, said))
        good = (
            hmac.compare_digest(_hash(client_key), stored_key)
            & hmac.compare_digest(found[2], self._bound)
            & hmac.compare_digest(found[3], self._both)
        )
        return good, f'v={_text(_mac(self._verifier.server_key, said))}'


def _named(text: str) -> str:
    """Return the name that the client's first text holds."""
    if re.search('=(?!2C|3D)', text) or len(text) > 3 * MOST_NAME:
        raise ProtocolError('client sent a malformed name')
    name = text.replace('=2C', ',').replace('=3D', '=')
    try:
        good = checked_name(name) == name
    except ValueError:
        good = False
    if not good:
        raise ProtocolError('client sent a name that no user can have')
    return name


def _other_view(client_is_plain: bool, server_is_plain: bool) -> str:
    if client_is_plain or server_is_plain:
        sees = ('TLS', 'not the client') if client_is_plain else ('no TLS', 'but the client does')
        return (
            f'the server sees {sees[0]} on this connection, {sees[1]}: something between them '
            'begins or ends the encryption, and a password is not accepted through it; connect to '
            'the server itself'
        )
    return 'the client binds its proof to the TLS connection in a way that is not known here'
