#!/usr/bin/env python3
"""Count what one commit of one object costs, function by function: calls, and steps of Python.

    python scripts/commit_steps.py                          both sides, three kinds of storage
    python scripts/commit_steps.py --storages file --top 40

Steps are bytecodes of the interpreter; unlike times they are the same at each run.  Server and
client have real sockets between them, and the one that is counted runs in this thread.  Looks that
wait for the other side (``busy_poll``) are left out, since their number differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / 'src'), str(TOP / 'scripts')]

from ZODB.Connection import TransactionMetaData  # noqa: E402
from ZODB.FileStorage import FileStorage  # noqa: E402
from ZODB.MappingStorage import MappingStorage  # noqa: E402
from ZODB.utils import p64, z64  # noqa: E402

from ZEO.ClientStorage import ClientStorage  # noqa: E402
from ZEO.serving.grouped import GroupedFileStorage  # noqa: E402
from ZEO.StorageServer import Limits, StorageServer  # noqa: E402

#: What waits for the other side, and what this script calls itself.
LEFT_OUT = ('busy_poll.py', 'commit_steps.py', 'threading.py')

#: Commits before those that are counted, and the number of these.
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


def count_client(path: str, storage: Any, top: int, title: str) -> None:
    """Count what a client does, whose server is another thread."""
    server = StorageServer(path, {'1': storage}, limits=Limits(turn=60))
    loop = server.hosted['1'].loop
    thread = threading.Thread(target=loop.run)
    thread.start()
    client = ClientStorage(path)
    serial = commits(client, WARM)
    with Steps() as steps:
        commits(client, COUNTED, serial)
    client.close()
    loop.stop()
    thread.join()
    server.close()
    steps.show(f'{title}, client', top)


def main(argv: list[str]) -> None:
    """Count as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--storages', default='memory,file,grouped', metavar='KINDS')
    parser.add_argument('--sides', default='server,client', metavar='SIDES')
    parser.add_argument('--top', type=int, default=25, help='functions to show; default: 25')
    options = parser.parse_args(argv)
    for kind in options.storages.split(','):
        for side in options.sides.split(','):
            with tempfile.TemporaryDirectory(prefix='zeo-steps-') as directory:
                storage = MAKERS[kind](f'{directory}/Data.fs')
                count = count_server if side == 'server' else count_client
                count(f'{directory}/zeo.sock', storage, options.top, kind)


if __name__ == '__main__':
    main(sys.argv[1:])
