#!/usr/bin/env python
"""Kill primaries for good, promote their followers, and look for commits that are lost.

Enters: how many kills. Leaves: a line about what has happened, and exit status 0. Fails: with exit
status 1 and what is wrong: a commit that was acknowledged and is not there, something that a client
has seen and that is not there, a transaction of an old primary that is neither there nor saved.

Two servers take turns, each with its own file. One is the primary, with wait-for-replicas 1, the
other follows it; writers and a reader have both addresses. Again and again the primary is killed
with SIGKILL in the middle of commits, the follower is promoted as "zeo promote" does, and the old
primary comes back as a follower of the new one, with discard-lost. All are processes.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import io
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from transaction.interfaces import TransientError
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSError
from ZODB.utils import maxtid, p64, z64

from ZEO.ClientStorage import ClientStorage
from ZEO.commands.probing import NoAnswer, ask
from ZEO.commands.zeo_promote import main as promote
from ZEO.replica.storage import Replica
from ZEO.StorageServer import StorageServer

#: Objects that each writer changes.
OBJECTS = 5

#: Seconds after which something that has to happen has not.
PATIENCE = 60.0

#: Seconds in which the primary is killed, at a random moment.
LONGEST = 0.4


class Wrong(Exception):
    """What must not be."""


# Processes. All are forked from one that has no threads, which takes milliseconds.


class Site:
    """The files of a run, and its processes.

    :param directory: where everything is.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.processes: dict[str, int] = {}

    def path(self, name: str) -> str:
        """Return the path of a file."""
        return os.path.join(self.directory, name)

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Have a process do that."""
        pid = os.fork()
        if pid:
            self.processes[name] = pid
            return
        status = 1
        try:
            logging.basicConfig(filename=self.path(f'{name}.log'), level=logging.WARNING)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            work()
            status = 0
        except BaseException:
            logging.exception('%s ends', name)
        finally:
            os._exit(status)

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """End a process; return its wait status."""
        pid = self.processes.pop(name)
        os.kill(pid, number)
        return os.waitpid(pid, 0)[1]

    def close(self) -> None:
        """End all."""
        for name in list(self.processes):
            self.kill(name)

    def serve(self, name: str, follows: str | None) -> None:
        """Serve the file of that name, as a follower of another one or as the primary."""

        def work() -> None:
            storage = (
                FileStorage(self.path(f'{name}.fs'))
                if follows is None
                else Replica(
                    self.path(follows),
                    self.path(f'{name}.fs'),
                    discard_lost=True,
                    label=name,
                    max_disconnect_poll=0.1,
                )
            )
            server = StorageServer(
                self.path(name), {'1': storage}, wait_for_replicas=1, replica_timeout=PATIENCE
            )
            server.serve_forever()

        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(name))  # the socket of one that was killed
        self.start(name, work)

    def client(self, **options: Any) -> ClientStorage:
        """Return a client that has both addresses."""
        return ClientStorage(
            [self.path('a'), self.path('b')],
            wait_timeout=PATIENCE,
            max_disconnect_poll=0.1,
            **options,
        )


def until(what: str, condition: Callable[[], Any]) -> None:
    """Wait for a condition.

    :raises Wrong: when it does not come.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise Wrong(f'{what} within {PATIENCE:g} s')
        time.sleep(0.01)


# What clients do. Each notes in a file what it knows, one JSON line for each event.


class Notes:
    """Lines that outlive the process."""

    def __init__(self, path: str) -> None:
        self._file = open(path, 'a', buffering=1)

    def __call__(self, *parts: Any) -> None:
        self._file.write(json.dumps([round(time.time(), 4), *parts]) + '\n')


def write(site: Site, name: str, number: int) -> None:
    """Commit without an end: each time a new text for one or two objects.

    A commit whose outcome is not known is looked up: what is there must be its text, or the last
    one that was acknowledged.
    """
    note, stop = Notes(site.path(f'{name}.notes')), site.path('stop')
    oids = [p64(1 + number * OBJECTS + place) for place in range(OBJECTS)]
    storage, count = site.client(), 0
    known: dict[bytes, tuple[bytes, bytes]] = {}  # oid -> the text that is there, and its tid
    generator = random.Random(number)
    while not os.path.exists(stop):
        count += 1
        changed = generator.sample(oids, generator.randint(1, 2))
        text = f'{name} {count}'.encode()
        try:
            tid = _commit(storage, changed, text, known)
        except (POSError, TransientError) as error:
            note('unknown', text.decode(), str(error)[:60])
            _look_up(storage, changed, text, known, note)
        else:
            known.update(dict.fromkeys(changed, (text, tid)))
            note('acknowledged', text.decode(), tid.hex())
    storage.close()


def _commit(
    storage: Any, oids: list[bytes], text: bytes, known: dict[bytes, tuple[bytes, bytes]]
) -> bytes:
    metadata = TransactionMetaData(description=text.decode())
    storage.tpc_begin(metadata)
    try:
        for oid in oids:
            storage.store(oid, known.get(oid, (b'', z64))[1], text, '', metadata)
        storage.tpc_vote(metadata)
        return storage.tpc_finish(metadata)
    except BaseException:
        storage.tpc_abort(metadata)
        raise


def _look_up(
    storage: Any,
    oids: list[bytes],
    text: bytes,
    known: dict[bytes, tuple[bytes, bytes]],
    note: Notes,
) -> None:
    while True:
        try:
            storage.ping()  # without a connection, what is cached would be read
            found = {oid: _current(storage, oid) for oid in oids}
            break
        except POSError as error:
            note('retry', str(error)[:60])
    for oid, now in found.items():
        before = known.get(oid)
        if now != before and (now is None or now[0] != text):
            note('wrong', oid.hex(), str(now), str(before))
        if now is not None:
            known[oid] = now


def _current(storage: Any, oid: bytes) -> tuple[bytes, bytes] | None:
    try:
        found = storage.loadBefore(oid, maxtid)
    except KeyError:
        return None
    return None if found is None else found[:2]


def read(site: Site, name: str, writers: int) -> None:
    """Note every text that is seen."""
    note, stop = Notes(site.path(f'{name}.notes')), site.path('stop')
    storage = site.client(read_only=True, cache_size=10_000)
    seen: dict[bytes, Any] = {}
    while not os.path.exists(stop):
        for number in range(1, 1 + writers * OBJECTS):
            try:
                found = _current(storage, p64(number))
            except POSError:
                continue
            if found is not None and seen.get(p64(number)) != found:
                seen[p64(number)] = found
                note('seen', found[0].decode(), found[1].hex())
        time.sleep(0.002)
    storage.close()


# The run.


def run(site: Site, kills: int, writers: int, seed: int, seconds: float) -> str:
    """Kill primaries; return a line about what has happened.

    :param seconds: after which there are no more kills.
    :raises Wrong: with what must not be.
    """
    generator = random.Random(seed)
    site.serve('a', None)
    until('the first server does not listen', lambda: os.path.exists(site.path('a')))
    site.serve('b', 'a')
    until('the follower does not follow', lambda: _follows(site, 'b'))
    for number in range(writers):
        site.start(f'writer{number}', lambda number=number: write(site, f'writer{number}', number))  # type: ignore[misc]
    site.start('reader', lambda: read(site, 'reader', writers))
    # one that has nothing could not tell the old primary from another database
    until('nothing is committed', lambda: _acknowledged(site))
    primary, follower = 'a', 'b'
    killed, end = 0, time.monotonic() + seconds
    while killed < kills and time.monotonic() < end:
        killed += 1
        time.sleep(generator.uniform(0, LONGEST))
        site.kill(primary)
        _promote(site, follower)
        primary, follower = follower, primary
        with contextlib.suppress(FileNotFoundError):
            os.unlink(site.path(f'{follower}.fs.replica'))  # it was promoted itself
        site.serve(follower, primary)
        until('the old primary does not follow', lambda: _follows(site, follower))  # noqa: B023
    return _end(site, primary, killed, writers)


def _acknowledged(site: Site) -> bool:
    return any('"acknowledged"' in _text(path) for path in glob.glob(site.path('writer*.notes')))


def _follows(site: Site, name: str) -> bool:
    try:
        return ask(site.path(name), '1', 5).get('replica', {}).get('state') == 'following'
    except NoAnswer:
        return False


def _promote(site: Site, name: str) -> None:
    printed = io.StringIO()

    def promoted() -> bool:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            return promote([site.path(name)]) == 0

    try:
        until('the follower is not promoted', promoted)
    except Wrong as error:
        raise Wrong(f'{error}: {printed.getvalue()[-500:]}') from None


def _end(site: Site, primary: str, kills: int, writers: int) -> str:
    open(site.path('stop'), 'w').close()
    clients = [f'writer{number}' for number in range(writers)] + ['reader']
    for name in clients:
        if os.waitpid(site.processes.pop(name), 0)[1]:
            raise Wrong(f'{name} has failed: {_last_line(site.path(f"{name}.log"))}')
    site.close()
    there = _texts(site.path(f'{primary}.fs'))
    saved: set[tuple[str, str]] = set()
    for path in glob.glob(site.path('*.lost-*.fs')):
        saved |= _texts(path)
    acknowledged, seen = 0, 0
    for name in clients:
        for when, what, *parts in map(json.loads, open(site.path(f'{name}.notes'))):
            if what == 'wrong':
                raise Wrong(f'{name} found {parts} at {when}')
            if what in ('acknowledged', 'seen') and tuple(parts) not in there:
                raise Wrong(f'{what} by {name} at {when}, and not there: {parts}')
            acknowledged += what == 'acknowledged'
            seen += what == 'seen'
    return (
        f'{kills} kills: {acknowledged} commits were acknowledged and {seen} texts seen, all of '
        f'them are there; {len(saved - there)} transactions were on the disk of a killed primary '
        'only, and are saved'
    )


def _last_line(path: str) -> str:
    return ''.join(_text(path).splitlines()[-1:]).strip()


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()


def _texts(path: str) -> set[tuple[str, str]]:
    """Return text and tid of all transactions in a file."""
    storage = FileStorage(path, read_only=True)
    try:
        return {(one.description.decode(), one.tid.hex()) for one in storage.iterator()}
    finally:
        storage.close()


def main(args: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--kills', type=int, default=1000, help='the default is 1000')
    parser.add_argument('--writers', type=int, default=3, help='the default is 3')
    parser.add_argument(
        '--seconds', type=float, default=float('inf'), help='kill no more after that time'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--keep', action='store_true', help='leave the files where they are')
    options = parser.parse_args(args)
    site = Site(tempfile.mkdtemp(prefix='zeo-failover-'))
    try:
        print(run(site, options.kills, options.writers, options.seed, options.seconds), flush=True)
        return 0
    except Wrong as error:
        options.keep = True
        print(f'WRONG: {error}; the files are in {site.directory}', flush=True)
        return 1
    finally:
        site.close()
        if not options.keep:
            shutil.rmtree(site.directory)


if __name__ == '__main__':
    sys.exit(main())
