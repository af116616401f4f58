"""The switches of start.py, which are those of ZEO 0.2 and a few more.

Enters: a command line. Leaves: :class:`Options`. Fails: :class:`ConfigurationError` of one line.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ZEO.commands.options import Parser, program
from ZEO.config import datatypes
from ZEO.config.server import STOP_TIME
from ZEO.Exceptions import ConfigurationError
from ZEO.net.activation import inherited
from ZEO.net.addresses import Address, checked_host

LOOPBACK = '127.0.0.1'

_USAGE = """\
{0} -p PORT [options] [NAME=VALUE ...] [FILE]
       {0} -U SOCKET [options] [NAME=VALUE ...] [FILE]"""

_DESCRIPTION = """\
Serve ZODB storages to the processes that open them with ZEO.ClientStorage.

FILE is the FileStorage to serve, as storage 1; it is created if it does not exist. Without it
and without -S that is $INSTANCE_HOME/var/Data.fs, or Data.fs in the working directory if
INSTANCE_HOME is not set.

NAME=VALUE sets a variable of the environment before any storage is opened."""

_EPILOG = """\
The server's process id is written to the file that $ZEO_SERVER_PID names, if it is set.
SIGINT, SIGTERM and SIGHUP stop the server, which lets clients finish their commits; a second one
ends it at once. Warnings and errors go to standard error, one line
each. The exit status is 0 after a stop, 2 when an operator has to correct something before the
server can start, and 1 when another try may succeed, for example when another process has the
storage open."""


@dataclass
class Options:
    """What the command line says."""

    ports: list[int] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    storages: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    file_name: str | None = None
    user: str | None = None
    debug: bool = False
    profile: str | None = None
    stop_time: float = STOP_TIME
    log_format: str = 'text'
    log_level: int = logging.WARNING
    monitor: list[Address] = field(default_factory=list)
    read_ahead: str | None = None
    no_group_commit: bool = False

    @property
    def addresses(self) -> list[Address]:
        """All addresses to listen on: every host with every port, and the sockets."""
        hosts = self.hosts or [LOOPBACK]
        return [(host, port) for port in self.ports for host in hosts] + self.sockets

    @property
    def pid_file(self) -> str | None:
        """The file for the process id, which the environment names."""
        return os.environ.get('ZEO_SERVER_PID')

    def served_with(self) -> dict[str, Any]:
        """Return keyword arguments of StorageServer, except for its defaults."""
        given = {'monitor_address': self.monitor, 'read_ahead': self.read_ahead}
        return {name: value for name, value in given.items() if value}


def parser() -> Parser:
    """Return what reads the command line."""
    name = program('start.py')
    made = Parser(
        name,
        usage=_USAGE.format(name),
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    made.add_argument('arguments', nargs='*', help=argparse.SUPPRESS)
    _add_addresses(made)
    _add_storages(made)
    _add_process(made)
    _add_log_and_monitor(made)
    _add_speed(made)
    made.add_argument(
        '--help', action='help', help='show this text and exit, as without any argument'
    )
    return made


def _add_addresses(made: Parser) -> None:
    add = made.add_argument
    add(
        '-p',
        dest='ports',
        metavar='PORT',
        action='append',
        default=[],
        type=_port,
        help='listen on this TCP port; 0 picks a free one; may be repeated',
    )
    add(
        '-h',
        dest='hosts',
        metavar='HOST',
        action='append',
        default=[],
        type=_read_by(checked_host),
        help='the host name or address to listen on with -p; the default is 127.0.0.1, which '
        "serves this machine only; -h '' listens on every network of the machine; may be repeated",
    )
    add(
        '-U',
        dest='sockets',
        metavar='SOCKET',
        action='append',
        default=[],
        type=_path,
        help='listen on this Unix domain socket; may be repeated, and used together with -p',
    )


def _add_storages(made: Parser) -> None:
    add = made.add_argument
    add(
        '-S',
        dest='storages',
        metavar='NAME=MODULE_PATH:ATTRIBUTE',
        action='append',
        default=[],
        help='serve, as NAME, the storage that the Python file MODULE_PATH (.py may be omitted) or '
        'the dotted module of that name assigns to ATTRIBUTE, or to NAME if :ATTRIBUTE is omitted; '
        'may be repeated',
    )
    add(
        '-u',
        dest='user',
        metavar='USER',
        help='open the storages and serve as this user, by name or number, after binding the '
        'ports; only root can do that',
    )


def _add_process(made: Parser) -> None:
    add = made.add_argument
    add('-D', dest='debug', action='store_true', help='log what happens in detail')
    add(
        '-s',
        dest='no_daemon',
        action='store_true',
        help='accepted for old scripts: the server never turns itself into a daemon',
    )
    add(
        '-P',
        dest='profile',
        metavar='FILE',
        type=_path,
        help='profile the server and write the statistics to FILE at the end; an earlier profile '
        'is overwritten, any other file is not',
    )
    add(
        '--stop-time',
        metavar='SECONDS',
        type=_read_by(datatypes.seconds),
        default=STOP_TIME,
        help='how long clients may take to finish their commits when the server is stopped; the '
        'default is 5; 0 means no time',
    )


def _add_log_and_monitor(made: Parser) -> None:
    add = made.add_argument
    add(
        '--log-format',
        metavar='FORMAT',
        type=_read_by(datatypes.log_format),
        default='text',
        help='text, or json for one object on each line',
    )
    add(
        '--log-level',
        metavar='LEVEL',
        type=_level,
        default=logging.WARNING,
        help='debug, info, warning, which is the default, or error',
    )
    add(
        '--monitor',
        metavar='ADDRESS',
        action='append',
        default=[],
        type=_read_by(datatypes.monitor_address),
        help='where to show figures over HTTP: PORT of this machine, HOST:PORT, or a path; may be '
        'repeated',
    )


def _add_speed(made: Parser) -> None:
    add = made.add_argument
    add(
        '--read-ahead',
        metavar='WHICH',
        type=_read_by(datatypes.read_ahead),
        help='which clients are sent records before they ask for them: network, those that have '
        'not connected over a Unix socket, which is the default, always or off',
    )
    add(
        '--no-group-commit',
        action='store_true',
        help='sync FILE once for each transaction, instead of once for those of several clients '
        'that commit at the same time',
    )


def parse(args: Sequence[str]) -> Options:
    """Return what a command line says; options and arguments may come in any order.

    :raises ConfigurationError: when it makes no sense.
    :raises SystemExit: after ``--help`` and ``--version``.
    """
    switches = vars(parser().parse_intermixed_args(list(args)))
    del switches['no_daemon']
    arguments = switches.pop('arguments')
    options = Options(**switches)
    for argument in arguments:
        _take_argument(options, argument)
    if options.hosts and not options.ports:
        raise ConfigurationError('-h needs a port: give -p PORT as well')
    if not options.addresses and not inherited():
        raise ConfigurationError('no address to listen on: give -p PORT or -U SOCKET')
    return options


def _take_argument(options: Options, argument: str) -> None:
    if re.match(r'[A-Za-z_]\w*=', argument):
        name, _, value = argument.partition('=')
        options.environment[name] = value
    elif not argument:
        raise ConfigurationError('the storage needs the name of a file')
    elif options.file_name is None:
        options.file_name = argument
    else:
        raise ConfigurationError(
            f'{argument}: only one file can be given, and {options.file_name} is given already; '
            'serve other storages with -S'
        )


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(
        f'{text!r} is not a port: give a number from 1 to 65535, or 0 for a free port'
    )


def _read_by(datatype: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return datatype(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _level(text: str) -> int:
    level = getattr(logging, text.upper(), None)
    if text.lower() not in ('debug', 'info', 'warning', 'error') or level is None:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a level: give debug, info, warning or error'
        )
    return level


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError('needs the name of a file')
    return text
