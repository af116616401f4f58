"""What monitoring programs and clients may know of the service of a storage.

Enters: a hosted storage. Leaves: the figures that a stranger gets for ``ruok``, and the dict of
``server_status``, which has the process, the clients and the holder of the commit lock as well.
Fails: never; what a storage cannot say is left out.
"""

from __future__ import annotations

import logging
import os
from itertools import islice
from typing import TYPE_CHECKING, Any

from ZEO.net.loop import ENDS
from ZEO.serving.moments import iso
from ZEO.version import version
from ZEO.wire.quoting import explained

if TYPE_CHECKING:
    from ZEO.serving.hosted import HostedStorage

#: Clients that an answer lists, those that have been connected longest: about 150 KB.
MOST_CLIENTS = 1000


def figures(hosted: HostedStorage) -> dict[str, Any]:
    """Return the figures that a monitoring program gets."""
    last, trouble = _last_transaction(hosted)
    return {
        **hosted.stats.report(),
        **trouble,
        'loads': hosted.peers.loads,
        'waiting': hosted.lock.waiting,
        'timeout-thread-is-alive': True,
        'last-transaction': last.hex() if last else '',
        'connections': len(hosted.peers),
        'pack-progress': pack_progress(hosted),
        'read-ahead': hosted.read_ahead.figures.report(),
        **_replication(hosted, last),
        **_replica(hosted),
    }


def _replication(hosted: HostedStorage, last: bytes | None) -> dict[str, Any]:
    """Return the followers, and how commits wait for them, where there are some or they do."""
    found: dict[str, Any] = {}
    if hosted.followers and last is not None:
        found['followers'] = hosted.followers.report(last, hosted.invalidations.number_after)
    if hosted.fence.is_closed:
        found['fence'] = {'needed': hosted.fence.needed, 'agreeing': hosted.fence.agreeing}
    replication = hosted.backend.replication()
    return found if replication is None else {**found, 'replicas': replication}


def _last_transaction(hosted: HostedStorage) -> tuple[bytes | None, dict[str, str]]:
    """Return the last tid, and as `error` why the storage can't say it."""
    trouble = hosted.backend.trouble
    try:
        return hosted.seen.lastTransaction(), {} if trouble is None else {'error': trouble}
    except ENDS:
        raise
    except BaseException as error:  # the status is wanted above all when something is wrong
        hosted.loop.reports.failed(
            'the storage cannot say its last transaction', hosted.name, error
        )
        return None, {'error': explained(error)}


def _replica(hosted: HostedStorage) -> dict[str, Any]:
    status = hosted.backend.replica_status
    return {} if status is None else {'replica': status()}


def pack_progress(hosted: HostedStorage) -> float | None:
    """Return how much of a running pack is done, 0 to 1, by the file that a FileStorage makes; None
    where it can't be seen.
    """
    name = getattr(hosted.storage, '_file_name', None)
    if hosted.stats.pack_since is None or not isinstance(name, str):
        return None
    try:
        return min(1.0, os.path.getsize(name + '.pack') / max(1, hosted.storage.getSize()))
    except ENDS:
        raise
    except BaseException:
        # still looking for what to keep, or just done; or a storage's own trouble
        return 0.0


def details(
    hosted: HostedStorage,
    with_identities: bool,
    with_lines: bool,
    most_clients: int | None = None,
) -> dict[str, Any]:
    """Return what ``server_status`` answers.

    :param with_identities: whether it says who the clients are, and what was slow for whom, as for
        an administrator.
    :param with_lines: whether it has the last errors and warnings, which are about clients of every
        storage.
    :param most_clients: how many clients it lists; None: :data:`MOST_CLIENTS`.
    """
    most_clients = MOST_CLIENTS if most_clients is None else most_clients
    system, stats = hosted.loop.system, hosted.stats
    return {
        **figures(hosted),
        'serving-since': iso(stats.start),
        'packing-since': None if stats.pack_since is None else iso(stats.pack_since),
        'version': version(),
        'pid': os.getpid(),
        'uptime': round(system.now() - stats.began, 1),
        'memory': system.resident_memory(),
        'lock-holder': _holder(hosted),
        'slow': hosted.slow.entries() if with_identities else [],
        'errors': _errors(hosted) if with_lines else [],
        'clients': _clients(hosted, with_identities, most_clients),
    }


def _clients(hosted: HostedStorage, with_identities: bool, most: int) -> list[dict[str, Any]]:
    """Return an entry for each client, and in it what the client does with the commit lock."""
    does = dict.fromkeys(hosted.lock.waiting_clients, 'waits for the commit lock')
    # what is not a client's holds it as well, such as a pack
    does.update((getattr(holder, 'peer', None), 'commits') for holder in hosted.lock.holders)
    return [
        {**peer.visit.entry(with_identities), 'does': does.get(peer, '')}
        for peer in islice(hosted.peers, most)
    ]


def _errors(hosted: HostedStorage) -> list[dict[str, str]]:
    """Return the last errors and warnings of the server, the newest first."""
    return [
        {'time': iso(line.when), 'level': logging.getLevelName(line.level), 'text': line.text}
        for line in reversed(hosted.loop.reports.lines.last())
    ]


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
