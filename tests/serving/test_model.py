"""`serving` alone against a model: several clients, every order of what they do, no sockets.

The model knows what is committed, and what each client may be sent when. The machine begins,
stores, votes, finishes, aborts, undoes, uploads, iterates, loses clients in the middle of anything,
lets time pass, runs threads late and has the storage fail. At the end everything has to have been
given back.
"""

from __future__ import annotations

import base64
import logging
import os
import shutil
import tempfile
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, p64, u64, z64

from support.history import committed
from support.unwired import Far, Unwired
from ZEO.serving.hosted import HostedStorage
from ZEO.serving.limits import Limits
from ZEO.serving.options import ServingOptions
from ZEO.serving.workers import Workers
from ZEO.wire.extensions import RESOLVES

#: Objects, clients at a time, transactions that each may have open.
OIDS, CLIENTS, OPEN = 4, 3, 3

#: The states of a transaction in which something can be done with it.
IN_STATE = {
    'change': ('open', 'conflict'),
    'upload': ('open',),
    'undo': ('open',),
    'vote': ('open', 'conflict'),
    'finish': ('voted',),
    'abort': ('open', 'asked', 'conflict', 'voted', 'failed'),
    'call_wrongly': ('failed', 'asked'),
}

#: What the storage may be about to fail in, and whether before or after it has done it.
FAILURES = [
    ('store', 'before'),
    ('tpc_vote', 'before'),
    ('tpc_finish', 'before'),
    ('tpc_finish', 'after'),
    ('tpc_finish', 'after'),
    ('tpc_abort', 'after'),
]

#: Seconds for which a transaction may hold the commit lock.
TIMEOUT = 30

#: Bytes of transactions in memory, so little that large records go to a file; of what a client does
#: not read, before no more is read from it.
MEMORY, UNREAD = 16 * 1024, 8 * 1024

#: Where files are made: in memory, where that can be, since each commit waits for the disk.
FOLDER = '/dev/shm' if os.path.isdir('/dev/shm') else None

oids = st.integers(0, OIDS - 1).map(p64)
picks = st.integers(0, 100)
changes = st.tuples(
    oids,
    st.sampled_from(['store'] * 4 + ['check', 'check', 'delete', 'large', 'large']),
    st.sampled_from([False] * 3 + [True]),  # whether it has a serial that is not the current one
)
acts = st.tuples(
    st.sampled_from(
        ['begin', 'begin', 'change', 'vote', 'vote', 'finish', 'finish', 'load', 'abort']
        + ['load', 'upload', 'undo', 'call_wrongly', 'fail']
    ),
    picks,
    changes,
)
kinds = st.tuples(st.sampled_from([b'Z5', b'Z5', b'M5']), st.booleans())


@dataclass
class Committed:
    """A transaction that is permanent."""

    tid: bytes
    by: Client | None
    records: dict[bytes, bytes | None]
    named: set[bytes]  # what the invalidation may name


@dataclass(eq=False)
class Txn:
    """A transaction as its client knows it."""

    client: Client
    number: int
    state: str = 'open'  # asked, conflict, voted, failed
    # what it wants to store or check since its last vote: oid, serial, data; data is None for a
    # deletion, False for a check
    wants: list[tuple[bytes, bytes, Any]] = field(default_factory=list)
    stored: tuple[bytes, bytes] | None = None  # oid and serial, if the last operation is a store
    records: dict[bytes, bytes | None] = field(default_factory=dict)
    handed_over: set[bytes] = field(default_factory=set)  # conflicts for the client to resolve
    undoes: bool = False  # whether what it changes is known only afterwards
    is_doomed: bool = False  # whether its vote has to fail
    is_struck: bool = False  # whether the storage has failed it
    commit: Any = None  # the server's object
    since: float = 0.0  # when it was granted the lock


@dataclass(eq=False)
class Client:
    """One client, and what it was sent."""

    far: Far
    resolves: bool
    told: int = 0  # transactions that it knows: of others by invalidations, its own by answers
    calls: int = 0
    answers: dict[int, Callable[[bool, Any], None]] = field(default_factory=dict)
    open: dict[int, Txn] = field(default_factory=dict)
    begun: int = 0
    uploads: bool = False  # whether a blob was begun and not ended
    iterators: list[int] = field(default_factory=list)

    def ask(self, answered: Callable[[bool, Any], None], name: str, *args: Any) -> None:
        """Call; `answered` is called with whether that failed, and the result."""
        self.calls += 1
        self.answers[self.calls] = answered
        self.far.ask(self.calls, name, *args)


def nothing(failed: bool, result: Any) -> None:
    """Take an answer that says nothing."""


class ServingMachine(RuleBasedStateMachine):
    """What clients, storage, threads and time do."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.CRITICAL)
        self.folder = tempfile.mkdtemp(prefix='zeo-', dir=FOLDER)
        self.former_tempdir, tempfile.tempdir = tempfile.tempdir, self.folder
        self.committed: list[Committed] = []
        self.clients: list[Client] = []
        self.waiting: list[Txn] = []  # for the lock, and holding it
        self.passed: dict[tuple[Any, Any], int] = {}  # grants to one client while another waits
        self.wrong: list[str] = []  # what was seen within the server
        self.granted_last: Client | None = None
        self.failing: tuple[str, str] | None = None  # what the storage is about to fail in
        self.is_packed = False

    @initialize(
        kind=st.sampled_from(['file', 'file', 'mapping', 'demo']),
        clients=st.lists(kinds, min_size=2, max_size=CLIENTS),
    )
    def begin_serving(self, kind: str, clients: list[tuple[bytes, bool]]) -> None:
        self.kind = kind
        self.unwired = Unwired()
        loop = self.unwired.loop
        self.storage = self._storage(kind)
        some = [p64(number) for number in range(OIDS - 1)]
        (tid,) = committed(self.storage, some, data=b'first')
        self.committed.append(Committed(tid, None, dict.fromkeys(some, b'first'), set()))
        options = ServingOptions(
            transaction_timeout=TIMEOUT,
            limits=Limits(transactions=OPEN, commit_memory=MEMORY, iterators=2),
        )
        self.hosted = HostedStorage('1', self.storage, loop, Workers(loop), options)
        self._spy_on_storage()
        self._spy_on_lock()
        for client in clients:
            self._connect(*client)

    def _storage(self, kind: str) -> Any:
        if kind == 'mapping':
            return MappingStorage()
        files = FileStorage(
            f'{self.folder}/data.fs', blob_dir=f'{self.folder}/blobs', pack_gc=False
        )
        return files if kind == 'file' else DemoStorage(changes=files)

    # What the machine sees of the server from inside.

    def _spy_on_storage(self) -> None:
        for method in ('store', 'tpc_vote', 'tpc_finish', 'tpc_abort'):
            self._spy_on(method, getattr(self.storage, method))

    def _spy_on(self, method: str, original: Callable[..., Any]) -> None:
        def call(*args: Any) -> Any:
            self._strike(method, 'before')
            result = original(*args)
            if method == 'tpc_finish':
                self._permanent(result)
            self._strike(method, 'after')
            return result

        setattr(self.storage, method, call)

    def _strike(self, *where: str) -> None:
        if self.failing == where:
            self.failing = None
            holder = self._holder()
            if holder is not None and where != ('tpc_finish', 'after'):
                holder.is_struck = True
            raise OSError(28, 'No space left on device')

    def _spy_on_lock(self) -> None:
        acquire = self.hosted.lock.acquire

        def spied(who: Any, granted: Callable[[], None], client: Any) -> None:
            txn = next(txn for txn in self.waiting if txn.commit is None)
            txn.commit = who
            acquire(who, lambda: self._granted(txn, granted), client)

        self.hosted.lock.acquire = spied

    def _granted(self, txn: Txn, granted: Callable[[], None]) -> None:
        if self.hosted.lock.holder is not txn.commit:  # it has ended in the same moment
            self._check(txn.commit.phase.is_over, 'the lock was not given')
            granted()
            return
        self._check(txn in self.waiting, 'the lock was given to a transaction that is over')
        txn.since = self.unwired.clock.time
        wait = [one for one in self.waiting if one.commit and not one.commit.phase.is_over]
        others = {other.client for other in wait} - {txn.client}
        in_a_row = bool(others) and self.granted_last is txn.client
        self._check(not in_a_row, 'a client has a second turn in a row while another one waits')
        self.granted_last = txn.client
        for other in others:
            times = self.passed[other, txn.client] = self.passed.get((other, txn.client), 0) + 1
            self._check(times == 1, 'a client has had two turns while another one waited')
        for pair in [pair for pair in self.passed if pair[0] is txn.client]:
            del self.passed[pair]
        granted()

    def _check(self, right: bool, text: str) -> None:
        """Note what is wrong: within the server an exception would be its storage's."""
        if not right:
            self.wrong.append(text)

    def _holder(self) -> Txn | None:
        """Return what holds the lock; None for what is over, while a thread still works for it."""
        holder = self.hosted.lock.holder
        found = [txn for txn in self.waiting if txn.commit is holder and holder is not None]
        return found[0] if found else None

    def _over(self, txn: Txn) -> None:
        """It does not wait for the lock any more, nor hold it."""
        if txn in self.waiting:
            self.waiting.remove(txn)
        if all(other.client is not txn.client for other in self.waiting):
            for pair in [pair for pair in self.passed if pair[0] is txn.client]:
                del self.passed[pair]

    # The truth.

    def _current(self, oid: bytes) -> tuple[bytes, bytes | None] | None:
        for transaction in reversed(self.committed):
            if oid in transaction.records:
                return transaction.tid, transaction.records[oid]
        return None

    def _serial(self, oid: bytes) -> bytes:
        current = self._current(oid)
        return current[0] if current else z64

    def _permanent(self, tid: bytes) -> None:
        """The storage has finished the transaction that holds the lock."""
        txn = self._holder()
        if txn is None:
            self.wrong.append('what was given up is permanent')
            return
        records = dict(txn.records)
        for oid in map(p64, range(OIDS)):
            found = self._stored(oid)
            if found is not None and found[1] == tid:
                if txn.undoes:
                    records[oid] = found[0]
                self._check(records.get(oid) == found[0], 'the storage has what was not sent')
            elif txn.undoes and found is None and oid in self._touched(txn):
                records[oid] = None
        self.committed.append(Committed(tid, txn.client, records, set(records) | txn.handed_over))

    def _touched(self, txn: Txn) -> set[bytes]:
        """Return the objects that it names as changed; known for an undo when it has done it."""
        return {oid for oid in txn.commit.changed if oid in map(p64, range(OIDS))}

    def _stored(self, oid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        try:
            return self.storage.loadBefore(oid, maxtid)
        except POSKeyError:
            return None

    # Clients.

    def _client(self, pick: int) -> Client:
        return self.clients[pick % len(self.clients)]

    def _txn(self, pick: int, *states: str) -> Txn | None:
        found = [
            txn
            for client in self.clients
            for txn in client.open.values()
            if txn.state in states and client.far.stream.window is None
        ]
        return found[pick % len(found)] if found else None

    def _connect(self, protocol: bytes, resolves: bool) -> None:
        far = self.unwired.connect({'1': self.hosted}, protocol, UNREAD)
        client = Client(far, resolves, told=len(self.committed))
        client.ask(nothing, 'register', '1', False)
        if resolves:
            client.far.tell('set_client_label', f'a model\n{RESOLVES}')
        self.clients.append(client)
        self._settle()

    @rule(pick=picks, rude=st.booleans(), following=kinds)
    def another_client_comes(self, pick: int, rude: bool, following: tuple[bytes, bool]) -> None:
        """A client goes, or sends what ends its connection."""
        client = self._client(pick)
        if rude:
            client.far.tell('storea', p64(1), z64, b'', 999)
        else:
            client.far.stream.is_shut = True
        self._forget(client)
        client.far.stream.window = None
        self._settle()
        assert client.far.is_closed
        self._connect(*following)

    def _forget(self, client: Client) -> None:
        self.clients.remove(client)
        for txn in list(client.open.values()):
            self._over(txn)

    # Transactions.

    @rule(acts=st.lists(acts, min_size=4, max_size=16))
    def work(self, acts: list[tuple[str, int, tuple[bytes, str, bool]]]) -> None:
        """What clients do with transactions, as far as there are such to do it with."""
        for act, pick, (oid, what, odd) in acts:
            client = self._client(pick)
            if act == 'fail':
                self.failing = FAILURES[pick % len(FAILURES)]
            elif act == 'begin' and client.far.stream.window is None:
                self._begin(client, oid)
            elif act == 'begin' or act == 'load':
                self._load(client, oid, pick % 4)
            elif (txn := self._txn(pick, *IN_STATE[act])) is not None:
                getattr(self, f'_{act}')(txn, oid, what, odd)
            if act != 'load' or odd:  # else what follows comes in the same round of the loop
                self._settle()
        self._settle()

    def _begin(self, client: Client, oid: bytes) -> None:
        client.begun += 1
        client.far.tell('tpc_begin', client.begun, b'', b'', {}, None, ' ')
        if len(client.open) == 2 * OPEN:
            self._forget(client)
            self._settle()
            assert client.far.is_closed
            self._connect(b'Z5', False)
            return
        txn = client.open[client.begun] = Txn(client, client.begun)
        txn.is_doomed = len(client.open) > OPEN
        self._change(txn, oid, 'store', False)

    def _change(self, txn: Txn, oid: bytes, what: str, stale: bool) -> None:
        current = self._current(oid)
        if what in ('check', 'delete') and (current is None or current[1] is None):
            return
        if what == 'delete' and (self.kind != 'file' or txn.undoes):
            return
        serial = p64(1) if stale else self._serial(oid)
        txn.stored = None
        data: Any = self._record(txn, 30_000 if what == 'large' else 10)
        if what == 'check':
            txn.client.far.tell('checkCurrentSerialInTransaction', oid, serial, txn.number)
            data = False
        elif what == 'delete':
            txn.client.far.tell('deleteObject', oid, serial, txn.number)
            data = None
        else:
            txn.client.far.tell('storea', oid, serial, data, txn.number)
            txn.stored = oid, serial
        txn.wants.append((oid, serial, data))

    def _record(self, txn: Txn, length: int) -> bytes:
        mark = b'%d/%d/%d ' % (self.clients.index(txn.client), txn.number, len(txn.wants))
        return mark.ljust(length, b'x')

    def _upload(self, txn: Txn, oid: bytes, what: str, unfinished: bool) -> None:
        if self.kind == 'mapping':
            return
        far, serial, data = txn.client.far, self._serial(oid), self._record(txn, 10)
        far.tell('storeBlobStart')
        far.tell('storeBlobChunk', b'blob' * 100)
        if not unfinished:
            far.tell('storeBlobEnd', oid, serial, data, txn.number)
            if txn.stored == (oid, serial):  # the record of a blob takes the place of the store
                txn.wants.pop()
            txn.stored = None
            txn.wants.append((oid, serial, data))

    def _undo(self, txn: Txn, oid: bytes, what: str, odd: bool) -> None:
        deletes = any(data is None for _, _, data in txn.wants)
        if self.kind != 'file' or deletes or not self.committed:
            return
        tid = self.committed[-1 - u64(oid) % min(3, len(self.committed))].tid
        txn.client.far.tell('undoa', base64.encodebytes(tid).rstrip(), txn.number)
        txn.undoes, txn.stored = True, None

    def _vote(self, txn: Txn, *ignored: Any) -> None:
        if not txn.is_doomed and txn.state == 'open':
            self.waiting.append(txn)
        txn.state, txn.stored = 'asked', None
        txn.client.ask(lambda *answer: self._voted(txn, *answer), 'vote', txn.number)

    def _voted(self, txn: Txn, failed: bool, result: Any) -> None:
        wants, txn.wants = txn.wants, []
        expected = self._expected(txn, wants)
        if expected is None:
            again = not failed and result and type(result[0]) is dict
            expected = 'fails' if failed else 'conflicts again' if again else 'passes'
        if expected == 'fails':
            assert failed, f'a vote has passed that had to fail: {result!r}'
            self._fails(txn)
        elif expected.startswith('conflicts'):
            assert not failed and result and type(result[0]) is dict, f'not resolved: {result!r}'
            conflicts = self._conflicts(wants)
            assert expected == 'conflicts again' or [
                (one['oid'], one['serials'][0]) for one in map(dict, result)
            ] == [(oid, self._serial(oid)) for oid, _, _ in conflicts]
            txn.state = 'conflict'
            txn.handed_over |= {oid for oid, _, _ in conflicts}
            self._note(txn, [want for want in wants if want not in conflicts])
        else:
            assert not failed, f'a vote has failed that had to pass: {result!r}'
            txn.state = 'voted'
            self._note(txn, wants)
        if txn.state != 'failed':
            assert self.hosted.lock.holder is txn.commit

    def _note(self, txn: Txn, wants: list[tuple[bytes, bytes, Any]]) -> None:
        txn.records.update({oid: data for oid, _, data in wants if data is not False})

    def _fails(self, txn: Txn) -> None:
        txn.state = 'failed'
        self._over(txn)

    def _expected(self, txn: Txn, wants: list[tuple[bytes, bytes, Any]]) -> str | None:
        """Return what its vote has to say; None where that is not known."""
        if txn.is_doomed or txn.is_struck:
            return 'fails'
        if txn.undoes or (self.is_packed and any(self._is_deleted(oid) for oid, _, _ in wants)):
            return None
        conflicts = self._conflicts(wants)
        if not conflicts:
            return 'passes'
        stores = all(data for _, _, data in conflicts)
        size = sum(len(data) for _, _, data in conflicts if data)
        if txn.client.resolves and stores and size <= MEMORY and not txn.records:
            return 'conflicts'
        return None if txn.client.resolves and stores and size <= MEMORY else 'fails'

    def _is_deleted(self, oid: bytes) -> bool:
        """Whether an object is gone; after a pack the storage knows no serial of it."""
        current = self._current(oid)
        return current is not None and current[1] is None

    def _conflicts(self, wants: list[tuple[bytes, bytes, Any]]) -> list[tuple[bytes, bytes, Any]]:
        return [
            want for want in wants if self._current(want[0]) and want[1] != self._serial(want[0])
        ]

    def _finish(self, txn: Txn, *ignored: Any) -> None:
        count = len(self.committed)

        def finished(failed: bool, result: Any) -> None:
            assert failed == txn.is_struck, f'finish: {result!r}'
            if not failed:
                assert len(self.committed) == count + 1 == txn.client.told + 1
                assert result == self.committed[count].tid
                txn.client.told += 1

        txn.client.ask(finished, 'tpc_finish', txn.number)
        del txn.client.open[txn.number]
        self.unwired.settle()
        self._over(txn)
        self._settle()
        if txn.is_struck:
            assert len(self.committed) == count, 'what has failed is permanent'

    def _abort(self, txn: Txn, *ignored: Any) -> None:
        if txn.state == 'asked':  # its vote fails
            txn.is_doomed = True
        self._over(txn)
        del txn.client.open[txn.number]
        txn.client.ask(nothing, 'tpc_abort', txn.number)

    def _call_wrongly(self, txn: Txn, oid: bytes, what: str, odd: bool) -> None:
        call = 'vote' if odd else 'tpc_finish'

        def answered(failed: bool, result: Any) -> None:
            assert failed, f'{call} has passed: {result!r}'

        txn.client.ask(answered, call, txn.number)
        if call == 'tpc_finish' and txn.state == 'failed':
            del txn.client.open[txn.number]

    # Reading.

    def _load(self, client: Client, oid: bytes, back: int) -> None:
        known = len(self.committed) - back
        before = p64(u64(self.committed[known - 1].tid) + 1) if 0 < known else maxtid
        client.ask(
            lambda *answer: self._loaded(client, oid, before, *answer), 'loadBefore', oid, before
        )

    def _loaded(self, client: Client, oid: bytes, before: bytes, failed: bool, result: Any) -> None:
        """A read sees all that the client was told, and nothing that it was not told."""
        known = self.committed[: client.told]
        tids = [(one.tid, one.records[oid]) for one in known if oid in one.records]
        place = bisect_left(tids, (before,))
        if self.is_packed and place < len(tids):
            return
        data = tids[place - 1][1] if place else None
        if data is None:
            assert failed or result is None
            return
        end = tids[place][0] if place < len(tids) else None
        assert not failed and tuple(result) == (data, tids[place - 1][0], end), f'{result!r}'

    @rule(pick=picks)
    def begin_to_iterate(self, pick: int) -> None:
        client = self._client(pick)
        if client.far.stream.window is not None:
            return

        def started(failed: bool, result: Any) -> None:
            assert not failed
            client.iterators = [*client.iterators, result][-2:]

        client.ask(started, 'iterator_start', None, None)
        self._settle()

    @precondition(lambda self: any(client.iterators for client in self.clients))
    @rule(pick=picks, whole=st.booleans())
    def iterate(self, pick: int, whole: bool) -> None:
        having = [client for client in self.clients if client.iterators]
        client = having[pick % len(having)]
        number = client.iterators[0]

        def found(failed: bool, result: Any) -> None:
            assert not failed or self.is_packed
            if whole and not failed and not self.is_packed:
                tids = [transaction[0] for transaction, _, _ in result[0]]
                assert tids == [one.tid for one in self.committed][: len(tids)]

        client.ask(found, 'iterator_batch' if whole else 'iterator_next', number)
        client.iterators.pop(0)
        if not whole:
            client.far.tell('iterator_gc', [number])
        self._settle()

    @precondition(lambda self: self.kind == 'file')
    @rule(pick=picks)
    def list_transactions(self, pick: int) -> None:
        """In a thread, which runs when :meth:`run_a_thread` lets it."""
        self._client(pick).ask(nothing, 'undoLog', 0, 5)
        self._settle()

    @precondition(lambda self: self.kind == 'file')
    @rule(pick=picks)
    def pack(self, pick: int) -> None:
        """The same; votes go to threads as long as it runs."""
        self.is_packed = True
        self._client(pick).ask(nothing, 'pack', self.unwired.clock.wall_clock(), True)
        self._settle()

    @rule(pick=picks, window=st.one_of(st.none(), st.integers(0, 200)))
    def read_slowly(self, pick: int, window: int | None) -> None:
        """The client reads this number of bytes more, or everything from now on; unless it does
        that, it does not go on with its transactions.
        """
        client = self._client(pick)
        if not any(txn.state == 'asked' for txn in client.open.values()):
            client.far.stream.window = window
        self._settle()

    # What happens around it.

    # a pack would wait for the transaction that the storage is in
    @precondition(lambda self: self.unwired.clock.held and not self.storage.tpc_transaction())
    @rule()
    def run_a_thread(self) -> None:
        self.unwired.clock.run_one()
        self._settle()

    @rule(seconds=st.sampled_from([1, TIMEOUT - 1, TIMEOUT + 1]))
    def time_passes(self, seconds: int) -> None:
        self.unwired.clock.time += seconds
        holder = self._holder()
        if holder is not None and holder.since + TIMEOUT <= self.unwired.clock.time:
            if holder.state == 'asked':
                holder.is_doomed = True  # a thread is at work for it
            else:
                self._fails(holder)
        self._settle()

    # What has to hold.

    def _settle(self) -> None:
        self.unwired.settle()
        assert self.wrong == [], self.wrong
        for client in list(self.clients):
            self._read(client)

    def _read(self, client: Client) -> None:
        for number, flags, name, args in client.far.read():
            if name == '.reply':
                client.answers.pop(number)(flags == 2, args)
            elif name == 'invalidateTransaction':
                self._told(client, *args)

    def _told(self, client: Client, tid: bytes, oids: list[bytes]) -> None:
        assert client.told < len(self.committed), 'an invalidation of nothing'
        transaction = self.committed[client.told]
        assert transaction.by is not client, 'a client was sent its own invalidation'
        assert tid == transaction.tid, 'an invalidation is missing, or comes too early'
        assert len(oids) == len(set(oids))
        assert transaction.named >= set(oids) >= set(transaction.records), 'the wrong objects'
        client.told += 1

    @invariant()
    def those_who_read_know_everything(self) -> None:
        for client in self.clients:
            assert not client.far.is_closed, 'a connection was closed without a reason'
            if client.far.stream.window is None:
                assert client.told == len(self.committed)

    @invariant()
    def one_has_the_lock(self) -> None:
        lock = self.hosted.lock
        wanted = [txn for txn in self.waiting if txn.commit is not None]
        assert not wanted or lock.holder is not None, 'the lock is not given'
        if not self.unwired.clock.held:
            assert (lock.holder is None) == (not wanted), 'the lock is held by nothing'
            assert lock.waiting == max(0, len(wanted) - 1)
        if lock.holder is None:
            assert self.storage.tpc_transaction() is None
            assert self.hosted.stats.lock_since is None

    @invariant()
    def accounts_are_right(self) -> None:
        for client in self.clients:
            account = client.far.peer.account
            assert account.memory <= MEMORY and account.operations >= 0
            if not client.open and not self.unwired.clock.held:
                assert _is_empty(account)

    @invariant()
    def calls_are_answered(self) -> None:
        if self.unwired.clock.held:
            return
        for client in self.clients:
            votes = sum(txn.state == 'asked' for txn in client.open.values())
            if client.far.stream.window is None:
                assert len(client.answers) <= votes

    def teardown(self) -> None:
        try:
            if hasattr(self, 'unwired'):
                self._end()
        finally:
            tempfile.tempdir = self.former_tempdir
            shutil.rmtree(self.folder, ignore_errors=True)
            logging.disable(logging.NOTSET)

    def _end(self) -> None:
        gone = [client.far for client in self.clients]
        for far in gone:
            far.stream.window, far.stream.is_shut = None, True
        self.clients.clear()
        self.waiting.clear()
        self.failing = None
        while self.unwired.clock.held:
            self.unwired.settle()
            self.unwired.clock.run_one()
        self.unwired.settle()
        hosted = self.hosted
        assert hosted.lock.holder is None and hosted.lock.waiting == 0
        assert hosted.stats.active_txns == 0 and hosted.stats.lock_since is None
        assert not hosted.peers and self.storage.tpc_transaction() is None
        assert all(_is_empty(far.peer.account) for far in gone if far.peer.is_registered)
        assert self.unwired.budget.used == 0
        self.unwired.clock.time += TIMEOUT + 1  # the timer of the commit lock stays until then
        self.unwired.settle()
        assert self.unwired.timers() == 0
        for oid in map(p64, range(OIDS)):
            found, current = self._stored(oid), self._current(oid)
            right = current if current and current[1] else None
            assert (found and (found[1], found[0])) == right, f'{found} is not {right}'
        if self.kind != 'mapping':
            assert [*os.walk(self.storage.temporaryDirectory())][0][2] == []
        hosted.backend.close()
        self.unwired.loop.close()
        assert [name for name in os.listdir(self.folder) if name.startswith('zeo-')] == []
        del gone, hosted, self.hosted, self.storage, self.unwired
        assert _open_files(self.folder) == []


def _is_empty(account: Any) -> bool:
    return not (account.operations or account.memory or account.records or account.blobs)


def _open_files(folder: str) -> list[str]:
    """Return the names of the files in a directory that this process has open."""
    found = []
    for number in os.listdir('/proc/self/fd') if os.path.isdir('/proc/self/fd') else ():
        with suppress(OSError):  # of another thread, and closed meanwhile
            found.append(os.readlink(f'/proc/self/fd/{number}'))
    return [name for name in found if name.startswith(folder + '/')]


_SETTINGS = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], print_blob=True
)


@pytest.mark.timeout(300)  # the smallest example of a failure takes its time
class TestServing(ServingMachine.TestCase):
    settings = settings(_SETTINGS, max_examples=100, stateful_step_count=40)


@pytest.mark.slow
@pytest.mark.timeout(7200)
class TestServingAtLength(ServingMachine.TestCase):
    settings = settings(_SETTINGS, max_examples=1000, stateful_step_count=60)
