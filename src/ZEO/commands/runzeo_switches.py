"""The switches of runzeo.

Enters: a command line. Leaves: its switches, and :class:`~ZEO.config.server.Settings` of
the configuration file with the switches applied. Fails: :class:`ConfigurationError` of one line.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from ZEO.commands.options import Parser, program
from ZEO.config import datatypes
from ZEO.config.factories import FileStorage, StorageFactory
from ZEO.config.loading import load
from ZEO.config.server import Settings, settings
from ZEO.config.storages import DEFAULT_NAME
from ZEO.Exceptions import ConfigurationError

_DESCRIPTION = """Serve ZODB storages to the processes that open them with ZEO.ClientStorage, as
a configuration file says. Without a file, -a and -f are needed; with one, they override what it
says. SIGTERM and SIGINT stop the server, which lets clients finish their commits; a second one
ends it at once. SIGHUP and SIGUSR2 make it open its log files again.
SIGHUP also makes it read the configuration again: who may do what (<access>), passwords, the files
of <ssl>, limits, times and levels of the log."""

_EPILOG = """In the file, $INSTANCE stands for the environment's INSTANCE, or else INSTANCE_HOME,
unless %define defines it. With INSTANCE_HOME set, the process id is written to its
var/ZEO.pid."""


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(program('runzeo'), description=_DESCRIPTION, epilog=_EPILOG)
    _add_served(made)
    _add_times_and_monitor(made)
    _add_process(made)
    return made


def _add_served(made: Parser) -> None:
    add = made.add_argument
    add('-C', '--configure', metavar='URL', help='the configuration file, or its URL')
    add(
        '-a',
        '--address',
        metavar='ADDRESS',
        action='append',
        default=[],
        help='where to listen: PORT, HOST:PORT, or the path of a Unix socket, which has at least '
        'one slash; may be repeated',
    )
    add('-f', '--filename', metavar='FILENAME', help='serve this FileStorage as storage 1')


def _add_times_and_monitor(made: Parser) -> None:
    add = made.add_argument
    add(
        '-t',
        '--timeout',
        metavar='SECONDS',
        help='how long a transaction may keep others from committing; the default is 30; '
        '0 means no limit',
    )
    add(
        '--stop-time',
        metavar='SECONDS',
        help='how long clients may take to finish their commits when the server is stopped; the '
        'default is 5; 0 means no time',
    )
    add(
        '-m',
        '--monitor',
        metavar='ADDRESS',
        help='where to show figures over HTTP: PORT of this machine, HOST:PORT, or a path',
    )


def _add_process(made: Parser) -> None:
    add = made.add_argument
    add(
        '--read-ahead',
        metavar='WHICH',
        help='which clients are sent records before they ask for them: network, those that have '
        'not connected over a Unix socket, which is the default, always or off',
    )
    add(
        '-P',
        '--profile',
        metavar='FILE',
        help='profile the server and write the statistics to FILE at the end; an earlier profile '
        'is overwritten, any other file is not',
    )
    add('--pid-file', metavar='PATH', help="the file for the server's process id")
    add(
        '--test',
        '--check',
        action='store_true',
        dest='test',
        help='check the configuration without opening storages or listening, and exit: '
        '0 if it is in order, 2 if not',
    )


def read(args: Sequence[str]) -> argparse.Namespace:
    """Return the switches of a command line.

    :param args: the command line without the command's name.
    :raises ConfigurationError: when it makes no sense.
    :raises SystemExit: after ``--help`` and ``--version``.
    """
    return parser().parse_args(list(args))


def settings_of(switches: argparse.Namespace) -> Settings:
    """Return the settings of the configuration file that the switches name, overridden by them.

    :raises ConfigurationError: when something in them is wrong.
    """
    found = settings(load(switches.configure)) if switches.configure else Settings()
    if switches.filename:
        found.storages = {
            DEFAULT_NAME: StorageFactory(DEFAULT_NAME, FileStorage(switches.filename))
        }
    if switches.address:
        found.addresses = [
            _converted('-a', datatypes.bind_address, text) for text in switches.address
        ]
    if switches.timeout is not None:
        timeout = _converted('-t', datatypes.seconds, switches.timeout)
        found.options['transaction_timeout'] = timeout or None
    if switches.stop_time is not None:
        found.stop_time = _converted('--stop-time', datatypes.seconds, switches.stop_time)
    if switches.monitor is not None:
        found.options['monitor_address'] = [
            _converted('-m', datatypes.monitor_address, switches.monitor)
        ]
    if switches.read_ahead is not None:
        found.options['read_ahead'] = _converted(
            '--read-ahead', datatypes.read_ahead, switches.read_ahead
        )
    found.pid_file = _pid_file(switches.pid_file) or found.pid_file or _default_pid_file()
    found.check()
    return found


def _converted(switch: str, datatype: Any, text: str) -> Any:
    try:
        return datatype(text)
    except ValueError as error:
        raise ConfigurationError(f'{switch}: {error}') from None


def _pid_file(path: str | None) -> str | None:
    return _converted('--pid-file', datatypes.file_in_existing_directory, path) if path else None


def _default_pid_file() -> str | None:
    home = os.environ.get('INSTANCE_HOME')
    directory = os.path.join(home, 'var') if home else ''
    return os.path.join(directory, 'ZEO.pid') if directory and os.path.isdir(directory) else None
