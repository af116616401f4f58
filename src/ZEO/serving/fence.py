"""A primary that starts serves read-only until followers agree that it is the primary.

Enters: a hosted storage, and how many followers have to agree. Leaves: the storage, writable once
they do. Fails: never; without followers it stays read-only, and its status says so.

A follower agrees by following: it does so only where its own history is that of this server, and
where this server has everything that it has; one that was promoted does not follow at all. So a
server that comes back after another one has taken its place does not take writes. Nothing is asked
about an empty storage, nor of an operator who promotes the server.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ZODB.utils import z64

if TYPE_CHECKING:
    from ZEO.serving.hosted import HostedStorage

log = logging.getLogger('ZEO.StorageServer')


class Fence:
    """That of `hosted`.

    :param needed: how many followers have to agree; 0: there is no fence.
    """

    def __init__(self, hosted: HostedStorage, needed: int) -> None:
        self._hosted = hosted
        self.needed = needed
        #: Whether the storage is read-only for this reason.
        self.is_closed = bool(needed) and not hosted.read_only and not _is_empty(hosted)
        if self.is_closed:
            hosted.read_only = True
            hosted.followers.watchers.append(self._look)
            log.warning(
                'storage %s is served read-only until %d followers follow this server (fence)',
                hosted.name,
                needed,
            )

    @property
    def agreeing(self) -> int:
        """How many followers agree."""
        followers = self._hosted.followers.values()
        return sum(follower.counts and follower.tid > z64 for follower in followers)

    def _look(self) -> None:
        if self.is_closed and self.agreeing >= self.needed:
            self.open()

    def open(self) -> None:
        """Take writes from now on."""
        self.is_closed = False
        self._hosted.become_writable()
        log.warning('storage %s takes writes from now on (fence)', self._hosted.name)


def _is_empty(hosted: HostedStorage) -> bool:
    return hosted.storage.lastTransaction() in (None, z64)
