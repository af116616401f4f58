"""What the commands that work on a whole database have in common: switches, and how they end.

Enters: a command line. Leaves: how servers are reached, and an exit status: 0 when all is well, 1
when something is wrong with the data, 2 when it could not be done, 3 when it was cut short and the
same command goes on, 130 after Ctrl-C. Fails: never; what is raised is printed in one line.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ZODB.POSException import POSError

from ZEO.commands import reaching
from ZEO.commands.options import INTERRUPTED, LONGEST_LINE, Parser, output, program
from ZEO.config.opening import one_line
from ZEO.data.outcome import IMPOSSIBLE, DataError
from ZEO.data.targets import WAIT, Way
from ZEO.progress import Progress
from ZEO.wire.quoting import cleaned

#: What the help of each of them says about names of databases.
NAMES = (
    'A database is HOST:PORT/STORAGE or /SOCKET/STORAGE of a server (without a STORAGE it is 1); '
    'the path of a FileStorage, which a server may be using when it is only read; or '
    'FILE.conf#STORAGE, a storage section of a configuration file, of any kind, also '
    '<clientstorage>.'
)

#: What it says about exit statuses.
STATUSES = (
    'The exit status is 0 when all is well, 1 when something is wrong with the data, 2 when it '
    'could not be done, 3 when it was cut short and the same command goes on.'
)


def parser(name: str, description: str) -> Parser:
    """Return what reads the command line of one of them.

    :param name: what it is called, such as ``zeo copy``.
    :param description: for its help, which says how databases are named as well.
    """
    return Parser(program(name), description=description, epilog=f'{NAMES} {STATUSES}')


def add_blobs(parser: argparse.ArgumentParser, without: str) -> None:
    """Add the switches for the blobs of a database that is only read.

    :param without: what it means to leave them out.
    """
    parser.add_argument(
        '--blobs', metavar='DIRECTORY', help='the blob directory, if TARGET is a file'
    )
    parser.add_argument('--no-blobs', action='store_true', help=without)


def add_reaching(parser: argparse.ArgumentParser) -> None:
    """Add the switches that say how servers are reached, and what is printed."""
    parser.add_argument(
        '-q', '--quiet', action='store_true', help='show no progress and no summary'
    )
    reaching.add_reaching(parser, WAIT, 'how long to wait for a server that does not answer')


def way(options: Any, label: str) -> Way:
    """Return how servers are reached.

    :param label: what their logs call this client.
    :raises ConfigurationError: when a file cannot be used.
    """
    found = reaching.reaching(options)

    def say(line: str) -> None:
        if not options.quiet:
            print(f'{label}: {cleaned(line, LONGEST_LINE)}', file=sys.stderr, flush=True)

    return Way(found.tls, found.login, found.timeout, label, say)


def progress(options: Any, what: str, total: int = 0) -> Progress:
    """Return what shows how far the work is."""
    return Progress(what, total, options.quiet)


def report(options: Any, line: str) -> None:
    """Print a line of the summary."""
    if not options.quiet:
        print(cleaned(line, LONGEST_LINE), flush=True)


def run(parser: Parser, act: Callable[[Any], int], args: Sequence[str] | None) -> int:
    """Do what a command line says; return the exit status.

    :param act: is called with the switches.
    :raises SystemExit: after ``--help`` and ``--version``.
    """
    for name in 'ZEO', 'ZODB', 'txn':  # what goes wrong is printed here
        logging.getLogger(name).addHandler(logging.NullHandler())
    return parser.run(lambda options: _act(parser, act, options), args)


def _act(parser: Parser, act: Callable[[Any], int], options: Any) -> int:
    try:
        with output():
            return act(options)
    except DataError as error:
        parser.warn(' '.join(str(error).split()))
        return error.exit_status
    except (POSError, OSError) as error:
        parser.warn(one_line(error))
        return IMPOSSIBLE
    except KeyboardInterrupt:
        parser.warn('interrupted: what is done so far is whole, and the same command goes on')
        return INTERRUPTED
