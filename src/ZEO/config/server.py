"""What a server's configuration means: from sections and switches to a listening server.

Enters: ZConfig's configuration object, and what the command line overrides.  Leaves:
:class:`Settings`, and a :class:`~ZEO.StorageServer.StorageServer` made from them.  Fails:
:class:`ConfigurationError` of one line; storages that were opened on the way are closed again.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ZEO.config.loading import wrong
from ZEO.config.tls import TlsSection
from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import Address
from ZEO.net.tls import SSLContext
from ZEO.serving.hosting import DEFAULT_NAME, close_all, describe, open_file
from ZEO.serving.limits import KEYS, Limits
from ZEO.serving.resolve import DEFAULT_MODULES
from ZEO.StorageServer import StorageServer

#: Keys of <zeo> that servers once had, and what became of them.
OLD_KEYS = {
    'monitor_address': 'there is no monitor server any more; use zeo-status or zeo-nagios',
    'authentication_protocol': 'there are no passwords any more; use TLS with client certificates',
    'authentication_database': 'there are no passwords any more; use TLS with client certificates',
    'authentication_realm': 'there are no passwords any more; use TLS with client certificates',
}


@dataclass
class Settings:
    """All that a server's start needs to know."""

    addresses: list[Address] = field(default_factory=list)
    #: Name -> what opens the storage.
    storages: dict[str, Callable[[], Any]] = field(default_factory=dict)
    #: Keyword arguments of StorageServer, those that are configured.
    options: dict[str, Any] = field(default_factory=dict)
    pid_file: str | None = None
    #: What to say to the operator, though it does not keep the server from starting.
    warnings: list[str] = field(default_factory=list)
    #: Sections that set up logging when they are called.
    loggers: list[Callable[[], Any]] = field(default_factory=list)
    #: Whether one of them is <eventlog>.
    has_eventlog: bool = False

    def check(self) -> None:
        """Make sure that there is something to serve, and somewhere.

        :raises ConfigurationError: when there isn't.
        """
        if not self.storages:
            raise ConfigurationError(
                'no storage to serve: give a storage section in the configuration, or -f FILE')
        if not self.addresses:
            raise ConfigurationError(
                'nowhere to listen: give an address in the <zeo> section, or -a ADDRESS')


def settings(config: Any) -> Settings:
    """Return what a configuration says.

    :param config: as :func:`ZEO.config.loading.load` returns it.
    :raises ConfigurationError: when that makes no sense, or TLS files are wrong.
    """
    found = Settings(storages=_storages(config.storages))
    found.loggers = list(config.loggers)
    if config.eventlog is not None:
        found.has_eventlog = True
        found.loggers.insert(0, config.eventlog)
    _check_log_files(found.loggers)
    if config.zeo is not None:
        _take_zeo(found, config.zeo)
    return found


def _take_zeo(found: Settings, zeo: Any) -> None:
    found.addresses = list(zeo.address)
    found.pid_file = zeo.pid_filename
    options = found.options
    for name in ('read_only', 'invalidation_queue_size', 'client_conflict_resolution', 'msgpack'):
        options[name] = getattr(zeo, name)
    if zeo.invalidation_age is not None:
        options['invalidation_age'] = zeo.invalidation_age
    if zeo.transaction_timeout is not None:
        options['transaction_timeout'] = zeo.transaction_timeout or None
    options['conflict_modules'] = [*DEFAULT_MODULES, *zeo.conflict_module]
    options['limits'] = Limits(**{
        limit: getattr(zeo, key) for key, limit in KEYS.items() if getattr(zeo, key) is not None})
    if zeo.ssl is not None:
        options['ssl'] = _tls(zeo.ssl)
        if zeo.ssl.lets_anyone_in:
            found.warnings.append(str(wrong(
                zeo.ssl, 'clients need no certificate, since <ssl> has no authenticate')))
    for key, became in OLD_KEYS.items():
        if getattr(zeo, key) is not None:
            found.warnings.append(str(wrong(zeo, f'{key.replace("_", "-")} is ignored: {became}')))


def _tls(section: TlsSection) -> SSLContext:
    try:
        return section.server_context()
    except ConfigurationError as error:
        raise wrong(section, str(error)) from None


def _storages(sections: list[Any]) -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {}
    for section in sections:
        name = section.name or DEFAULT_NAME
        if name in found:
            raise wrong(section, f'there are two storages of the name {name!r}; '
                                 'give each a name of its own, as in <filestorage NAME>')
        found[name] = _opener(name, section)
    return found


def _opener(name: str, section: Any) -> Callable[[], Any]:
    def open_storage() -> Any:
        try:
            return section.open()
        except Exception as error:   # storages are of any kind; whatever they say ends the start
            raise wrong(section, f'cannot open storage {name!r}: {describe(error)}') from error
    return open_storage


def file_storage(path: str) -> Callable[[], Any]:
    """Return what opens the FileStorage of a file."""
    return lambda: open_file(path)


def _check_log_files(loggers: list[Any]) -> None:
    """Find log files that can't be written before anything else is done."""
    for logger in loggers:
        for handler in logger.handler_factories:
            path = getattr(handler.section, 'path', None)
            directory = os.path.dirname(path) if path else ''
            if directory and not os.path.isdir(directory):
                raise wrong(handler.section, f'there is no directory {directory} for the log file '
                                             f'{path}: make it first')


def open_server(found: Settings) -> StorageServer:
    """Open the storages and listen.

    :raises ConfigurationError: when a storage can't be opened, or an address not listened on.
    """
    found.check()
    storages: dict[str, Any] = {}
    try:
        for name, open_storage in found.storages.items():
            storages[name] = open_storage()
        return StorageServer(found.addresses, storages, **found.options)
    except BaseException as error:
        close_all(storages.values())
        if isinstance(error, OSError):
            raise ConfigurationError(f'cannot listen: {describe(error)}') from error
        raise
