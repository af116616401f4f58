"""What a registered client may know about the service of its storage: everything, within bounds.

Enters: a hosted storage. Leaves: the answer to ``server_status``, which has more than the figures
that strangers get for ``ruok``: the process, the clients, and the holder of the commit lock. Fails:
with what the storage raises.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING, Any

from ZEO.serving.moments import iso
from ZEO.version import version

if TYPE_CHECKING:
    from ZEO.serving.hosted import HostedStorage

#: Clients that an answer lists, those that have been connected longest: about 150 KB.
MOST_CLIENTS = 1000


def details(hosted: HostedStorage) -> dict[str, Any]:
    """Return what ``server_status`` answers."""
    system, stats = hosted.loop.system, hosted.stats
    return {
        **hosted.status(),
        'serving-since': iso(stats.start),
        'packing-since': None if stats.pack_since is None else iso(stats.pack_since),
        'version': version(),
        'pid': os.getpid(),
        'uptime': round(system.now() - stats.began, 1),
        'memory': system.resident_memory(),
        'lock-holder': _holder(hosted),
        'clients': [peer.visit.entry() for peer in islice(hosted.peers, MOST_CLIENTS)],
    }


def _holder(hosted: HostedStorage) -> dict[str, Any] | None:
    holder = hosted.lock.holder
    if holder is None:
        return None
    since = hosted.stats.lock_since
    return {
        'address': holder.peer.address,
        'label': holder.peer.label,
        'since': None if since is None else iso(since),
    }
