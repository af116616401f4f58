#!/usr/bin/env python3
"""Count what one commit of one object costs, function by function: calls, and steps of Python; and
what the client has to do for an object that it does not have in its cache.

    python scripts/commit_steps.py                          both sides, three kinds of storage
    python scripts/commit_steps.py --storages file --top 40
    python scripts/commit_steps.py --storages memory --sides load,setstate

Steps are bytecodes of the interpreter; unlike times they are the same at each run.  Server and
client have real sockets between them, and the one that is counted runs in this thread.  Looks that
wait for the other side (``busy_poll``) are left out, since their number differs; a client that is
counted looks as often as it takes, and never sleeps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / 'src'), str(TOP / 'scripts')]

import transaction  # noqa: E402
from persistent.mapping import PersistentMapping  # noqa: E402
from ZODB import DB  # noqa: E402
from ZODB.Connection import TransactionMetaData  # noqa: E402
from ZODB.FileStorage import FileStorage  # noqa: E402
from ZODB.MappingStorage import MappingStorage  # noqa: E402
from ZODB.utils import maxtid, p64, u64, z64  # noqa: E402

from ZEO.ClientStorage import ClientStorage  # noqa: E402
from ZEO.net import busy_poll  # noqa: E402
from ZEO.serving import sizes  # noqa: E402
from ZEO.serving.grouped import GroupedFileStorage  # noqa: E402
from ZEO.StorageServer import Limits, StorageServer  # noqa: E402

#: What waits for the other side, and what this script calls itself.
LEFT_OUT = ('busy_poll.py', 'commit_steps.py', 'threading.py')

#: Commits or loads before those that are counted, and the number of these.
WARM, COUNTED = 300, 20

MAKERS: dict[str, Callable[[str], Any]] = {
    'memory': lambda path: MappingStorage(),
    'file': FileStorage,
    'grouped': GroupedFileStorage,
}


class Steps:
    """Counts the calls and the steps of the functions that a thread calls."""

    def __init__(self) -> None:
        self.calls: Counter[Any] = Counter()
        self.steps: Counter[Any] = Counter()
        self._was: Any = None

    def _called(self, frame: Any, event: str, arg: Any) -> Any:
        code = frame.f_code
        if code.co_filename.endswith(LEFT_OUT):
            return None
        self.calls[code] += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._stepped

    def _stepped(self, frame: Any, event: str, arg: Any) -> Any:
        if event == 'opcode':
            self.steps[frame.f_code] += 1
        return self._stepped

    def __enter__(self) -> Steps:
        self._was = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(self, *args: object) -> None:
        sys.settrace(self._was)

    def show(self, title: str, top: int) -> None:
        """Print a table."""
        total = sum(self.steps.values()) / COUNTED
        storage = sum(count for code, count in self.steps.items() if _is_storages(code)) / COUNTED
        functions = len(self.calls)
        print(f'\n{title}: {total:.0f} steps of {functions} functions, {storage:.0f} of ZODB')
        for code, count in self.steps.most_common(top):
            print(f'{count / COUNTED:8.1f} {self.calls[code] / COUNTED:6.2f}  {_name(code)}')


def _is_storages(code: Any) -> bool:
    return '/ZEO/' not in code.co_filename or code.co_filename.endswith(
        ('few_calls.py', 'grouped.py')
    )


def _name(code: Any) -> str:
    path = code.co_filename
    short = (
        path.rpartition('/src/ZEO/')[2] if '/src/ZEO/' in path else '/'.join(path.split('/')[-2:])
    )
    return f'{short}:{getattr(code, "co_qualname", code.co_name)}'


def commit(client: Any, oid: bytes, serial: bytes) -> bytes:
    """Commit one object; return its tid."""
    transaction = TransactionMetaData('user', 'description')
    client.tpc_begin(transaction)
    client.store(oid, serial, b'x' * 300, '', transaction)
    client.tpc_vote(transaction)
    return client.tpc_finish(transaction)


def commits(client: Any, number: int, serial: bytes = z64) -> bytes:
    """Commit one object again and again."""
    for _ in range(number):
        serial = commit(client, p64(1), serial)
    return serial


def count_server(path: str, storage: Any, top: int, title: str) -> None:
    """Count what a server does, whose client is another thread."""
    server = StorageServer(path, {'1': storage}, limits=Limits(turn=60))
    # Counting makes a look at the size of a file too slow to be repeated; that of a MappingStorage
    # always is.
    sizes.CHEAP = -1.0 if isinstance(storage, MappingStorage) else 60.0
    sizes.SIZES_SHARE = 2**40
    loop = server.hosted['1'].loop
    events = [threading.Event() for _ in range(3)]
    warm, go, over = events

    def work() -> None:
        client = ClientStorage(path, cache=None)
        serial = commits(client, WARM)
        warm.set()
        go.wait(60)
        commits(client, COUNTED, serial)
        over.set()
        loop.from_thread(lambda: None)
        client.close()

    thread = threading.Thread(target=work)
    thread.start()
    while not warm.is_set():
        loop.run_once(0.01)
    steps = Steps()
    go.set()
    with steps:
        while not over.is_set():
            loop.run_once(5.0)
    while thread.is_alive():
        loop.run_once(0.01)
    server.close()
    steps.show(f'{title}, server', top)


@contextmanager
def served(path: str, storage: Any) -> Iterator[ClientStorage]:
    """Have a client, whose server is another thread."""
    busy_poll.LOOKS, busy_poll.CONTENDED = 10**9, inf
    server = StorageServer(path, {'1': storage}, limits=Limits(turn=60))
    loop = server.hosted['1'].loop
    thread = threading.Thread(target=loop.run)
    thread.start()
    client = ClientStorage(path)
    yield client
    client.close()
    loop.stop()
    thread.join()
    server.close()


def count_client(path: str, storage: Any, top: int, title: str) -> None:
    """Count what a client does for a commit."""
    with served(path, storage) as client:
        serial = commits(client, WARM)
        with Steps() as steps:
            commits(client, COUNTED, serial)
    steps.show(f'{title}, client', top)


def count_load(path: str, storage: Any, top: int, title: str) -> None:
    """Count what a client does for a record that it does not have, without ZODB's part."""
    objects = filled(storage)
    with served(path, storage) as client:
        for oid in objects[:WARM]:
            client.loadBefore(oid, maxtid)
        before = p64(u64(client.lastTransaction()) + 1)
        with Steps() as steps:
            for oid in objects[-COUNTED:]:
                client.loadBefore(oid, before)
    steps.show(f'{title}, cold load', top)


def count_setstate(path: str, storage: Any, top: int, title: str) -> None:
    """Count what an object costs that ZODB wants and the client does not have."""
    objects = filled(storage)
    with served(path, storage) as client:
        connection = DB(client).open()
        for oid in objects[:WARM]:
            connection.setstate(connection.get(oid))
        ghosts = [connection.get(oid) for oid in objects[-COUNTED:]]
        client._cache.clear()  # `get` has loaded them
        for ghost in ghosts:
            ghost._p_invalidate()
        client.cached(z64)
        with Steps() as steps:
            for ghost in ghosts:
                connection.setstate(ghost)
        connection.close()
    steps.show(f'{title}, cold load through ZODB', top)


def filled(storage: Any) -> list[bytes]:
    """Put objects into a storage; return their oids."""
    connection = DB(storage).open()
    objects = [PersistentMapping(text='x' * 300) for _ in range(WARM + COUNTED)]
    connection.root()['objects'] = PersistentMapping(enumerate(objects))
    transaction.commit()
    oids = [found._p_oid for found in objects]
    connection.close()
    return oids


#: What is counted -> the function that does.
SIDES: dict[str, Callable[[str, Any, int, str], None]] = {
    'server': count_server,
    'client': count_client,
    'load': count_load,
    'setstate': count_setstate,
}


def main(argv: list[str]) -> None:
    """Count as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--storages', default='memory,file,grouped', metavar='KINDS')
    parser.add_argument(
        '--sides', default='server,client', metavar='SIDES', help=f'of {", ".join(SIDES)}'
    )
    parser.add_argument('--top', type=int, default=25, help='functions to show; default: 25')
    options = parser.parse_args(argv)
    looks = busy_poll.LOOKS, busy_poll.CONTENDED
    for kind in options.storages.split(','):
        for side in options.sides.split(','):
            busy_poll.LOOKS, busy_poll.CONTENDED = looks
            with tempfile.TemporaryDirectory(prefix='zeo-steps-') as directory:
                storage = MAKERS[kind](f'{directory}/Data.fs')
                SIDES[side](f'{directory}/zeo.sock', storage, options.top, kind)


if __name__ == '__main__':
    main(sys.argv[1:])
