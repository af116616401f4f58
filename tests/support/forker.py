"""A program that forks while its client storage is in use: ``python -m support.forker ADDRESS
BLOB_DIRECTORY``.

Each side commits to an object of its own. Standard output: one line of each side, the parent's
last.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.POSException import POSKeyError
from ZODB.utils import p64, z64

from ZEO.ClientStorage import ClientStorage

#: Commits of each side.
COMMITS = 20


def main(address: str, blobs: str) -> None:
    """Open, fork, and use the database on both sides."""
    storage = ClientStorage(address, wait_timeout=20, blob_dir=blobs)
    connection = ZODB.DB(storage).open()
    for side in ('parent', 'child'):
        connection.root()[side] = PersistentMapping(count=0)
    transaction.commit()
    stop = threading.Event()
    busy = threading.Thread(target=_use, args=(storage, stop), daemon=True)
    busy.start()
    receiver, sender = os.pipe()
    held, forked = threading.Event(), threading.Event()
    threading.Thread(target=_hold, args=(storage, held, forked), daemon=True).start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        _child(storage, connection, receiver)
    forked.set()
    _commit(connection, 'parent')
    os.write(sender, b'!')
    status = os.waitpid(pid, 0)[1]
    stop.set()
    busy.join()
    connection.sync()
    counts = [connection.root()[side]['count'] for side in ('parent', 'child')]
    print('parent', *counts, os.waitstatus_to_exitcode(status), flush=True)
    storage.close()


def _locks(storage: ClientStorage) -> list[Any]:
    """Return every lock of a client and of its parts, once."""
    kinds = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
    parts = [part for part in vars(storage).values() if type(part).__module__.startswith('ZEO')]
    found = [value for part in parts for value in vars(part).values() if isinstance(value, kinds)]
    assert len(found) > 3
    return list({id(lock): lock for lock in found}.values())


def _hold(storage: ClientStorage, held: threading.Event, forked: threading.Event) -> None:
    """Hold every lock that a thread may hold just then, as a call in each of these places would."""
    with contextlib.ExitStack() as stack:
        for lock in _locks(storage):
            stack.enter_context(lock)
        held.set()
        forked.wait()


def _use(storage: ClientStorage, stop: threading.Event) -> None:
    """Have the link's locks held by somebody whenever the process forks."""
    while not stop.is_set():
        storage.ping()


def _child(storage: ClientStorage, connection: ZODB.Connection.Connection, receiver: int) -> None:
    """Commit, and end without the parent's cleaning up."""
    status = 1
    try:
        _commit(connection, 'child')
        _commit_blob(connection)
        os.read(receiver, 1)  # until the parent has done so as well
        print('child', storage.server_status()['connections'], flush=True)
        status = 0
    finally:
        os._exit(status)


def _commit_blob(connection: ZODB.Connection.Connection) -> None:
    """Upload a blob, and look for one that is not there."""
    connection.root()['child']['blob'] = Blob(b'of the child')
    transaction.commit()
    try:
        connection.db().storage.loadBlob(z64, p64(1))
    except POSKeyError:
        pass


def _commit(connection: ZODB.Connection.Connection, side: str) -> None:
    for _ in range(COMMITS):
        connection.sync()
        connection.root()[side]['count'] += 1
        transaction.commit()


if __name__ == '__main__':
    main(*sys.argv[1:])
