"""What clients are sent of several commits that all of them may see from the same moment on.

Enters: whose commit is next, the messages to all others, and its answer. Leaves: to each client, in
one piece, what comes before the answer to its own commit, and in one more piece the rest. Fails:
never; a connection that breaks is closed as at any time.

One piece instead of one for each commit, since each wakes the client. A client that has its answer
may tell others of its commit, who look for it: so an answer leaves when all others were sent that
commit's invalidation.
"""

from __future__ import annotations

from typing import Any, Protocol

from ZEO.net.channel import Channel


class Clients(Protocol):
    """Those of one storage: :class:`~ZEO.serving.clients.Clients`."""

    together: Together | None

    def channel(self, peer: Any) -> Channel | None:
        """Return the channel of one of them; None where it is gone."""


class Together:
    """Collects what `clients` are sent while it is entered."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        # what waits: without an answer, and with one, in the order of the tids
        self._others: dict[Channel, None] = {}
        self._committers: dict[Channel, None] = {}
        self._last: Channel | None = None  # of the committer before

    def __enter__(self) -> Together:
        self._clients.together = self
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._clients.together = None
        self._send()

    def commit_of(self, peer: Any) -> None:
        """The messages that follow are of this client's commit, until the next call."""
        channel = self._clients.channel(peer)
        if channel is None:  # it is gone
            return
        if channel in self._committers:
            if channel is self._last:
                return
            # an answer may not go with that to a commit after which others were answered
            self._send()
        if self._others.pop(channel, channel) is None:
            channel.flush()
        channel.gather()
        self._committers[channel] = None
        self._last = channel

    def push(self, channel: Channel, data: bytes) -> None:
        """Send `data`, which this client did not ask for, with the rest."""
        if channel not in self._committers:
            self._others[channel] = None
        channel.push(data)

    def _send(self) -> None:
        """Send what waits: an answer goes after the invalidations that it is about."""
        for channel in self._others:
            channel.flush()
        for channel in self._committers:
            channel.flush()
        self._others.clear()
        self._committers.clear()
        self._last = None
