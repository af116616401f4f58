"""The metrics of each storage; their first label is its name.

Enters: a hosted storage. Leaves: numbers, by functions of :data:`STORAGE`. Fails: with what the
storage raises that is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZEO.serving.histogram import Histogram
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.moments import time_of
from ZEO.serving.monitor.families import COUNTER, GAUGE, HISTOGRAM, Family
from ZEO.serving.monitor.health import problem_of
from ZEO.serving.status import pack_progress


def _phases(hosted: HostedStorage) -> dict[str, Histogram]:
    durations = hosted.stats.durations
    return {'vote': durations.vote, 'client': durations.client, 'finish': durations.finish}


def _held_for(hosted: HostedStorage) -> float:
    since = hosted.stats.lock_since
    return 0.0 if since is None else max(0.0, hosted.loop.system.wall_clock() - since)


def _kept(number: int) -> Callable[[HostedStorage], int | None]:
    """Return what reads a figure of the record cache, where there is one."""

    def of(hosted: HostedStorage) -> int | None:
        records = hosted.backend.records
        return None if records is None else records.held[number]

    return of


def _ahead(hosted: HostedStorage) -> dict[str, int]:
    figures = hosted.read_ahead.figures
    return {'sent': figures.sent, 'used': figures.used, 'wasted': figures.wasted}


def _misses(hosted: HostedStorage) -> int | None:
    records = hosted.backend.records
    return None if records is None else records.missed


def _seconds_of_syncs(hosted: HostedStorage) -> Histogram | None:
    syncing = hosted.backend.syncing
    return None if syncing is None else syncing.seconds


def _shared_syncs(hosted: HostedStorage) -> Histogram | None:
    syncing = hosted.backend.syncing
    return None if syncing is None else syncing.shared


def _size(key: str) -> Callable[[HostedStorage], Any]:
    return lambda hosted: hosted.sizes.known()[key]


#: In the order in which they are shown.
STORAGE: tuple[Family, ...] = (
    Family(
        'zeo_storage_served',
        GAUGE,
        'The class of each storage, as a label; always 1.',
        lambda hosted: {hosted.kind: 1},
        'kind',
    ),
    Family(
        'zeo_storage_up',
        GAUGE,
        'Whether the storage can be used: 0 while its database, or its own server, is away.',
        lambda hosted: int(problem_of(hosted) is None),
    ),
    Family(
        'zeo_storage_objects',
        GAUGE,
        'Objects in the storage, as far as it knows.',
        _size('length'),
    ),
    Family('zeo_storage_size_bytes', GAUGE, 'The size of the storage, as it says.', _size('size')),
    Family(
        'zeo_last_transaction_timestamp_seconds',
        GAUGE,
        'When the last transaction was committed, in seconds since the epoch.',
        lambda hosted: time_of(hosted.last_transaction()),
    ),
    Family('zeo_clients', GAUGE, 'Clients that are connected.', lambda hosted: len(hosted.peers)),
    Family(
        'zeo_client_connections',
        COUNTER,
        'Clients that have connected and registered.',
        lambda hosted: hosted.stats.connections,
    ),
    Family(
        'zeo_received_bytes',
        COUNTER,
        'Bytes that clients have sent.',
        lambda hosted: hosted.peers.bytes_received,
    ),
    Family(
        'zeo_sent_bytes',
        COUNTER,
        'Bytes that clients were sent.',
        lambda hosted: hosted.peers.bytes_sent,
    ),
    Family(
        'zeo_loads',
        COUNTER,
        'Objects that clients have loaded.',
        lambda hosted: hosted.peers.loads,
    ),
    Family(
        'zeo_read_ahead_records',
        COUNTER,
        'Records that clients were sent before they asked for them; used, or not used in time.',
        _ahead,
        'outcome',
    ),
    Family(
        'zeo_read_ahead_bytes',
        COUNTER,
        'Bytes of these records.',
        lambda hosted: hosted.read_ahead.figures.bytes,
    ),
    Family(
        'zeo_record_cache_misses',
        COUNTER,
        'Loads for which the storage was asked, since the record was not in memory.',
        _misses,
    ),
    Family('zeo_record_cache_records', GAUGE, 'Records that are kept in memory.', _kept(0)),
    Family(
        'zeo_record_cache_bytes',
        GAUGE,
        'Memory that these records take, roughly (record-cache-size).',
        _kept(1),
    ),
    Family(
        'zeo_stores',
        COUNTER,
        'Objects that committed transactions have stored.',
        lambda hosted: hosted.stats.stores,
    ),
    Family(
        'zeo_commits',
        COUNTER,
        'Transactions that were committed.',
        lambda hosted: hosted.stats.commits,
    ),
    Family(
        'zeo_aborts',
        COUNTER,
        'Transactions that were not committed, for whatever reason.',
        lambda hosted: hosted.stats.aborts,
    ),
    Family(
        'zeo_conflicts',
        COUNTER,
        'Conflicts that the server has not resolved: the client does, or its transaction fails.',
        lambda hosted: hosted.stats.conflicts,
    ),
    Family(
        'zeo_conflicts_resolved',
        COUNTER,
        'Conflicts that the server has resolved.',
        lambda hosted: hosted.stats.conflicts_resolved,
    ),
    Family(
        'zeo_transactions',
        GAUGE,
        'Transactions that clients have begun and not ended.',
        lambda hosted: hosted.stats.active_txns,
    ),
    Family(
        'zeo_commit_lock_waiting',
        GAUGE,
        'Transactions that wait for the commit lock.',
        lambda hosted: hosted.lock.waiting,
    ),
    Family(
        'zeo_commit_lock_held_seconds',
        GAUGE,
        'For how long the transaction with the commit lock has had it; 0 where there is none.',
        _held_for,
    ),
    Family(
        'zeo_commit_lock_wait_seconds',
        HISTOGRAM,
        'How long transactions waited for the commit lock.',
        lambda hosted: hosted.stats.durations.wait,
    ),
    Family(
        'zeo_commit_lock_hold_seconds',
        HISTOGRAM,
        'How long transactions had the commit lock.',
        lambda hosted: hosted.stats.durations.hold,
    ),
    Family(
        'zeo_commit_phase_seconds',
        HISTOGRAM,
        'How long transactions with the commit lock were in each phase: vote, in the storage; '
        'client, until the client finishes; finish, until it is permanent.',
        _phases,
        'phase',
    ),
    Family(
        'zeo_sync_seconds',
        HISTOGRAM,
        'How long each sync of the file took, where one may be for several transactions.',
        _seconds_of_syncs,
    ),
    Family(
        'zeo_sync_transactions',
        HISTOGRAM,
        'How many transactions each sync of the file has made permanent.',
        _shared_syncs,
    ),
    Family(
        'zeo_invalidation_messages',
        COUNTER,
        'Messages to clients about what others have committed.',
        lambda hosted: hosted.stats.invalidations,
    ),
    Family(
        'zeo_foreign_transaction_delay_seconds',
        HISTOGRAM,
        'Of transactions that were committed elsewhere (in an SQL database, at the server that '
        'this one is a client of, at the primary): from their time to the message to the clients. '
        'The clocks of both machines are compared.',
        lambda hosted: hosted.stats.delays,
    ),
    Family(
        'zeo_view_age_seconds',
        GAUGE,
        'Of an SQL database: how long ago it was last asked, and has said, what was committed '
        'elsewhere; with notify every commit is heard in between.',
        lambda hosted: hosted.backend.view_age(),
    ),
    Family(
        'zeo_invalidation_queue_transactions',
        GAUGE,
        'Transactions that are remembered for clients that come back (invalidation-queue-size).',
        lambda hosted: hosted.invalidations.held[0],
    ),
    Family(
        'zeo_invalidation_queue_objects',
        GAUGE,
        'Objects that these transactions have changed.',
        lambda hosted: hosted.invalidations.held[1],
    ),
    Family(
        'zeo_queue_length',
        GAUGE,
        'What waits for a thread or a database: calls, that take long; loads; commits.',
        lambda hosted: hosted.backend.queues(),
        'queue',
    ),
    Family(
        'zeo_packing',
        GAUGE,
        'Whether a pack runs.',
        lambda hosted: int(hosted.stats.pack_since is not None),
    ),
    Family(
        'zeo_pack_progress_ratio',
        GAUGE,
        'How much of the pack that runs is done, from 0 to 1; absent where none runs.',
        pack_progress,
    ),
    Family(
        'zeo_last_pack_timestamp_seconds',
        GAUGE,
        'When the last pack since the start of the server has ended, in seconds since the epoch.',
        lambda hosted: hosted.stats.packed_at,
    ),
)
