"""What the live page shows: data, in JSON.

Enters: a server that is watched, and who looks. Leaves: a plain dict. Fails: never; what a storage
cannot say is left out.

All texts in it are data: the page puts them into its document as text, never as HTML.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ZEO.net.last_lines import LEVELS, Line
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.moments import iso, time_of
from ZEO.serving.monitor import process
from ZEO.serving.monitor.health import problem_of, problems_of
from ZEO.serving.monitor.history import STEP, Look
from ZEO.serving.monitor.watched import Viewer, Watched
from ZEO.serving.status import details, figures
from ZEO.version import version

#: Clients of a storage that are shown, those that have or want the commit lock first: 20 KB. The
#: page is renewed every few seconds.
MOST_CLIENTS = 100

#: Characters that are shown of a line of the log.
MOST_CHARACTERS = 300

#: Clients that are named which wait for the commit lock.
MOST_WAITING = 10


def live(server: Watched, viewer: Viewer, since: int) -> Iterator[dict[str, Any]]:
    """Yield the parts of the data, which together are one dict: between two of them others may be
    served.

    :param since: the number of the last look that the page has.
    """
    yield {'server': _server(server), 'step': STEP, 'columns': Look._fields}
    yield {'storages': []}
    for hosted in server.storages.values():
        yield {'storages': [_storage(hosted, viewer)]}
    yield {'history': list(server.history.since(since))}
    yield {'lines': [*map(_line, server.lines.last())] if viewer.may_see_lines else None}


def status(server: Watched, viewer: Viewer) -> Iterator[dict[str, Any]]:
    """Yield for each storage what ``server_status`` answers; what may not be seen is left out."""
    for name, hosted in server.storages.items():
        if viewer.may_see_clients(name):
            yield {name: details(hosted, viewer.may_see_identities(name), viewer.may_see_lines)}
        else:
            shown = figures(hosted)
            shown.pop('followers', None)  # who they are
            yield {name: shown}


def _server(server: Watched) -> dict[str, Any]:
    system = server.loop.system
    first = next(iter(server.storages.values())).stats
    delay = server.history.delay
    return {
        'version': version(),
        'pid': os.getpid(),
        'since': iso(first.start),
        'uptime': round(system.now() - first.began),
        'now': iso(system.wall_clock()),
        'memory': system.resident_memory(),
        'cpu': round(process.cpu_seconds(), 2),
        'files': process.open_files(),
        'most-files': process.most_files(),
        'connections': server.connections,
        'most-connections': server.limits.connections,
        'unread': server.unread,
        'buffered': server.service.intake.budget.used,
        'delay': [round(delay.sum, 4), delay.count],
        'problems': problems_of(server),
        'denied': dict(server.service.denied),
        'log': dict(server.lines.counts),
    }


def _storage(hosted: HostedStorage, viewer: Viewer) -> dict[str, Any]:
    may_see = viewer.may_see_clients(hosted.name)
    status = details(hosted, viewer.may_see_identities(hosted.name), False, MOST_CLIENTS * may_see)
    clients = status.pop('clients')
    status.pop('errors')  # lines of the log are shown once, for the whole server
    if not may_see:
        for name in 'lock-holder', 'followers', 'slow':
            status.pop(name, None)
    return {
        **status,
        'name': hosted.name,
        'kind': hosted.kind,
        'read-only': hosted.read_only,
        'problem': problem_of(hosted),
        **hosted.sizes.known(),
        'queues': hosted.backend.queues(),
        'kept': None if hosted.backend.records is None else hosted.backend.records.held,
        'packed-at': _iso(hosted.stats.packed_at),
        'last-at': _iso(time_of(bytes.fromhex(status['last-transaction']))),
        'remembered': hosted.invalidations.held[0],
        'lock-waiting': _waiting(hosted) if may_see else None,
        'clients': _with_what_they_do(hosted, clients, viewer) if may_see else None,
    }


def _line(line: Line) -> dict[str, Any]:
    level, text = LEVELS[line.level], line.text[:MOST_CHARACTERS]
    return {'number': line.number, 'at': iso(line.when), 'level': level, 'text': text}


def _iso(moment: float | None) -> str | None:
    return None if moment is None else iso(moment)


def _peer(one: Any) -> Any:
    """Return the client of a transaction, or of what else may hold a commit lock."""
    return getattr(one, 'peer', one)


def _waiting(hosted: HostedStorage) -> list[str]:
    return [str(_peer(one)) for one in islice(hosted.lock.waiting_clients, MOST_WAITING)]


def _with_what_they_do(
    hosted: HostedStorage, clients: list[dict[str, Any]], viewer: Viewer
) -> list[dict[str, Any]]:
    """Return clients with what they do, those first that have or want the commit lock."""
    doing = {_peer(one): 'waits for the commit lock' for one in hosted.lock.waiting_clients}
    for one in hosted.lock.holders:
        phase = getattr(getattr(one, 'phase', None), 'name', 'packing')
        doing[_peer(one)] = f'has the commit lock: {phase}'
    identities = viewer.may_see_identities(hosted.name)
    busy = [
        {**peer.visit.entry(identities), 'doing': what}
        for peer, what in islice(reversed(doing.items()), MOST_CLIENTS)
        if peer in hosted.peers
    ]
    seen = {(one['address'], one['since']) for one in busy}
    rest = [one for one in clients if (one['address'], one['since']) not in seen]
    return [*busy, *rest][:MOST_CLIENTS]
