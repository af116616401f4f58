"""Every connection of a server: which are accepted, and who they are until they end.

Enters: accepted sockets. Leaves: a :class:`~ZEO.serving.peer.Peer` for each, until it ends. Fails:
never; a connection for which there is no place is closed, with a line in the log.
"""

from __future__ import annotations

import logging
from typing import Any

from ZEO.net import addresses
from ZEO.net.channel import Channel
from ZEO.net.output import Unread
from ZEO.net.sources import is_local, source_of
from ZEO.net.tls import SSLContext, TlsCodec
from ZEO.net.tls_socket import TlsSocket
from ZEO.serving import descriptors
from ZEO.serving.limits import Limits
from ZEO.serving.peer import Peer
from ZEO.serving.service import Service
from ZEO.serving.strangers import Strangers
from ZEO.wire.frames import READ_SIZE
from ZEO.wire.session import ServerSession


class Reception:
    """Takes the connections of one server.

    :param protocol: what the server speaks, ``Z5`` or ``M5``.
    :param ssl: to speak TLS.
    """

    def __init__(
        self, service: Service, limits: Limits, protocol: bytes, ssl: SSLContext | None
    ) -> None:
        self.peers: set[Peer] = set()  # every connection, registered or not
        self.ssl = ssl  # for connections that come from now on
        self._service = service
        self.limits = limits
        self._protocol = protocol
        self.unread = Unread(limits.shared_output)
        self._scratch = memoryview(bytearray(READ_SIZE))  # all connections read into it, in turn
        self._strangers = Strangers(limits)  # those of them that have not registered
        self._left = self._gone  # one for all

    def use(self, limits: Limits) -> None:
        """Have other limits from now on, for connections that come and for all together."""
        self.limits = limits
        self._strangers.limits = limits
        self.unread.limit = limits.shared_output
        self._service.handshake_time = limits.handshake_time
        self._service.intake.budget.limit = limits.shared_memory

    def accepted(self, stream: Any, where: object) -> None:
        """Serve a new connection, unless there is no place for it."""
        source = source_of(where)
        reason = self._full(stream)
        stranger = self._strangers.one_too_many(source, is_local(where), reason is not None)
        if stranger is not None:
            stranger.close(
                'closed by this server: client did not register, and others want to '
                '(max-unregistered, max-connections)'
            )
            stream = _moved_down(stream)
        elif reason is not None:
            self._service.loop.reports.write(
                logging.WARNING,
                'refused connections',
                source,
                '%s: refused, %s',
                addresses.show(where),
                reason,
            )
            stream.close()
            return
        self._serve(stream, where)

    def _serve(self, stream: Any, where: object) -> None:
        if self.ssl is not None:
            stream = TlsSocket(stream, TlsCodec(self.ssl, server_side=True))
        limits, loop = self.limits, self._service.loop
        session = ServerSession(
            self._protocol,
            limits.handshake_size,
            limits.message_size,
            self._scratch,
            limits.message_parts,
        )
        peer = Peer(
            self._service,
            session,
            where,
            lambda peer: Channel(loop, stream, session, peer, limits.output_buffer, self.unread),
            self._left,
        )
        self.peers.add(peer)
        self._strangers.add(peer, peer.source)

    def _full(self, stream: Any) -> str | None:
        """Return why there is no place for a new connection, unless one that has not registered
        leaves.
        """
        if len(self.peers) >= self.limits.connections:
            return f'there are {len(self.peers)} connections (max-connections)'
        if descriptors.is_last(stream.fileno()):
            return 'there are few file descriptors left (ulimit -n)'
        return None

    def _gone(self, peer: Peer) -> None:
        self.peers.discard(peer)
        self._strangers.discard(peer, peer.source)


def _moved_down(stream: Any) -> Any:
    """Move a new connection to the descriptor of the one that was closed for it, if its own is one
    of the last.
    """
    if not descriptors.is_last(stream.fileno()):
        return stream
    moved = stream.dup()  # which takes the lowest
    stream.close()
    return moved
