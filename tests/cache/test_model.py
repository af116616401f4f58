"""The client cache against a model: whatever happens to it, it may forget, and never lie.

One server's history is the truth. The cache hears of it as a client does: answers and invalidations
in the order in which the server sent them, some while others are still on their way; a server that
is not exact tells of several transactions as the last of them. The machine loses connections, kills
the client between two writes and within one, fills the disk, resizes and packs. After every step
the cache is compared with the truth as of its last tid.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from bisect import bisect_left
from collections import deque
from itertools import chain
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from ZODB.utils import p64, u64

from support.cache_files import leave
from ZEO.cache import ClientCache, MemoryCache, cache_file
from ZEO.cache.memory_cache import RECORD_OVERHEAD

log = logging.getLogger('ZEO.cache')

#: Objects: few, so that their revisions meet each other.
OIDS = 5

#: Bytes of caches: two that evict all the time, and one that never does.
SIZES = 9_000, 20_000, 400_000

#: Where files are made: in memory, where that can be, since opening and closing wait for the disk.
FOLDER = '/dev/shm' if os.path.isdir('/dev/shm') else None

#: Revisions that are not current of which a file keeps as many for each object.
MOST_CLOSED = 8

oids = st.integers(0, OIDS - 1)
missed = st.lists(st.lists(oids, min_size=1, unique=True), max_size=2)
sizes = st.sampled_from(SIZES)
changes = st.dictionaries(oids, st.booleans(), min_size=1, max_size=4)


def data_of(oid: int, tid: int) -> bytes:
    """Return the record of one revision: empty, small, or more than a page."""
    length = (oid * 7 + tid * 13) % 40
    return (p64(oid) + p64(tid)) * (length * length if oid == 0 else length)


class Answer(NamedTuple):
    """A revision on its way to the client, as the server knew it when it sent it."""

    oid: int
    tid: int
    end: int | None


class News(NamedTuple):
    """An invalidation on its way."""

    tid: int
    oids: list[int]


class Disk:
    """Writes as `cache_file` makes them, with a kill or a full disk at one of them."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = f'{folder}/c.zec'
        self.is_full = False
        self.kill_after: tuple[int, int] | None = None  # writes, and bytes of the next one
        self.killed: dict[str, bytes] | None = None  # the files as the kill has left them

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write, in place of os.pwrite."""
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.kill_after is not None and self.killed is None:
            writes, length = self.kill_after
            if writes == 0:
                os.pwrite(fd, bytes(data)[:length], offset)
                self.killed = {entry.path: _read(entry.path) for entry in os.scandir(self.folder)}
            self.kill_after = writes - 1, length
        return os.pwrite(fd, data, offset)

    def go_back(self) -> None:
        """Leave the files as the kill has, if there was one."""
        if self.killed is not None:
            for entry in os.scandir(self.folder):
                os.unlink(entry.path)
            for path, data in self.killed.items():
                with open(path, 'wb') as file:
                    file.write(data)
        self.kill_after = self.killed = None


def _read(path: str) -> bytes:
    with open(path, 'rb') as file:
        return file.read()


class CacheMachine(RuleBasedStateMachine):
    """What a client, its server and its machine do."""

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[int, list[int]] = {oid: [1] for oid in range(OIDS)}
        self.server_tid = 1
        self.sent: deque[Answer | News] = deque()  # by the server, and not arrived
        self.kept: dict[int, int] = {}  # current revisions that the cache has to have, if it can
        self.is_roomy = False  # whether it can
        self.has_left = False  # whether a full disk may have made it leave its file
        log.setLevel(logging.CRITICAL)
        self._folder = tempfile.mkdtemp(prefix='zeo-', dir=FOLDER)
        self.disk = Disk(self._folder)
        self._former, cache_file.pwrite = cache_file.pwrite, self.disk.pwrite

    def teardown(self) -> None:
        cache_file.pwrite = self._former
        self.cache.close()
        shutil.rmtree(self._folder)
        log.setLevel(logging.NOTSET)

    @initialize(
        kind=st.sampled_from(['memory', 'file', 'file', 'temporary']),
        size=st.sampled_from(SIZES),
        hot_size=st.sampled_from([0, 2_000, 100_000]),
        is_exact=st.booleans(),
    )
    def begin(self, kind: str, size: int, hot_size: int, is_exact: bool) -> None:
        self.kind, self.size, self.hot_size = kind, size, hot_size
        self.is_exact = is_exact
        self.is_roomy = size == SIZES[-1]
        self._open()
        self._connect(True)

    def _open(self) -> None:
        if self.kind == 'memory':
            self.cache = MemoryCache(self.size)
        else:
            path = self.disk.path if self.kind == 'file' else None
            self.cache = ClientCache(path, self.size, hot_size=self.hot_size)

    @property
    def told(self) -> int:
        """The last transaction that the cache knows."""
        tid = self.cache.getLastTid()
        return 0 if tid is None else u64(tid)

    # The server.

    @rule(oids=st.lists(oids, min_size=1, max_size=4, unique=True), more=missed)
    def others_commit(self, oids: list[int], more: list[list[int]]) -> None:
        """Other clients commit; the invalidations are on their way."""
        for changed in oids, *more:
            self._commit(changed)
            if self.is_exact:
                self.sent.append(News(self.server_tid, changed))
        if not self.is_exact:
            self.sent.append(News(self.server_tid, sorted({*oids, *chain(*more)})))

    def _commit(self, oids: list[int]) -> None:
        self.server_tid += 1
        for oid in oids:
            self.history[oid].append(self.server_tid)

    @rule(asked=st.dictionaries(oids, st.integers(0, 5), min_size=1), arrives=st.booleans())
    def ask(self, asked: dict[int, int], arrives: bool) -> None:
        """The client asks for what was current now or some transactions ago; the answers are on
        their way.
        """
        for oid, back in asked.items():
            self.sent.append(self._revision(oid, max(self.told + 1 - back, 2)))
        if arrives:
            self.arrive(len(self.sent))

    def _revision(self, oid: int, before: int) -> Answer:
        tids = self.history[oid]
        place = bisect_left(tids, before)
        return Answer(oid, tids[place - 1], tids[place] if place < len(tids) else None)

    # What arrives.

    @precondition(lambda self: self.sent)
    @rule(count=st.integers(1, 5))
    def arrive(self, count: int) -> None:
        while self.sent and count:
            self._apply(self.sent.popleft())
            count -= 1

    def _apply(self, message: Answer | News) -> None:
        if isinstance(message, News):
            self._invalidate(message.tid, message.oids)
        else:
            self._store(*message)

    def _invalidate(self, tid: int, oids: list[int]) -> None:
        for oid in oids:
            self._end(p64(oid), p64(tid))
            if self.kept.get(oid, tid) < tid:
                del self.kept[oid]
        self.cache.setLastTid(p64(tid))

    def _end(self, oid: bytes, tid: bytes) -> None:
        if self.is_exact:
            self.cache.invalidate(oid, tid)
        else:
            self.cache.end_early(oid, p64(self.told + 1), tid)

    def _store(self, oid: int, tid: int, end: int | None) -> None:
        data = data_of(oid, tid)
        self.cache.store(p64(oid), p64(tid), None if end is None else p64(end), data)
        if end is None and self._is_current(oid, tid):
            self.kept[oid] = tid
        elif end is not None and self.kept.get(oid) == tid:
            del self.kept[oid]

    def _is_current(self, oid: int, tid: int) -> bool:
        return not any(tid < other <= self.told for other in self.history[oid])

    @rule(changes=changes, times=st.sampled_from([1, 1, 1, 3, 10]))
    def commit(self, changes: dict[int, bool], times: int) -> None:
        """This client commits, and has kept the new records of some objects; the invalidations sent
        before arrive first.
        """
        self.arrive(len(self.sent))
        for _ in range(times):
            self._commit(list(changes))
            self._commit_here(changes)

    def _commit_here(self, changes: dict[int, bool]) -> None:
        tid = p64(self.server_tid)
        for oid, has_data in changes.items():
            data = data_of(oid, self.server_tid)
            if has_data and self.kind == 'memory' and self.is_exact:
                self.cache.replace(p64(oid), tid, data)
            else:
                self._end(p64(oid), tid)
                if has_data:
                    self.cache.store(p64(oid), tid, None, data)
            self.kept.pop(oid, None)
            if has_data:
                self.kept[oid] = self.server_tid
        self.cache.setLastTid(tid)

    @rule()
    def pack(self) -> None:
        self.cache.drop_noncurrent()
        assert all(end is None for _, _, end in self.cache.contents())

    @rule(oid=oids, times=st.integers(1, 4))
    def load_often(self, oid: int, times: int) -> None:
        """What is loaded often is kept in memory as well, and longer than the rest."""
        for _ in range(times):
            self.cache.load(p64(oid))

    @precondition(lambda self: any(end is not None for _, _, end in self.cache.contents()))
    @rule()
    def store_late(self) -> None:
        """A revision of which the cache knows that it has ended is stored as current."""
        for oid, tid, end in list(self.cache.contents()):
            if end is not None:
                self.cache.store(oid, tid, None, data_of(u64(oid), u64(tid)))

    # Connections.

    @rule(missed=missed, knows=st.booleans())
    def lose_the_connection(self, missed: list[list[int]], knows: bool) -> None:
        """What was on its way is lost; others commit until the client is connected again."""
        self.sent.clear()
        for oids in missed:
            self._commit(oids)
        self._connect(knows)

    def _connect(self, knows: bool) -> None:
        """The cache check, as link/verify.py makes it.

        :param knows: whether the server can say what has changed.
        """
        told = self.told
        if told and told != self.server_tid:
            changed = {oid for oid, tids in self.history.items() if tids[-1] > told}
            if knows:
                for oid in changed:
                    self.cache.invalidate(p64(oid), None)
                    self.kept.pop(oid, None)
            else:
                self._clear()
        elif not told:
            self._clear()
        self.cache.setLastTid(p64(self.server_tid))

    def _clear(self) -> None:
        self.cache.clear()
        self.kept.clear()
        assert len(self.cache) == 0 and self.cache.getLastTid() is None

    # The process and its machine.

    @precondition(lambda self: self.kind != 'memory')
    @rule(size=sizes, killed=st.booleans(), missed=missed)
    def reopen(self, size: int, killed: bool, missed: list[list[int]]) -> None:
        """The process ends or is killed; the next one may want a cache of another size."""
        told, self.size = self.told, size
        if killed:
            leave(self.cache)
        else:
            self.cache.close()
        self._open_again({told}, missed)

    @precondition(lambda self: self.kind == 'file' and not self.has_left)
    @rule(
        moment=st.sampled_from(['commit', 'news', 'close', 'open']),
        changes=changes,
        kill_after=st.tuples(
            st.integers(0, 12), st.one_of(st.integers(0, 60), st.integers(0, 5000))
        ),
        size=sizes,
        missed=missed,
    )
    def killed_in(self, moment, changes, kill_after, size, missed) -> None:
        """The process is killed between two writes, or within one, and what was written before is
        there.
        """
        possible = {self.told, *(news.tid for news in self.sent if isinstance(news, News))}
        before = dict(self.kept)
        if moment == 'commit':
            self.arrive(len(self.sent))
            self._commit(list(changes))
            possible.add(self.server_tid)
        elif moment == 'open':
            self.cache.close()
            self.size = size
        self.disk.kill_after = kill_after
        if moment == 'commit':
            self._commit_here(changes)
        elif moment == 'news':
            self.arrive(len(self.sent))
        elif moment == 'close':
            self.cache.close()
        else:
            self._open()
        leave(self.cache)
        self.disk.go_back()
        self.size = size
        self.kept = {oid: tid for oid, tid in before.items() if self.kept.get(oid) == tid}
        self._open_again(possible, missed)

    def _open_again(self, possible: set[int], missed: list[list[int]]) -> None:
        if self.kind == 'temporary' or self.has_left:
            possible = {*possible, 0}
        self.disk.is_full = self.has_left = False
        self.is_roomy = self.is_roomy and self.size == SIZES[-1]
        self._open()
        assert self.told in possible, 'it claims to know what it cannot, or has forgotten it'
        if not self.told:
            self.kept.clear()
        self.everything_is_true()
        self.lose_the_connection(missed, True)

    @precondition(lambda self: self.kind != 'memory')
    @rule()
    def disk_fills_up(self) -> None:
        self.disk.is_full = self.has_left = True
        self.is_roomy = False
        self.kept.clear()

    @precondition(lambda self: self.disk.is_full)
    @rule()
    def disk_has_space_again(self) -> None:
        self.disk.is_full = False

    # What has to hold.

    @invariant()
    def everything_is_true(self) -> None:
        told = self.told
        for oid, tids in self.history.items():
            self._check_current(oid, tids, told)
            for before in {told + 1, *(tid for tid in tids if tid <= told)} - {1}:
                self._check_before(oid, before, told)

    def _check_current(self, oid: int, tids: list[int], told: int) -> None:
        found = self.cache.load(p64(oid))
        if found is not None:
            data, tid = found[0], u64(found[1])
            assert tid in tids and data == data_of(oid, tid), f'{oid} has no such revision'
            later = [other for other in tids if tid < other <= told]
            assert not later, f'{oid}: {tid} is served as current, though {later} followed'
        elif self.is_roomy:
            assert oid not in self.kept, f'{oid} is forgotten without a reason'

    def _check_before(self, oid: int, before: int, told: int) -> None:
        found = self.cache.loadBefore(p64(oid), p64(before))
        if found is None:
            return
        right = self._revision(oid, before)
        data, tid, end = found[0], u64(found[1]), None if found[2] is None else u64(found[2])
        assert (tid, data) == (right.tid, data_of(oid, tid)), f'{oid} before {before}: {tid}'
        if end is None:
            assert right.end is None or right.end > told, f'{oid} {tid} ended at {right.end}'
        else:
            is_right = end == right.end or not self.is_exact and end < (right.end or 0)
            assert is_right, f'{oid} {tid} ended at {right.end}, not {end}'

    @invariant()
    def its_contents_are_within_bounds(self) -> None:
        contents = list(self.cache.contents())
        assert len(contents) == len(set(contents)) == len(self.cache)
        held: dict[int, int] = {}
        for oid, tid, end in contents:
            assert u64(tid) in self.history[u64(oid)]
            held[u64(oid)] = held.get(u64(oid), 0) + (end is not None)
        taken = sum(len(data_of(u64(oid), u64(tid))) for oid, tid, _ in contents)
        if self.kind == 'memory':
            assert taken + len(contents) * RECORD_OVERHEAD <= self.size
        else:
            assert taken <= self.size and max(held.values(), default=0) <= MOST_CLOSED
        if self.kind == 'file' and os.path.exists(self.disk.path):
            assert os.path.getsize(self.disk.path) <= self.size

    @invariant()
    def note_it(self) -> None:
        note(f'   told {self.told} of {self.server_tid}, holds {sorted(self.cache.contents())}')


_SETTINGS = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], print_blob=True
)


@pytest.mark.timeout(300)  # the smallest example of a failure takes its time
class TestCache(CacheMachine.TestCase):
    settings = settings(_SETTINGS, max_examples=80, stateful_step_count=40)


@pytest.mark.slow
@pytest.mark.timeout(7200)
class TestCacheAtLength(CacheMachine.TestCase):
    settings = settings(_SETTINGS, max_examples=1000, stateful_step_count=60)
