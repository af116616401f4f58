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
from typing import Any, NamedTuple

from ZODB.POSException import POSError

from ZEO.commands.options import (
    Parser,
    add_login,
    add_tls,
    login_options,
    output,
    positive_seconds,
    program,
    tls_options,
)
from ZEO.commands.probing import parse
from ZEO.Exceptions import ClientDisconnected, ConfigurationError
from ZEO.net.addresses import show
from ZEO.net.system import REAL
from ZEO.serving.moments import iso, lasted, size
from ZEO.wire.quoting import cleaned

_NAME = 'zeopack'

#: Seconds to wait for a server by default, and after how many of them the reason is printed.
WAIT, PATIENCE = 30.0, 1.0


class Target(NamedTuple):
    """One storage to pack."""

    addresses: tuple[Any, ...]  # of one server, any of which may reach it
    storage: str

    def __str__(self) -> str:
        return f'storage {self.storage} of {show(self.addresses[0])}'


# The command line.


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program(_NAME),
        add_help=False,
        usage=f'{program(_NAME)} [options] [[HOST]:PORT[:STORAGE] | PORT ...]',
        description="""Pack storages of servers: remove what is old and no longer
                  needed. Blobs that are still needed stay. Without a STORAGE it is 1.""",
    )
    add = made.add_argument
    add('servers', metavar='[HOST]:PORT[:STORAGE]', nargs='*', default=[], help=argparse.SUPPRESS)
    add('--help', action='help', help='show this help message and exit')
    add('-q', '--quiet', action='store_true', help='print errors only')
    add(
        '--timeout',
        metavar='SECONDS',
        type=positive_seconds,
        default=WAIT,
        help='how long to wait for a server that does not answer; the default is 30',
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
    add_tls(made)
    add_login(made)
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
    found += [_tcp(text) for text in options.servers]
    for text in options.unix:
        path, _, storage = text.partition(':')
        found.append(Target((path,), storage or '1'))
    if not found:
        raise ConfigurationError('no storage to pack: give HOST:PORT, or -u PATH')
    return found


def _tcp(text: str) -> Target:
    if text.isascii() and text.isdigit():
        return Target((parse(text),), '1')
    host, _, rest = text.rpartition(']') if text.startswith('[') else text.partition(':')
    if text.startswith('['):
        host, rest = host + ']', rest.removeprefix(':')
    port, _, storage = rest.partition(':')
    if not port.isdigit():
        raise ConfigurationError(f'{text}: give a server as HOST:PORT, HOST:PORT:STORAGE, or PORT')
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


# Packing.


class Job(NamedTuple):
    """What is to be done with each storage."""

    time: float  # to pack to, in seconds since the epoch
    tls: dict[str, Any]  # ``ssl`` and ``server_hostname`` as the switches say
    timeout: float = WAIT  # seconds to wait for a server
    login: dict[str, Any] = {}  # ``username`` and ``password``, if the switches give them


def pack(target: Target, job: Job) -> str:
    """Pack one storage and wait until that is done; return a line about it.

    :raises POSError: when it fails, or the server cannot be reached.
    """
    storage = _opened(target, job)
    try:
        began, before = REAL.now(), storage.getSize()
        storage.pack(job.time, wait=True)
        return (
            f'{target}: packed to {iso(job.time)} in {lasted(REAL.now() - began)}, '
            f'from {size(before)} to {size(storage.getSize())}'
        )
    finally:
        storage.close()


def _opened(target: Target, job: Job) -> Any:
    """Return a client of the storage; print the reason if that takes long."""
    if job.timeout <= PATIENCE:
        return _client(target, job, job.timeout)
    try:
        return _client(target, job, PATIENCE)
    except ClientDisconnected as error:
        reason = str(error).partition(': ')[2] or str(error)
        print(
            f'{program(_NAME)}: {target}: no connection yet, waiting for up to '
            f'{job.timeout:g} s: {reason}',
            file=sys.stderr,
            flush=True,
        )
    return _client(target, job, job.timeout - PATIENCE)


def _client(target: Target, job: Job, wait: float) -> Any:
    from ZEO.ClientStorage import ClientStorage

    # Read-only, since a read-only server can be packed as well.
    return ClientStorage(
        list(target.addresses),
        target.storage,
        cache_size=2**20,
        read_only=True,
        wait_timeout=wait,
        client_label='zeopack',
        ssl=job.tls['ssl'],
        ssl_server_hostname=job.tls['server_hostname'],
        **job.login,
    )


def pack_all(wanted: list[Target], job: Job, quiet: bool = False) -> int:
    """Pack storages one after the other, and print a line about each.

    :param quiet: print only what goes wrong.
    :returns: how many could not be packed.
    """
    failed = 0
    for target in wanted:
        try:
            line = pack(target, job)
        except (POSError, ValueError, OSError) as error:
            text = cleaned(' '.join(str(error).split()), 2000) or type(error).__name__
            print(f'{program(_NAME)}: {target}: {text}', file=sys.stderr)
            failed += 1
        else:
            if not quiet:
                print(line, flush=True)
    return failed


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
    job = Job(time, tls_options(options), options.timeout, login_options(options))
    with output():
        return 1 if pack_all(targets(options), job, options.quiet) else 0


if __name__ == '__main__':
    sys.exit(main())
