"""A server's monitor: figures for programs and a page for people, over HTTP.

Enters: connections to its addresses. Leaves: answers to ``/``, ``/metrics``, ``/healthz``,
``/readyz``, ``/status.json``. Fails: never for what a client does; an address that cannot be
listened on is logged, and the server serves without it.

Its answers are made in the loop's thread, in slices, and take at most one part in ten of the time.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.net import addresses
from ZEO.net.acceptor import Acceptor
from ZEO.net.addresses import Address
from ZEO.net.channel import Channel
from ZEO.net.output import Unread
from ZEO.net.unix_sockets import FileRights
from ZEO.serving import descriptors
from ZEO.serving.access.identity import identity_of
from ZEO.serving.limits import Limits
from ZEO.serving.monitor import exposition, live, page, responses
from ZEO.serving.monitor.connection import Answering, Connection
from ZEO.serving.monitor.health import problems_of
from ZEO.serving.monitor.history import History
from ZEO.serving.monitor.requests import Request, Requests
from ZEO.serving.monitor.standing_in import answer_once
from ZEO.serving.monitor.turns import Turns
from ZEO.serving.monitor.watched import Viewer, Watched
from ZEO.serving.reception import Reception
from ZEO.serving.service import Service

log = logging.getLogger('ZEO.StorageServer')

#: Bytes that may wait for one client before its next request is answered, and for all of them.
_OUTPUT, _SHARED_OUTPUT = 64 * 1024, 16 * 2**20

#: Connections of one address that another thread answers before it looks at the loop again.
_AT_ONCE = 16

_SINCE = re.compile(r'since=(\d{1,15})', re.ASCII)


class Monitor:
    """The monitor of one server."""

    def __init__(
        self, service: Service, reception: Reception, is_stopping: Callable[[], bool]
    ) -> None:
        self._loop = service.loop
        self._server = Watched(
            service,
            reception,
            is_stopping,
            History(service.loop, service.storages),
        )
        self._acceptors: list[Acceptor] = []
        self._unread = Unread(_SHARED_OUTPUT)
        # in the order of their last requests, the one of longest ago first
        self._connections: dict[Connection, None] = {}
        self._turns = Turns(service.loop, lambda: self._limits.monitor_share)
        self._routes: dict[str, Callable[[Viewer, Request], Answering]] = {
            '/': self._page,
            '/metrics': self._metrics,
            '/healthz': self._healthz,
            '/readyz': self._readyz,
            '/status.json': self._status,
            '/live.json': self._live,
        }

    @property
    def _limits(self) -> Limits:
        return self._server.limits  # which may be others after SIGHUP

    @property
    def addresses(self) -> list[Address]:
        """What it listens on."""
        return [acceptor.address for acceptor in self._acceptors]

    def listen(self, wanted: Iterable[Address], rights: FileRights) -> None:
        """Listen, as far as that can be.

        :param rights: of Unix sockets.
        """
        for address in wanted:
            try:
                listeners = addresses.listen(address, rights)
            except ConfigurationError as error:  # data are more important than figures
                log.error(
                    'monitor-address: %s; the server serves without it: give it another address',
                    error,
                )
                continue
            for listener in listeners:
                self._open(listener)
        if self._acceptors:
            self._server.history.start()

    def _open(self, listener: Any) -> None:
        address = addresses.bound(listener)
        exposed = addresses.is_exposed(address)
        is_local = not (exposed or isinstance(address, str))
        accepted = partial(self._accepted, is_local)
        self._acceptors.append(Acceptor(self._loop, listener, accepted))
        if exposed:
            log.warning(
                '%s: everyone who can reach this address over the network may see what the server '
                'does; listen on 127.0.0.1 or a Unix socket, or let a firewall admit known '
                'machines only (monitor-address)',
                addresses.show(address),
            )
        where = addresses.show(address)
        url = where if isinstance(address, str) else f'http://{where}/'
        log.info('figures over HTTP: %s', url)

    def close(self) -> None:
        """Stop listening, and end all connections."""
        for acceptor in self._acceptors:
            acceptor.close()
        for connection in list(self._connections):
            connection.channel.close('the server stops')
        if self._acceptors:
            self._server.history.stop()

    def stand_in(self, problem: str) -> None:
        """Answer those who ask now, in another thread while the loop stands still: with this."""
        for acceptor in tuple(self._acceptors):
            for _ in range(_AT_ONCE):
                stream = acceptor.take()
                if stream is None:
                    break
                answer_once(stream, problem, self._loop.system)

    def _accepted(self, is_local: bool, stream: Any, where: object) -> None:
        if len(self._connections) >= self._limits.monitor_connections:
            next(iter(self._connections)).channel.close('closed by this server: others want to ask')
        if descriptors.is_last(stream.fileno()):
            stream.close()
            return
        connection = Connection(
            self,
            self._loop,
            is_local,
            self._limits.monitor_time,
            lambda owner: Channel(self._loop, stream, Requests(), owner, _OUTPUT, self._unread),
        )
        self._connections[connection] = None

    # For its connections.

    def begins(self, connection: Connection) -> bool:
        """Return whether an answer may be made now; if not, the connection is let go later."""
        return self._turns.begins(connection)

    def used(self, connection: Connection, seconds: float) -> None:
        """Making answers has taken that long."""
        self._turns.used(seconds)
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None

    def gone(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.pop(connection, None)
        self._turns.gone(connection)

    def answer(self, connection: Connection, request: Request) -> Answering:
        """Make the answer to a request."""
        route = self._routes.get(request.path)
        if route is None:
            paths = ' '.join(self._routes)
            return iter([responses.text(404, f'there is no such page here, but: {paths}')])
        if request.method not in ('GET', 'HEAD'):
            refusal = 'nothing can be changed here: use GET or HEAD'
            return iter([responses.text(405, refusal, 'Allow: GET, HEAD\r\n')])
        identity = identity_of(connection.channel, None)
        return route(Viewer(self._server.service, identity), request)

    # The answers.

    def _page(self, viewer: Viewer, request: Request) -> Answering:
        yield page.PAGE

    def _metrics(self, viewer: Viewer, request: Request) -> Answering:
        kinds = exposition.PLAIN, exposition.OPEN_METRICS
        kind = responses.preferred(request, kinds)
        text: list[str] = []
        for piece in exposition.pieces(self._server, kind):
            text.append(piece)
            yield None
        body = ''.join(text).encode()
        yield responses.Response(200, body, kind + exposition.PARAMETERS[kind])

    def _healthz(self, viewer: Viewer, request: Request) -> Answering:
        yield responses.text(200, 'ok')

    def _readyz(self, viewer: Viewer, request: Request) -> Answering:
        problems = problems_of(self._server)
        if not problems:
            yield responses.text(200, 'ready')
            return
        lines = [f'storage {name}: {text}' if name else text for name, text in problems.items()]
        yield responses.text(503, '\n'.join(['not ready', *lines]))

    def _status(self, viewer: Viewer, request: Request) -> Answering:
        return _json(live.status(self._server, viewer))

    def _live(self, viewer: Viewer, request: Request) -> Answering:
        since = _SINCE.fullmatch(request.query)
        return _json(live.live(self._server, viewer, int(since[1]) if since else 0))


def _json(parts: Iterator[dict[str, Any]]) -> Answering:
    """Make an answer of the parts of one dict; what is a list in several of them is joined.

    Each part becomes text by itself: all storages together may have megabytes.
    """
    found: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, list):
                lists.setdefault(key, []).extend(map(_dumped, value))
            else:
                found[key] = _dumped(value)
        yield None
    found.update((key, f'[{", ".join(texts)}]') for key, texts in lists.items())
    text = ', '.join(f'{_dumped(key)}: {value}' for key, value in found.items())
    yield responses.Response(200, f'{{{text}}}'.encode('utf-8', 'replace'), responses.JSON)


def _dumped(value: Any) -> str:
    return json.dumps(value, default=str)
