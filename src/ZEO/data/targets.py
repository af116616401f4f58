"""What a command line names as a database: a server, a file, or a section of a configuration.

Enters: a text, and how servers are reached. Leaves: a source to read from, or a destination to
write to. Fails: :class:`~ZEO.Exceptions.ConfigurationError` for a text that names nothing;
:class:`~ZEO.data.outcome.DataError` for what cannot be opened, with the reason.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import ZODB.config

from ZEO.config import datatypes
from ZEO.config.factories import StorageFactory
from ZEO.config.loading import load
from ZEO.config.opening import one_line
from ZEO.config.storages import DEFAULT_NAME, open_file
from ZEO.data.destinations import Destination, destination
from ZEO.data.outcome import DataError
from ZEO.data.patience import opened
from ZEO.data.sources import FileSource, Source, StorageSource
from ZEO.Exceptions import ConfigurationError
from ZEO.leftovers import make_directory
from ZEO.net.addresses import Address, show

#: How the names of directories begin in which clients keep blobs.
_PRIVATE = 'zeo-blobs'

#: Bytes of a client's cache: nothing is read twice.
_CACHE = 2**20

#: Seconds to wait for a server by default.
WAIT = 30.0

FORMS = 'HOST:PORT/STORAGE, /SOCKET/STORAGE, FILE.fs, or FILE.conf#STORAGE'


@dataclass(frozen=True)
class Way:
    """How servers are reached."""

    tls: dict[str, Any] = field(default_factory=dict)  # `ssl`, `server_hostname`
    login: dict[str, Any] = field(default_factory=dict)  # `username`, `password`
    timeout: float = WAIT  # seconds to wait for one
    label: str = 'zeo'  # what the servers' logs call this client
    # is called with a line when a server lets this wait
    say: Callable[[str], object] = lambda line: None


@dataclass(frozen=True)
class Target:
    """A database, not open."""

    text: str  # as it was written
    address: Address | None = None  # of a server
    storage: str = DEFAULT_NAME  # its name on the server, or in the configuration
    path: str | None = None  # of a FileStorage
    blobs: str | None = None  # the directory of its blobs
    configuration: str | None = None  # the path of a configuration file

    @property
    def name(self) -> str:
        """What it is called in lines for people."""
        if self.address is not None:
            return f'storage {self.storage} of {show(self.address)}'
        return self.path or self.text


def parse(text: str, blobs: str | None = None) -> Target:
    """Return what a text names.

    :param blobs: the blob directory, for a file.
    :raises ConfigurationError: when that is not clear.
    """
    if text.startswith('zeo://'):
        found = _uri(text)
    elif '#' in text:
        path, _, name = text.rpartition('#')
        found = Target(text, storage=name or DEFAULT_NAME, configuration=path)
    elif _is_path(text):
        found = _socket_or_file(text)
    else:
        found = _server(text)
    if blobs is not None:
        if found.path is None:
            raise ConfigurationError(
                f'{text}: a blob directory belongs to a file: servers and configurations know '
                'their own'
            )
        found = Target(text, path=found.path, blobs=blobs)
    return found


def _is_path(text: str) -> bool:
    """Return whether a text is meant as a path: HOST:PORT and PORT are not, with or without a
    storage behind them.
    """
    front = text.split('/', 1)[0]
    _, colon, port = front.rpartition(':')
    is_address = front.isdigit() or (colon and port.isdigit() and not os.path.exists(text))
    return not is_address


def _socket_or_file(text: str) -> Target:
    path = os.path.expanduser(text)
    directory, storage = os.path.split(path)
    if _is_socket(path):
        return Target(text, address=path)
    if storage and _is_socket(directory):
        return Target(text, address=directory, storage=storage)
    if not text:
        raise ConfigurationError(f'an empty text does not name a database: give {FORMS}')
    if path.endswith('.conf'):  # a FileStorage would be made under that name
        raise ConfigurationError(
            f'{text}: a configuration may have several storages: give {text}#STORAGE, with the '
            'name of its section'
        )
    return Target(text, path=path)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _server(text: str) -> Target:
    address, _, storage = text.partition('/')
    try:
        return Target(text, datatypes.connect_address(address), storage or DEFAULT_NAME)
    except ValueError as error:
        raise ConfigurationError(f'{text}: {error}; give {FORMS}') from None


def _uri(text: str) -> Target:
    parts = urlsplit(text)
    storage = (parse_qs(parts.query).get('storage') or [''])[0]
    if not parts.netloc:
        return Target(text, address=unquote(parts.path), storage=storage or DEFAULT_NAME)
    found = _server(parts.netloc)
    name = storage or unquote(parts.path.strip('/')) or DEFAULT_NAME
    return Target(text, found.address, name)


# Opening.


def open_source(target: Target, way: Way, directory: str | None = None) -> Source:
    """Return an open source.

    :param directory: where the blobs of a server are kept until they were used; a temporary
        directory by default.
    :raises ConfigurationError: when a configuration is wrong.
    :raises DataError: when it cannot be opened.
    """
    with _explained(target):
        if target.path is not None:
            return FileSource(target.path, _existing(target.blobs))
        if target.address is not None:
            private = make_directory(_PRIVATE, directory)
            return StorageSource(target.name, _client(target, way, private, True), private)
        section = _section(target)
        if isinstance(section, ZODB.config.FileStorage):  # a server may have it open
            config = section.config
            return FileSource(config.path, config.blob_dir)
        return StorageSource(target.name, StorageFactory(target.storage, section).open())


def open_destination(target: Target, way: Way) -> Destination:
    """Return an open destination.

    :raises ConfigurationError: when a configuration is wrong.
    :raises DataError: when it cannot be opened.
    """
    with _explained(target):
        if target.path is not None:
            return destination(target.name, _file(target))
        if target.address is not None:
            private = make_directory(_PRIVATE)
            return destination(target.name, _client(target, way, private, False), private)
        return destination(target.name, StorageFactory(target.storage, _section(target)).open())


class _explained:
    """Turns what opening raises into one line."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def __enter__(self) -> None:
        """Nothing begins."""

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, (DataError, ConfigurationError)):
            raise DataError(f'{self._target.name} cannot be opened: {one_line(error)}') from error


def _existing(directory: str | None) -> str | None:
    if directory is not None and not os.path.isdir(directory):
        raise ConfigurationError(f'there is no blob directory {directory}')
    return directory


def _file(target: Target) -> Any:
    return open_file(str(target.path), target.blobs, grouped=True)


def _client(target: Target, way: Way, private: str, read_only: bool) -> Any:
    from ZEO.ClientStorage import ClientStorage

    def open_within(seconds: float) -> Any:
        return ClientStorage(
            target.address,
            target.storage,
            cache_size=_CACHE,
            read_only=read_only,
            wait_timeout=seconds,
            client_label=way.label,
            blob_dir=private,
            ssl=way.tls.get('ssl'),
            ssl_server_hostname=way.tls.get('server_hostname'),
            **way.login,
        )

    try:
        return opened(open_within, way.timeout, lambda line: way.say(f'{target.name}: {line}'))
    except BaseException:
        shutil.rmtree(private, ignore_errors=True)
        raise


def _section(target: Target) -> Any:
    sections = load(str(target.configuration)).storages
    names = [section.name or DEFAULT_NAME for section in sections]
    if target.storage not in names:
        raise ConfigurationError(
            f'{target.configuration} has no storage {target.storage!r}: it has '
            f'{", ".join(names) or "none"}'
        )
    return sections[names.index(target.storage)]
