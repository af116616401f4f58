"""From the constructor's arguments to what the rooms of the link take.

Enters: arguments as users and configurations write them, some of them None. Leaves: a cache, a
registration, pauses. Fails: ConfigurationError for what can't be meant.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from typing import Any

from ZODB.Connection import TransactionMetaData

from ZEO.cache.client_cache import ClientCache
from ZEO.cache.memory_cache import MemoryCache
from ZEO.Exceptions import ConfigurationError
from ZEO.interfaces import IClientCache
from ZEO.link.connector import Registration
from ZEO.link.link import FIRST_PAUSE, LAST_PAUSE
from ZEO.net.tls import SSLContext
from ZEO.wire.plain import is_plain

log = logging.getLogger('ZEO.ClientStorage')

#: The bytes of a client cache, as the first release had it. A temporary cache of that size is kept
#: in memory; of a larger one the records are in a temporary file.
CACHE_SIZE = 20_000_000

#: The pauses that ZODB's <zeoclient> section passes when the configuration names none. Meant as
#: they stand, they would keep a client away from a server for minutes after it is back.
_UNSAID = 5, 300

#: Seconds that a call waits for a connection, unless the user has said how many.
WAIT = 30.0

#: Seconds that stand for ever: what threads can wait for, at most, has an end.
LONGEST = 1e9

#: The largest message that a client takes from its server: what both sides' lengths can say.
MESSAGE_SIZE = 2**32 - 1


_Checks = dict[str, tuple[Callable[[Any], bool], str]]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike)) and isinstance(os.fspath(value), str)


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))


def _is_tls(value: Any) -> bool:
    if isinstance(value, tuple) and len(value) == 2:  # as ZConfig sections give it
        value = value[0]
    return value is False or isinstance(value, SSLContext)


def _all(names: str, check: Callable[[Any], bool], remedy: str) -> _Checks:
    return dict.fromkeys(names.split(), (check, remedy))


#: The constructor's arguments -> what they may be besides None, and what to write instead.
_CHECKS: _Checks = {
    **_all('storage', _is_text, "names are text, such as '1'"),
    **_all('name client client_label ssl_server_hostname', _is_text, 'give a text'),
    **_all('var blob_dir', _is_path, 'give the path of a directory'),
    **_all(
        'wait_timeout timeout min_disconnect_poll max_disconnect_poll disconnect_poll',
        _is_time,
        'give a number of seconds, 0 or more',
    ),
    **_all('cache_size blob_cache_size', _is_size, 'give a number of bytes'),
    **_all(
        'blob_cache_size_check',
        lambda value: _is_size(value) and value <= 100,
        'give a whole number from 1 to 100, in per cent',
    ),
    **_all(
        'wait read_only read_only_fallback shared_blob_dir server_sync drop_cache_rather_verify '
        'drop_cache_if_older '
        'wait_for_server_on_startup',
        _is_flag,
        'give True or False',
    ),
    **_all(
        'ssl',
        _is_tls,
        'give an ssl.SSLContext, such as ssl.create_default_context(cafile=FILE) makes',
    ),
}


def check(**given: Any) -> None:
    """Look at arguments of the constructor.

    :raises ConfigurationError: for one that can't be meant, with what to write instead.
    """
    for name, value in given.items():
        if value is not None:
            is_good, remedy = _CHECKS[name]
            if not is_good(value):
                raise ConfigurationError(f'{name} is {value!r}: {remedy}')


def _checked_cache(cache: Any) -> Any:
    missing = [
        name for name in IClientCache.names() if name != '__len__' and not hasattr(cache, name)
    ]
    if missing:
        raise ConfigurationError(
            f'cache is a {type(cache).__name__}, which has no {missing[0]}: give the path of a '
            'file, or an '
            'object with the methods of ZEO.interfaces.IClientCache'
        )
    return cache


def open_cache(
    cache: Any, client: str | None, var: str | None, storage: str, size: int, database: str
) -> Any:
    """Return the client cache.

    :param cache: a path, or a cache that is there already.
    :param client: the name of a persistent cache; without it, the environment's ``ZEO_CLIENT``.
    :param var: the directory of persistent caches.
    :param database: what tells the storage from others of its name; a file of another one is not
        used.
    :raises ConfigurationError: when the directory is not there, or the size is none.
    """
    if not isinstance(size, int) or size < 0:
        raise ConfigurationError(f'cache_size is {size!r}: give a number of bytes')
    if cache is not None and not isinstance(cache, (str, os.PathLike)):
        return _checked_cache(cache)
    client = client or os.environ.get('ZEO_CLIENT')
    if cache is None and not client:
        return MemoryCache(size) if size <= CACHE_SIZE else ClientCache(None, size)
    path = os.path.abspath(
        os.fspath(cache) if cache is not None else cache_path(str(client), var, storage)
    )
    if os.path.isdir(path):
        raise ConfigurationError(
            f'cache={path!r} is a directory: give the path of a file in it, such as '
            f'{os.path.join(path, "client.zec")!r}, or client=NAME with var={path!r}'
        )
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise ConfigurationError(
            f'there is no directory {directory} for the client cache: make it, or name another '
            'with var='
        )
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
    name = re.sub(r'[^\w.@+-]', '_', f'{client}-{storage}')  # neither name may leave the directory
    return os.path.join(var, name + '.zec')


def after_fork(cache: Any, size: int) -> Any:
    """Return the cache of a forked child, whose parent keeps the file."""
    detach = getattr(cache, 'detach', None)
    if detach is None:
        return MemoryCache(size)
    detach()
    return cache


def registration(
    storage: str,
    read_only: bool,
    fallback: bool,
    label: str,
    ssl: Any,
    ssl_server_hostname: str | None,
    drop_cache_if_older: bool,
    drop_cache_rather_verify: bool,
    timeout: float | None = None,
) -> Registration:
    """Return what to ask of a server."""
    if isinstance(ssl, tuple):  # as ZConfig sections give it
        ssl, ssl_server_hostname = ssl
    return Registration(
        storage,
        read_only,
        fallback and not read_only,
        label.replace('\n', ' '),
        ssl or None,
        ssl_server_hostname,
        drop_cache_if_older,
        drop_cache_rather_verify,
        MESSAGE_SIZE,
        timeout,
    )


def pauses(first: float | None, last: float | None, both: float | None) -> tuple[float, float]:
    """Return the first and the last pause between two rounds of connecting, in seconds."""
    first = both if first is None else first
    last = both if last is None else last
    if (first, last) == _UNSAID:
        first = last = None
    if first is None:
        first = FIRST_PAUSE if last is None else min(FIRST_PAUSE, last)
    return min(first, LONGEST), min(max(first, LAST_PAUSE if last is None else last), LONGEST)


def patience(wait_timeout: float | None) -> float:
    """Return the seconds that a call waits for a connection."""
    return WAIT if wait_timeout is None else min(wait_timeout, LONGEST)


def shown(addr: object) -> str:
    """Return what the first release called a storage at that address."""
    return str(('127.0.0.1', addr) if isinstance(addr, int) else addr)


def metadata(transaction: Any, abilities: frozenset[str]) -> tuple[bytes, bytes, Any]:
    """Return a transaction's user, description and extension as its server takes them.

    :param transaction: a TransactionMetaData of ZODB's, or a transaction of the package
        transaction, whose texts are text.
    :param abilities: of the server.
    :raises ConfigurationError: when the server takes plain data only, and the extension is not.
    """
    user, description = _encoded(transaction.user), _encoded(transaction.description)
    if 'extension_bytes' in abilities:
        stored = getattr(transaction, 'extension_bytes', None)
        if not isinstance(stored, bytes):
            stored = TransactionMetaData(
                extension=dict(getattr(transaction, 'extension', None) or {})
            ).extension_bytes
        return user, description, stored
    # some have a class of their own, which says nothing
    plain = dict(getattr(transaction, 'extension', None) or {})
    if not is_plain(plain):
        raise ConfigurationError(
            'the extension of this transaction holds objects, and this server takes plain data only'
        )
    return user, description, plain


def _encoded(text: Any) -> bytes:
    if isinstance(text, bytes):
        return text
    if text is None or isinstance(text, str):
        return (text or '').encode('utf-8', 'surrogatepass')
    raise ConfigurationError(
        f'the user and the description of a transaction are text, not a {type(text).__name__}'
    )
