"""The user and the password of a client, and how it proves them to a server before it registers.

Enters: a connection whose server has said hello. Leaves: the same connection, once each side has
proved to the other that it knows the password. Fails: AuthError where the server does not accept
it, cannot check it, or does not know it itself; ProtocolError for answers that are none;
ClientDisconnected where another try may help.

The password is never sent, and neither logged nor shown. The costly hash of it is kept for the
next connection to the same server. A server that has not accepted it is asked again after a while
only: it counts failures, and other processes with the same user name would not be looked at.
"""

from __future__ import annotations

import os
from base64 import b64encode
from dataclasses import dataclass

from ZEO.Exceptions import AuthError, ClientDisconnected, ProtocolError
from ZEO.link.connection import Connection
from ZEO.wire import scram
from ZEO.wire.scram import Challenge, ClientExchange

#: Random bytes of a nonce.
_NONCE = 18

#: Seconds that the server may take for each answer; it lets those wait who guess.
_PATIENCE = 20.0

#: Hashes that are kept: of this number of servers with files of their own.
_MOST_HASHES = 8

#: Seconds after which a server that has not accepted the password is asked again: at first, and at
#: most; each is twice as long as the one before.
FIRST_PAUSE, LAST_PAUSE = 2.0, 60.0


@dataclass
class _Denial:
    """What a server has said last."""

    text: str
    until: float  # when it is asked again
    pause: float  # seconds


class Credentials:
    """What a client proves.

    :param username: as :func:`ZEO.wire.scram.checked_name` returns it.
    """

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self._password = password
        self._hashes: dict[Challenge, bytes] = {}
        # of servers, by their addresses: those that closed the connection instead of answering,
        # those that have answered before, and those that have not accepted the password
        self._closed: set[str] = set()
        self._able: set[str] = set()
        self._denials: dict[str, _Denial] = {}

    def __repr__(self) -> str:
        return f'<the password of {self.username!r}>'

    def prove(self, connection: Connection, now: float) -> None:
        """Prove the password on a connection, and have the server prove that it knows it.

        :param now: the time, in seconds of a clock that never goes back.
        :raises AuthError: when either proof fails, or the server cannot check passwords; the same
            without asking again, where that was so a short time ago.
        :raises ProtocolError: when the server answers with something else.
        :raises ClientDisconnected: when another try may help.
        """
        denial = self._denials.get(connection.where)
        if denial is not None and now < denial.until:
            raise AuthError(denial.text)
        try:
            self._exchange(connection)
        except AuthError as error:
            pause = FIRST_PAUSE if denial is None else min(2 * denial.pause, LAST_PAUSE)
            self._denials[connection.where] = _Denial(str(error), now + pause, pause)
            raise
        self._denials.pop(connection.where, None)

    def _exchange(self, connection: Connection) -> None:
        nonce = b64encode(os.urandom(_NONCE)).decode('ascii')
        exchange = ClientExchange(self.username, nonce, connection.tls_binding())
        answer = self._begin(connection, exchange.first)
        try:
            hashed = self._hashed(exchange.challenge(answer))
            answer = connection.call_within(_PATIENCE, 'scram_final', (exchange.final(hashed),))
            exchange.confirm(answer)
        except ProtocolError as error:
            raise ProtocolError(f'{connection.where}: {error}') from None
        except ClientDisconnected as error:
            if connection.lost is not None:
                raise
            raise ClientDisconnected(f'{connection.where}: {error}') from None  # its own answer

    def _begin(self, connection: Connection, first: str) -> str:
        """Return the server's answer to the first text."""
        try:
            answer = connection.call_within(_PATIENCE, 'scram_first', (first,))
        except ClientDisconnected as error:
            if connection.lost is None or error.__cause__ is not None:
                raise  # an answer of the server's, or an error of the connection's own
            raise self._unanswered(connection.where) from error
        self._closed.discard(connection.where)
        self._able.add(connection.where)
        return answer

    def _unanswered(self, where: str) -> Exception:
        """Return the error for a server that has closed the connection. One that is stopped does
        so, too; it is not there when it is asked again.
        """
        text = (
            'the server closed the connection when it was asked to check a password. ZEO 6 and '
            'older versions cannot do that: remove username and password, which they ignored'
        )
        if where in self._closed and where not in self._able:
            return AuthError(text)
        self._closed.add(where)
        return ClientDisconnected(f'{where}: {text}')

    def _hashed(self, challenge: Challenge) -> bytes:
        hashed = self._hashes.get(challenge)
        if hashed is None:
            hashed = scram.salted(self._password, challenge)
            while len(self._hashes) >= _MOST_HASHES:
                self._hashes.pop(next(iter(self._hashes)), None)
            self._hashes[challenge] = hashed
        return hashed
