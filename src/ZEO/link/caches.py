"""Choosing and opening the client cache.

Enters: what the options say about it. Leaves: a cache that a client can use; in memory where the
file can't be used, with a warning in the log. Fails: ConfigurationError for a directory that is not
there, or an object that is not a cache.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from typing import Any

from ZEO.cache.client_cache import ClientCache
from ZEO.cache.memory_cache import MemoryCache
from ZEO.cache.protocol import Cache, completed
from ZEO.Exceptions import ConfigurationError
from ZEO.link.options import CACHE_SIZE, CacheOptions

log = logging.getLogger('ZEO.ClientStorage')


def open_cache(wanted: CacheOptions, hold: Callable[[Cache], object]) -> None:
    """Open the client cache.

    :param hold: is given the cache, before it is opened, by the one that closes it, whatever
        strikes; of several caches, the last one is to be used.
    :raises ConfigurationError: when there is no directory for its file, or the object that a
        program gives is not a cache.
    """
    if wanted.cache is not None and not isinstance(wanted.cache, (str, os.PathLike)):
        hold(_of_the_program(wanted.cache, wanted.size))
        return
    client = wanted.client or os.environ.get('ZEO_CLIENT')
    if wanted.cache is not None:
        path = os.fspath(wanted.cache)
    elif client:
        path = cache_path(client, wanted.var, wanted.storage)
    else:
        size = wanted.size
        hold(MemoryCache(size) if size <= CACHE_SIZE else ClientCache(None, size))
        return
    _in_a_file(os.path.abspath(path), wanted, hold)


def _of_the_program(cache: Any, size: int) -> Cache:
    try:
        return completed(cache, size)
    except TypeError as error:
        raise ConfigurationError(
            f'cache is a {type(cache).__name__} without the method {error}: give the path of a '
            'file, or an object with the methods of ZEO.cache.protocol.BasicCache'
        ) from None


def cache_path(client: str, var: str | None, storage: str) -> str:
    """Return the path of a persistent cache's file."""
    if not var:
        home = os.environ.get('INSTANCE_HOME')
        var = os.path.join(home, 'var') if home else os.getcwd()
    name = re.sub(r'[^\w.@+-]', '_', f'{client}-{storage}')  # neither name may leave the directory
    return os.path.join(var, name + '.zec')


def _in_a_file(path: str, wanted: CacheOptions, hold: Callable[[Cache], object]) -> None:
    _check_directory(path)
    cache = ClientCache(path, wanted.size, identity=wanted.identity, opened=False)
    hold(cache)
    cache.open()
    if cache.is_usable:
        return
    cache.close()
    log.warning('%s cannot be used: the client cache is in memory until the next start', path)
    hold(MemoryCache(min(wanted.size, CACHE_SIZE)))


def _check_directory(path: str) -> None:
    if os.path.isdir(path):
        raise ConfigurationError(
            f'cache={path!r} is a directory: give the path of a file in it, such as '
            f'{os.path.join(path, "client.zec")!r}, or client=NAME with var={path!r}'
        )
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise ConfigurationError(
            f'there is no directory {directory} for the client cache: create it, or name another '
            'with var='
        )
