"""The command ``zeo``: one command for people, whose own commands are modules of this package.

Enters: the name of a command, and its arguments. Leaves: what that command does, and its exit
status; without a name, the list of all. Fails: with one line, which suggests the nearest name, and
exit status 2 for a command that does not exist.
"""

from __future__ import annotations

import difflib
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from ZEO.commands.options import INTERRUPTED, WRONG_USAGE, called_as, output
from ZEO.version import version


class Command(NamedTuple):
    """One command of ``zeo``."""

    name: str
    #: Has ``main(args)``, which returns the exit status or None, and ``parser()``.
    module: str
    summary: str

    def parser(self) -> ArgumentParser:
        """Return what reads its command line."""
        return import_module(self.module).parser()


#: All commands. A module is imported when its command is called, so that none pays for others.
COMMANDS: dict[str, tuple[Command, ...]] = {
    'servers': (
        Command(
            'serve',
            'ZEO.commands.zeo_serve',
            'start a server, with switches or a configuration file',
        ),
        Command('check', 'ZEO.commands.zeo_check', 'check the configuration file of a server'),
        Command('status', 'ZEO.commands.zeo_status', 'show what servers do'),
        Command('ping', 'ZEO.commands.zeo_ping', 'ask a server whether it accepts clients'),
        Command('top', 'ZEO.commands.zeo_top', 'show what a server does, second by second'),
        Command('bench', 'ZEO.commands.zeo_bench', 'measure how fast loads and commits are'),
        Command('promote', 'ZEO.commands.zeo_promote', 'make a follower the primary'),
        Command('pack', 'ZEO.commands.zeopack', 'remove what is old from storages'),
        Command(
            'notify', 'ZEO.commands.zeo_notify', 'have PostgreSQL notify servers of every commit'
        ),
    ),
    'data': (
        Command('copy', 'ZEO.commands.zeo_copy', 'copy a database into another one'),
        Command('backup', 'ZEO.commands.zeo_backup', 'back up a database into a directory'),
        Command('restore', 'ZEO.commands.zeo_restore', 'make a database of a backup'),
        Command('verify', 'ZEO.commands.zeo_verify', 'check that a database or a backup is whole'),
    ),
    'who may connect': (
        Command('passwd', 'ZEO.commands.zeo_passwd', 'set the passwords of the users of a server'),
        Command('certs', 'ZEO.commands.zeo_certs', 'make certificates for servers and clients'),
    ),
    'clients': (
        Command('clients', 'ZEO.commands.zeo_clients', 'list the clients of a server'),
        Command('kick', 'ZEO.commands.zeo_kick', 'end connections of clients'),
        Command('cache', 'ZEO.commands.zeo_cache', 'look at the files of client caches'),
    ),
    'this command': (
        Command('completion', 'ZEO.commands.zeo_completion', 'print what a shell completes it by'),
    ),
}

_BY_NAME = {command.name: command for group in COMMANDS.values() for command in group}

#: Spaces in front of the summaries: the longest name, and room around it.
_WIDTH = max(map(len, _BY_NAME)) + 3


def help_text() -> str:
    """Return what ``zeo --help`` prints."""
    lines = ['usage: zeo COMMAND [ARGUMENTS ...]', '']
    lines.append('Serve ZODB storages to many processes, and look after the servers and clients.')
    for title, commands in COMMANDS.items():
        lines += ['', f'{title}:']
        lines += [f'  {command.name:{_WIDTH}}{command.summary}' for command in commands]
    lines += ['', '"zeo COMMAND --help" says what a command takes; "zeo --version" is the version.']
    return '\n'.join(lines)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    :raises SystemExit: from some commands, and after their ``--help`` and ``--version``.
    """
    name, *rest = [*(sys.argv[1:] if args is None else args)] or ['']
    if name == 'help' and rest:
        name, rest = rest[0], ['--help']
    if name in ('-h', '--help', 'help'):
        return _print(help_text())
    if name == '--version':
        return _print(f'ZEO {version()}')
    if name not in _BY_NAME:
        print(_unknown(name), file=sys.stderr)
        return WRONG_USAGE
    return _run(_BY_NAME[name], rest)


def _print(text: str) -> int:
    with output():
        print(text)
    return 0


def _unknown(name: str) -> str:
    if not name:
        return help_text()
    near = difflib.get_close_matches(name, _BY_NAME, 1, 0.5)
    hint = f'did you mean "{near[0]}"? ' if near else ''
    what = 'switch' if name.startswith('-') else 'command'
    return f'zeo: there is no {what} {name!r}; {hint}"zeo --help" lists the commands'


def _run(command: Command, args: list[str]) -> int:
    try:
        with called_as(f'zeo {command.name}'):
            return import_module(command.module).main(args) or 0
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == '__main__':
    sys.exit(main())
