"""Servers of several kinds of storages, and raw clients of both encodings.

Enters: the name of a kind, `Z5` or `M5`. Leaves: a :class:`Target` with its clients. Fails: as
:mod:`support.bounded`.
"""

from __future__ import annotations

import os
from typing import Any

import msgpack

from support.bounded import BoundedServer
from support.scripted import RawClient, framed

FILE = '<filestorage>\npath DIR/data.fs\nblob-dir DIR/blobs\n</filestorage>\n'

#: Storages by the names of their kinds.
KINDS = {
    'file': FILE,
    'mapping': '<mappingstorage>\n</mappingstorage>\n',
    'demo': f'<demostorage>\n{FILE}</demostorage>\n',
    'zlib': f'%import zc.zlibstorage\n<zlibstorage>\n{FILE}</zlibstorage>\n',
    'hosted': '<zeoclient>\nserver {upstream}\nblob-dir DIR/blob-cache\n</zeoclient>\n',
}


class PackedClient(RawClient):
    """A raw client of M5."""

    def encoded(self, *parts: Any) -> bytes:
        return framed(msgpack.packb(parts))

    def next(self) -> tuple[Any, Any, str, Any]:
        return msgpack.unpackb(self.frame(), use_list=False, strict_map_key=False)


class Target:
    """One server process.

    :param options: of the server.
    """

    def __init__(self, kind: str, protocol: str, **options: Any) -> None:
        self.kind = kind
        self._protocol = protocol
        self._options = {'msgpack': protocol == 'M5', **options}
        self._upstream = BoundedServer() if kind == 'hosted' else None
        self.server = BoundedServer()
        self.canary = str(self.server.directory / 'canary')
        self._clients: list[RawClient] = []
        self.start()

    def start(self) -> None:
        """Serve; again, with what is in the files."""
        conf = KINDS[self.kind]
        if self._upstream is not None:
            conf = conf.format(upstream=self._upstream.address or self._upstream.serve())
        self.server.serve(conf, **self._options)

    def connect(self, **options: Any) -> RawClient:
        """Return a registered client."""
        kind = PackedClient if self._protocol == 'M5' else RawClient
        self._clients.append(kind(self.server.address, **options))
        return self._clients[-1]

    def canary_lives(self) -> bool:
        """Whether nothing has touched it, in no process."""
        return not os.path.exists(self.canary) and self.is_alive()

    def is_alive(self) -> bool:
        """Whether all processes run."""
        return all(server is None or server.is_running for server in (self.server, self._upstream))

    def close(self) -> None:
        """End everything."""
        for client in self._clients:
            client.close()
        self.server.close()
        if self._upstream is not None:
            self._upstream.close()
