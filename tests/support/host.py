"""A server process that changes what it serves on command: ``python -m support.host``.

Starting a process costs much more than opening a storage, and ZODB's test classes want a fresh
storage for every test.  So one process serves one storage after another, each on a socket of its
own.  It runs with our ZEO and with ZEO 6 alike.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import ZODB.config

import ZEO
import ZEO.StorageServer
from support import jsonlines

OURS = hasattr(ZEO.StorageServer.StorageServer, 'serve_forever')


class Host:
    """The commands: serve, stop."""

    def __init__(self, directory: str) -> None:
        self._directory = directory  # of the sockets; their paths have to be short
        self._count = 0  # of addresses given out
        self._stops: dict[str, Callable[[], Any]] = {}  # by slot

    def do_serve(
        self, storage: str, options: dict[str, Any], slot: str = '', address: Any = None
    ) -> Any:
        """Serve a storage in a slot, instead of what was served there; return its address.

        :param storage: ZConfig text with one storage section.
        :param options: of the server, by the names that StorageServer has for them.
        :param address: the one of an earlier call, to listen there again.
        """
        self.do_stop(slot)
        if address is None:
            self._count += 1
            address = os.path.join(self._directory, str(self._count))
        start = _start_ours if OURS else _start_peer
        self._stops[slot] = start(storage, options, address)
        return address

    def do_become(self, user: int) -> None:
        """Be another user, or root again; the limits of the system do not bind root."""
        if user:
            os.setresuid(user, user, 0)
        else:
            os.setresuid(0, 0, 0)

    def do_stop(self, slot: str | None = None) -> None:
        """End what is served in a slot, or in all."""
        for name in list(self._stops) if slot is None else [slot]:
            stop = self._stops.pop(name, None)
            if stop:
                stop()


def _start_ours(conf: str, options: dict[str, Any], address: Any) -> Callable[[], None]:
    storage = ZODB.config.storageFromString(conf)
    if 'limits' in options:
        options = {**options, 'limits': ZEO.StorageServer.Limits(**options['limits'])}
    server = ZEO.StorageServer.StorageServer(address, {'1': storage}, **options)
    thread = threading.Thread(target=server.serve_forever, name='server', daemon=True)
    thread.start()

    def stop() -> None:
        server.stop()
        thread.join(20)
        if thread.is_alive():
            raise RuntimeError('the server does not stop')
        server.close()

    return stop


def _start_peer(conf: str, options: dict[str, Any], address: Any) -> Callable[[], Any]:
    options = {name.replace('_', '-'): value for name, value in options.items()}
    return ZEO.server(storage_conf=conf, zeo_conf=options, port=address)[1]


def main() -> None:
    """Run the commands on standard input."""
    logging.basicConfig(level=os.environ.get('SUPPORT_LOG', 'ERROR'), stream=sys.stderr)
    with tempfile.TemporaryDirectory(prefix='zeo-', dir='/tmp') as directory:
        host = Host(directory)
        try:
            jsonlines.serve(host)
        finally:
            host.do_stop()
    sys.stderr.flush()
    os._exit(0)  # whatever threads a server under test has left behind


if __name__ == '__main__':
    main()
