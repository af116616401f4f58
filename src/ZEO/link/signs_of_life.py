"""Messages that mean nothing, which a connection sends for its own sake.

Enters: a wish to hear from the server, or to be heard. Leaves: a ping, or a message that the server
drops. Fails: never; callers find out by themselves that the connection is lost.
"""

from __future__ import annotations

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.outbox import Outbox
from ZEO.wire.frames import frame
from ZEO.wire.message import KEEP_ALIVE_ID
from ZEO.wire.session import ClientSession


class SignsOfLife:
    """Those of one connection."""

    def __init__(self, session: ClientSession, outbox: Outbox) -> None:
        self._session = session
        self._outbox = outbox

    def ask(self) -> None:
        """Ask the server for a sign of life, which it can give once it has sent its greeting."""
        if self._session.is_greeted:
            self._send(self._session.codec.call(0, 'ping', ()))

    def keep_alive(self) -> None:
        """Send a message that keeps firewalls from forgetting the connection."""
        self._send(self._session.codec.reply(KEEP_ALIVE_ID, None))

    def _send(self, message: bytes) -> None:
        try:
            self._outbox.send(frame(message))
        except ClientDisconnected:
            pass
