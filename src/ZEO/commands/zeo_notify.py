"""The command ``zeo notify``: have PostgreSQL notify servers of every commit.

Enters: a command line, which names a database or nothing. Leaves: the statements on standard
output, or their effect on the database. Fails: with one line on standard error and exit status 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from ZEO.commands.options import Parser
from ZEO.Exceptions import ConfigurationError
from ZEO.serving.backends.listen import INSTALL, REMOVE

#: Seconds to wait for a database that does not answer, unless DSN says ``connect_timeout``.
CONNECT_TIME = 10

#: Milliseconds to wait for a lock of the table: commits wait behind who waits for it.
LOCK_TIME = 10_000


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    return parser().run(_act, args)


def parser() -> Parser:
    parser = Parser(
        'zeo notify',
        description='Install the trigger by which PostgreSQL notifies servers of every commit, for '
        'notify in their <zeo> section. Without DSN the statements are printed, for psql.',
    )
    parser.add_argument('--remove', action='store_true', help='remove the trigger')
    parser.add_argument(
        'dsn', metavar='DSN', nargs='?', help='the database, as in the configuration of RelStorage'
    )
    return parser


def _act(options: argparse.Namespace) -> int:
    statements = REMOVE if options.remove else INSTALL
    if options.dsn is None:
        sys.stdout.write(statements)
        return 0
    try:
        import psycopg2
        from psycopg2.extensions import parse_dsn
    except ImportError:
        raise ConfigurationError('psycopg2 is not installed: pip install psycopg2-binary') from None
    try:
        connection = psycopg2.connect(**_in_time(parse_dsn(options.dsn)))
        with connection, connection.cursor() as cursor:
            cursor.execute(f'set local lock_timeout = {LOCK_TIME}')
            cursor.execute(statements)
        connection.close()
    except psycopg2.Error as error:
        raise ConfigurationError(f'the database refuses: {" ".join(str(error).split())}') from error
    return 0


def _in_time(dsn: dict[str, Any]) -> dict[str, Any]:
    return {'connect_timeout': CONNECT_TIME, **dsn}
