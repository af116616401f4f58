"""The command ``zeo certs``: an authority, and certificates for servers and clients.

Enters: a directory, and the names of servers and clients. Leaves: their certificates and keys
there, and the sections of configuration files that use them, on standard output. Fails: with one
line and exit status 2; no file is replaced unless ``--renew`` names it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from ZEO.commands.options import Parser, output, program
from ZEO.net.system import REAL

_NAME = 'zeo certs'

#: Days that a certificate lasts.
DAYS = 825

_DESCRIPTION = """Make certificates: of an authority in DIRECTORY, with the first call, and of the
servers and clients that are named, each with a key. Then print what to write into their
configuration files. Without any name, list what is in DIRECTORY; the exit status is 1 if something
there has expired or will within 30 days."""

_EPILOG = """Example: zeo certs DIRECTORY --server db.example.org,localhost --client app1.
Keep ca.key away from the machines of servers and clients: who has it can make certificates."""


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(program(_NAME), description=_DESCRIPTION, epilog=_EPILOG)
    add = made.add_argument
    add('directory', metavar='DIRECTORY', help='where the authority keeps its files')
    _add_list(
        made,
        '--server',
        'NAME[,NAME...]',
        'make a certificate for a server with these host names and IP addresses, which are all '
        'that clients connect to; a Unix socket is "localhost"; may be repeated',
    )
    _add_list(made, '--client', 'NAME', 'make a certificate for a client; may be repeated')
    _add_list(
        made,
        '--renew',
        'NAME',
        'make a new certificate and key in place of those of this server or client; of the '
        'authority, "ca", a new certificate that has the same key; may be repeated',
    )
    _add_list(
        made,
        '--revoke',
        'NAME',
        'revoke all certificates of this server or client, which writes crl.pem; may be repeated',
    )
    add(
        '--days',
        type=_days,
        default=DAYS,
        help=f'how long new certificates are valid; the default is {DAYS}',
    )
    add(
        '--configuration',
        action='store_true',
        help='print the sections for everything in DIRECTORY',
    )
    return made


def _add_list(made: Parser, switch: str, metavar: str, text: str) -> None:
    made.add_argument(switch, metavar=metavar, action='append', default=[], help=text)


def _days(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 10**7:
        return int(text)
    raise argparse.ArgumentTypeError(f'{text!r} is not a number of days: give 1 or more')


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    return parser().run(_certs, args)


def _certs(options: Any) -> int:
    # Only now, since it needs cryptography, and the help does not.
    from ZEO.commands.certs_actions import act

    with output():
        return act(options, REAL.wall_clock())


if __name__ == '__main__':
    sys.exit(main())
