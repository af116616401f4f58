"""A real server in a thread, with a client that behaves well and has to go on working whatever the
others do.
"""

import os
import shutil
import socket
import tempfile
import threading

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import z64

from support.scripted import Conversation, RawClient
from ZEO.ClientStorage import ClientStorage
from ZEO.StorageServer import StorageServer

OID = b'\0' * 7 + b'\1'


class Service:
    """One server, its loop's thread, and the good client."""

    def __init__(self, folder, storage, options):
        self.storage = storage
        self.server = StorageServer(os.path.join(folder, 's'), {'1': storage}, **options)
        self.hosted = self.server.hosted['1']
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.good = ClientStorage(
            self.server.addr, wait_timeout=20, read_only=bool(options.get('read_only'))
        )
        self.serial = z64
        self._raw = []

    def connect(self):
        """Return a connection on which nothing was said; the server's greeting is yet to be
        read.
        """
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(self.server.addr)
        self._raw.append(Conversation(stream))
        return self._raw[-1]

    def client(self, **options):
        """Return a registered client that does nothing by itself."""
        self._raw.append(RawClient(self.server.addr, **options))
        return self._raw[-1]

    def commit(self, *oids, data=b'good'):
        """Commit with the good client."""
        meta = TransactionMetaData()
        self.good.tpc_begin(meta)
        try:
            for oid in oids:
                self.good.store(oid, z64, data, '', meta)
            self.good.tpc_vote(meta)
            return self.good.tpc_finish(meta)
        except BaseException:
            self.good.tpc_abort(meta)
            raise

    def works(self):
        """Show that the good client is served."""
        assert self.thread.is_alive(), "the server's loop has ended"
        if self.good.isReadOnly():
            self.good.ping()
            return
        oid = self.good.new_oid()
        tid = self.commit(oid)
        assert self.good.loadBefore(oid, b'\x7f' + b'\xff' * 7) == (b'good', tid, None)
        assert self.hosted.lock.holder is None

    def close(self):
        for raw in self._raw:
            raw.close()
        self.good.close()
        self.server.close()


@pytest.fixture
def serve(tmp_path):
    """A function that starts a service; at the end of the test each has to work still."""
    services, folders = [], []

    def start(storage=None, **options):
        # a socket's path must be short
        folders.append(tempfile.mkdtemp(prefix='zeo-', dir='/tmp'))
        if storage is None:
            storage = FileStorage(str(tmp_path / f'{len(services)}.fs'))
        services.append(Service(folders[-1], storage, options))
        return services[-1]

    try:
        yield start
        for service in services:
            service.works()
    finally:
        for service in services:
            service.close()
        for folder in folders:
            shutil.rmtree(folder)


@pytest.fixture
def service(serve):
    """A server of a FileStorage with nothing configured."""
    return serve()


@pytest.fixture
def in_memory(serve):
    """A server of a MappingStorage with nothing configured."""
    return serve(MappingStorage())


@pytest.fixture
def sockets_of_strangers(tmp_path):
    """A function that returns the address of a server that says one thing and knows no more."""
    folder = tempfile.mkdtemp(prefix='zeo-', dir='/tmp')
    listeners = []

    def listen(says):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.join(folder, str(len(listeners))))
        listener.listen()
        listeners.append(listener)

        def serve():
            while True:
                try:
                    stream, _ = listener.accept()
                except OSError:
                    return
                with stream:
                    stream.sendall(says)
                    stream.recv(100)

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()

    yield listen
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    shutil.rmtree(folder)
