"""ZODB's storage tests over a client and a real server process.

Enters: a :class:`~support.kinds.Kind`.  Leaves: a test class whose ``self._storage`` is a
ClientStorage on a fresh storage for every test.  A class has one server process; see
:mod:`support.host`.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from ZODB.tests.StorageTestBase import StorageTestBase
from zope.testing import setupstack

from support.children import Child
from support.kinds import FILE, Kind
from support.processes import ProcessFailed
from support.sides import PEER, SERVER, Side
from ZEO.ClientStorage import ClientStorage

#: Seconds in which a client has to reach a server that listens already.
WAIT = 20


class Servers:
    """One server process, and clients of it."""

    def __init__(self, side: Side = SERVER) -> None:
        """Get ready; the process starts with the first storage.

        :param side: of the server.
        """
        self._side = side
        self._child: Child | None = None
        self._clients: list[Any] = []

    def serve(self, kind: Kind, directory: str, blobs: str, slot: str = '', **options: Any) -> Any:
        """Serve a storage; return its address.

        :param directory: of its files, made if it is missing; `blobs`: the same for its blobs.
        :param slot: name of this storage among those that are served at a time.
        :param options: of the server, by the names of StorageServer's arguments.
        """
        os.makedirs(directory, exist_ok=True)
        os.makedirs(blobs, exist_ok=True)
        if self._child is None:
            self._child = Child(self._side, 'support.host', cwd='/tmp')
        conf = kind.conf(directory, os.path.abspath(blobs))
        return self._child.call('serve', storage=conf, options=options, slot=slot)

    def open(self, kind: Kind, address: Any, blobs: str, **options: Any) -> Any:
        """Return a client of a storage that is served at an address.

        :param blobs: the server's directory when the kind shares it, else the client's own.
        """
        if kind.blobs:
            options = {'blob_dir': blobs, 'shared_blob_dir': kind.blobs == 'shared', **options}
        client = ClientStorage(address, **{'wait_timeout': WAIT, **options})
        self._clients.append(client)
        return kind.wrap(client) if kind.wrap else client

    def stop(self) -> None:
        """Close all clients and stop serving; the process stays for the next test."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self._child is not None:
            try:
                self._child.call('stop')
            except ProcessFailed:
                self.end()
                raise

    def end(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.close()
            self._child = None


class Served(StorageTestBase):
    """A test class for mix-ins of ZODB, on a client."""

    kind: ClassVar[Kind] = FILE
    #: Options of the server, by the names of StorageServer's arguments.
    server_options: ClassVar[dict[str, Any]] = {}
    #: What a server of ours may load to resolve conflicts; others load everything.
    conflict_modules: ClassVar[list[str]] = []
    #: The side of the server.
    side: ClassVar[Side] = SERVER
    servers: ClassVar[Servers]

    def __init_subclass__(cls) -> None:
        """Let tests that turn the clock forward run by the real one.

        ZODB's decorator turns the clock of the test's process, and here tids are made in another.
        """
        for name in dir(cls):
            if name.startswith('test'):
                undecorated = getattr(getattr(cls, name), '__wrapped__', None)
                if undecorated is not None:
                    setattr(cls, name, undecorated)

    @classmethod
    def setUpClass(cls) -> None:
        """Get ready for a server process."""
        cls.servers = Servers(cls.side)

    @classmethod
    def tearDownClass(cls) -> None:
        """End the server process."""
        cls.servers.end()

    def setUp(self) -> None:
        """Serve a fresh storage and open a client, in a new working directory."""
        super().setUp()
        # A test whose set-up fails is not torn down; twice does no harm.
        self.addCleanup(setupstack.tearDown, self)
        self._address, self._blobs = self.serve('server')
        self.open()

    def tearDown(self) -> None:
        """Close what the test has left open."""
        try:
            self._close()
            self.servers.stop()
        finally:
            self._storage = None
            super().tearDown()

    def open(self, read_only: bool = False, **options: Any) -> None:
        """Open a client as the storage under test; ZODB's tests call it again after a close."""
        self._storage = self._new_storage_client(read_only=read_only, **options)

    def serve(self, name: str) -> tuple[Any, str]:
        """Serve a fresh storage in a directory; return its address and a client's blob
        directory.
        """
        directory = os.path.abspath(name)
        blobs = f'{directory}-blobs'
        options = dict(self.server_options)
        if self.conflict_modules and self.side is not PEER:
            options['conflict_modules'] = self.conflict_modules
        address = self.servers.serve(self.kind, directory, blobs, slot=name, **options)
        return address, blobs if self.kind.blobs == 'shared' else f'{directory}-client-blobs'

    def _new_storage_client(self, **options: Any) -> Any:
        return self.servers.open(self.kind, self._address, self._blobs, **options)
