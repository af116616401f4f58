"""What a server's configuration means: from sections and switches to a listening server.

Enters: ZConfig's configuration object, and what the command line overrides. Leaves:
:class:`Settings`, and a :class:`~ZEO.StorageServer.StorageServer` made from them. Fails:
:class:`ConfigurationError` of one line; storages that were opened on the way are closed again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from ZEO.config.factories import StorageFactory
from ZEO.config.loading import at, place_of, wrong
from ZEO.config.opening import one_line, start_error
from ZEO.config.paths import check_data, check_log_files, check_pid_file, check_sockets
from ZEO.config.storages import DEFAULT_NAME, close_all
from ZEO.config.tls import TlsSection
from ZEO.Exceptions import ConfigurationError
from ZEO.net import addresses
from ZEO.net.activation import inherited
from ZEO.net.addresses import Address
from ZEO.net.tls import SSLContext
from ZEO.net.unix_sockets import FileRights
from ZEO.serving.access import secrets_file
from ZEO.serving.access.access import Access, Section
from ZEO.serving.access.checks import Situation, check_restricted, check_rules, effective
from ZEO.serving.limits import KEYS, Limits
from ZEO.serving.resolve import DEFAULT_MODULES
from ZEO.serving.slow import SlowTimes
from ZEO.StorageServer import StorageServer

#: Seconds that clients may take to finish their commits when the server stops: a commit takes
#: milliseconds, and supervisors wait for ten seconds and more.
STOP_TIME = 5.0

#: Keys of <zeo> that older servers had, and what to do instead.
OLD_KEYS = {
    'authentication_protocol': 'use password-file, or TLS with client certificates',
    'authentication_database': 'use password-file, or TLS with client certificates',
    'authentication_realm': 'use password-file, or TLS with client certificates',
}


@dataclass
class Settings:
    """What a server is started with."""

    addresses: list[Address] = field(default_factory=list)
    #: What opens each storage, by its name.
    storages: dict[str, StorageFactory] = field(default_factory=dict)
    #: The keyword arguments of StorageServer that are configured.
    options: dict[str, Any] = field(default_factory=dict)
    pid_file: str | None = None
    #: Seconds that clients may take to finish their commits when the server stops.
    stop_time: float = STOP_TIME
    #: ``'json'`` for one object on each line of the log.
    log_format: str = 'text'
    #: Lines for the operator that do not keep the server from starting.
    warnings: list[str] = field(default_factory=list)
    #: Sections that set up logging when they are called.
    loggers: list[Callable[[], Any]] = field(default_factory=list)
    #: Whether one of them is <eventlog>.
    has_eventlog: bool = False
    #: Whether it is an error if everyone may use the server.
    require_access: bool = False

    def check(self) -> None:
        """Make sure that there is a storage to serve and an address to listen on.

        :raises ConfigurationError: when there is not.
        """
        if not self.storages:
            raise ConfigurationError(
                'no storage to serve: give a storage section in the configuration, or -f FILE'
            )
        if not self.addresses and not inherited():
            raise ConfigurationError(
                'no address to listen on: give one in the <zeo> section, or -a ADDRESS'
            )
        if 'unix_access' in self.options and not any(
            isinstance(address, str) for address in self.addresses
        ):
            raise ConfigurationError(
                'unix-socket-mode and unix-socket-group apply to Unix sockets only, and no address '
                'is the path of one: give a path as address, or remove them'
            )
        self._check_monitor()
        self._check_paths()
        where = self.situation()
        access = effective(self.options.get('access'), where)
        check_rules(access, where)
        if self.require_access:
            check_restricted(access, where)

    def _check_paths(self) -> None:
        check_sockets(self.addresses)
        if self.pid_file:
            check_pid_file(self.pid_file)
        check_data((name, factory.section) for name, factory in self.storages.items())

    def _check_monitor(self) -> None:
        for address in self.options.get('monitor_address', ()):
            if address in self.addresses and address[1:] != (0,):
                raise ConfigurationError(
                    f'monitor-address and address are both {addresses.show(address)}: give '
                    'monitor-address a port of its own'
                )

    def situation(self) -> Situation:
        """Return what rules of access have to be about."""
        return Situation(
            self.storages,
            [*self.addresses, *map(addresses.bound, inherited())],
            self.options.get('ssl'),
            self.options.get('password_file') is not None,
        )


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
    check_log_files(found.loggers)
    if config.zeo is not None:
        _take_zeo(found, config.zeo)
    return found


#: Keys of ``<zeo>`` that are arguments of the server as they are.
_AS_THEY_ARE = (
    'read_only',
    'invalidation_queue_size',
    'client_conflict_resolution',
    'msgpack',
    'notify',
    'wait_for_replicas',
    'replica_timeout',
    'replica_timeout_action',
    'fence',
    'read_ahead',
)


def _take_zeo(found: Settings, zeo: Any) -> None:
    found.addresses = list(zeo.address)
    found.pid_file = zeo.pid_filename
    found.log_format = zeo.log_format or found.log_format
    if zeo.stop_time is not None:
        found.stop_time = zeo.stop_time
    options = found.options
    options.update({name: getattr(zeo, name) for name in _AS_THEY_ARE})
    _take_what_is_given(options, zeo)
    found.require_access = zeo.require_access
    access = access_of(zeo)
    if access is not None:
        options['access'] = access
    options['conflict_modules'] = [*DEFAULT_MODULES, *zeo.conflict_module]
    options['limits'] = Limits(
        **{limit: getattr(zeo, key) for key, limit in KEYS.items() if getattr(zeo, key) is not None}
    )
    options['slow'] = slow_times(zeo)
    if zeo.password_file is not None:
        options['password_file'] = _password_file(zeo)
    if zeo.ssl is not None:
        options['ssl'] = _tls(zeo.ssl)
        if zeo.ssl.lets_anyone_in and access is None and options.get('password_file') is None:
            found.warnings.append(
                at(zeo.ssl, 'clients need no certificate, since <ssl> has no authenticate')
            )
    for key, became in OLD_KEYS.items():
        if getattr(zeo, key) is not None:
            name = key.replace('_', '-')
            found.warnings.append(at(zeo, f'{name} is ignored: {became}', name))


def _take_what_is_given(options: dict[str, Any], zeo: Any) -> None:
    """Take the keys without which the server has defaults of its own."""
    if zeo.monitor_address:
        options['monitor_address'] = list(zeo.monitor_address)
    if zeo.invalidation_age is not None:
        options['invalidation_age'] = zeo.invalidation_age
    if zeo.poll_interval is not None:
        options['poll_interval'] = zeo.poll_interval
    if zeo.transaction_timeout is not None:
        options['transaction_timeout'] = zeo.transaction_timeout or None
    if zeo.unix_socket_mode is not None or zeo.unix_socket_group is not None:
        options['unix_access'] = FileRights(zeo.unix_socket_mode, zeo.unix_socket_group)


def slow_times(zeo: Any) -> SlowTimes:
    """Return from when on a <zeo> section takes something for slow."""
    given = {name: getattr(zeo, f'slow_{name}') for name in ('commit', 'load', 'pack')}
    return SlowTimes(**{name: value for name, value in given.items() if value is not None})


def access_of(zeo: Any) -> Access | None:
    """Return the access that the sections in a <zeo> section allow; None without any."""
    sections = [
        Section(section.getSectionName(), tuple(section.rules), str(place_of(section) or ''))
        for section in zeo.access
    ]
    return Access(tuple(sections)) if sections else None


def _password_file(zeo: Any) -> str:
    """Return the file's path, once it was read: what is wrong with it is known early."""
    try:
        secrets_file.read(zeo.password_file)
    except ConfigurationError as error:
        raise ConfigurationError(at(zeo, str(error), 'password-file')) from None
    return zeo.password_file


def tls_again(zeo: Any) -> SSLContext | None:
    """Return the context of a running server, made from its files again; None where it has none, or
    a program adds to the one that it has.

    :raises ConfigurationError: when a file is wrong.
    """
    return None if zeo.ssl is None or zeo.ssl.is_dynamic else _tls(zeo.ssl)


def _tls(section: TlsSection) -> SSLContext:
    try:
        return section.server_context()
    except ConfigurationError as error:
        raise wrong(section, str(error)) from None


def _storages(sections: list[Any]) -> dict[str, StorageFactory]:
    found: dict[str, StorageFactory] = {}
    for section in sections:
        name = section.name or DEFAULT_NAME
        if name in found:
            raise wrong(
                section,
                f'duplicate storage name {name!r}: every storage needs a unique name, as in '
                '<filestorage NAME>',
            )
        found[name] = StorageFactory(name, section)
    return found


def open_server(
    found: Settings,
    interruptible: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> StorageServer:
    """Open the storages and listen.

    :param interruptible: a storage is opened, and asked, within what this returns.
    :raises ConfigurationError: when a storage cannot be opened, or an address not be listened on.
    """
    found.check()
    check_addresses(found.addresses)
    storages: dict[str, Any] = {}
    try:
        for name, factory in found.storages.items():
            with interruptible():
                storages[name] = factory.open()
        with interruptible():  # as above: the storages are asked what was changed last
            return listen(found.addresses, storages, **found.options)
    except BaseException:
        close_all(storages.values())
        raise


def check_addresses(wanted: list[Address]) -> None:
    """Find out whether the addresses can be listened on, before storages are opened, which may take
    minutes.

    :raises ConfigurationError: when one cannot, with the reason.
    """
    for address in wanted:
        addresses.check(address)


def listen(wanted: Any, storages: dict[str, Any], **options: Any) -> StorageServer:
    """Return a server that listens; arguments are :class:`StorageServer`'s.

    :raises ConfigurationError: when it cannot, or a storage fails, such as one that has just lost
        its own server.
    """
    try:
        return StorageServer(wanted, storages, **options)
    except ConfigurationError:
        raise
    except Exception as error:  # the storages are asked, and are of any kind
        raise start_error(f'cannot serve: {one_line(error)}', error) from error
