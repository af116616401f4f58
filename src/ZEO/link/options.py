"""What a client storage was asked to be: the constructor's arguments as checked values.

Enters: arguments as users and configurations write them, some of them None. Leaves:
:class:`ClientOptions`, with everything that the arguments leave open filled in. Fails:
ConfigurationError for a value that makes no sense, with what to write instead.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.link.credentials import Credentials
from ZEO.link.option_checks import READ_ELSEWHERE, check
from ZEO.net.addresses import Address, absolute, parse_all, same, show
from ZEO.wire.extensions import PRIMARY
from ZEO.wire.saslprep import prepared
from ZEO.wire.scram import checked_name

log = logging.getLogger('ZEO.ClientStorage')

#: The bytes of a client cache, as in the first release. A temporary cache of that size is kept in
#: memory; of a larger one the records are in a temporary file.
CACHE_SIZE = 20_000_000

#: Per cent of the blob cache's size that come in between two looks at its bound.
BLOB_CACHE_CHECK = 10

#: Seconds between two rounds of connecting: from the first, doubled, to the second.
FIRST_PAUSE, LAST_PAUSE = 0.05, 1.0

#: The pauses that ZODB's <zeoclient> section passes when the configuration names none. Taken
#: literally, they would keep a client away from a server for minutes after it is back.
_UNSAID = 5, 300

#: Seconds that a call waits for a connection by default.
WAIT = 30.0

#: Seconds that a server to read from may be behind a commit of this client by default: more than a
#: follower in another data centre needs, and less than people mind.
PREFER_WAIT = 1.0

#: Seconds that stand for no limit: what threads can wait for, at most, is finite.
LONGEST = 1e9

#: Bytes of the largest message that a client accepts: the most that a frame's length can say.
MESSAGE_SIZE = 2**32 - 1


@dataclass(frozen=True)
class Registration:
    """What a client asks of a server.

    :param storage: the storage's name on the server.
    :param fallback: whether a read-only server will do until a writable one is found.
    :param label: what the server's log calls this client.
    :param message_size: bytes of the largest message that the client accepts.
    :param timeout: seconds that a call may take; 0: any; None: the default.
    :param name: what the application calls this storage.
    :param credentials: the user whose password it proves before; None for no user.
    :param purpose: what this link is for, where a client has several.
    :param read_ahead: whether the server may send records that were not asked for.
    """

    storage: str
    read_only: bool = False
    fallback: bool = False
    label: str = ''
    ssl: Any = None
    ssl_server_hostname: str | None = None
    drop_cache_if_older: bool = False
    drop_cache_rather_verify: bool = False
    message_size: int = MESSAGE_SIZE
    timeout: float | None = None
    name: str = ''
    credentials: Credentials | None = None
    purpose: str = ''
    read_ahead: bool = False

    @property
    def who(self) -> str:
        """How lines of the log begin."""
        storage = f'storage {self.storage}' + (f', for {self.purpose}' if self.purpose else '')
        return f'{self.name} ({storage})' if self.name else storage


@dataclass(frozen=True)
class CacheOptions:
    """Which client cache to open.

    :param cache: a file's path, a cache of the program's own, or None.
    :param client: the name of a persistent cache, or None.
    :param var: the directory of persistent caches, or None for the default.
    :param size: bytes.
    :param identity: of the storage, among others of its name; the file of another one is not used.
    """

    cache: Any
    client: str | None
    var: str | None
    storage: str
    size: int
    identity: str


@dataclass(frozen=True)
class BlobOptions:
    """Where a client's blob files are.

    :param directory: the server's own, or that of a cache.
    :param shared: whether it is the server's own.
    :param size: bytes that a cache may take; None for no bound.
    :param check: per cent of `size` that come in between two looks at the bound.
    """

    directory: str
    shared: bool = False
    size: int | None = None
    check: int = BLOB_CACHE_CHECK


@dataclass(frozen=True)
class ClientOptions:
    """Everything that the arguments of :class:`ZEO.ClientStorage.ClientStorage` say.

    :param title: what the first releases called the storage.
    :param name: the storage's name for people.
    :param sort_key: the same in every client of the same storage.
    :param wait: whether to wait for a connection at the start.
    :param wait_timeout: seconds that a call waits for a connection.
    :param pauses: the first and the last pause between two rounds of connecting, in seconds.
    :param read_only_fallback: whether to work without a writable server while there is none.
    :param prefer: which servers to read from, one of
        :data:`ZEO.link.option_checks.PREFERENCES`; None: the writable one.
    :param prefer_wait: seconds that a server to read from may be behind a commit of this client.
    """

    addresses: list[Address]
    title: str
    name: str
    sort_key: str
    cache: CacheOptions
    blobs: BlobOptions | None
    registration: Registration
    server_sync: bool
    wait: bool
    wait_timeout: float
    pauses: tuple[float, float]
    read_only_fallback: bool = False
    prefer: str | None = None
    prefer_wait: float = PREFER_WAIT

    @property
    def reads_elsewhere(self) -> bool:
        """Whether reading and writing may be at different servers."""
        return self.prefer in READ_ELSEWHERE

    @classmethod
    def from_arguments(cls, given: Mapping[str, Any]) -> ClientOptions:
        """Return what the arguments of the constructor say.

        :param given: all of them, each by its name.
        :raises ConfigurationError: when one makes no sense; the text says what to give instead.
        """
        check(given)
        addresses = addresses_of(given['addr'])
        storage, name = given['storage'] or '1', given['name'] or ''
        wait = given['wait_for_server_on_startup']
        wait = given['wait'] if wait is None else wait
        return cls(
            addresses,
            name or _title(given['addr']),
            name or f'{show(addresses[0])}/{storage}',
            f'{storage}:{same(addresses[0])}',
            _cache(given, storage, addresses),
            _blobs(given),
            _registration(given, storage, name),
            bool(given['server_sync']),
            True if wait is None else bool(wait),
            _patience(given['wait_timeout']),
            pauses(
                *map(given.get, ('min_disconnect_poll', 'max_disconnect_poll', 'disconnect_poll'))
            ),
            bool(given['read_only_fallback']),
            given['prefer'] or None,
            PREFER_WAIT if given['prefer_wait'] is None else min(given['prefer_wait'], LONGEST),
        )


def addresses_of(given: object) -> list[Address]:
    """Return addresses that stay the same when the process changes its directory.

    :raises ConfigurationError: for one that is not an address.
    """
    return [absolute(address) for address in parse_all(given)]


def _title(addr: object) -> str:
    return str(('127.0.0.1', addr) if isinstance(addr, int) else addr)


def _cache(given: Mapping[str, Any], storage: str, addresses: list[Address]) -> CacheOptions:
    size = given['cache_size']
    return CacheOptions(
        given['cache'],
        given['client'],
        given['var'],
        storage,
        CACHE_SIZE if size is None else size,
        f'{storage}@{",".join(sorted(map(same, addresses)))}',
    )


def _blobs(given: Mapping[str, Any]) -> BlobOptions | None:
    if not given['blob_dir']:
        return None
    return BlobOptions(
        os.fspath(given['blob_dir']),
        bool(given['shared_blob_dir']),
        given['blob_cache_size'],
        given['blob_cache_size_check'] or BLOB_CACHE_CHECK,
    )


def _registration(given: Mapping[str, Any], storage: str, name: str) -> Registration:
    ssl, hostname = given['ssl'], given['ssl_server_hostname']
    if isinstance(ssl, tuple):  # as ZConfig sections give it
        ssl, hostname = ssl
    read_only = bool(given['read_only'])
    return Registration(
        storage,
        read_only,
        bool(given['read_only_fallback'] or given['prefer'] == PRIMARY) and not read_only,
        (given['client_label'] or '').replace('\n', ' '),
        ssl or None,
        hostname,
        bool(given['drop_cache_if_older']),
        bool(given['drop_cache_rather_verify']),
        timeout=given['timeout'],
        name=name,
        credentials=_credentials(given['username'], given['password']),
        read_ahead=given['read_ahead'] is not False,
    )


def _credentials(username: str | None, password: str | None) -> Credentials | None:
    if not username and not password:
        return None
    if not username or not password:
        given, missing = ('username', 'password') if username else ('password', 'username')
        raise ConfigurationError(f'{given} is given without {missing}: give both, or neither')
    try:
        username = checked_name(username)
    except ValueError as error:
        raise ConfigurationError(f'username is {username!r}: {error}') from None
    try:
        return Credentials(username, prepared(password))
    except ValueError as error:
        raise ConfigurationError(f'the password cannot be used: {error}') from None


def _patience(wait_timeout: float | None) -> float:
    return WAIT if wait_timeout is None else min(wait_timeout, LONGEST)


def pauses(first: float | None, last: float | None, both: float | None) -> tuple[float, float]:
    """Return the first and the last pause between two rounds of connecting, in seconds."""
    first = both if first is None else first
    last = both if last is None else last
    if (first, last) == _UNSAID:
        first = last = None
    if first is None:
        first = FIRST_PAUSE if last is None else min(FIRST_PAUSE, last)
    return min(first, LONGEST), min(max(first, LAST_PAUSE if last is None else last), LONGEST)
