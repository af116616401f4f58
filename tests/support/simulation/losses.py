"""What has to hold where a follower is promoted that lacks commits of the old primary.

Enters: a history whose servers have saved what was lost, and when followers were promoted. Leaves:
what is wrong with it, as :class:`~support.simulation.checks.Anomaly`. Fails: never.

Lost may be what no follower had, and that alone: commits behind the last transaction of the one
that was promoted. All of them are in a file beside that of the old primary. What has seen them was
on another branch of the history, which is right by itself; nothing of it is in the other one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from support.simulation import objects
from support.simulation.checks import Anomaly, check, check_calls, check_new_objects, check_sums
from support.simulation.history import Attempt, History, Transaction
from support.simulation.snapshots import check_snapshots

Found = Iterator[tuple[str, str]]


def check_with_losses(history: History) -> list[Anomaly]:
    """Return everything that is wrong with a history in which commits may have been lost."""
    lost = lost_transactions(history)
    if not lost:
        return check(history)
    there = list(_without_lost(history, lost))
    calls = [Anomaly(*found) for found in check_calls(history)]
    wrong = [Anomaly(*found) for one in _CHECKS for found in one(history)]
    return [*calls, *wrong, *check(replace(history, attempts=there))]


def lost_transactions(history: History) -> dict[str, Transaction]:
    """Return by their tids those that were saved and are not in the database in the end."""
    there = {one.tid for one in history.transactions or ()}
    return {
        one.tid: one
        for saved in history.saved.values()
        for file in saved
        for one in file
        if one.tid not in there
    }


def _without_lost(history: History, lost: dict[str, Transaction]) -> Iterator[Attempt]:
    """Yield attempts that have neither seen nor are what is lost.

    One that is in the database may have begun with a snapshot that has what is lost: it must not
    have read that, so it is as if its snapshot were the one before.
    """
    ids = {one.id for one in history.transactions or ()}
    tids = [one.tid for one in history.transactions or ()]
    for attempt in history.attempts:
        if attempt.tid in lost:
            continue
        if attempt.snapshot not in lost:
            yield attempt
        elif attempt.id in ids:
            before = max(tid for tid in tids if tid < (attempt.snapshot or ''))
            yield replace(attempt, snapshot=before)


def check_lost(history: History) -> Found:
    """What is lost was at the old primary alone, when the other one was promoted."""
    there = {one.tid for one in history.transactions or ()}
    for name, saved in history.saved.items():
        last = [tid for old, tid in history.promotions if old == name]
        for file in saved:
            gone = [one for one in file if one.tid not in there]
            for one in gone:
                if not any(one.tid > tid for tid in last):
                    yield 'lost though a follower had it', f'{one} by {name}: {last}'


def check_branches(history: History) -> Found:
    """Who has seen what is lost has seen it as it was."""
    lost = lost_transactions(history)
    for name, saved in history.saved.items():
        for file in saved:
            tids = {one.tid for one in file if one.tid in lost}
            seen: list[Any] = [
                _without_blobs(one)
                for one in history.attempts
                if one.snapshot in tids and one.kind != 'historical'
            ]
            if not seen:
                continue
            before = [one for one in history.transactions or () if one.tid < min(tids)]
            branch = replace(history, attempts=seen, transactions=[*before, *file])
            for one in check_snapshots, check_sums:
                for kind, text in one(branch):
                    yield kind, f'before {name} has lost it: {text}'


def _without_blobs(attempt: Attempt) -> Attempt:
    """Return an attempt without what it has read of blobs, whose files are not looked at."""
    steps = [step for step in attempt.steps if step[1] not in objects.BLOBS]
    return replace(attempt, steps=steps)


_CHECKS = (check_lost, check_branches, check_new_objects)
