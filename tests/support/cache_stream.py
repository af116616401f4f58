"""A deterministic stream of what happens to a client cache, and the truth to compare a cache
with.
"""

from __future__ import annotations

import random

from ZODB.utils import p64, u64

OIDS = 40


def data_of(oid: bytes, tid: bytes) -> bytes:
    """Return the data of one revision: its length and contents follow from oid and tid."""
    mark = oid + tid
    return mark * (1 + (u64(oid) * 7 + u64(tid) * 13) % 40)


class Stream:
    """Transactions, each invalidating and storing some oids; `history` is what really happened."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.history: dict[bytes, list[bytes]] = {p64(i): [p64(1)] for i in range(OIDS)}
        self.tid = 1

    def transaction(self, cache) -> None:
        """Apply one transaction and a few loads to the cache, as ClientStorage would."""
        self.tid += 1
        tid = p64(self.tid)
        oids = self.random.sample(sorted(self.history), self.random.randint(1, 4))
        for oid in oids:
            self.history[oid].append(tid)
            cache.invalidate(oid, tid)
            if self.random.random() < 0.5:
                cache.store(oid, tid, None, data_of(oid, tid))
        cache.setLastTid(tid)
        for oid in self.random.choices(sorted(self.history), k=6):
            if cache.load(oid) is None:
                self.store(cache, oid, len(self.history[oid]) - 1)
        oid = self.random.choice(sorted(self.history))
        self.store(cache, oid, self.random.randrange(len(self.history[oid])))

    def store(self, cache, oid: bytes, number: int) -> None:
        """Store one revision as the server would have sent it."""
        tids = self.history[oid]
        end = tids[number + 1] if number + 1 < len(tids) else None
        cache.store(oid, tids[number], end, data_of(oid, tids[number]))


def wrong_records(cache, history: dict[bytes, list[bytes]]) -> list[str]:
    """Return what the cache would serve that is not true as of its last tid."""
    wrong = []
    last = cache.getLastTid() or p64(0)
    for oid, tids in history.items():
        found = cache.load(oid)
        if found is not None:
            data, tid = found
            later = [other for other in tids if tid < other <= last]
            if tid not in tids or data != data_of(oid, tid) or later:
                wrong.append(f'load {u64(oid)}: {tid!r}, last {last!r}, tids {tids}')
        for tid, end in zip(tids, tids[1:], strict=False):
            if end > last:
                continue  # the cache has not heard of it, and nobody asks before it has
            before = cache.loadBefore(oid, end)
            if before is not None and before != (data_of(oid, tid), tid, end):
                wrong.append(f'loadBefore {u64(oid)} {end!r}: {before[1:]!r}, not {tid!r}')
    held = {(oid, tid) for oid, tids in history.items() for tid in tids}
    wrong += [f'holds {entry!r}' for entry in cache.contents() if entry[:2] not in held]
    return wrong
