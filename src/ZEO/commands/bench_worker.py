"""A process of ``zeo bench``: a client that works, or the scratch server.

Enters: jobs, one line of JSON each, on standard input. Leaves: for each a line of JSON on standard
output; it ends when its input does, so that it never outlives the command. Fails: with a line that
has ``error`` in it, one line that says what happened.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

from persistent.mapping import PersistentMapping
from transaction.interfaces import TransientError
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import POSError
from ZODB.utils import p64, u64, z64

from ZEO.ClientStorage import ClientStorage
from ZEO.commands.options import tls_options
from ZEO.config.loading import load_text
from ZEO.config.server import open_server, settings
from ZEO.Exceptions import ConfigurationError

#: What the server's log calls these clients.
LABEL = 'zeo bench'

#: Bytes of one transaction while the storage is filled: far below every limit of a server.
_TRANSACTION = 2**20

#: Durations that one process reports, evenly taken of all when they are sorted.
_SAMPLES = 1000

#: Seconds until another client must have heard of a commit.
_TOLD_IN = 20.0

#: Loads from the cache between two looks at the clock, which costs as much as a load.
_BATCH = 100

now = time.perf_counter


class NotEmpty(Exception):
    """A storage holds something, so that it is not one to write to."""


def record(size: int) -> bytes:
    """Return a record of about `size` bytes that a compression does not make smaller."""
    head = pickle.dumps(PersistentMapping, 3)
    rest = len(pickle.dumps({'data': {'x': b''}}, 3))
    state = {'data': {'x': os.urandom(max(1, size - len(head) - rest))}}
    return head + pickle.dumps(state, 3)


def measured(durations: list[float], count: int, seconds: float) -> dict[str, Any]:
    """Return what a job reports about `count` operations, some or all of which were timed."""
    ordered = sorted(durations)
    step = max(1.0, len(ordered) / _SAMPLES)
    samples = [ordered[int(i * step)] for i in range(min(len(ordered), _SAMPLES))]
    return {'count': count, 'seconds': seconds, 'samples': samples}


class Client:
    """A client that works.

    :param address: of the server.
    :param storage: the name of the storage.
    :param options: further arguments of a ClientStorage.
    :param cache_size: bytes of the cache, enough for all objects.
    """

    def __init__(
        self,
        address: Any,
        storage: str,
        options: dict[str, Any],
        tls: dict[str, Any],
        cache_size: int,
    ) -> None:
        context = tls_options(Namespace(**tls))
        self._arguments: dict[str, Any] = {
            'addr': tuple(address) if isinstance(address, list) else address,
            'storage': storage,
            'cache_size': cache_size,
            'client_label': LABEL,
            'ssl': context['ssl'],
            'ssl_server_hostname': context['server_hostname'],
            **options,
        }
        self._storage = self._open()
        self._oids: list[bytes] = []
        self._serials: dict[bytes, bytes] = {}

    def _open(self) -> ClientStorage:
        return ClientStorage(**self._arguments)

    def close(self) -> None:
        """End the connection."""
        self._storage.close()

    # Its jobs.

    def empty(self) -> dict[str, Any]:
        """Say what the storage is.

        :raises NotEmpty: when there is something in it.
        """
        last, count = self._storage.lastTransaction(), len(self._storage)
        if last != z64 or count:
            objects = f'{count} objects' if count else 'transactions'
            raise NotEmpty(
                f'storage {self._arguments["storage"]} has {objects}, and this command writes only '
                'to a storage that is empty: serve a new one for it, such as <mappingstorage bench>'
            )
        return {'name': self._storage.getName()}

    def fill(self, count: int, size: int) -> dict[str, Any]:
        """Store objects, and return their numbers."""
        data, at_once = record(size), max(1, _TRANSACTION // size)
        oids = [self._storage.new_oid() for _ in range(count)]
        for start in range(0, count, at_once):
            self._commit(oids[start : start + at_once], data)
        return {'oids': [u64(oid) for oid in oids]}

    def know(self, oids: list[int]) -> dict[str, Any]:
        """Learn which objects there are."""
        self._oids = [p64(number) for number in oids]
        return {}

    def ping(self, seconds: float) -> dict[str, Any]:
        """Make round trips."""
        return _repeat(self._storage.ping, seconds)

    def cold(self, seconds: float) -> dict[str, Any]:
        """Load objects that are not in the cache; an empty one begins when it has all."""
        durations: list[float] = []
        worked = 0.0
        while worked < seconds:
            self._storage.close()
            self._storage = self._open()
            before, load, began = self._after(), self._storage.loadBefore, now()
            last = began
            for oid in self._oids:
                load(oid, before)
                durations.append(-last + (last := now()))
                if worked + last - began >= seconds:
                    break
            worked += last - began
        return measured(durations, len(durations), worked)

    def warm(self, seconds: float) -> dict[str, Any]:
        """Load objects that are in the cache."""
        before, load = self._after(), self._storage.loadBefore
        for oid in self._oids:
            load(oid, before)
        oids, count, began, last = cycle(self._oids), 0, now(), 0.0
        while last - began < seconds:
            for oid in islice(oids, _BATCH):
                load(oid, before)
            count += _BATCH
            last = now()
        return measured([], count, last - began)

    def commit(self, seconds: float, first: int, step: int, size: int, most: int) -> dict[str, Any]:
        """Commit one object after the other, of those that no other client commits.

        :param most: how many at most.
        """
        oids, data = cycle(self._oids[first::step]), record(size)
        for oid in self._oids[first::step]:
            self._serials[oid] = self._storage.getTid(oid)
        return _repeat(lambda: self._commit([next(oids)], data), seconds, most)

    def tell(self, seconds: float, size: int) -> dict[str, Any]:
        """Commit, and see how long it takes until another client has been told."""
        told = _Told()
        other = self._open()
        try:
            other.registerDB(told)
            oid = self._oids[0]
            self._serials[oid] = self._storage.getTid(oid)
            return self._tell(told, oid, record(size), seconds)
        finally:
            other.close()

    def _tell(self, told: _Told, oid: bytes, data: bytes, seconds: float) -> dict[str, Any]:
        durations: list[float] = []
        began = now()
        while not durations or now() - began < seconds:
            told.event.clear()
            last = self._commit([oid], data)
            if not told.event.wait(_TOLD_IN):
                raise TimeoutError(f'another client has not heard of a commit in {_TOLD_IN:g} s')
            durations.append(told.when - last)
        return measured(durations, len(durations), now() - began)

    def _after(self) -> bytes:
        """Return the time to load before, for what is current."""
        return p64(u64(self._storage.lastTransaction()) + 1)

    def _commit(self, oids: list[bytes], data: bytes) -> float:
        """Store objects in one transaction; return when its last step began."""
        storage, meta = self._storage, TransactionMetaData()
        try:
            storage.tpc_begin(meta)
            for oid in oids:
                storage.store(oid, self._serials.get(oid, z64), data, '', meta)
            storage.tpc_vote(meta)
            began = now()
            tid = storage.tpc_finish(meta)
        except BaseException:
            storage.tpc_abort(meta)
            raise
        self._serials.update(dict.fromkeys(oids, tid))
        return began


class _Told:
    """A database, as far as a storage tells it of commits."""

    def __init__(self) -> None:
        self.event, self.when = threading.Event(), 0.0

    def invalidate(self, tid: bytes, oids: Any) -> None:
        """Objects have changed."""
        self.when = now()
        self.event.set()

    def invalidateCache(self) -> None:
        """Everything may have changed."""

    @staticmethod
    def transform_record_data(data: bytes) -> bytes:
        """Return a record as it is stored."""
        return data

    untransform_record_data = transform_record_data


def _repeat(do: Callable[[], object], seconds: float, most: int | None = None) -> dict[str, Any]:
    """Do something until the time is over, or it was done `most` times; time each."""
    durations: list[float] = []
    began = last = now()
    while last - began < seconds and len(durations) != most:
        do()
        durations.append(-last + (last := now()))
    return measured(durations, len(durations), last - began)


class Server:
    """The scratch server, with a FileStorage.

    :param directory: of its files, and of its socket.
    """

    def __init__(self, directory: str) -> None:
        where = os.path.join(directory, 'socket')
        quoted = directory.replace('$', '$$')
        conf = load_text(
            f'<zeo>\naddress {quoted}/socket\n</zeo>\n'
            f'<filestorage>\npath {quoted}/Data.fs\n</filestorage>\n',
            'the configuration of the scratch server',
        )
        self._server = open_server(settings(conf))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.address = where

    def where(self) -> dict[str, Any]:
        """Say where it listens."""
        return {'address': self.address}

    def close(self) -> None:
        """End it."""
        self._server.stop()
        self._thread.join()
        self._server.close()

    def used(self) -> dict[str, Any]:
        """Say how much processor time it has used."""
        return {'cpu': time.process_time()}


_ROLES: dict[str, Callable[..., Any]] = {'client': Client, 'server': Server}


def answers(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Do the jobs of the lines; yield the answers. The first job says which role it is."""
    role = None
    try:
        for line in lines:
            job = json.loads(line)
            name = job.pop('do')
            try:
                if role is None:
                    role = _ROLES[name](**job)
                    yield {}
                else:
                    yield getattr(role, name)(**job)
            except (
                POSError,
                OSError,
                TransientError,
                ConfigurationError,
                ValueError,
                NotEmpty,
            ) as error:
                yield {'error': ' '.join(str(error).split()) or type(error).__name__}
                if role is None:
                    return
    finally:
        if role is not None:
            role.close()


def main() -> int:
    """Be such a process; return its exit status."""
    answer = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what a storage prints must not pass for an answer
    for found in answers(iter(sys.stdin.buffer.readline, b'')):
        print(json.dumps(found), file=answer, flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
