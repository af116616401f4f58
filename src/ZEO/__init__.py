"""The front door: clients, databases, connections and servers in one call each.

Enters: an address or a file name and keyword arguments.  Leaves: a storage, a database, a
connection, or a running server's address with the function that stops it.  Fails: as
:class:`ZEO.ClientStorage.ClientStorage` and :class:`ZEO.StorageServer.StorageServer` do.

Importing this package imports nothing else: each function imports what it needs when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ZODB import DB as Database
    from ZODB.Connection import Connection

    from ZEO.ClientStorage import ClientStorage

__all__ = ['DB', 'client', 'connection', 'server']


def client(*args: Any, **options: Any) -> ClientStorage:
    """Return a storage that is served at an address.

    :param args: the address first; they and `options` are those of
        :class:`ZEO.ClientStorage.ClientStorage`.
    :raises ZEO.Exceptions.ClientDisconnected: when no server answers in time.
    """
    from ZEO.ClientStorage import ClientStorage

    return ClientStorage(*args, **options)


def DB(*args: Any, **options: Any) -> Database:
    """Return a ZODB database over a storage that is served at an address.

    Arguments and exceptions are those of :func:`client`.
    """
    from ZODB import DB as Database

    storage = client(*args, **options)
    try:
        return Database(storage)
    except BaseException:
        storage.close()
        raise


def connection(*args: Any, **options: Any) -> Connection:
    """Return a connection to a database of its own, which closes with it.

    Arguments and exceptions are those of :func:`client`.
    """
    database = DB(*args, **options)
    try:
        return database.open_then_close_db_when_connection_closes()
    except BaseException:
        database.close()
        raise


def server(
    path: str | None = None,
    blob_dir: str | None = None,
    storage_conf: str | None = None,
    zeo_conf: str | dict[str, Any] | None = None,
    port: int | str | tuple[str, int] = 0,
    threaded: bool = True,
    **options: Any,
) -> tuple[Any, Callable[..., None]]:
    """Run a server, for tests and for trying things out.

    :param path: the file of a FileStorage; without it and without `storage_conf`, a
        MappingStorage is served.
    :param blob_dir: a directory for blobs, which is made if it is missing.
    :param storage_conf: storage sections in ZConfig's syntax, instead of `path` and `blob_dir`.
    :param zeo_conf: a whole ``<zeo>`` section, or a dict of what it should say, such as
        ``{'client_conflict_resolution': True}``.
    :param port: where to listen: a port number (0: a free one) of 127.0.0.1, ``(host, port)``,
        or a Unix socket's path.
    :param threaded: serve in a thread of this process; otherwise in a process of its own.
    :param options: see :func:`ZEO.config.embedded.run`.
    :returns: the address for clients, and a function that stops the server and waits for its end.
    :raises ZEO.Exceptions.ConfigurationError: when something of this is wrong.
    """
    from ZEO.config.embedded import run

    return run(path, blob_dir, storage_conf, zeo_conf, port, threaded, **options)
