"""The command ``zeo bench``: a short load on a scratch storage, and how fast it was.

Enters: how long, how many clients, how large the objects; nothing else, or a server and an empty
storage of it. Leaves: a table, or JSON, and exit status 0; the scratch server and its files are
gone. Fails: with one line and exit status 2, when it cannot be measured, or the storage is not
empty.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ZEO.commands.bench_run import BenchFailed, Load, Place, Worker, run, scratch_server
from ZEO.commands.options import Parser, output, program
from ZEO.commands.probing import parse
from ZEO.commands.reaching import FORMS, add_reaching, reaching
from ZEO.config.datatypes import size as bytes_of
from ZEO.config.opening import one_line
from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import show
from ZEO.progress import Doing
from ZEO.serving.moments import size
from ZEO.version import version

#: The exit status when it cannot be measured.
IMPOSSIBLE = 2

#: What is measured by default, and at most: this is a look, not a soak.
_SECONDS, _CLIENTS, _SIZE = 10.0, 2, '1KB'
_MOST_SECONDS, _MOST_CLIENTS, _SMALLEST, _LARGEST = 3600.0, 64, 100, 8 * 2**20

#: Seconds to wait for a server that does not answer.
_TIMEOUT = 30.0

#: Switches for TLS, which each process reads by itself.
_TLS = 'tls authenticate certificate key server_hostname no_check_hostname'.split()

#: What the rows of the table are called.
_ROWS = {
    'round-trip': 'round trip',
    'cold-loads': 'load, from the server',
    'warm-loads': 'load, from the cache',
    'commits': 'commit of one object',
    'invalidation': 'until another client knows',
}

_COLUMNS = ['', 'per second', 'p50', 'p99', 'data/s', 'server CPU']


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program('zeo bench'),
        description='Measure how fast loads and commits are: several processes load and commit '
        'objects for some seconds. They work on a server of this command, with a FileStorage in a '
        'temporary directory, which is removed in the end; or on an empty storage of a server, '
        'which an operator names for that. A storage with anything in it is refused.',
        epilog='The exit status is 0, or 2 when it cannot be measured.',
    )
    _add_work(made)
    group = made.add_argument_group('to measure a server that runs')
    group.add_argument('--server', metavar='ADDRESS', help=FORMS)
    group.add_argument(
        '--scratch-storage',
        metavar='NAME',
        help='its storage to measure with, which must be empty, and keeps what is written',
    )
    add_reaching(made, _TIMEOUT, 'how long to wait for a server that does not answer')
    return made


def _add_work(made: Parser) -> None:
    add = made.add_argument
    add(
        '--seconds',
        metavar='N',
        type=_seconds,
        default=_SECONDS,
        help=f'how long it takes, start and end left out; the default is {_SECONDS:g}',
    )
    add(
        '--clients',
        metavar='N',
        type=_clients,
        default=_CLIENTS,
        help=f'how many processes load and commit; the default is {_CLIENTS}',
    )
    add(
        '--object-size',
        metavar='SIZE',
        type=_object_size,
        default=bytes_of(_SIZE),
        help=f'bytes of an object, such as 500, 4KB or 1MB; the default is {_SIZE}',
    )
    add(
        '--directory',
        metavar='DIR',
        help='where to make the temporary directory, to measure the disk that this is on; up to 1 '
        'GB is written',
    )
    add('--json', action='store_true', help='print one JSON object')


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f'{text!r}: give a number of seconds, at most 3600')
    return number


def _clients(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST_CLIENTS):
        raise argparse.ArgumentTypeError(f'{text!r}: give a number from 1 to {_MOST_CLIENTS}')
    return int(text)


def _object_size(text: str) -> int:
    try:
        number = bytes_of(text)
    except ValueError:
        number = 0
    if not _SMALLEST <= number <= _LARGEST:
        raise argparse.ArgumentTypeError(f'{text!r}: give a size from {_SMALLEST} bytes to 8MB')
    return number


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    return made.run(lambda options: _bench(made, options), args)


def _bench(made: Parser, options: Any) -> int:
    _check(options)
    load = Load(options.seconds, options.clients, options.object_size)
    try:
        with _stopped_by_sigterm(), Doing(quiet=not _is_terminal()) as doing:
            with _place(options) as (place, server):
                found = run(place, load, lambda text: doing.update(f'zeo bench: {text}'), server)
    except (BenchFailed, OSError) as error:
        made.warn(one_line(error) if isinstance(error, OSError) else str(error))
        return IMPOSSIBLE
    about = _about(options, load)
    with output():
        if options.json:
            print(json.dumps({**about, 'figures': found}, indent=2))
        else:
            print('\n'.join([_headline(about), '', *table(found)]))
    return 0


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _check(options: Any) -> None:
    """Refuse what does not fit together.

    :raises ConfigurationError: that says what to give.
    """
    if options.server is not None and options.scratch_storage is None:
        raise ConfigurationError(
            '--server needs --scratch-storage NAME: the name of an empty storage that may be '
            'written to'
        )
    if options.server is None and options.scratch_storage is not None:
        raise ConfigurationError('--scratch-storage needs --server ADDRESS: where it is served')
    if options.server is not None and options.directory is not None:
        raise ConfigurationError(
            '--directory is for the server that this command starts: leave it out, or --server'
        )
    if options.directory is not None and not os.path.isdir(options.directory):
        raise ConfigurationError(f'there is no directory {options.directory}: create it first')


@contextmanager
def _place(options: Any) -> Iterator[tuple[Place, Worker | None]]:
    """Give where to measure, and the process of the server if it is this command's own."""
    tls = {name: getattr(options, name) for name in _TLS}
    wait = {'wait_timeout': options.timeout}
    if options.server is not None:
        login = reaching(options).login
        yield Place(parse(options.server), options.scratch_storage, tls, {**wait, **login}), None
        return
    with tempfile.TemporaryDirectory(prefix='zeo-bench-', dir=options.directory) as directory:
        with scratch_server(directory) as (address, server):
            yield Place(address, '1', tls, wait), server


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end what runs inside as Ctrl-C does, so that nothing stays behind."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# What it prints.


def _about(options: Any, load: Load) -> dict[str, Any]:
    own = 'a FileStorage of its own'
    return {
        'version': version(),
        'python': platform.python_version(),
        'processors': os.cpu_count(),
        'server': None if options.server is None else show(parse(options.server)),
        'storage': own if options.server is None else options.scratch_storage,
        'seconds': load.seconds,
        'clients': load.clients,
        'object-size': load.size,
        'objects': load.objects,
    }


def _headline(about: dict[str, Any]) -> str:
    where = about['storage']
    if about['server'] is not None:
        where = f'storage {where} of {about["server"]}'
    return (
        f'ZEO {about["version"]}, Python {about["python"]}, {about["processors"]} processors; '
        f'{where}; {about["clients"]} clients, {about["objects"]} objects of '
        f'{size(about["object-size"])}'
    )


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of the table."""
    rows = [_COLUMNS, *([title, *_cells(found[name])] for name, title in _ROWS.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return [
        '  '.join(
            text.rjust(width) if column else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cells(figures: dict[str, Any]) -> list[str]:
    moved = figures.get('bytes-per-second')
    return [
        '' if moved is None else f'{figures["per-second"]:,.0f}',
        _duration(figures.get('p50-seconds')),
        _duration(figures.get('p99-seconds')),
        '' if moved is None else size(moved),
        _duration(figures.get('server-cpu-seconds')),
    ]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ''
    for unit, name in (1.0, 's'), (1e-3, 'ms'):
        if seconds >= unit:
            return f'{seconds / unit:.3g} {name}'
    return f'{seconds * 1e6:.3g} µs'


if __name__ == '__main__':
    sys.exit(main())
