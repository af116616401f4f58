"""A client proves that it knows the secret of a user, before it registers.

Enters: the two texts of :mod:`ZEO.wire.scram` that a client sends. Leaves: the two that answer
them; the user, once its secret is proved. Fails: ProtocolError, which ends the connection, for
texts that are none and calls in another order; AuthError for a secret that is not proved, whether
there is such a user or not; ClientDisconnected, after which clients try again, while too much is
guessed.

The server only computes a few hashes for a proof: the costly one is the client's.
"""

from __future__ import annotations

import logging
import os
from base64 import b64encode
from dataclasses import dataclass
from enum import Enum
from math import ceil
from typing import Any, Protocol

from ZEO.Exceptions import AuthError, ClientDisconnected, ProtocolError
from ZEO.net.loop import Loop
from ZEO.serving.access.attempts import LONGEST_DELAY, Attempts
from ZEO.serving.access.secrets import Secrets
from ZEO.serving.later import Later
from ZEO.wire.quoting import quoted
from ZEO.wire.scram import ServerExchange, Verifier

#: Random bytes of a nonce.
_NONCE = 18

_WRONG = (
    'the server does not accept the user name with this password: check both, and set the password '
    'with "zeo passwd" on the server if need be'
)


class Client(Protocol):
    """The client that proves something."""

    @property
    def guesser(self) -> str:
        """Whose wrong passwords are counted together."""

    def tls_binding(self) -> bytes | None:
        """Return what its TLS connection is recognised by."""

    def authenticated(self, user: str) -> None:
        """The secret of that user is proved."""

    def denied(self, level: int, what: str, text: str, *args: Any) -> None:
        """Count what the client was denied, and write a line about it, unless there are many."""


@dataclass
class Passwords:
    """What the proofs of all clients of a server share.

    :param secrets: the verifiers of users.
    """

    secrets: Secrets
    attempts: Attempts
    loop: Loop


class _State(Enum):
    NEW = 'nothing was proved'
    ASKED = 'the proof is expected'
    PROVED = 'a secret was proved'
    FAILED = 'no secret was proved'


class Proving:
    """The one proof that a client may give on a connection.

    :param shared: None where the server has no passwords.
    """

    def __init__(self, client: Client, shared: Passwords | None) -> None:
        self._client = client
        self._shared = shared
        self._state = _State.NEW
        self._exchange: ServerExchange
        # what was found for its user: whether there is one, and the verifier
        self._found: tuple[bool, Verifier]

    def check_over(self) -> None:
        """Let the client go on, unless it has begun a proof and not completed it.

        :raises ProtocolError: when it has.
        """
        if self._state not in (_State.NEW, _State.PROVED):
            raise ProtocolError('client registered without the proof that it had begun')

    def scram_first(self, text: str) -> str:
        """Take the name of a user and a nonce; return what the secret is to be hashed with."""
        self._follows(_State.NEW, _State.ASKED)
        if self._shared is None:
            self._state = _State.FAILED
            raise AuthError(
                'the server has no passwords: configure password-file in its <zeo> section, or '
                'leave username and password out'
            )
        nonce = b64encode(os.urandom(_NONCE)).decode('ascii')
        try:
            self._exchange = ServerExchange(text, nonce, self._client.tls_binding())
        except AuthError as error:
            self._state = _State.FAILED
            self._refused('denied: %s', error)
            raise
        self._found = self._shared.secrets.of(self._exchange.name)
        return self._exchange.challenge(self._found[1])

    def scram_final(self, text: str) -> str | Later:
        """Take the proof; return the server's own. A failure is answered late."""
        self._follows(_State.ASKED, _State.FAILED)
        assert self._shared is not None
        attempts, source, user = self._shared.attempts, self._client.guesser, self._exchange.name
        wait = attempts.wait(source, user)
        if wait:
            self._refused(
                'denied: a password of user %s is not looked at, since many were wrong',
                quoted(user),
            )
            return self._fail_in(LONGEST_DELAY, _too_many(wait))
        good, answer = self._exchange.confirm(text)
        is_as_before = self._shared.secrets.of(user) == self._found  # or was set anew meanwhile
        if not (good and is_as_before and self._found[0]):
            self._refused('denied: the password of user %s was not proved', quoted(user))
            return self._fail_in(attempts.failed(source, user), AuthError(_WRONG))
        attempts.succeeded(source, user)
        self._client.authenticated(user)
        self._state = _State.PROVED
        return answer

    def _follows(self, expected: _State, now: _State) -> None:
        if self._state is not expected:
            raise ProtocolError('client sent the parts of a proof in another order, or twice')
        self._state = now

    def _fail_in(self, seconds: float, error: Exception) -> Later:
        assert self._shared is not None
        later = Later()
        self._shared.loop.later(seconds, lambda: later.fail(error))
        return later

    def _refused(self, text: str, *args: Any) -> None:
        self._client.denied(logging.WARNING, 'password', text, *args)


def _too_many(wait: float) -> ClientDisconnected:
    return ClientDisconnected(
        f'the server does not look at passwords from here for {ceil(wait)} s, since there were too '
        'many wrong ones'
    )
