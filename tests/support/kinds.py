"""The storages that ZODB's tests run on: what the server hosts and how the client opens it.

Enters: a directory.  Leaves: ZConfig text for the server, and options for the client.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ZODB.tests.hexstorage import HexStorage


def filestorage(directory: str, more: str = '') -> str:
    """Return the section of a FileStorage, `more` lines in it."""
    return f'<filestorage>\n path {directory}/data.fs\n{more}\n</filestorage>\n'


def filestorage_with_blobs(directory: str) -> str:
    """Return the section of a FileStorage that has blobs."""
    return filestorage(directory, f'blob-dir {directory}/blobs')


def filestorage_without_gc(directory: str) -> str:
    """Return the section of a FileStorage whose pack leaves collecting garbage to others."""
    return filestorage(directory, f'blob-dir {directory}/blobs\n pack-gc false')


def mappingstorage(directory: str) -> str:
    """Return the section of a MappingStorage."""
    return '<mappingstorage>\n</mappingstorage>\n'


def mappingstorage_with_blobs(directory: str) -> str:
    """Return the section of a MappingStorage with a blob directory."""
    inner = mappingstorage(directory)
    return f'<blobstorage>\n blob-dir {directory}/blobs\n{inner}</blobstorage>\n'


def demostorage(directory: str) -> str:
    """Return the section of a DemoStorage: changes in memory over an empty base."""
    return '<demostorage>\n</demostorage>\n'


def hexstorage(directory: str) -> str:
    """Return a FileStorage in a wrapper that writes every record in hexadecimal."""
    return f'%import ZODB.tests\n<hexstorage>\n{filestorage_with_blobs(directory)}</hexstorage>\n'


def hexstorage_of_clients(directory: str) -> str:
    """Return a FileStorage whose records the clients' wrapper writes in hexadecimal."""
    inner = filestorage_with_blobs(directory)
    return f'%import ZODB.tests\n<serverhexstorage>\n{inner}</serverhexstorage>\n'


@dataclass(frozen=True)
class Kind:
    """What is served, and how a client opens it."""

    conf: Callable[[str], str]  # directory -> sections
    blobs: str = ''  # '', 'shared' or 'transferred'
    wrap: Callable[[Any], Any] | None = None  # put around the client

    def client_options(self, server_directory: str, blob_dir: str) -> dict[str, Any]:
        """Return the options of a client.

        :param server_directory: where the server's files are.
        :param blob_dir: for the client's own copies of blobs, when they are transferred.
        """
        if self.blobs == 'shared':
            return {'blob_dir': os.path.join(server_directory, 'blobs'), 'shared_blob_dir': True}
        if self.blobs == 'transferred':
            return {'blob_dir': blob_dir, 'shared_blob_dir': False}
        return {}


FILE = Kind(filestorage)
FILE_SHARED_BLOBS = Kind(filestorage_with_blobs, 'shared')
FILE_TRANSFERRED_BLOBS = Kind(filestorage_with_blobs, 'transferred')
FILE_WITHOUT_GC = Kind(filestorage_without_gc, 'transferred')
MAPPING = Kind(mappingstorage)
MAPPING_SHARED_BLOBS = Kind(mappingstorage_with_blobs, 'shared')
MAPPING_TRANSFERRED_BLOBS = Kind(mappingstorage_with_blobs, 'transferred')
DEMO = Kind(demostorage)
HEX_ON_SERVER = Kind(hexstorage, 'transferred')
HEX_ON_CLIENT = Kind(hexstorage_of_clients, 'transferred', wrap=HexStorage)
