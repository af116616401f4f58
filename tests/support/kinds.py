"""The storages that ZODB's tests run on: what the server hosts and how the client opens it.

Enters: directories.  Leaves: ZConfig text for the server, and options for the client.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ZODB.tests import hexstorage as wrappers


class HexStorage(wrappers.HexStorage):
    """ZODB's wrapper, made fit for invalidations of other clients.

    It hands them on with an argument that databases do not take, and before there is a database.
    """

    def invalidate(self, transaction_id: bytes, oids: Any) -> None:
        """Hand on what other clients have changed."""
        if 'db' in vars(self):
            self.db.invalidate(transaction_id, oids)


def _filestorage(directory: str, more: str) -> str:
    return f'<filestorage>\n path {directory}/data.fs\n{more}\n</filestorage>\n'


def filestorage(directory: str, blobs: str) -> str:
    """Return the section of a FileStorage."""
    return _filestorage(directory, '')


def filestorage_with_blobs(directory: str, blobs: str) -> str:
    """Return the section of a FileStorage that has blobs."""
    return _filestorage(directory, f'blob-dir {blobs}')


def filestorage_without_gc(directory: str, blobs: str) -> str:
    """Return the section of a FileStorage whose pack leaves collecting garbage to others."""
    return _filestorage(directory, f'blob-dir {blobs}\n pack-gc false')


def mappingstorage(directory: str, blobs: str) -> str:
    """Return the section of a MappingStorage."""
    return '<mappingstorage>\n</mappingstorage>\n'


def mappingstorage_with_blobs(directory: str, blobs: str) -> str:
    """Return the section of a MappingStorage with a blob directory."""
    inner = mappingstorage(directory, blobs)
    return f'<blobstorage>\n blob-dir {blobs}\n{inner}</blobstorage>\n'


def demostorage(directory: str, blobs: str) -> str:
    """Return the section of a DemoStorage: changes in memory over an empty base."""
    return '<demostorage>\n</demostorage>\n'


def hexstorage(directory: str, blobs: str) -> str:
    """Return a FileStorage in a wrapper that writes every record in hexadecimal."""
    inner = filestorage_with_blobs(directory, blobs)
    return f'%import ZODB.tests\n<hexstorage>\n{inner}</hexstorage>\n'


def hexstorage_of_clients(directory: str, blobs: str) -> str:
    """Return a FileStorage whose records the clients' wrapper writes in hexadecimal."""
    inner = filestorage_with_blobs(directory, blobs)
    return f'%import ZODB.tests\n<serverhexstorage>\n{inner}</serverhexstorage>\n'


@dataclass(frozen=True)
class Kind:
    """What is served, and how a client opens it."""

    conf: Callable[[str, str], str]  # directory of its files, directory of its blobs -> sections
    blobs: str = ''  # '', 'shared' or 'transferred'
    wrap: Callable[[Any], Any] | None = None  # put around the client


FILE = Kind(filestorage)
FILE_SHARED_BLOBS = Kind(filestorage_with_blobs, 'shared')
FILE_TRANSFERRED_BLOBS = Kind(filestorage_with_blobs, 'transferred')
FILE_WITHOUT_GC = Kind(filestorage_without_gc)
FILE_SHARED_BLOBS_WITHOUT_GC = Kind(filestorage_without_gc, 'shared')
MAPPING = Kind(mappingstorage)
MAPPING_SHARED_BLOBS = Kind(mappingstorage_with_blobs, 'shared')
MAPPING_TRANSFERRED_BLOBS = Kind(mappingstorage_with_blobs, 'transferred')
DEMO = Kind(demostorage)
HEX_ON_SERVER = Kind(hexstorage, 'transferred')
HEX_ON_CLIENT = Kind(hexstorage_of_clients, 'transferred', wrap=HexStorage)
