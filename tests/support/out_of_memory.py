"""A server that has no memory at one moment: MemoryError at the k-th line of its thread at which
there may be none.

Enters: a directory, a kind of server, which moment. Leaves: servers with two clients that commit at
once, and one that reads. Fails: AssertionError when a call does not end, a lock is kept, or a
client reads something else than what is in the file.
"""

from __future__ import annotations

import dis
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import maxtid, p64, u64, z64

import ZEO
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZEO.serving.grouped import GroupedFileStorage
from ZEO.StorageServer import StorageServer

#: Seconds in which everything has to end.
PATIENCE = 20.0

#: Objects that everyone stores, and how many a big transaction has of its own.
SHARED, MANY = p64(1), 150

KINDS = 'file', 'grouped', 'fan-out', 'follower'

ACTS = 'small', 'conflict', 'big', 'blob', 'undo', 'pack'

_HOME = Path(ZEO.__file__).parent
_STRUCK = tuple(f'{_HOME / name}/' for name in ('serving', 'net', 'wire'))
#: Where it matters for speed only.
_NOT_STRUCK = tuple(str(_HOME / 'net' / name) for name in ('interpreter_sharing.py', 'system.py'))
_IN_WORKERS = (f'{_HOME / "serving"}/',)

#: What a bytecode is called that may need memory.
_ALLOCATES = 'CALL BUILD_ BINARY_OP FORMAT_ MAKE_FUNCTION LIST_ MAP_ STORE_SUBSCR GET_ITER'.split()


class Striker:
    """Strikes the thread of a server, and its workers, once."""

    def __init__(self) -> None:
        self.server: Any = None
        self._left = 0  # passes of the line that it strikes
        self._line: tuple[Any, int] | None = None
        #: How often it has seen which line of which function.
        self.seen: Counter[tuple[Any, int]] = Counter()
        self._counts = False
        self.where: str | None = None
        self._lines: dict[Any, frozenset[int]] = {}
        self._guard = threading.Lock()
        threading.settrace(self._trace_worker)

    def close(self) -> None:
        """Strike no thread that starts later."""
        threading.settrace(None)  # type: ignore[arg-type]

    def count(self) -> None:
        """Strike nothing, and count the lines."""
        self.seen.clear()
        self._arm()
        self._counts = True

    def arm(self, line: tuple[Any, int], number: int) -> None:
        """Strike at that line, the `number`-th time, from 1."""
        self._arm()
        self._line, self._left = line, number

    def _arm(self) -> None:
        armed = threading.Event()

        def trace() -> None:  # again, since a trace function that has raised is taken away
            sys.settrace(self._trace)
            armed.set()

        self.server.post(trace)
        assert armed.wait(PATIENCE)
        self.where = None

    def disarm(self) -> None:
        """Strike no more."""
        self._line, self._counts = None, False

    @property
    def _is_armed(self) -> bool:
        return self._counts or self._line is not None

    def _trace(self, frame: Any, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not self._is_armed or not name.startswith(_STRUCK) or name in _NOT_STRUCK:
            return None
        return self._step

    def _trace_worker(self, frame: Any, event: str, argument: Any) -> Any:
        if not threading.current_thread().name.startswith('ZEO worker'):
            return None
        if not self._is_armed or not frame.f_code.co_filename.startswith(_IN_WORKERS):
            return self._trace_worker
        return self._step

    def _step(self, frame: Any, event: str, argument: Any) -> Any:
        if event == 'line' and self._is_armed and frame.f_lineno in self._lines_of(frame.f_code):
            key = frame.f_code, frame.f_lineno
            with self._guard:
                if self._counts:
                    self.seen[key] += 1
                strikes = self._line == key
                if strikes:
                    self._left -= 1
                    strikes = not self._left
            if strikes:
                self._line = None
                name = threading.current_thread().name
                self.where = f'{key[0].co_filename}:{key[1]} {key[0].co_name} in {name}'
                raise MemoryError(self.where)
        return self._step

    def _lines_of(self, code: Any) -> frozenset[int]:
        found = self._lines.get(code)
        if found is None:
            found = self._lines[code] = lines_that_allocate(code)
        return found


def lines_that_allocate(code: Any) -> frozenset[int]:
    """Return the lines of a function at which there may be no memory."""
    places = {at: line for begin, end, line in code.co_lines() for at in range(begin, end)}
    found, never = set(), set()
    for one in dis.get_instructions(code):
        line = places.get(one.offset)
        if one.opname in ('BEFORE_WITH', 'LOAD_SPECIAL'):  # also traced when it is left
            never.add(line)
        elif one.opname == 'BINARY_OP' and one.argrepr.endswith('='):
            pass  # of a small number
        elif one.opname.startswith(tuple(_ALLOCATES)):
            found.add(line)
    return frozenset(line for line in found - never if line is not None)


class Client:
    """One that commits, and notes what became of it."""

    def __init__(self, served: Served, number: int) -> None:
        self.served, self.number = served, number
        self.storage = served.open(served.address)
        self.own = [p64(1000 * number + n) for n in range(MANY)]
        self.serials: dict[bytes, bytes] = {}
        #: By the description of each transaction: its tid, None where it was refused, or b'' where
        #: that is not known.
        self.outcomes: dict[bytes, bytes | None] = {}
        self._count = 0

    def look(self) -> None:
        """Read the serials that the next transactions need."""
        for oid in (SHARED, *self.own[:3]):
            self.serials[oid] = self.served.serial(oid)
        if self.served.has_all[self.number]:
            for oid in self.own:
                self.serials[oid] = self.served.serial(oid)

    def commit(self, store: Callable[[Any, bytes], None]) -> None:
        """Commit what `store` stores."""
        self._count += 1
        name = b'%d-%d' % (self.number, self._count)
        metadata = TransactionMetaData(b'', name)
        self.outcomes[name] = None
        try:
            self.storage.tpc_begin(metadata)
            store(metadata, name)
            self.storage.tpc_vote(metadata)
            self.outcomes[name] = b''
            try:
                self.outcomes[name] = self.storage.tpc_finish(metadata)
            except ClientDisconnected:
                raise
            except Exception:
                self.outcomes[name] = None
                raise
        except Exception:
            with suppress(Exception):
                self.storage.tpc_abort(metadata)

    def put(self, *oids: bytes, size: int = 10) -> None:
        """Commit new records of these objects."""

        def store(metadata: Any, name: bytes) -> None:
            for oid in oids:
                data = name + b' ' + b'x' * size
                self.storage.store(oid, self.serials.get(oid, z64), data, '', metadata)

        self.commit(store)

    def small(self) -> None:
        """Commit twice."""
        self.put(self.own[0])
        self.put(self.own[1], self.own[2])

    def conflict(self) -> None:
        """Commit what the other client commits."""
        self.put(SHARED)

    def big(self) -> None:
        """Commit many objects."""
        self.put(*self.own, size=3000)

    def blob(self) -> None:
        """Commit a blob."""
        oid = p64(1000 * self.number + 999)
        serial = self.served.serial(oid)

        def store(metadata: Any, name: bytes) -> None:
            fd, path = tempfile.mkstemp(dir=self.served.directory)
            os.write(fd, name * 20_000)
            os.close(fd)
            self.storage.storeBlob(oid, serial, b'blob ' + name, path, '', metadata)

        self.commit(store)

    def undo(self) -> None:
        """Undo what was committed last."""
        mine = b'%d-' % self.number
        with suppress(Exception):
            log = self.storage.undoLog(0, 10)
            (last, *_) = [one for one in log if one['description'].startswith(mine)]
            self.commit(lambda metadata, name: self.storage.undo(last['id'], metadata))

    def pack(self) -> None:
        """Pack, or commit meanwhile."""
        if self.number == 1:
            with suppress(Exception):
                self.storage.pack(self.served.began - 1, lambda data: [])
        else:
            self.small()


class Served:
    """One kind of server, with its clients."""

    def __init__(self, directory: str, kind: str, striker: Striker) -> None:
        self.directory, self.kind, self.striker = directory, kind, striker
        self._closing: list[Any] = []
        self._checked = z64
        self.has_all = {1: False, 2: False}
        self.began = time.time()
        self.address = address = f'{directory}/s'
        opener = GroupedFileStorage if kind == 'grouped' else FileStorage
        self.storage = opener(f'{directory}/Data.fs', blob_dir=f'{directory}/blobs', pack_gc=False)
        self.server = self._serve(self.storage, address)
        if kind == 'fan-out':
            self.address = f'{directory}/f'
            striker.server = self._serve(
                self.open(address, blob_dir=f'{directory}/fb', blob_cache_size=10**8), self.address
            )
        read_at = self.address
        if kind == 'follower':
            read_at = f'{directory}/r'
            self.replica = ZEO.Replica(
                address,
                f'{directory}/Replica.fs',
                blob_dir=f'{directory}/rb',
                max_disconnect_poll=0.05,
            )
            striker.server = self._serve(self.replica, read_at)
        self.clients = [Client(self, number) for number in (1, 2)]
        self.reader = self.open(read_at, read_only=kind == 'follower')
        self.small_first()

    def small_first(self) -> None:
        """Have something to undo."""
        for act in 'small', 'conflict', 'big', 'blob':
            self.act(act)
            self.verify()

    def _serve(self, storage: Any, address: str) -> StorageServer:
        server = StorageServer(address, {'1': storage}, transaction_timeout=None)
        self.striker.server = server
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self._closing.append(server)
        return server

    def open(self, address: str, **options: Any) -> ClientStorage:
        """Return a client of a server, which waits without end for an answer."""
        options = {'blob_dir': tempfile.mkdtemp(dir=self.directory), **options}
        client = ClientStorage(
            address,
            wait_timeout=PATIENCE,
            disconnect_poll=0.01,
            max_disconnect_poll=0.05,
            **options,
        )
        self._closing.append(client)
        return client

    def close(self) -> None:
        """Close all."""
        for one in reversed(self._closing):
            one.close()

    def serial(self, oid: bytes) -> bytes:
        """Return the tid of the current record in the file."""
        try:
            found = self.storage.loadBefore(oid, maxtid)
        except KeyError:
            return z64
        return z64 if found is None else found[1]

    def act(self, name: str) -> None:
        """Have both clients do the same at once, and wait until both are done.

        :raises AssertionError: where one does not come to an end.
        """
        self.began = time.time()
        threads = []
        for client in self.clients:
            client.look()
            threads.append(threading.Thread(target=getattr(client, name), daemon=True))
        for thread in threads:
            thread.start()
        until = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
            assert not thread.is_alive(), 'a call does not end'

    def verify(self) -> None:
        """Everything goes on, and everyone reads what is in the file."""
        until = time.monotonic() + PATIENCE
        hosted = [server.hosted['1'] for server in self._closing if hasattr(server, 'hosted')]
        while any(one.lock.holder is not None for one in hosted):
            assert time.monotonic() < until, 'a lock is kept'
            time.sleep(0.001)
        while any(one.stats.active_txns for one in hosted):
            assert time.monotonic() < until, 'a transaction is left'
            time.sleep(0.001)
        for client in self.clients:
            while True:  # each can commit again
                client.serials[client.own[0]] = self.serial(client.own[0])
                client.put(client.own[0])
                if [*client.outcomes.values()][-1]:
                    break
                assert time.monotonic() < until, 'nothing can be committed'
        self._compare_history(until)
        readers = [self.reader, *(client.storage for client in self.clients)]
        for reader in readers:
            self._compare(reader, until)

    def _compare(self, reader: ClientStorage, until: float) -> None:
        while True:
            try:
                reader.ping()
                if (
                    self.kind != 'follower'
                    or reader.lastTransaction() == self.storage.lastTransaction()
                ):
                    break
            except ClientDisconnected:
                pass
            assert time.monotonic() < until, 'a client does not come back'
            time.sleep(0.002)
        assert reader.lastTransaction() == self.storage.lastTransaction(), 'not the last'
        for oid in self._oids:
            expected = self.storage.loadBefore(oid, maxtid)
            while True:
                try:
                    found = reader.loadBefore(oid, maxtid)
                    break
                except ClientDisconnected:
                    assert time.monotonic() < until, 'a client is away'
            assert found == expected, ('reads something else', oid, found[:2], expected[:2])

    def _compare_history(self, until: float) -> None:
        there: dict[bytes, Any] = {}
        for one in self.storage.iterator(p64(u64(self._checked) + 1)):
            there[one.description] = one.tid, {record.oid: record.data for record in one}
        self._oids = [oid for _, records in there.values() for oid in records]
        for client in self.clients:
            for name, tid in client.outcomes.items():
                if tid:
                    assert there[name][0] == tid, ('lost', name)
                elif tid is None:
                    assert name not in there, ('refused, and there', name)
            client.outcomes.clear()
            self.has_all[client.number] = self.serial(client.own[-1]) != z64
        self._checked = self.storage.lastTransaction()
