"""The metrics of followers, at both ends; their first label is the storage's name.

Enters: a hosted storage. Leaves: numbers, by functions of :data:`REPLICATION`, where it has
followers or is one. Fails: with what the storage raises that is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZEO.serving.hosted import HostedStorage
from ZEO.serving.monitor.families import COUNTER, GAUGE, Family


def _followers(hosted: HostedStorage) -> int | None:
    """Return how many there are, where some were expected or there were some."""
    expected = hosted.backend.replication() is not None
    return len(hosted.followers) if expected or hosted.followers else None


def _farthest(key: str) -> Callable[[HostedStorage], Any]:
    """Return what finds how far the last of the followers is behind."""

    def of(hosted: HostedStorage) -> Any:
        last = hosted.seen.lastTransaction()
        entries = hosted.followers.report(last, hosted.invalidations.number_after)
        found = [entry[key] for entry in entries if entry[key] is not None]
        return max(found) if found else None

    return of


def _waiting(hosted: HostedStorage) -> Any:
    replication = hosted.backend.replication()
    return None if replication is None else replication['waiting']


def _replica(key: str) -> Callable[[HostedStorage], Any]:
    """Return what reads a figure of a follower."""

    def of(hosted: HostedStorage) -> Any:
        status = hosted.backend.replica_status
        return None if status is None else status()[key]

    return of


def _follows(hosted: HostedStorage) -> int | None:
    state = _replica('state')(hosted)
    return None if state is None else int(state == 'following')


#: In the order in which they are shown.
REPLICATION: tuple[Family, ...] = (
    Family(
        'zeo_followers',
        GAUGE,
        'Followers of the storage that are connected; absent where there were none.',
        _followers,
    ),
    Family(
        'zeo_follower_lag_seconds',
        GAUGE,
        'How far the last of the followers is behind, by the times of transactions.',
        _farthest('lag-seconds'),
    ),
    Family(
        'zeo_follower_lag_transactions',
        GAUGE,
        'How many transactions the last of the followers does not have yet, as far as known.',
        _farthest('lag-transactions'),
    ),
    Family(
        'zeo_commits_waiting_for_followers',
        GAUGE,
        'Commits that wait until followers have them on disk (wait-for-replicas).',
        _waiting,
    ),
    Family(
        'zeo_replica_following',
        GAUGE,
        'Of a follower: whether it has its primary, and all but the last moments.',
        _follows,
    ),
    Family(
        'zeo_replica_lag_seconds',
        GAUGE,
        'Of a follower: how far it is behind; absent while its primary is away.',
        _replica('lag-seconds'),
    ),
    Family(
        'zeo_replica_lag_transactions',
        GAUGE,
        'Of a follower: how many transactions it does not have yet, as far as known.',
        _replica('lag-transactions'),
    ),
    Family(
        'zeo_replica_copied_transactions',
        COUNTER,
        'Of a follower: transactions that it has copied since its start.',
        _replica('copied-transactions'),
    ),
)
