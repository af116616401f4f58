"""What a client cache may hold.

Enters: a history with caches and the revisions of the database. Leaves: as (kind, text), records
that a client would read wrongly. Fails: never.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from support.simulation.history import CacheContents, History


def check_caches(history: History) -> Iterator[tuple[str, str]]:
    """Every record of every cache is one of the database, and is current as long as it says."""
    if history.transactions is None:
        return
    revisions = {
        oid: ([tid for tid, _ in rows], [data for _, data in rows])
        for oid, rows in history.records.items()
    }
    for cache in history.caches:
        for oid, tid, end, data in cache.records:
            tids, datas = revisions.get(oid, ([], []))
            where = f'the cache of {cache.client}, at {cache.tid}: {oid} {tid} to {end}'
            position = bisect_left(tids, tid)
            if position == len(tids) or tids[position] != tid:
                if tid > history.packed:
                    yield 'cache has what is not there', where
                continue
            if datas[position] != data:
                yield 'cache has other data', where
            yield from _check_end(cache, tids, tid, end, where, history.is_polled)


def _check_end(
    cache: CacheContents,
    tids: list[str],
    tid: str,
    end: str | None,
    where: str,
    is_polled: bool,
) -> Iterator[tuple[str, str]]:
    position = bisect_right(tids, tid)
    following = tids[position] if position < len(tids) else None
    if end is None:
        if following is not None and following <= cache.tid:
            yield 'cache is stale', f'{where}, but it changed at {following}'
    elif following is None and is_polled:
        return  # it may have ended though it has not changed, which does no harm
    elif following is None or following < end:
        yield 'cache keeps a record too long', f'{where}, but it changed at {following}'
