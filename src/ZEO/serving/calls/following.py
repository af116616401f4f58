"""Calls of followers, and the call that makes one of them the primary.

Enters: the client's calls. Leaves: the registry of followers; a storage that is writable. Fails:
ProtocolError for an acknowledgement that makes no sense; ReadOnlyError for a server that is to stay
read-only; StorageError for a storage that is not a replica; Unsupported for one that cannot be
followed.
"""

from __future__ import annotations

from ZODB.POSException import Unsupported

from ZEO.serving.access.rules import Right
from ZEO.serving.calls.family import Family
from ZEO.serving.later import Later
from ZEO.wire.quoting import LABEL, cleaned


class FollowingCalls(Family):
    """Calls of followers."""

    def follow(self, label: str) -> bytes:
        """Say that this client copies the storage; return the last transaction that there is."""
        hosted, client = self._hosted, self._client
        if not getattr(hosted.storage, 'keeps_history', True):
            raise Unsupported(
                f'the storage {hosted.name} keeps no history (keep-history false) and cannot be '
                'followed: a replica needs each transaction as it was. Start several servers in '
                'front of its database instead, or copy it by zeo copy'
            )
        # one that may only read must not make others believe that their commits are safe
        counts = client.right(hosted.name) >= Right.WRITE
        hosted.followers.join(client, cleaned(label, LABEL), counts)
        return hosted.storage.lastTransaction()

    def replicated(self, tid: bytes) -> None:
        """Say that this client has all transactions up to this one on disk."""
        hosted = self._hosted
        hosted.followers.acknowledge(self._client, tid, hosted.storage.lastTransaction())

    def promote(self) -> Later:
        """Make the storage of a follower that of a primary; return its last transaction."""
        return self._hosted.promotion.start(self._client)

    def close(self) -> None:
        self._hosted.followers.left(self._client)
