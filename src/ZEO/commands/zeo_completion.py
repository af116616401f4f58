"""The command ``zeo completion``: what a shell needs to complete the commands of ``zeo``.

Enters: the name of a shell. Leaves: a script for it, and exit status 0. Fails: with one line and
exit status 2 when the package shtab is not installed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ZEO.commands.options import Parser, output, program
from ZEO.Exceptions import ConfigurationError

#: What stands for a file or a directory in the help of commands.
_FILES = ('FILE', 'PATH', 'SRC', 'DST', 'TARGET', 'FILENAME', 'ADDRESS', 'SOCKET')
_DIRECTORIES = ('DIR', 'DIRECTORY')


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program('zeo completion'),
        description='Print a script by which a shell completes the commands and switches of zeo. '
        'It needs the package shtab, which ZEO\'s extra "completion" brings.',
        epilog='bash: zeo completion bash > ~/.local/share/bash-completion/completions/zeo. '
        'zsh: zeo completion zsh > DIRECTORY/_zeo, with a DIRECTORY of $fpath.',
    )
    made.add_argument('shell', choices=('bash', 'zsh'), help='the shell')
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    return parser().run(_print, args)


def _print(options: Any) -> int:
    try:
        import shtab
    except ImportError:
        raise ConfigurationError(
            'the package shtab is not installed: pip install "ZEO[completion]"'
        ) from None
    from ZEO.commands.zeo import COMMANDS

    made = whole(command for group in COMMANDS.values() for command in group)
    _mark(made, shtab.FILE, shtab.DIRECTORY)
    with output():
        print(shtab.complete(made, options.shell))
    return 0


def whole(commands: Iterable[Any]) -> argparse.ArgumentParser:
    """Return a parser that has each command as one of its own.

    :param commands: of the table of ``zeo``.
    """
    made = argparse.ArgumentParser('zeo', description='Serve ZODB storages, and look after them.')
    made.add_argument('--version', action='store_true', help='show the version of ZEO and exit')
    group = made.add_subparsers(parser_class=argparse.ArgumentParser)
    for command in commands:
        group.add_parser(
            command.name,
            help=command.summary,
            description=command.summary,
            parents=[command.parser()],
            add_help=False,
            conflict_handler='resolve',
        )
    return made


def _mark(made: argparse.ArgumentParser, file: Any, directory: Any) -> None:
    """Say of each argument whether the shell completes it as a file or as a directory."""
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                _mark(one, file, directory)
        elif action.metavar in _FILES:
            action.complete = file  # type: ignore[attr-defined]
        elif action.metavar in _DIRECTORIES:
            action.complete = directory  # type: ignore[attr-defined]


if __name__ == '__main__':
    sys.exit(main())
