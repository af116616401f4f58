"""What clients are sent of several commits that all of them may see from the same moment on.

Enters: whose commit is next, the messages to all others, and its answer. Leaves: to each client, in
one piece, what comes before the answer to its own commit, and in one more piece the rest. Fails:
never; a connection that breaks is closed as at any time, and so is one that cannot be sent a
message.

One piece instead of one for each commit, since each wakes the client. A client that has its answer
may tell others of its commit, who look for it: so an answer leaves when all others were sent that
commit's invalidation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ZEO.net.channel import Channel
from ZEO.wire.frames import frame


class Clients(Protocol):
    """Those of one storage: :class:`~ZEO.serving.clients.Clients`."""

    together: Together | None

    def __iter__(self) -> Iterator[Any]:
        """Return all of them."""

    def get(self, peer: Any, /) -> tuple[bytes, Channel] | None:
        """Return the protocol and the channel of one of them; None where it is gone."""

    def not_sent(self, channel: Channel, error: BaseException) -> None:
        """Close the connection of a client that could not be sent a message."""


@dataclass(slots=True)
class _Message:
    but: Any  # the client that is not sent it
    name: str
    args: tuple[Any, ...]
    frames: dict[bytes, bytes]  # by protocol


class Together:
    """Collects what clients are sent while it is entered.

    :param audience: the clients that are sent it.
    """

    def __init__(self, clients: Clients, audience: Iterable[Any]) -> None:
        self._clients = clients
        self._audience = dict.fromkeys(audience)
        self._messages: list[_Message] = []
        #: Clients whose commits were among them, in the order of the tids; each with how many
        #: messages it was sent before.
        self._committers: dict[Any, int] = {}

    def __enter__(self) -> Together:
        self._clients.together = self
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._clients.together = None
        self.send()

    def commit_of(self, peer: Any) -> None:
        """The messages that follow are of this client's commit, until the next call."""
        found = self._clients.get(peer)
        if found is None:  # it is gone
            return
        place = self._committers.get(peer)
        if place is not None:
            if all(message.but is peer for message in self._messages[place:]):
                self._committers[peer] = len(self._messages)
                return
            # an answer may not go with that to a commit after which others were answered
            self.send()
        if self._messages and peer in self._audience:
            self._push(peer, found, None)
        found[1].gather()
        self._committers[peer] = len(self._messages)

    def add(self, but: Any, name: str, *args: Any) -> None:
        """Have a message sent to all of the audience except `but`."""
        self._messages.append(_Message(but, name, args, {}))

    def send(self) -> None:
        """Send what waits: an answer goes after the invalidations that it is about."""
        messages, committers = self._messages, self._committers
        if messages:
            get, pieces = self._clients.get, dict[bytes, bytes]()
            for peer in self._audience:
                if peer not in committers and (found := get(peer)) is not None:
                    self._push(peer, found, pieces)
            for peer in committers:
                if (found := get(peer)) is not None:
                    if peer in self._audience:
                        self._push(peer, found, None)
                    found[1].flush()
        messages.clear()
        committers.clear()

    def _push(
        self, peer: Any, found: tuple[bytes, Channel], pieces: dict[bytes, bytes] | None
    ) -> None:
        """Send a client the messages that it was not sent.

        :param pieces: what those are sent who are sent all of them, by protocol; None for a
            committer.
        """
        protocol, channel = found
        try:
            piece = None if pieces is None else pieces.get(protocol)
            if piece is None:
                frames = [
                    message.frames.get(protocol) or self._frame(message, protocol, peer)
                    for message in self._messages[self._committers.get(peer, 0) :]
                    if message.but is not peer
                ]
                piece = b''.join(frames)
                if pieces is not None:
                    pieces[protocol] = piece
            if piece:
                channel.push_now(piece)
        except Exception as error:
            self._clients.not_sent(channel, error)

    def _frame(self, message: _Message, protocol: bytes, peer: Any) -> bytes:
        made = message.frames[protocol] = frame(peer.codec.send(message.name, message.args))
        return made
