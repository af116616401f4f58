"""Primaries and followers in this process, over real sockets.

Enters: a directory.  Leaves: servers of FileStorages and of replicas, clients of them.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

import ZODB
from ZODB.FileStorage import FileStorage

import ZEO
from ZEO.StorageServer import StorageServer

#: Seconds that anything may take here.
LONG = 30


class Site:
    """Files, servers and clients below one directory; all are closed at the end."""

    def __init__(self, directory: Any) -> None:
        self.directory = str(directory)
        self._stack = contextlib.ExitStack()

    def path(self, name: str) -> str:
        """Return the path of a file."""
        return os.path.join(self.directory, name)

    def serve(self, storage: Any, addr: Any = ('127.0.0.1', 0), **options: Any) -> StorageServer:
        """Return a server of a storage, as ``1``, which runs in a thread."""
        server = StorageServer(addr, {'1': storage}, **options)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        server.end = lambda: (server.stop(), thread.join(LONG), server.close())
        self._stack.callback(server.end)
        return server

    def primary(self, name: str = 'primary', **options: Any) -> StorageServer:
        """Return a server of a FileStorage with blobs."""
        return self.serve(self.file(name), **options)

    def file(self, name: str, **options: Any) -> FileStorage:
        """Return an open FileStorage with blobs."""
        return FileStorage(self.path(name + '.fs'), blob_dir=self.path(name + '.blobs'), **options)

    def replica(self, addr: Any, name: str = 'replica', **options: Any) -> Any:
        """Return an open replica with blobs, which is closed at the end."""
        options = {'blob_dir': self.path(name + '.blobs'), 'max_disconnect_poll': 0.2, **options}
        replica = ZEO.Replica(addr, self.path(name + '.fs'), **options)
        self._stack.callback(lambda: replica.close())
        return replica

    def db(self, storage: Any, **options: Any) -> ZODB.DB:
        """Return a database over a storage, or over a client of the server at an address."""
        if not hasattr(storage, 'loadBefore'):
            blobs = self.path(f'cache{len(os.listdir(self.directory))}')
            storage = ZEO.client(storage, blob_dir=blobs, wait_timeout=LONG, **options)
        db = ZODB.DB(storage)
        self._stack.callback(lambda: db.close())  # a second time it is another one
        return db

    def same_files(self, one: str = 'primary', other: str = 'replica') -> bool:
        """Return whether two files, and all blobs that belong to them, are the same to the byte."""
        with (
            open(self.path(one + '.fs'), 'rb') as mine,
            open(self.path(other + '.fs'), 'rb') as its,
        ):
            if mine.read() != its.read():
                return False
        return self.blobs(one) == self.blobs(other)

    def blobs(self, name: str) -> dict[str, bytes]:
        """Return the contents of all committed blobs, by the paths of their files."""
        found = {}
        top = self.path(name + '.blobs')
        for directory, _, files in os.walk(top):
            for file in files:
                if file.endswith('.blob') and not directory.startswith(os.path.join(top, 'tmp')):
                    path = os.path.join(directory, file)
                    with open(path, 'rb') as opened:
                        found[os.path.relpath(path, top)] = opened.read()
        return found

    def close(self) -> None:
        """Close everything."""
        self._stack.close()


def wait_for(replica: Any, tid: bytes) -> None:
    """Wait until a replica has a transaction."""
    news = threading.Event()
    for _ in range(LONG * 200):
        if replica.lastTransaction() >= tid:
            return
        news.wait(0.005)
    raise AssertionError(f'no {tid.hex()} within {LONG} s: {replica.replica_status()}')


def wait_for_state(replica: Any, *states: str) -> dict[str, Any]:
    """Wait until a replica is in one of these states; return its status."""
    pause = threading.Event()
    for _ in range(LONG * 200):
        status = replica.replica_status()
        if status['state'] in states:
            return status
        pause.wait(0.005)
    raise AssertionError(f'not {states} within {LONG} s: {status}')
