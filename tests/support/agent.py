"""A client process that does what a test says: ``python -m support.agent``.

It runs with our ZEO and with ZEO 6 alike, so that a test can drive the two side by side.
"""

from __future__ import annotations

import logging
import os
import ssl
import sys
import time
from typing import Any

import transaction
import ZODB
from ZODB.blob import Blob, is_blob_record
from ZODB.Connection import TransactionMetaData
from ZODB.serialize import referencesf
from ZODB.utils import z64
from zope.interface import providedBy

from support import jsonlines
from support.counters import Counter
from ZEO.ClientStorage import ClientStorage


def _address(value: Any) -> Any:
    """Return an address whose tuples have become lists on their way here."""
    if isinstance(value, list) and not (len(value) == 2 and isinstance(value[1], int)):
        return [_address(item) for item in value]
    return tuple(value) if isinstance(value, list) else value


class Agent:
    """The commands; those that need a database work on the root of one connection."""

    storage: Any = None
    database: Any = None
    connection: Any = None
    manager: Any = None

    def do_open(self, address: Any, database: bool = True, tls: Any = None, **options: Any) -> None:
        """Open a client, and a database on it.

        :param tls: files, a list: of the authority, and of the client's own certificate and key.
        """
        if tls is not None:
            authority, *own = tls
            options['ssl'] = ssl.create_default_context(cafile=authority)
            options['ssl'].load_cert_chain(*own)
            options['ssl_server_hostname'] = 'localhost'
        self.storage = ClientStorage(_address(address), **{'wait_timeout': 20, **options})
        if database:
            self.do_open_database()

    def do_open_database(self) -> None:
        """Open a database on the client."""
        self.database = ZODB.DB(self.storage)
        self.manager = transaction.TransactionManager()
        self.connection = self.database.open(self.manager)

    def do_close(self) -> None:
        """Close what is open."""
        if self.connection is not None:
            self.manager.abort()
            self.connection.close()
        if self.storage is not None:
            (self.database or self.storage).close()
        self.storage = self.database = self.connection = self.manager = None

    # Of the storage.

    def do_call(self, method: str, *, args: Any = (), **options: Any) -> Any:
        """Call a method of the storage."""
        return getattr(self.storage, method)(*args, **options)

    def do_provides(self) -> list[str]:
        """Return the names of the interfaces that the storage provides."""
        return sorted(interface.__name__ for interface in providedBy(self.storage))

    def do_store(self, records: list[list[Any]], user: str = '', description: str = '') -> bytes:
        """Commit records, each ``[oid, serial, data]``, and return the tid."""
        meta = TransactionMetaData(user, description)
        self.storage.tpc_begin(meta)
        try:
            for oid, serial, data in records:
                self.storage.store(oid, serial, data, '', meta)
            self.storage.tpc_vote(meta)
            return self.storage.tpc_finish(meta)
        except BaseException:
            self.storage.tpc_abort(meta)
            raise

    def do_vote(self, records: list[list[Any]]) -> None:
        """Bring a transaction as far as its vote, which holds the storage's commit lock."""
        self._voted = TransactionMetaData()
        self.storage.tpc_begin(self._voted)
        for oid, serial, data in records:
            self.storage.store(oid, serial, data, '', self._voted)
        self.storage.tpc_vote(self._voted)

    def do_finish(self) -> bytes:
        """Finish the transaction that was voted."""
        return self.storage.tpc_finish(self._voted)

    def do_delete(self, oid: bytes, serial: bytes) -> bytes:
        """Delete an object."""
        meta = TransactionMetaData()
        self.storage.tpc_begin(meta)
        self.storage.deleteObject(oid, serial, meta)
        self.storage.tpc_vote(meta)
        return self.storage.tpc_finish(meta)

    def do_iterate(self, start: bytes | None = None, stop: bytes | None = None) -> list[Any]:
        """Return all transactions, each with its records."""
        return [
            {
                'tid': txn.tid,
                'user': txn.user,
                'description': txn.description,
                'extension': txn.extension,
                'records': [[record.oid, record.tid, record.data] for record in txn],
            }
            for txn in self.storage.iterator(start, stop)
        ]

    def do_copy_to(self, address: Any, **options: Any) -> None:
        """Copy everything to another server."""
        other = ClientStorage(_address(address), wait_timeout=20, **options)
        try:
            other.copyTransactionsFrom(self.storage)
        finally:
            other.close()

    def do_records(self) -> list[Any]:
        """Return all current records, as ``[oid, tid, data]``."""
        records, following = [], None
        while True:
            oid, tid, data, following = self.storage.record_iternext(following)
            records.append([oid, tid, data])
            if following is None:
                return records

    def do_await_smaller(self, size: int, patience: float = 20.0) -> None:
        """Wait until the storage is known to have become smaller."""
        self._await(lambda: self.storage.getSize() < size, patience)

    def do_pack(self) -> None:
        """Pack up to now."""
        self.storage.pack(time.time(), referencesf, wait=True)

    def do_await_connected(self, connected: bool = True, patience: float = 20.0) -> None:
        """Wait until the client is connected, or until it has noticed that it is not."""
        self._await(lambda: self.storage.is_connected() == connected, patience)

    def do_await_writable(self, patience: float = 20.0) -> None:
        """Wait until the client has found a server that lets it write."""
        self._await(lambda: self.storage.is_connected() and not self.storage.isReadOnly(), patience)

    # Of the database.

    def do_set(self, **values: Any) -> bytes:
        """Commit values under keys of the root, and return the tid."""
        self.manager.begin()
        try:
            self.connection.root().update(values)
            self.manager.commit()
        except BaseException:
            self.manager.abort()
            raise
        return self.connection.root()._p_serial

    def do_get(self, key: str) -> Any:
        """Return the value under a key as a new transaction sees it."""
        with self.manager:
            return self.connection.root().get(key)

    def do_await_value(self, key: str, value: Any, patience: float = 20.0) -> None:
        """Wait until a new transaction sees a value."""
        self._await(lambda: self.do_get(key) == value, patience)

    def do_begin(self, **values: Any) -> None:
        """Begin a transaction and change values of the root."""
        self.manager.begin()
        self.connection.root().update(values)

    def do_commit(self) -> None:
        """Commit what was begun."""
        try:
            self.manager.commit()
        except BaseException:
            self.manager.abort()
            raise

    def do_new_counter(self, key: str) -> None:
        """Make a counter, of a class that servers can not import."""
        self.do_set(**{key: Counter()})

    def do_count(self, key: str, steps: int) -> None:
        """Begin a transaction and count."""
        self.manager.begin()
        self.connection.root()[key].value += steps

    def do_counted(self, key: str) -> int:
        """Return the value of a counter."""
        with self.manager:
            return self.connection.root()[key].value

    def do_undo(self, index: int = 0) -> None:
        """Undo the transaction of that place in the undo log, the newest being the first."""
        with self.manager:
            self.database.undo(self.database.undoLog(0, 20)[index]['id'], self.manager.get())

    def do_set_blob(self, key: str, content: bytes, times: int = 1) -> None:
        """Commit a blob with `content` repeated."""
        with self.manager:
            blob = self.connection.root().setdefault(key, Blob())
            with blob.open('w') as file:
                for _ in range(times):
                    file.write(content)

    def do_get_blob(self, key: str) -> bytes:
        """Return what is in a blob."""
        with self.manager:
            with self.connection.root()[key].open() as file:
                return file.read()

    def do_blobs(self) -> list[Any]:
        """Return all revisions of all blobs, as ``[oid, tid, content]``."""
        found = {}  # a server of ZEO 6 writes a blob's record twice
        for txn in self.storage.iterator():
            for record in txn:
                if is_blob_record(record.data):
                    with open(self.storage.loadBlob(record.oid, record.tid), 'rb') as file:
                        found[record.oid, record.tid] = file.read()
        return [[*revision, content] for revision, content in found.items()]

    def do_await_key(self, key: str, patience: float = 20.0) -> None:
        """Wait until a new transaction sees something under a key."""
        self._await(lambda: self.do_get(key) is not None, patience)

    def do_await_blob(self, key: str, content: bytes, patience: float = 20.0) -> None:
        """Wait until a new transaction sees a blob's new content."""
        self._await(lambda: self.do_get_blob(key) == content, patience)

    def do_await_synced(self) -> None:
        """Wait until all that was committed before has arrived, which one answer's arrival
        shows.
        """
        self.storage.ping()
        with self.manager:
            pass

    def do_root_serial(self) -> bytes:
        """Return the serial of the root as the storage loads it now."""
        return self.storage.load(z64, '')[1]

    @staticmethod
    def _await(condition: Any, patience: float) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError('it does not come')
            time.sleep(0.01)


def main() -> None:
    """Run the commands on standard input."""
    logging.basicConfig(level=os.environ.get('SUPPORT_LOG', 'ERROR'), stream=sys.stderr)
    jsonlines.serve(Agent())
    sys.stderr.flush()
    os._exit(0)


if __name__ == '__main__':
    main()
