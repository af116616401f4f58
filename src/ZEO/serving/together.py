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
from ZEO.net.sending import Sending, push_to_all
from ZEO.wire.frames import frame
from ZEO.wire.messages import codec


class Clients(Protocol):
    """Those of one storage: :class:`~ZEO.serving.clients.Clients`."""

    together: Together | None

    def __iter__(self) -> Iterator[Any]:
        """Return all of them."""

    def get(self, peer: Any, /) -> tuple[bytes, Channel] | None:
        """Return the protocol and the channel of one of them; None where it is gone."""

    def not_sent(self, channel: Sending, error: Exception) -> None:
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
            self._push_one(peer, *found)
        found[1].gather()
        self._committers[peer] = len(self._messages)

    def add(self, but: Any, name: str, *args: Any) -> None:
        """Have a message sent to all of the audience except `but`."""
        self._messages.append(_Message(but, name, args, {}))

    def send(self) -> None:
        """Send what waits: an answer goes after the invalidations that it is about."""
        messages, committers = self._messages, self._committers
        if messages:
            get = self._clients.get
            try:
                for protocol, channels in self._who_only_listen().items():
                    self._push(channels, protocol, messages)
            except Exception as error:  # there is no memory for the lists, and no one was sent it
                for peer in self._audience:
                    if (found := get(peer)) is not None:
                        self._clients.not_sent(found[1], error)
            for peer in committers:
                if (found := get(peer)) is not None:
                    if peer in self._audience:
                        self._push_one(peer, *found)
                    found[1].flush()
        messages.clear()
        committers.clear()

    def _who_only_listen(self) -> dict[bytes, list[Channel]]:
        """Return the channels of those in the audience who have not committed, by protocol."""
        get, by_protocol = self._clients.get, dict[bytes, list[Channel]]()
        for peer in self._audience:
            if peer not in self._committers and (found := get(peer)) is not None:
                by_protocol.setdefault(found[0], []).append(found[1])
        return by_protocol

    def _push_one(self, peer: Any, protocol: bytes, channel: Channel) -> None:
        """Send a committer the messages that it was not sent."""
        waiting = self._messages[self._committers.get(peer, 0) :]
        self._push([channel], protocol, [one for one in waiting if one.but is not peer])

    def _push(self, channels: list[Channel], protocol: bytes, messages: list[_Message]) -> None:
        """Send the same messages to clients that speak the same protocol."""
        try:
            data = b''.join(
                message.frames.get(protocol) or self._frame(message, protocol)
                for message in messages
            )
        except Exception as error:
            for channel in channels:
                self._clients.not_sent(channel, error)
        else:
            if data:
                push_to_all(channels, None, data, self._clients.not_sent)

    def _frame(self, message: _Message, protocol: bytes) -> bytes:
        made = message.frames[protocol] = frame(codec(protocol).send(message.name, message.args))
        return made
