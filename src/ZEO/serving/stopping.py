"""How a server comes to its end without an error for its clients.

Enters: the connections, and the seconds that clients may have. Leaves: clients that look for
another server; at the end, a call. Fails: never; connections that are still there then are ended
with the server.

Clients of this package are sent an ``info`` message. They begin nothing new here, finish what they
have begun, and leave. Others are closed as soon as they have no transaction that was voted on, or
that waits for its vote: ClientDisconnected makes an application try the rest again. Followers are
closed last, when they have everything: one of them can be promoted then, and nothing is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ZEO.net.loop import Loop
from ZEO.serving.peer import Peer
from ZEO.wire.extensions import STOPPING

log = logging.getLogger('ZEO.StorageServer')

#: Seconds between two looks whether the clients are done: the commit of one takes milliseconds.
LOOK_AGAIN = 0.02

_REASON = 'the server stops'


class Stopping:
    """The end of one server.

    :param peers: all connections, of which those that end are removed; no other is added.
    :param seconds: that clients may take.
    :param done: is called when no client is left, or the time is over.
    """

    def __init__(
        self, loop: Loop, peers: set[Peer], seconds: float, done: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._peers = peers
        self._seconds = seconds
        self._done = done
        self._is_over = False

    def begin(self) -> None:
        """Tell those clients that it concerns, and wait for the others' commits."""
        # first, whatever the rest raises
        self._loop.later(self._seconds, self._end)
        self._loop.later(0, self._look)
        if self._peers:
            log.info('%d connections have %s s to end', len(self._peers), f'{self._seconds:g}')
        for peer in list(self._peers):
            if peer.leaves and peer.hosted is not None and not _follows(peer):
                peer.hosted.peers.send_info(peer, {STOPPING: self._seconds})

    def _look(self) -> None:
        if self._is_over:
            return
        self._loop.later(LOOK_AGAIN, self._look)
        followers = [peer for peer in self._peers if _follows(peer)]
        for peer in list(self._peers):
            if not (_follows(peer) or peer.leaves or _commits(peer)):
                peer.close_when_sent(_REASON)
        if len(followers) == len(self._peers):  # commits may have waited for them until now
            for peer in followers:
                if _has_all(peer, self._seconds):
                    peer.close_when_sent(_REASON)
        if not self._peers:
            self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._peers:
            log.warning(
                '%d connections are ended: after %s s they are still in use',
                len(self._peers),
                f'{self._seconds:g}',
            )
        self._done()


def _commits(peer: Peer) -> bool:
    hosted = peer.hosted
    return hosted is not None and (hosted.lock.concerns(peer) or hosted.backend.awaits(peer))


def _follows(peer: Peer) -> bool:
    return peer.hosted is not None and peer in peer.hosted.followers


def _has_all(peer: Peer, seconds: float) -> bool:
    """Return whether a follower has everything, or will not have it in time."""
    hosted = peer.hosted
    assert hosted is not None
    return not hosted.followers[peer].comes_to(hosted.last_transaction(), seconds)
