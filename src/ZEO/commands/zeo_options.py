"""``ZEOOptions``: the options of a server as attributes, for programs that start one by themselves.

Enters: a command line, by :meth:`ZEOOptions.realize`, or attributes that a program sets. Leaves:
the attributes. Fails: :class:`ConfigurationError` of one line.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any

from ZEO.commands.runzeo_switches import read, settings_of
from ZEO.config.factories import StorageFactory
from ZEO.config.server import STOP_TIME, Settings
from ZEO.Exceptions import ConfigurationError
from ZEO.net.activation import inherited
from ZEO.net.addresses import Address, parse_all
from ZEO.StorageServer import StorageServer

#: The keyword arguments of StorageServer that are attributes here: all, since one that is left out
#: is a key of the configuration that does nothing, such as one that restricts access.
SERVED_WITH = tuple(
    name
    for name in inspect.signature(StorageServer).parameters
    if name not in ('addr', 'storages', 'system')
)


class ZEOOptions:
    """The options of a server; None stands for StorageServer's default."""

    #: Where to listen: one address, or a list of them.
    address: Any = None
    #: What opens the storages: each has a ``name`` and ``open()``.
    storages: Sequence[Any] = ()
    configfile: str | None = None
    pid_file: str | None = None
    profile: str | None = None
    stop_time: float = STOP_TIME
    read_only: bool = False
    invalidation_queue_size: int = 100
    invalidation_age: float | None = None
    transaction_timeout: float | None = 30
    client_conflict_resolution: bool = False
    msgpack: bool = False
    ssl: Any = None
    limits: Any = None
    conflict_modules: Any = None
    unix_access: Any = None
    access: Any = None
    password_file: str | None = None
    poll_interval: float | None = None
    notify: bool = False
    slow: Any = None
    wait_for_replicas: int = 0
    replica_timeout: float = 10.0
    replica_timeout_action: str = 'warn'
    fence: int = 0
    monitor_address: Any = None
    read_ahead: str = 'network'

    def __init__(self) -> None:
        self.args: list[str] = []  # the command line
        self.test = False  # only check the configuration
        self.settings = Settings()  # what it says beyond these attributes: logging, warnings

    def realize(self, args: Sequence[str] | None = None, *ignored: Any) -> None:
        """Set the attributes from a command line, and the configuration file that it names.

        :param args: the command line without the command's name; the process's own by default.
        :raises ConfigurationError: when it makes no sense.
        """
        self.args = list(sys.argv[1:] if args is None else args)
        switches = read(self.args)
        self.test, self.profile, self.configfile = (
            switches.test,
            switches.profile,
            switches.configure,
        )
        self.settings = found = settings_of(switches)
        self.pid_file = found.pid_file
        self.stop_time = found.stop_time
        self.address = found.addresses[0] if len(found.addresses) == 1 else found.addresses
        self.storages = list(found.storages.values())
        for name, value in found.options.items():
            setattr(self, name, value)

    def settings_again(self) -> Settings:
        """Return what the command line, and the configuration file that it names, say now.

        :raises ConfigurationError: when something in them is wrong.
        """
        return settings_of(read(self.args))

    @property
    def addresses(self) -> list[Address]:
        """All addresses to listen on; none where a supervisor has opened the sockets."""
        return [] if self.address == [] and inherited() else parse_all(self.address)

    def factories(self) -> dict[str, Any]:
        """Return what opens the storages, by the name that clients ask for.

        :raises ConfigurationError: when two have the same name.
        """
        found: dict[str, Any] = {}
        for storage in self.storages:
            factory = (
                storage
                if isinstance(storage, StorageFactory)
                else StorageFactory(getattr(storage, 'name', None) or '1', storage)
            )
            if found.setdefault(factory.name, factory) is not factory:
                raise ConfigurationError(
                    f'duplicate storage name {factory.name!r}: every storage needs a unique name'
                )
        return found

    def served_with(self) -> dict[str, Any]:
        """Return the keyword arguments of StorageServer."""
        options = {name: getattr(self, name) for name in SERVED_WITH}
        return {
            name: value
            for name, value in options.items()
            if value is not None or name == 'transaction_timeout'
        }
