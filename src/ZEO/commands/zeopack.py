"""The command ``zeopack``: pack storages of servers.

Enters: servers and storages, and up to when. Leaves: packed storages, a line about each, and exit
status 0. Fails: with one line for each storage that could not be packed, after which the next is
packed, and exit status 1; 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import logging
import platform
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ZEO.commands.options import Parser, output, program
from ZEO.commands.packs import NAME, WAIT, Job, Target, pack_all
from ZEO.commands.probing import parse
from ZEO.commands.reaching import add_reaching, reaching
from ZEO.Exceptions import ConfigurationError
from ZEO.net.system import REAL

# The command line.


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program(NAME),
        add_help=False,
        usage=f'{program(NAME)} [options] [[HOST]:PORT[:STORAGE] | PORT | PATH[:STORAGE] ...]',
        description="""Pack storages of servers: remove what is old and no longer
                  needed. Blobs that are still needed stay. Without a STORAGE it is 1.""",
    )
    add = made.add_argument
    add('servers', metavar='[HOST]:PORT[:STORAGE]', nargs='*', default=[], help=argparse.SUPPRESS)
    add('--help', action='help', help='show this help message and exit')
    add('-q', '--quiet', action='store_true', help='print errors only')
    add(
        '--at-once',
        metavar='N',
        type=_positive,
        default=1,
        help='pack storages of this number of servers at the same time; the default is 1. '
        'Storages of one server are packed one after the other',
    )
    add(
        '-d',
        '--days',
        type=days,
        default=0.0,
        help='keep what is not older than this many days; the default is 0',
    )
    add(
        '-t',
        '--time',
        metavar='HH[:MM[:SS]]',
        help='keep what is newer than this time of the day; the default is now',
    )
    _add_servers(made)
    add_reaching(made, WAIT, 'how long to wait for a server that does not answer')
    return made


def _add_servers(made: Parser) -> None:
    made.add_argument(
        '-u',
        '--unix',
        metavar='PATH[:STORAGE]',
        action='append',
        default=[],
        help='a server that listens on a Unix socket; may be repeated',
    )
    old = made.add_argument_group('old forms of naming one server')
    old.add_argument('-h', metavar='HOST', dest='host', help='the host, for -p')
    old.add_argument(
        '-p', metavar='PORT', dest='port', help='the port; the default of -h is this machine'
    )
    old.add_argument('-U', metavar='PATH', dest='socket', help='a Unix socket')
    old.add_argument(
        '-S',
        metavar='STORAGE',
        dest='name',
        default='1',
        help='the storage, for -p and -U; the default is 1',
    )


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) < 1000):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from 1 to 999')
    return int(text)


def days(text: str) -> float:
    """Return a number of days that a date can go back."""
    try:
        number = float(text)
        if number >= 0:
            datetime.now() - timedelta(days=number)
            return number
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f'{text!r} is not a number of days: give 0 or more')


def targets(options: Any) -> list[Target]:
    """Return the storages that a command line names.

    :raises ConfigurationError: when it names none, or is wrong.
    """
    found = []
    if options.host and not options.port:
        raise ConfigurationError('-h HOST needs a port: give -p PORT')
    if options.port:
        hosts = [options.host] if options.host else [platform.node(), 'localhost']
        addresses = tuple(parse(f'{host}:{options.port}') for host in hosts)
        found.append(Target(addresses, options.name))
    if options.socket:
        found.append(Target((options.socket,), options.name))
    found += [_unix(text) if '/' in text else _tcp(text) for text in options.servers]
    found += [_unix(text) for text in options.unix]
    if not found:
        raise ConfigurationError('no storage to pack: give HOST:PORT, or -u PATH')
    return found


def _unix(text: str) -> Target:
    path, _, storage = text.partition(':')
    return Target((path,), storage or '1')


def _tcp(text: str) -> Target:
    if text.isascii() and text.isdigit():
        return Target((parse(text),), '1')
    host, _, rest = text.rpartition(']') if text.startswith('[') else text.partition(':')
    if text.startswith('['):
        host, rest = host + ']', rest.removeprefix(':')
    port, _, storage = rest.partition(':')
    if not port.isdigit():
        raise ConfigurationError(
            f'{text}: give a server as HOST:PORT, HOST:PORT:STORAGE, PORT, or the path of a Unix '
            'socket, with at least one slash'
        )
    return Target((parse(f'{host}:{port}' if host else port),), storage or '1')


def pack_time(clock: str | None, days: float, now: float) -> float:
    """Return the time to pack to, in seconds since the epoch.

    :param clock: a local time of today, as HH[:MM[:SS]]; None for `now`.
    :param days: how many days before it.
    :param now: seconds since the epoch.
    :raises ConfigurationError: when `clock` is not a time.
    """
    at = datetime.fromtimestamp(now)
    if clock is not None:
        try:
            parts = [int(part) for part in clock.split(':')]
            hour, minute, second = (*parts, 0, 0)[: max(3, len(parts))]
            at = at.replace(hour=hour, minute=minute, second=second, microsecond=0)
        except ValueError:
            raise ConfigurationError(f'-t {clock}: give a time of the day, HH[:MM[:SS]]') from None
    return (at - timedelta(days=days)).timestamp()


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    args = sys.argv[1:] if args is None else list(args)
    logging.getLogger('ZEO').addHandler(logging.NullHandler())  # what goes wrong is printed here
    if not args:
        parser().print_help()
        return 0
    return parser().run(_pack, args)


def _pack(options: Any) -> int:
    time = pack_time(options.time, options.days, REAL.wall_clock())
    job = Job(time, reaching(options), program(NAME), options.at_once, options.quiet)
    with output():
        return 1 if pack_all(targets(options), job) else 0


if __name__ == '__main__':
    sys.exit(main())
