"""Open clients, databases, connections and servers in one call each.

Enters: an address or a file name and keyword arguments. Leaves: a storage, a database, a
connection, or a running server's address with the function that stops it. Fails: as
:class:`ZEO.ClientStorage.ClientStorage` and :class:`ZEO.StorageServer.StorageServer` do.

Importing this package imports nothing of ZODB's and none of its own modules: each function imports
what it needs when it is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from ZEO.ClientStorage import ClientStorage
    from ZEO.databases import Connection, Database
    from ZEO.embedded import Running
    from ZEO.replica.storage import Replica

    __version__: str

__all__ = ['DB', 'Replica', '__version__', 'client', 'connection', 'server']

_Arguments = ParamSpec('_Arguments')
_Result = TypeVar('_Result')


def __getattr__(name: str) -> Any:
    if name == 'Replica':
        from ZEO.replica.storage import Replica

        return Replica
    if name == '__version__':
        from ZEO.version import version

        return version()
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def client(
    addr: object,
    storage: str = '1',
    cache_size: int | None = 20_000_000,
    name: str | None = '',
    wait_timeout: float | None = None,
    wait: bool | None = True,
    read_only: bool | None = False,
    read_only_fallback: bool | None = False,
    client: str | None = None,
    var: str | None = None,
    cache: Any = None,
    debug: str | None = None,
    blob_dir: str | None = None,
    shared_blob_dir: bool | None = False,
    blob_cache_size: int | None = None,
    blob_cache_size_check: int | None = 10,
    client_label: str | None = None,
    ssl: Any = None,
    ssl_server_hostname: str | None = None,
    server_sync: bool | None = False,
    min_disconnect_poll: float | None = None,
    max_disconnect_poll: float | None = None,
    disconnect_poll: float | None = None,
    drop_cache_rather_verify: bool | None = False,
    drop_cache_if_older: bool = False,
    username: str | None = None,
    password: str | None = None,
    realm: str | None = None,
    credentials: Any = None,
    wait_for_server_on_startup: bool | None = None,
    timeout: float | None = None,
    prefer: str | None = None,
    prefer_wait: float | None = None,
    read_ahead: bool | None = True,
) -> ClientStorage:
    """Return a storage that a server serves.

    :param addr: where the server listens: ``(host, port)``, ``'host:port'``, a port number, the
        path of a Unix socket, or a list of these. The other arguments are described at
        :class:`ZEO.ClientStorage.ClientStorage`.
    :raises ZEO.Exceptions.ClientDisconnected: when no server answers in time.
    :raises ZEO.Exceptions.ClientStorageError: when the server does not serve that storage.
    :raises ZEO.Exceptions.ConfigurationError: when an argument is wrong.
    """
    arguments = locals()  # each by its name
    from ZEO.ClientStorage import ClientStorage

    return ClientStorage(**arguments)


def _with_arguments_of(
    model: Callable[_Arguments, Any],
) -> Callable[[Callable[..., _Result]], Callable[_Arguments, _Result]]:
    """Show the arguments of `model` as those of a function that passes its own on to it."""

    def show(function: Callable[..., _Result]) -> Callable[_Arguments, _Result]:
        shown = inspect.signature(model).replace(
            return_annotation=function.__annotations__['return']
        )
        function.__signature__ = shown  # type: ignore[attr-defined]
        return function

    return show


@_with_arguments_of(client)
def DB(*args: Any, **options: Any) -> Database:
    """Return a ZODB database over a storage that a server serves.

    The arguments and the exceptions are those of :func:`client`. Closing the database, as ``with``
    does at its end, closes the storage.
    """
    from ZODB.POSException import ConflictError

    from ZEO.databases import over

    try:
        return over(client(*args, **options))
    except ConflictError:  # another process has made the root of the new database at the same time
        return over(client(*args, **options))


@_with_arguments_of(client)
def connection(*args: Any, **options: Any) -> Connection:
    """Return a connection to a new database over a storage that a server serves.

    The arguments and the exceptions are those of :func:`client`. Closing the connection closes the
    database; ``with`` does so at its end, after it has committed, or aborted after an exception.
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
    *,
    access: Iterable[str] | Mapping[str, Iterable[str]] | None = None,
    name: str | None = None,
    start_timeout: float = 60.0,
    protocol: Any = None,
    log: Any = None,
    debug: Any = None,
    suicide: Any = None,
    show_config: Any = None,
) -> Running:
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
    :param access: who may do what: rules such as ``'unix-user zope write'``, for every storage, or
        by the names of storages. Without it, every client may do everything.
    :param name: the name of that thread.
    :param start_timeout: seconds that a process may take to start.
    :param protocol: accepted and ignored, like `log`, `debug`, `suicide` and `show_config`: other
        versions have them.
    :returns: the address for clients, and a function that stops the server and waits for its end;
        ``with ZEO.server() as address:`` stops it at the end of the block.
    :raises ZEO.Exceptions.ConfigurationError: when one of these arguments is wrong.
    """
    from ZEO.embedded import run

    return run(
        path,
        blob_dir,
        storage_conf,
        zeo_conf,
        port,
        threaded,
        access=access,
        name=name,
        start_timeout=start_timeout,
    )
