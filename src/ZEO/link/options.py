"""From the constructor's arguments to what the rooms of the link take.

Enters: arguments as users and configurations write them, some of them None.  Leaves: a cache, a registration, pauses.  Fails:
ConfigurationError for what can't be meant.
"""
from __future__ import annotations

import logging
import os
import re
from typing import Any

from ZEO.cache.client_cache import ClientCache
from ZEO.cache.memory_cache import MemoryCache
from ZEO.Exceptions import ConfigurationError
from ZEO.link.connector import Registration
from ZEO.link.link import FIRST_PAUSE, LAST_PAUSE
from ZEO.wire.plain import is_plain

log = logging.getLogger('ZEO.ClientStorage')

#: The bytes of a client cache, as the first release had it.  A temporary cache of that size is kept in memory; of a larger one
#: the records are in a temporary file.
CACHE_SIZE = 20_000_000

#: The pauses that ZODB's <zeoclient> section passes when the configuration names none.  Meant as they stand, they would keep a
#: client away from a server for minutes after it is back.
_UNSAID = 5, 300

#: The largest message that a client takes from its server: what both sides' lengths can say.
MESSAGE_SIZE = 2**32 - 1


def open_cache(cache: Any, client: str | None, var: str | None, storage: str, size: int, database: str) -> Any:
    """Return the client cache.

    :param cache: a path, or a cache that is there already.
    :param client: the name of a persistent cache; without it, the environment's ``ZEO_CLIENT``.
    :param var: the directory of persistent caches.
    :param database: what tells the storage from others of its name; a file of another one is not used.
    :raises ConfigurationError: when the directory is not there, or the size is none.
    """
    if not isinstance(size, int) or size < 0:
        raise ConfigurationError(f'cache_size is {size!r}: give a number of bytes')
    if cache is not None and not isinstance(cache, (str, os.PathLike)):
        return cache
    client = client or os.environ.get('ZEO_CLIENT')
    if cache is None and not client:
        return MemoryCache(size) if size <= CACHE_SIZE else ClientCache(None, size)
    path = os.fspath(cache) if cache is not None else cache_path(str(client), var, storage)
    directory = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(directory):
        raise ConfigurationError(f'there is no directory {directory} for the client cache: make it, or name another with var=')
    opened = ClientCache(path, size, identity=database)
    if opened.is_usable:
        return opened
    opened.close()
    log.warning('A client cache in memory takes the place of %s until the next start', path)
    return MemoryCache(min(size, CACHE_SIZE))


def cache_path(client: str, var: str | None, storage: str) -> str:
    """Return the path of a persistent cache's file."""
    if not var:
        home = os.environ.get('INSTANCE_HOME')
        var = os.path.join(home, 'var') if home else os.getcwd()
    name = re.sub(r'[^\w.@+-]', '_', f'{client}-{storage}')   # neither name may leave the directory
    return os.path.join(var, name + '.zec')


def after_fork(cache: Any, size: int) -> Any:
    """Return the cache of a forked child, whose parent keeps the file."""
    detach = getattr(cache, 'detach', None)
    if detach is None:
        return MemoryCache(size)
    detach()
    return cache


def registration(storage: str, read_only: bool, fallback: bool, label: str, ssl: Any, ssl_server_hostname: str | None,
                 drop_cache_if_older: bool, drop_cache_rather_verify: bool) -> Registration:
    """Return what to ask of a server."""
    if isinstance(ssl, tuple):   # as ZConfig sections give it
        ssl, ssl_server_hostname = ssl
    return Registration(storage, read_only, fallback and not read_only, label.replace('\n', ' '), ssl, ssl_server_hostname,
                        drop_cache_if_older, drop_cache_rather_verify, MESSAGE_SIZE)


def pauses(first: float | None, last: float | None, both: float | None) -> tuple[float, float]:
    """Return the first and the last pause between two rounds of connecting, in seconds."""
    first = both if first is None else first
    last = both if last is None else last
    if (first, last) == _UNSAID:
        first = last = None
    if first is None:
        first = FIRST_PAUSE if last is None else min(FIRST_PAUSE, last)
    return first, max(first, LAST_PAUSE if last is None else last)


def extension(transaction: Any, extensions: frozenset[str]) -> Any:
    """Return a transaction's extension as its server takes it.

    :raises ConfigurationError: when the server takes plain data only, and this is not.
    """
    if 'extension_bytes' in extensions:
        return transaction.extension_bytes
    plain = dict(transaction.extension or {})   # some have a class of their own, which says nothing
    if not is_plain(plain):
        raise ConfigurationError('the extension of this transaction holds objects, and this server takes plain data only')
    return plain
