"""What has to hold in every history.

Enters: a :class:`~support.simulation.history.History`. Leaves: what is wrong with it, as
:class:`Anomaly`; an empty list when nothing is. Fails: never, unless the history is malformed.

The level of isolation is strong session snapshot isolation: every transaction reads one state of
the database, the last one that its client had heard of when it began; of two transactions that
change the same object the first to commit wins, and the other one fails, unless its class resolves
conflicts. After a round trip to the server that state has everything that was acknowledged before
the round trip began. Two transactions may each read what the other one changes (write skew),
unless they ask for ``readCurrent``.

The tids are not trusted alone: :mod:`support.simulation.dependencies` finds cycles from the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from support.simulation import dependencies, snapshots
from support.simulation.caches import check_caches
from support.simulation.history import (
    READ,
    REFUSED,
    Attempt,
    History,
    Transaction,
)
from support.simulation.versions import Versions


@dataclass(frozen=True)
class Anomaly:
    """Something that must not happen.

    :param kind: a few words, the same for all of this kind.
    :param text: what has happened.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return f'{self.kind}: {self.text}'


Found = Iterator[tuple[str, str]]


def check(history: History) -> list[Anomaly]:
    """Return everything that is wrong with a history."""
    return [Anomaly(*found) for one in CHECKS for found in one(history)]


# Calls.


def check_calls(history: History) -> Found:
    """Every call ends, and in time."""
    for attempt in history.attempts:
        if attempt.killed:
            continue
        if attempt.ended is None:
            yield 'call without end', f'{attempt} has begun at {attempt.began:.3f}'
        elif attempt.within is not None and attempt.ended - attempt.began > attempt.within:
            yield (
                'call too long',
                f'{attempt} took {attempt.ended - attempt.began:.3f} s of {attempt.within}',
            )


def check_last(history: History) -> Found:
    """A fresh client can commit in the end: no lock was left."""
    last = [attempt for attempt in history.attempts if attempt.kind == 'last']
    if last and not any(attempt.is_acknowledged for attempt in last):
        yield 'a lock was left', f'{last[-1]}, of a fresh client: {last[-1].error}'


# What became of transactions.


def check_outcomes(history: History) -> Found:
    """What was acknowledged is there, as it was sent; what was refused is not there; what is
    there was sent by someone, once.
    """
    if history.transactions is None:
        return
    attempts = {attempt.id: attempt for attempt in history.attempts}
    seen: dict[str, Transaction] = {}
    for transaction in history.transactions:
        attempt = attempts.get(transaction.id)
        if transaction.id in seen:
            yield (
                'committed twice',
                f'{transaction.id} at {seen[transaction.id].tid} and {transaction.tid}',
            )
        seen[transaction.id] = transaction
        if attempt is None:
            yield 'made up', f'no client has sent the transaction {transaction}'
        elif attempt.outcome in (REFUSED, READ) or not attempt.may_be_there:
            yield 'refused but there', f'{attempt} ({attempt.error}) is {transaction.tid}'
    for attempt in history.attempts:
        if attempt.is_acknowledged and attempt.tid is not None:
            yield from _acknowledged(history, attempt, seen.get(attempt.id))


def _acknowledged(history: History, attempt: Attempt, there: Transaction | None) -> Found:
    assert attempt.tid is not None
    if there is None:
        if attempt.tid > history.packed:
            yield 'lost', f'{attempt} was acknowledged as {attempt.tid} and is not there'
    elif there.tid != attempt.tid:
        yield 'wrong tid', f'{attempt} was acknowledged as {attempt.tid}, but is {there.tid}'


def check_chains(history: History) -> Found:
    """What may be committed only behind another transaction is not there without it."""
    tids = {transaction.id: transaction.tid for transaction in history.transactions or ()}
    for attempt in history.attempts:
        if attempt.after is None or attempt.id not in tids:
            continue
        before = tids.get(attempt.after)
        if before is None:
            if not history.packed:  # else it may have gone
                yield 'a hole in a chain', f'{attempt} is there, but not {attempt.after}'
        elif before > tids[attempt.id]:
            yield 'a chain out of order', f'{attempt} is in front of {attempt.after}'


def check_contents(history: History) -> Found:
    """What is there is there as a whole, and as it was sent."""
    attempts = {attempt.id: attempt for attempt in history.attempts}
    for transaction in history.transactions or ():
        attempt = attempts.get(transaction.id)
        if attempt is None:
            continue
        for key, value in attempt.written().items():
            if key in transaction.values:
                if transaction.values[key] != value:
                    yield (
                        'other data',
                        f'{attempt} sent {key} = {value}, but {transaction.tid} has '
                        f'{transaction.values[key]}',
                    )
            elif transaction.tid > history.packed:
                yield 'torn', f'{attempt}: {key} is not in {transaction.tid}'
        if not attempt.undone():
            extra = transaction.values.keys() - attempt.written().keys() - attempt.added().keys()
            if extra:
                yield 'torn', f'{attempt} did not send {sorted(extra)}'


def check_copies(history: History) -> Found:
    """A follower has what its primary has, as far as neither was packed."""
    wanted = {one.tid: one for one in history.transactions or ()}
    for name, transactions in history.copies.items():
        found = {one.tid: one for one in transactions}
        for tid in sorted(wanted.keys() | found.keys()):
            if tid > history.packed and wanted.get(tid) != found.get(tid):
                yield (
                    'a follower has other data',
                    f'{name} has {found.get(tid)}, its primary {wanted.get(tid)}',
                )


def check_order(history: History) -> Found:
    """Tids go up: in the database, and from one acknowledged commit to one that began later."""
    tids = [transaction.tid for transaction in history.transactions or ()]
    for one, other in zip(tids, tids[1:], strict=False):
        if one >= other:
            yield 'tids go back', f'{other} follows {one}'
    newest, newest_end = None, None
    ended = sorted(
        (attempt for attempt in history.attempts if attempt.is_acknowledged and attempt.tid),
        key=lambda attempt: attempt.ended or 0,
    )
    begun = sorted(ended, key=lambda attempt: attempt.began)
    position = 0
    for attempt in begun:
        while position < len(ended) and (ended[position].ended or 0) < attempt.began:
            tid = ended[position].tid
            if newest is None or tid > newest:
                newest, newest_end = tid, ended[position]
            position += 1
        if newest is not None and attempt.tid <= newest:
            yield 'tids go back', f'{attempt} after {newest_end}'


def check_new_objects(history: History) -> Found:
    """No two attempts have made an object with the same oid, whatever became of them."""
    makers: dict[str, Attempt] = {}
    for attempt in history.attempts:
        for step in attempt.steps:
            if step[0] == 'new' and makers.setdefault(step[2], attempt) is not attempt:
                yield 'one oid for two objects', f'{step[2]} by {makers[step[2]]} and {attempt}'


# What values mean.


def check_sums(history: History) -> Found:
    """The accounts have the same sum in every snapshot."""
    for attempt in history.attempts:
        seen = {key: value for key, value in attempt.reads() if key in history.accounts}
        if len(seen) == len(history.accounts) and history.accounts:
            found = sum(value or 0 for value in seen.values())
            if found != history.total:
                yield 'wrong sum', f'{attempt}: {found} of {history.total}: {seen}'


def check_counters(history: History) -> Found:
    """Each transaction moves a counter by what its attempt has added."""
    attempts = {attempt.id: attempt for attempt in history.attempts}
    last: dict[str, Any] = {}
    for transaction in history.transactions or ():
        attempt = attempts.get(transaction.id)
        for key in history.counters:
            if key not in transaction.values:
                if (
                    attempt is not None
                    and key in attempt.added()
                    and transaction.tid > history.packed
                ):
                    yield 'torn', f'{attempt}: {key} is not in {transaction.tid}'
                continue
            value, before = transaction.values[key], last.get(key)
            last[key] = value
            if attempt is None or key not in attempt.added() or before is None:
                continue
            if value - before != attempt.added()[key]:
                yield (
                    'wrong count',
                    f'{attempt} adds {attempt.added()[key]} to {key}, which goes from '
                    f'{before} to {value} at {transaction.tid}',
                )


def check_undone(history: History) -> Found:
    """A transaction that undoes another one brings back what was there before that one."""
    attempts = {attempt.id: attempt for attempt in history.attempts}
    by_id = {transaction.id: transaction for transaction in history.transactions or ()}
    versions = Versions(history)
    for transaction in history.transactions or ():
        attempt = attempts.get(transaction.id)
        for one in attempt.undone() if attempt is not None else ():
            undone = by_id.get(one)
            if undone is None or undone.tid <= history.packed:
                continue
            for key in undone.values:
                expected = versions.at(key, f'{int(undone.tid, 16) - 1:016x}')[1]
                found = transaction.values.get(key)
                if found != expected:
                    yield (
                        'wrong undo',
                        f'{transaction.tid} undoes {undone.tid}: {key} is {found}, was {expected}',
                    )


def check_dependencies(history: History) -> Found:
    """No cycle that snapshot isolation forbids, as far as values tell."""
    yield from dependencies.anomalies(history)


CHECKS: list[Callable[[History], Found]] = [
    check_calls,
    check_last,
    check_outcomes,
    check_chains,
    check_contents,
    check_copies,
    check_order,
    check_new_objects,
    snapshots.check_snapshots,
    snapshots.check_first_committer_wins,
    snapshots.check_sessions,
    snapshots.check_synced,
    snapshots.check_snapshots_exist,
    check_sums,
    check_counters,
    check_undone,
    check_caches,
    check_dependencies,
]
