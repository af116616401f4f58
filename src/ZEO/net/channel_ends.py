"""What a channel needs of the session and of the owner between which it stands, and why it ends.

Enters: an error of the socket, of the session or of the owner. Leaves: the reason that the owner
and the log are given. Fails: never.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from ZEO.Exceptions import ProtocolError
from ZEO.net.tls_errors import TlsError
from ZEO.wire.quoting import explained, text_of


class Session(Protocol):
    """The methods of :class:`ZEO.wire.session.ServerSession` that a channel uses."""

    def buffer(self) -> memoryview:
        """Return the memory to read into."""

    def received(self, count: int) -> Iterable[Any]:
        """Return the messages that are complete now; several may be an iterator."""


class Owner(Protocol):
    """Who takes a channel's events, in the loop's thread."""

    def handle(self, messages: Iterable[Any]) -> bool:
        """Handle messages; return False to be given the rest of an iterator later."""

    def probed(self) -> None:
        """Answer a monitoring program that asks for the status."""

    def closed(self, reason: str) -> None:
        """Note that the stream has ended; called again where a task was lost meanwhile."""


def is_fault(error: BaseException) -> bool:
    """Return whether an error is one of this program, and not of the client or the network."""
    return not isinstance(error, (ProtocolError, TlsError, MemoryError, OSError))


def reason_of(error: BaseException) -> str:
    """Return why a channel ends that has failed with `error`."""
    if isinstance(error, (ProtocolError, TlsError)):
        return f'closed by this server: {text_of(error)}'
    if isinstance(error, MemoryError):
        return 'closed by this server: not enough memory for a message of the client'
    if isinstance(error, OSError):
        return f'the connection broke: {error.strerror or text_of(error)}'
    return f'closed by this server: serving it failed: {explained(error)}'
