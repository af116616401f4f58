"""The verifiers of a server's users, from the file that ``zeo passwd`` writes.

Enters: the file; names that clients send. Leaves: a verifier for each name, also where there is no
such user. Fails: ConfigurationError for a file that cannot be used; a reload that fails changes
nothing.

What is answered for a name that no user has cannot be told from what is answered for a user: its
salt is made in the same way, with a key that only the file has; its iterations are among those that
users have; and the same is computed.
"""

from __future__ import annotations

import hmac
import os

from ZEO.serving.access import secrets_file
from ZEO.wire.scram import ITERATIONS, SALT, Challenge, Verifier, verifier


class Secrets:
    """Verifiers, by user.

    :param path: of the file.
    :raises ConfigurationError: when it cannot be used.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)  # the process may change its directory
        self._take(secrets_file.read(self.path))

    def reload(self) -> frozenset[str]:
        """Read the file again; return the users that are gone, or whose secret was set again.

        :raises ConfigurationError: when it cannot be used; then the old verifiers stay.
        """
        before = self._verifiers
        self._take(secrets_file.read(self.path))
        return frozenset(name for name in before if self._verifiers.get(name) != before[name])

    def _take(self, kept: secrets_file.Kept) -> None:
        self._key = kept.key
        self._verifiers = kept.verifiers
        found = {verifier.iterations for verifier in kept.verifiers.values()}
        self._iterations = sorted(found or {ITERATIONS})

    def of(self, name: str) -> tuple[bool, Verifier]:
        """Return whether there is a user of that name, and what a proof is checked with."""
        none = self._of_nobody(name)
        found = self._verifiers.get(name)
        return found is not None, found or none

    def _of_nobody(self, name: str) -> Verifier:
        """Return a verifier that no secret fits, always the same for one name."""
        key = self._key
        return Verifier(
            max(self._iterations, key=lambda number: _made(key, f'iterations {number}', name)),
            salt_of(key, name),
            _made(key, 'stored key', name),
            _made(key, 'server key', name),
        )


def set_secret(kept: secrets_file.Kept, name: str, secret: str) -> None:
    """Note the secret of a user, as a verifier.

    :raises ValueError: when it has characters that it may not have.
    """
    challenge = Challenge(salt_of(kept.key, name), ITERATIONS)
    kept.verifiers[name] = verifier(secret, challenge)


def salt_of(key: bytes, name: str) -> bytes:
    """Return the salt for a name: of a user always the same too, so that it does not show that its
    secret was set again, and so that there is such a user.
    """
    return _made(key, 'salt', name)[:SALT]


def _made(key: bytes, what: str, name: str) -> bytes:
    return hmac.digest(key, f'{what}\0{name}'.encode(), 'sha256')
