"""The user and the password of a client, and how it proves them to a server before it registers.

Enters: a connection whose server has said hello. Leaves: the same connection, once each side has
proved to the other that it knows the password. Fails: AuthError where the server does not accept
it, cannot check it, or does not know it itself; ProtocolError for answers that are none;
ClientDisconnected where another try may help.

The password is never sent, and neither logged nor shown. The costly hash of it is kept for the
next connection to the same server.
"""

from __future__ import annotations

import os
from base64 import b64encode

from ZEO.Exceptions import AuthError, ClientDisconnected, ProtocolError
from ZEO.link.connection import Connection
from ZEO.wire import scram
from ZEO.wire.scram import Challenge, ClientExchange

#: Random bytes of a nonce.
_NONCE = 18

#: Seconds that the server may take for each answer; it lets those wait who guess.
_PATIENCE = 20.0

#: Hashes that are kept: of so many servers with files of their own.
_MOST_HASHES = 8


class Credentials:
    """What a client proves.

    :param username: as :func:`ZEO.wire.scram.checked_name` returns it.
    """

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self._password = password
        self._hashes: dict[Challenge, bytes] = {}
        self._closed: set[str] = set()  # servers that closed the connection instead of answering

    def __repr__(self) -> str:
        return f'<the password of {self.username!r}>'

    def prove(self, connection: Connection) -> None:
        """Prove the password on a connection, and have the server prove that it knows it.

        :raises AuthError: when either proof fails, or the server cannot check passwords.
        :raises ProtocolError: when the server answers with something else.
        :raises ClientDisconnected: when another try may help.
        """
        nonce = b64encode(os.urandom(_NONCE)).decode('ascii')
        exchange = ClientExchange(self.username, nonce, connection.tls_binding())
        answer = self._begin(connection, exchange.first)
        try:
            hashed = self._hashed(exchange.challenge(answer))
            answer = connection.call_within(_PATIENCE, 'scram_final', (exchange.final(hashed),))
            exchange.confirm(answer)
        except ProtocolError as error:
            raise ProtocolError(f'{connection.where}: {error}') from None

    def _begin(self, connection: Connection, first: str) -> str:
        """Return the server's answer to the first text."""
        try:
            answer = connection.call_within(_PATIENCE, 'scram_first', (first,))
        except ClientDisconnected as error:
            if connection.lost is None or error.__cause__ is not None:
                raise  # an answer of the server's, or an error of the connection's own
            raise self._unanswered(connection.where) from error
        self._closed.discard(connection.where)
        return answer

    def _unanswered(self, where: str) -> Exception:
        """Return the error for a server that has closed the connection. One that is stopped does
        so, too; it is not there when it is asked again.
        """
        text = (
            'the server closed the connection when it was asked to check a password. ZEO 6 and '
            'older versions cannot do that: remove username and password, which they ignored'
        )
        if where in self._closed:
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
