"""The command ``zeo serve``: start.py, or with ``-C FILE`` runzeo.

Enters: the command line of one of them. Leaves: a running server, until a signal comes, and the
exit status. Fails: as the one that runs does.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module

from ZEO.commands import runzeo_switches, start_switches
from ZEO.commands.options import output

_WITH_A_FILE = 'zeo serve -C FILE starts a server with a configuration file, as runzeo does.\n'


def parser() -> ArgumentParser:
    """Return a parser with the switches of both ways to start a server."""
    both = [start_switches.parser(), runzeo_switches.parser()]
    return ArgumentParser('zeo serve', parents=both, add_help=False, conflict_handler='resolve')


def main(args: Sequence[str] | None = None) -> int | None:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    :raises SystemExit: as ``start.py`` and ``runzeo`` do.
    """
    args = sys.argv[1:] if args is None else args
    has_file = any(arg.startswith(('-C', '--configure')) for arg in args)
    if not has_file and (not args or '--help' in args):
        with output():
            print(_WITH_A_FILE)
    # by name, since these modules stand above the commands
    return import_module('ZEO.runzeo' if has_file else 'ZEO.start').main(args)


if __name__ == '__main__':
    sys.exit(main())
