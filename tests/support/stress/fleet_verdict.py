"""What has to hold at the end of a round of a fleet.

Enters: a fleet whose processes have ended. Leaves: what is wrong, as text; an empty list when
nothing is. Fails: never by what is found.

A server that is killed, or stopped for a while, may leave a commit to the database, which makes it
after the client has asked another server. Its client may not know that; the database does: nothing
that was committed before a round trip began may be missing in the snapshot after it, whether it was
acknowledged or not.
"""

from __future__ import annotations

import json
from itertools import groupby
from operator import itemgetter

from ZODB.utils import p64

from support.simulation.checks import check
from support.simulation.history import History, Transaction, digest
from support.stress import objects
from support.stress.fleet import Fleet
from support.stress.verdict import judged, named

#: A database without history does not say when an object has changed that was changed again before
#: a server looked. Servers then send its clients another tid, at which they read what they would
#: have at the right one: what each snapshot has is compared with what was committed all the same.
WITHOUT_HISTORY = ('snapshot of nothing',)

#: Seconds between the time that PostgreSQL notes for a commit, and that at which others see it: it
#: writes in between, and may be stopped or wait for a processor.
VISIBLE = 1.0


def verdict(fleet: Fleet) -> tuple[History, list[str]]:
    """Return the history of a round, and what is wrong."""
    found, times = _database(fleet)
    history = judged(fleet, found, objects.setup(fleet.setup_tid, fleet.marks))
    history.is_polled = not fleet.options.keep_history
    unknown = () if fleet.options.keep_history else WITHOUT_HISTORY
    wrong = [str(one) for one in check(history) if one.kind not in unknown]
    wrong += _tables(fleet) + _missing(fleet, history, times)
    late = late_commits(history, times)
    fleet.figures['late commits'] = len(late)
    fleet.figures['ms of the latest'] = round(1000 * max(late, default=0))
    if wrong:  # the database is removed
        (fleet.directory / 'history.jsonl').write_text('\n'.join(history.lines()))
        (fleet.directory / 'times.json').write_text(json.dumps(times))
    return history, wrong


def _database(fleet: Fleet) -> tuple[History, dict[str, float]]:
    """Return what was committed, and when, in seconds of time.monotonic."""
    rows = fleet.cluster.execute(
        fleet.database,
        'select tid, zoid, state, extract(epoch from pg_xact_commit_timestamp(xmin)) from audit '
        'order by tid, zoid',
    )
    history = History(transactions=[])
    times: dict[str, float] = {}
    for tid, group in groupby(rows, key=itemgetter(0)):
        found = Transaction(p64(tid).hex(), '')
        for _, zoid, state, at in group:
            times[found.tid] = float(at) - fleet.offset
            _add(fleet, history, found, p64(zoid), None if state is None else bytes(state))
        _identify(fleet, found)
        if found.tid >= fleet.setup_tid:  # before that, ZODB itself has made the root
            assert history.transactions is not None
            history.transactions.append(found)
    return history, times


def _add(
    fleet: Fleet, history: History, found: Transaction, oid: bytes, data: bytes | None
) -> None:
    history.records.setdefault(oid.hex(), []).append([found.tid, digest(data)])
    value = named(fleet, oid, data)
    if value is not None:
        found.values[value[0]] = value[1]


def _identify(fleet: Fleet, found: Transaction) -> None:
    """Say whose attempt a transaction is: that which has written its id into a mark."""
    ids = [str(found.values[mark]) for mark in fleet.marks if mark in found.values]
    found.id = objects.SETUP if found.tid == fleet.setup_tid else ' '.join(ids)


def _tables(fleet: Fleet) -> list[str]:
    """The database has, of what was committed, at least the last revision of each object."""
    rows = fleet.cluster.execute(
        fleet.database,
        'select o.zoid, o.tid from object_state o left join audit a using (zoid, tid) '
        'where o.state is distinct from a.state '
        'union select zoid, tid from (select zoid, max(tid) as tid from audit group by zoid) a '
        'where exists (select 1 from object_state o where o.zoid = a.zoid and o.tid > a.tid)',
    )
    return [f'the database has another revision of {zoid} at {tid}' for zoid, tid in rows]


def _missing(fleet: Fleet, history: History, times: dict[str, float]) -> list[str]:
    """Return which snapshots lack what was committed before they were asked for."""
    wrong = []
    committed = sorted((at, tid) for tid, at in times.items())
    position, newest = 0, ('', 0.0)
    reading = [one for one in history.attempts if one.synced is not None and one.snapshot]
    for attempt in sorted(reading, key=lambda one: one.synced or 0.0):
        assert attempt.synced is not None and attempt.snapshot is not None
        while position < len(committed) and committed[position][0] < attempt.synced - VISIBLE:
            at, tid = committed[position]
            newest = max(newest, (tid, at))
            position += 1
        if attempt.snapshot < newest[0]:
            wrong.append(
                f'stale: {attempt} is at {attempt.snapshot}, and {newest[0]} was committed '
                f'{attempt.synced - newest[1]:.2f} s before it asked'
            )
    return wrong


def late_commits(history: History, times: dict[str, float]) -> list[float]:
    """Return by how much commits came after their clients were disconnected, in seconds."""
    tids = {one.id: one.tid for one in history.transactions or ()}
    return [
        times[tids[attempt.id]] - attempt.ended
        for attempt in history.attempts
        if attempt.id in tids
        and attempt.outcome == 'unknown'
        and attempt.ended is not None
        and times[tids[attempt.id]] > attempt.ended
    ]
