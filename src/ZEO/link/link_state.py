"""The states of a link, and which may follow which.

Enters: what has happened to the link. Leaves: its next state. Fails: never; what happens too late,
such as a refusal after the client was closed, changes nothing.
"""

from __future__ import annotations

from enum import Enum

from ZEO.Exceptions import AuthError


class LinkState(Enum):
    """Where a link is in its life."""

    STARTING = 'there was no connection yet'
    REFUSED = 'there was no connection yet, and every server has refused this client'
    READY = 'connected'
    SECOND_BEST = 'connected to a server that will do until a better one is found'
    OFFLINE = 'the connection was lost'
    DENIED = 'the connection was lost, and every server has denied this client access'
    CLOSED = 'closed by the application'

    @property
    def is_looking(self) -> bool:
        """Whether a thread has to look for a server."""
        return self not in (LinkState.READY, LinkState.CLOSED)

    @property
    def was_connected(self) -> bool:
        """Whether there is a connection, or was one."""
        return self not in (LinkState.STARTING, LinkState.REFUSED)

    @property
    def fails_calls(self) -> bool:
        """Whether calls fail with what the servers have said."""
        return self in (LinkState.REFUSED, LinkState.DENIED)

    def then(self, wanted: LinkState) -> LinkState:
        """Return the state that follows when `wanted` is asked for: that one, if it may follow."""
        return wanted if wanted in _FOLLOWING[self] else self

    def judged(self, is_best: bool) -> LinkState:
        """Return the state that follows when the connected server turns out to be the best one, or
        not to be.
        """
        if self not in _CONNECTED:
            return self
        return LinkState.READY if is_best else LinkState.SECOND_BEST

    def without_a_server(self, refusal: BaseException | None) -> LinkState:
        """Return the state that follows when no server was found.

        :param refusal: why every server refuses this client; None when one of them does not.
        """
        if isinstance(refusal, AuthError) and self.was_connected:
            return self.then(LinkState.DENIED)
        if self is LinkState.DENIED:  # not any more: calls wait again
            return LinkState.OFFLINE
        return self if refusal is None else self.then(LinkState.REFUSED)


_CONNECTED = {LinkState.READY, LinkState.SECOND_BEST}

#: Each state -> those that may follow.
#:
#: Only before the first connection do calls fail with whatever the servers refuse: later they wait,
#: as a server that was right for this client once is expected to come back. So nothing but STARTING
#: leads to REFUSED. Later calls fail only with a denial, since an operator has taken this client's
#: right away, and a call that waits would not learn it. Nothing follows CLOSED: a connection that
#: is made too late is ended.
_FOLLOWING: dict[LinkState, set[LinkState]] = {
    LinkState.STARTING: {*_CONNECTED, LinkState.REFUSED, LinkState.OFFLINE, LinkState.CLOSED},
    LinkState.REFUSED: {*_CONNECTED, LinkState.OFFLINE, LinkState.CLOSED},
    LinkState.READY: {LinkState.OFFLINE, LinkState.CLOSED},
    LinkState.SECOND_BEST: {LinkState.OFFLINE, LinkState.CLOSED},
    LinkState.OFFLINE: {*_CONNECTED, LinkState.DENIED, LinkState.CLOSED},
    LinkState.DENIED: {*_CONNECTED, LinkState.OFFLINE, LinkState.CLOSED},
    LinkState.CLOSED: set(),
}
