"""Whether a server lives, and whether it can serve.

Enters: a server that is watched. Leaves: for each storage why it cannot be used now, if it cannot.
Fails: never.
"""

from __future__ import annotations

from typing import Any

from ZEO.serving.hosted import HostedStorage
from ZEO.serving.monitor.watched import Watched


def problem_of(hosted: HostedStorage) -> str | None:
    """Return why a storage cannot be used by clients now; None where it can."""
    trouble = hosted.backend.trouble
    if trouble is not None:
        return f'{hosted.backend.trouble_with}: {trouble}'
    status = hosted.backend.replica_status
    return None if status is None else _behind(status())


def _behind(replica: dict[str, Any]) -> str | None:
    """Return why a follower is not where its primary is; None where it is, or was promoted."""
    state, error = replica['state'], replica['error']
    if state in ('following', 'promoted'):
        return None
    return f'the follower is {state}' + (f': {error}' if error else '')


def problems_of(server: Watched) -> dict[str, str]:
    """Return what keeps a server from serving, by the storage that it is about; that of the whole
    server has no name.
    """
    found: dict[str, Any] = {name: problem_of(hosted) for name, hosted in server.storages.items()}
    if server.is_stopping():
        found[''] = 'the server is stopping'
    return {name: problem for name, problem in found.items() if problem is not None}


def is_ready(server: Watched) -> bool:
    """Return whether all storages can be used, and clients may come."""
    return not problems_of(server)
