"""What a real ClientStorage sends in a session that uses all of its interface, frame by frame.

Enters: the path of a server's socket, and a directory to work in. Leaves: frames, the hello and
``register`` first. Fails: whatever the session raises: a server that cannot serve it is not worth
attacking.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.POSException import POSKeyError, Unsupported
from ZODB.utils import newTid

from ZEO.ClientStorage import ClientStorage

from .wire import split_frames

OBJECTS = 20


class Recorder:
    """A socket whose connections go on to a server, and which keeps what their clients send."""

    def __init__(self, path: str, target: str) -> None:
        self.path, self._target = path, target
        self.streams: list[bytearray] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            sent = bytearray()
            self.streams.append(sent)
            threading.Thread(target=_pass_on, args=(near, far, sent), daemon=True).start()
            threading.Thread(target=_pass_on, args=(far, near, None), daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()
        os.unlink(self.path)


def _pass_on(source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
    try:
        while data := source.recv(1 << 16):
            if kept is not None:
                kept += data
            target.sendall(data)
    except OSError:
        pass
    for end in source, target:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already


def record(target: str, directory: Path) -> list[list[bytes]]:
    """Run the sessions of two clients; return the frames of each connection."""
    recorder = Recorder(str(directory / 'r'), target)
    try:
        for number in range(2):
            _session(recorder.path, directory / f'client-{number}', wait=number)
    finally:
        recorder.close()
    return [split_frames(bytes(stream)) for stream in recorder.streams]


def _session(address: str, directory: Path, wait: int) -> None:
    blobs = directory / 'blobs'
    blobs.mkdir(parents=True)
    storage = ClientStorage(address, blob_dir=str(blobs), cache_size=100_000, client_label='fuzz')
    db = ZODB.DB(storage)
    try:
        _objects(db)
        _blobs(db, storage)
        for step in _undo, _reading, _transactions, _iteration, _odds:
            _where_supported(step, db, storage)
        _where_supported(
            lambda db, storage: storage.pack(time.time() - 3600, db.references, wait=bool(wait)),
            db,
            storage,
        )
    finally:
        db.close()


def _where_supported(step: Callable[[Any, Any], Any], db: Any, storage: Any) -> None:
    try:
        step(db, storage)
    except (Unsupported, NotImplementedError, AttributeError, POSKeyError):
        # such as undo of a MappingStorage, or the records of a FileStorage after one was deleted
        pass


def _objects(db: Any) -> None:
    with db.transaction() as connection:
        objects = connection.root().setdefault('objects', PersistentMapping())
        for number in range(OBJECTS):
            objects[number] = PersistentMapping(name=f'object {number}', text='x' * 50 * number)
    with db.transaction() as connection:
        for found in connection.root()['objects'].values():
            found['seen'] = True


def _blobs(db: Any, storage: Any) -> None:
    with db.transaction() as connection:
        connection.root()['blob'] = Blob(b'blob ' * 30_000)
    with db.transaction() as connection:
        blob = connection.root()['blob']
        blob._p_activate()
        oid, serial = blob._p_oid, blob._p_serial
    os.unlink(storage.loadBlob(oid, serial))
    storage.loadBlob(oid, serial)


def _undo(db: Any, storage: Any) -> None:
    storage.undoInfo(0, -5, {'user_name': ''})
    log = storage.undoLog(0, 3)
    db.undo(log[0]['id'])
    transaction.commit()


def _reading(db: Any, storage: Any) -> None:
    with db.transaction() as connection:
        oids = [found._p_oid for found in connection.root()['objects'].values()]
    tid = storage.lastTransaction()
    storage.prefetch([*oids, *(number.to_bytes(8, 'big') for number in range(1000, 1010))], tid)
    for oid in oids[:5]:
        storage.getTid(oid)
        storage.loadSerial(oid, storage.load(oid)[1])
        storage.history(oid, size=3)
        storage.loadBefore(oid, tid)


def _transactions(db: Any, storage: Any) -> None:
    oid, meta = (
        storage.new_oid(),
        ZODB.Connection.TransactionMetaData('user', 'text', {'key': 'value'}),
    )
    storage.tpc_begin(meta)
    storage.store(
        oid, b'\0' * 8, b'\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}.', '', meta
    )
    storage.checkCurrentSerialInTransaction(b'\0' * 8, storage.load(b'\0' * 8)[1], meta)
    storage.tpc_abort(meta)
    tid = newTid(storage.lastTransaction())
    storage.tpc_begin(meta, tid, ' ')
    storage.restore(oid, tid, b'\x80\x03N.\x80\x03N.', '', None, meta)
    storage.tpc_vote(meta)
    tid = storage.tpc_finish(meta)
    storage.tpc_begin(meta)
    storage.deleteObject(oid, tid, meta)
    storage.tpc_vote(meta)
    storage.tpc_finish(meta)


def _iteration(db: Any, storage: Any) -> None:
    for entry in storage.iterator():
        for _ in entry:
            pass
    oid = None
    while True:
        _, _, _, oid = storage.record_iternext(oid)
        if oid is None:
            break


def _odds(db: Any, storage: Any) -> None:
    storage.ping()
    storage.sync()
    storage.server_status()
    len(storage)
