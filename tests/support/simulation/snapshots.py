"""What snapshots have to have, as their tids tell.

Enters: a history. Leaves: as (kind, text), what is wrong with it. Fails: never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from support.simulation.history import Attempt, History
from support.simulation.versions import Versions

Found = Iterator[tuple[str, str]]


def check_snapshots(history: History) -> Found:
    """What an attempt reads is what the database had at its snapshot."""
    if history.transactions is None:
        return
    versions = Versions(history)
    for attempt in history.attempts:
        if attempt.snapshot is None:
            continue
        for key, value in attempt.reads():
            tid, expected = versions.at(key, attempt.snapshot)
            if value == expected or (
                attempt.snapshot < history.packed and _may_be_packed(history, key, value)
            ):
                continue
            yield (
                'wrong snapshot',
                f'{attempt} at {attempt.snapshot} read {key} = {value}; it was '
                f'{expected} since {tid}',
            )


def _may_be_packed(history: History, key: str, value: Any) -> bool:
    """Whether a revision may have had a value that neither the database nor an acknowledged attempt
    tells.
    """
    return key in history.counters or any(
        attempt.undone()
        or (
            not attempt.is_acknowledged
            and attempt.may_be_there
            and attempt.written().get(key) == value
        )
        for attempt in history.attempts
    )


def check_first_committer_wins(history: History) -> Found:
    """Nothing that a committed attempt changes, or has read with ``readCurrent``, was changed by
    another one since its snapshot.
    """
    versions = Versions(history)
    tids = {transaction.id: transaction.tid for transaction in history.transactions or ()}
    for attempt in history.attempts:
        tid = tids.get(attempt.id)
        if tid is None or attempt.snapshot is None:
            continue
        current = {step[1] for step in attempt.steps if step[0] == 'rc'}
        for key in sorted(current | attempt.written().keys()):
            following = versions.after(key, attempt.snapshot)
            if following is not None and following < tid:
                kind = 'lost update' if key in attempt.written() else 'readCurrent was not'
                yield (
                    kind,
                    f'{attempt} saw {key} as of {attempt.snapshot} and is {tid}, but '
                    f'{following} has changed it in between',
                )


def check_sessions(history: History) -> Found:
    """A client's snapshots never go back, and have its own commits."""
    clients: dict[str, list[Attempt]] = {}
    for attempt in history.attempts:
        if attempt.kind != 'historical':
            clients.setdefault(attempt.client, []).append(attempt)
    for attempts in clients.values():
        known = [
            (attempt.started, attempt.snapshot, 'has seen', attempt)
            for attempt in attempts
            if attempt.started is not None and attempt.snapshot
        ]
        known += [
            (attempt.ended, attempt.tid, 'has committed', attempt)
            for attempt in attempts
            if attempt.is_acknowledged and attempt.tid and attempt.ended is not None
        ]
        yield from _never_before('snapshot goes back', attempts, known, lambda one: one.began)


def check_synced(history: History) -> Found:
    """A snapshot after a round trip has everything that was acknowledged before it began."""
    known = [
        (attempt.ended, attempt.tid, 'was told of', attempt)
        for attempt in history.attempts
        if attempt.is_acknowledged and attempt.tid and attempt.ended is not None
    ]
    attempts = [attempt for attempt in history.attempts if attempt.synced is not None]
    yield from _never_before('stale after a round trip', attempts, known, lambda one: one.synced)


def _never_before(
    kind: str,
    attempts: list[Attempt],
    known: list[tuple[Any, Any, str, Attempt]],
    since: Callable[[Attempt], Any],
) -> Found:
    """No snapshot is older than what was known before a time of its attempt.

    :param known: as (time, tid, what has happened, attempt).
    """
    known.sort(key=lambda item: item[0])
    position, newest = 0, None
    reading = [one for one in attempts if one.snapshot and one.kind != 'historical']
    for attempt in sorted(reading, key=since):
        while position < len(known) and known[position][0] <= since(attempt):
            if newest is None or known[position][1] > newest[1]:
                newest = known[position]
            position += 1
        if newest is not None and attempt.snapshot is not None and attempt.snapshot < newest[1]:
            yield (
                kind,
                f'{attempt} is at {attempt.snapshot}, but {newest[3]} {newest[2]} '
                f'{newest[1]} before',
            )


def check_snapshots_exist(history: History) -> Found:
    """The tid of a snapshot is that of a transaction."""
    tids = {transaction.tid for transaction in history.transactions or ()}
    for attempt in history.attempts:
        snapshot = attempt.snapshot
        if history.transactions is None or snapshot is None or attempt.kind == 'historical':
            continue
        if history.is_polled and not tids.isdisjoint(_beside(snapshot)):
            continue
        if snapshot not in tids and snapshot > history.packed and snapshot != '0' * 16:
            yield 'snapshot of nothing', f'{attempt} is at {snapshot}'


def _beside(tid: str) -> Iterator[str]:
    """Yield the tid after one, and those before: a view goes on by one each time that it starts
    anew.
    """
    for change in (1, -1, -2, -3):
        yield f'{int(tid, 16) + change:016x}'
