"""One connection to the monitor: requests in, answers out, one after the other.

Enters: requests from the channel. Leaves: an answer to each, in order; the connection's end after
one that was refused, or when no request has come for a while. Fails: never; where making an answer
fails, that is the answer.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ZEO.net.channel import Channel
from ZEO.net.loop import ENDS, Loop, Timer
from ZEO.serving.monitor import responses
from ZEO.serving.monitor.requests import Refused, Request
from ZEO.serving.monitor.responses import Response

#: Yields None between the parts of the work, and the answer at last.
Answering = Iterator[Response | None]


class Site(Protocol):
    """What answers."""

    def answer(self, connection: Connection, request: Request) -> Answering:
        """Make the answer to a request."""

    def begins(self, connection: Connection) -> bool:
        """Return whether an answer may be made now; if not, the connection is let go later."""

    def used(self, connection: Connection, seconds: float) -> None:
        """Making answers has taken that long."""

    def gone(self, connection: Connection) -> None:
        """A connection has ended."""


class Connection:
    """One connection.

    :param is_local: whether it has come to an address that only this machine reaches: then a
        browser's page from elsewhere is refused, which names another host (DNS rebinding).
    :param patience: seconds that the next request may take, with the answer to the one before.
    """

    def __init__(
        self,
        site: Site,
        loop: Loop,
        is_local: bool,
        patience: float,
        open_channel: Callable[[Connection], Channel],
    ) -> None:
        self._site = site
        self._loop = loop
        self._is_local = is_local
        self._patience = patience
        self._answering: Answering | None = None  # the answer that is being made
        self._request: Request | None = None  # to which it is
        self._is_last = False  # nothing is answered after it
        self.was_answered = False
        self._timer: Timer = loop.later(patience, self._is_late)
        self.channel = open_channel(self)

    # Events of the channel.

    def handle(self, messages: Any) -> bool:
        """Answer the first request, or go on with it.

        :param messages: those that are not answered yet.
        :returns: False where this is not all.
        """
        requests: deque[Request | Refused] = messages
        if not self._site.begins(self):
            self.channel.hold('turn')
            return False
        began = self._loop.system.now()
        if self._answering is None:
            self._begin(requests.popleft())
        if self._is_last:
            requests.clear()
        if self._answering is not None:
            self._go_on(self._loop.slice())
        self.was_answered = self._answering is None
        self._site.used(self, self._loop.system.now() - began)
        return not requests and self._answering is None

    def let_go(self) -> None:
        """It is this connection's turn."""
        self.channel.release('turn')

    def probed(self) -> None:
        """Not a request of HTTP."""

    def closed(self, reason: str) -> None:
        """The connection has ended."""
        self._timer.cancel()
        self._answering = None
        self._site.gone(self)

    # Answering.

    def _begin(self, request: Request | Refused) -> None:
        self._timer.cancel()
        self._timer = self._loop.later(self._patience, self._is_late)
        if isinstance(request, Refused):
            self._is_last = True
            refusal = responses.text(request.status, str(request))
            self.channel.send_last(self._encoded(refusal, True, False))
            return
        self._request, self._is_last = request, not request.stays
        if self._is_local and not names_this_machine(request.headers.get('host', '')):
            self._send(
                responses.text(
                    403,
                    'the monitor of this server answers to the names localhost, 127.0.0.1 and '
                    '[::1] only: a proxy in front of it has to set the Host header so',
                )
            )
        else:
            self._answering = self._site.answer(self, request)

    def _go_on(self, until: float) -> None:
        """Make an answer, up to that time."""
        assert self._answering is not None
        try:
            for response in self._answering:
                if response is not None:
                    self._send(response)
                    return
                if self._loop.system.now() > until:
                    return
        except ENDS:
            raise
        except BaseException as error:  # the answer says so, and the log says what
            self._loop.reports.failed('an answer of the monitor failed', 'server', error)
            self._send(responses.text(500, 'this answer failed; the log of the server says why'))

    def _send(self, response: Response) -> None:
        request = self._request
        assert request is not None
        self._answering = None
        data = self._encoded(response, request.method != 'HEAD', request.stays)
        self.channel.send(data) if request.stays else self.channel.send_last(data)

    def _encoded(self, response: Response, with_body: bool, stays: bool) -> bytes:
        now = self._loop.system.wall_clock()
        return responses.encoded(response, now, with_body, stays)

    def _is_late(self) -> None:
        self.channel.close('closed by this server: no request has come in time')


def names_this_machine(host: str) -> bool:
    """Return whether a Host header is one that a page from elsewhere cannot have: an empty one, or
    a name or an address of the loopback interface.
    """
    name = host.strip().lower()
    name = name[1:].partition(']')[0] if name.startswith('[') else name.partition(':')[0]
    if name in ('', 'localhost') or name.endswith('.localhost'):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
