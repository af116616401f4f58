"""A client under stress: ``python -m support.stress.worker OPTIONS``, a JSON object.

Enters: where the server is, a seed, a file for its history. Leaves: the history, written line by
line, since the process may be killed at any time; at SIGTERM it stops and prints what it did.
Fails: with a traceback and status 1 by what no client may raise. It runs with ZEO 6 as well.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import ssl
import sys
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

import transaction
import ZODB
from transaction.interfaces import TransientError
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError
from ZODB.utils import p64, u64

from support.simulation.history import (
    COMMITTED,
    READ,
    REFUSED,
    UNKNOWN,
    Attempt,
    CacheContents,
    Recorder,
    digest,
)
from support.stress.forking import fork
from support.stress.objects import ACCOUNTS, BLOBS, COUNTERS, HOLDERS, LISTS, Cell, content
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected

#: Seconds that a client waits before it tries again what a lost server has failed.
PAUSE = 0.05

#: Errors that full disks and stopped servers cause, by a part of their text.
EXPECTED = ('File too large', 'No space left', 'transaction-timeout', 'was not begun', 'read-only')


class Worker:
    """One client storage, and one connection of a database on it."""

    def __init__(self, options: dict[str, Any], name: str) -> None:
        self.options = options
        self.name = name
        self.random = random.Random(f'{options["seed"]} {name}')
        self.figures: Counter[str] = Counter()
        self.stops = False
        self._file = open(f'{options["history"]}/{name}.{os.getpid()}.jsonl', 'w', buffering=1)
        self.recorder = Recorder(
            f'{name}.{os.getpid()}', time.monotonic, write=lambda line: print(line, file=self._file)
        )
        self._watched: dict[bytes, Attempt] = {}

    def is_loss(self, error: Exception) -> bool:
        """Return whether an error says that there is no connection."""
        return isinstance(error, ClientDisconnected)

    def open(self) -> None:
        """Connect."""
        options = self.options['storage']
        if self.options.get('tls'):
            authority, own = self.options['tls']
            options['ssl'] = ssl.create_default_context(cafile=authority)
            options['ssl'].load_cert_chain(own, own)
            options['ssl_server_hostname'] = 'localhost'
        self.storage: Any = self._connected(options)
        self._finish = self.storage.tpc_finish
        self.storage.tpc_finish = self._finishing
        self.manager = transaction.TransactionManager(explicit=True)
        self.connection = ZODB.DB(self.storage, cache_size=10).open(self.manager)

    def _connected(self, options: dict[str, Any]) -> Any:
        addresses = [
            tuple(one) if isinstance(one, list) else one for one in self.options['addresses']
        ]
        for _ in range(20):
            try:
                return ClientStorage(addresses, wait_timeout=60, **options)
            except Exception as error:
                if not self.is_loss(error):
                    raise
                time.sleep(PAUSE)
        raise TimeoutError('the client does not connect')

    def _finishing(self, txn: Any, *args: Any) -> bytes:
        """In place of tpc_finish: note when it was called, and the tid."""
        description = txn.description
        attempt = self._watched.get(
            description.encode() if isinstance(description, str) else description
        )
        if attempt is None:
            return self._finish(txn, *args)
        self.recorder.committing(attempt)
        tid = self._finish(txn, *args)
        attempt.tid = tid.hex()
        return tid

    def run(self) -> None:
        """Work until told to stop."""
        programs = [self.append] * 6 + [self.move] * 5 + [self.add] * 3 + [self.look] * 2
        programs += [self.check, self.make, self.blob, self.forget]
        if self.options['steady']:  # nothing that makes the database's state larger
            programs = [self.move] * 5 + [self.add] * 3 + [self.look, self.blob, self.forget]
        while not self.stops:
            if self.random.random() < 0.3:
                self._ping()
            self._attempt(self.random.choice(programs))
            time.sleep(self.random.random() * self.options.get('pause', 0.01))

    def end(self) -> None:
        """Have everything arrive, and look at all of it; the server can be reached again."""
        for _ in range(400):
            if self._ping() and self._attempt(self.last) in (READ, COMMITTED):
                break
            time.sleep(PAUSE)
        else:
            raise TimeoutError('the client does not get well')
        if self.options['caches']:
            self._write_cache()
        self.storage.close()

    def _write_cache(self) -> None:
        """Write down what the client cache has."""
        cache = self.storage._cache
        contents = CacheContents(self.recorder.client, cache.getLastTid().hex())
        for oid, tid, end in list(cache.contents()):
            found = cache.load(oid) if end is None else cache.loadBefore(oid, end)
            if found is not None and found[1] == tid:
                row = [oid.hex(), tid.hex(), end and end.hex(), digest(found[0])]
                contents.records.append(row)
        with open(f'{self.options["caches"]}/{self.recorder.client}.json', 'w') as file:
            json.dump(asdict(contents), file)

    # One transaction.

    def _ping(self) -> bool:
        try:
            if self.options['syncs']:
                self.recorder.round_trip(self.storage.ping)
            else:
                self.storage.ping()
        except Exception as error:
            if not self.is_loss(error):
                raise
            time.sleep(PAUSE)
            return False
        return True

    def _attempt(self, program: Any) -> str:
        recorder = self.recorder
        attempt = recorder.begin()
        try:
            self.manager.begin().note(attempt.id)
            recorder.started(attempt, self.snapshot())
            program(attempt)
            if attempt.changes:
                self._mark(attempt)
                self._watched = {attempt.id.encode(): attempt}
                self.manager.commit()
                outcome, error = COMMITTED, ''
            else:
                self.manager.abort()
                outcome, error = READ, ''
        except Exception as raised:
            outcome, error = self._failed(attempt, raised)
        recorder.ended(attempt, outcome, bytes.fromhex(attempt.tid or ''), error)
        recorder.attempts.clear()  # they are in the file
        self.figures[outcome] += 1
        return outcome

    def snapshot(self) -> bytes:
        """Return the last transaction that the connection can see."""
        return p64(u64(self.connection._storage._start) - 1)

    def _mark(self, attempt: Attempt) -> None:
        """Write its id into an object of this client, which tells whose transaction it is where the
        database does not.
        """
        if 'mark' in self.options:
            self.connection.root()[self.options['mark']].value = attempt.id
            attempt.steps.append(['w', self.options['mark'], attempt.id])

    def _failed(self, attempt: Attempt, error: Exception) -> tuple[str, str]:
        text = f'{type(error).__name__}: {error}'
        lost = self.is_loss(error)
        self.figures['conflicts'] += isinstance(error, ConflictError)
        self.figures['losses'] += lost
        usual = lost or isinstance(error, (TransientError, ReadOnlyError))
        if isinstance(error, POSKeyError) and self.options.get('packs'):
            usual = True  # an old snapshot whose blob was packed away
        if not usual and not any(one in text for one in EXPECTED):
            raise error
        self._watched = {}
        try:
            self.manager.abort()
        except Exception as again:
            if not self.is_loss(again):
                raise
        if lost:
            time.sleep(PAUSE)
        return (UNKNOWN if lost and attempt.committing is not None else REFUSED), text

    def _read(self, attempt: Attempt, *keys: str) -> list[Any]:
        root = self.connection.root()
        values = []
        for key in keys:
            value = root[key]() if key in COUNTERS else root[key].value
            attempt.steps.append(['r', key, value])
            values.append(value)
        return values

    # What it does in one.

    def append(self, attempt: Attempt) -> None:
        """Add to one list or two, and look at others."""
        keys = self.random.sample(LISTS, 4)
        self._read(attempt, *keys)
        for key in keys[: self.random.randint(1, 2)]:
            self._append(attempt, key)

    def _append(self, attempt: Attempt, key: str) -> None:
        cell, element = self.connection.root()[key], f'{attempt.id}:{key}'
        cell.value = [*cell.value, element]
        attempt.steps.append(['append', key, element])

    def move(self, attempt: Attempt) -> None:
        """Move an amount from one account to another, and look at all of them."""
        self._read(attempt, *ACCOUNTS)
        amount = self.random.randint(1, 9)
        for key, change in zip(self.random.sample(ACCOUNTS, 2), (amount, -amount), strict=True):
            cell = self.connection.root()[key]
            cell.value += change
            attempt.steps.append(['w', key, cell.value])

    def add(self, attempt: Attempt) -> None:
        """Move a counter."""
        key, amount = self.random.choice(COUNTERS), self.random.randint(1, 9)
        self._read(attempt, key)
        self.connection.root()[key].change(amount)
        attempt.steps.append(['add', key, amount])

    def look(self, attempt: Attempt) -> None:
        """Read everything, blobs as well."""
        self._read(attempt, *ACCOUNTS, *LISTS, *COUNTERS)
        for key in BLOBS:
            cell = self.connection.root()[key]
            with cell.blob.open() as file:
                if file.read() != content(cell.value):
                    raise AssertionError(f'the blob of {key} is not that of {cell.value}')

    def check(self, attempt: Attempt) -> None:
        """Add to a list, provided that another one does not change."""
        one, other = self.random.sample(LISTS, 2)
        self._read(attempt, one, other)
        self.connection.readCurrent(self.connection.root()[other])
        attempt.steps.append(['rc', other])
        self._append(attempt, one)

    def make(self, attempt: Attempt) -> None:
        """Make an object."""
        holder, made = self.connection.root()[self.random.choice(HOLDERS)], Cell(attempt.id)
        self.connection.add(made)
        holder.value = made
        attempt.steps.append(['new', attempt.id, made._p_oid.hex()])
        self.append(attempt)

    def blob(self, attempt: Attempt) -> None:
        """Write a blob."""
        key = self.random.choice(BLOBS)
        self._read(attempt, key)
        cell = self.connection.root()[key]
        with cell.blob.open('w') as file:
            file.write(content(attempt.id))
        cell.value = attempt.id
        attempt.steps.append(['w', key, attempt.id])

    def forget(self, attempt: Attempt) -> None:
        """Load everything again, from the client cache or the server."""
        self.connection.cacheMinimize()
        self.look(attempt)

    def last(self, attempt: Attempt) -> None:
        """In the end a client can read and write everything."""
        self.look(attempt)
        self._append(attempt, self.random.choice(LISTS))


def main(text: str, kind: type[Worker] = Worker) -> None:
    """Work, and print the figures."""
    options = json.loads(text)
    logging.basicConfig(level='ERROR', stream=sys.stderr)
    worker = kind(options, options['name'])
    children: list[int] = []

    def stop(*ignored: Any) -> None:
        worker.stops = True

    signal.signal(signal.SIGTERM, stop)
    worker.open()
    print('open', flush=True)
    if options.get('forks'):
        inner = worker.append

        def append(attempt: Attempt) -> None:
            if worker.random.random() < 0.02 and len(children) < 10:
                children.append(fork(worker, len(children)))
            inner(attempt)

        worker.append = append  # type: ignore[method-assign]
    worker.run()
    worker.end()
    worker.figures['forks'] = len(children)
    for pid in children:
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise AssertionError('a forked child has failed')
    print(json.dumps(worker.figures), flush=True)


if __name__ == '__main__':
    main(sys.argv[1])
