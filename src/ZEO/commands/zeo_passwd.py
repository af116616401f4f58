"""The command ``zeo passwd``: set the passwords of a server's users.

Enters: a command line; a password from the terminal or from standard input, never from the command
line, which other users can see. Leaves: the password file, with what a server needs to check the
password. Fails: with one line on standard error and exit status 2; the file is as it was then.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from typing import Any

from ZEO.commands.options import Parser
from ZEO.Exceptions import ConfigurationError
from ZEO.serving.access import secrets_file
from ZEO.serving.access.secrets import set_secret
from ZEO.wire.saslprep import prepared
from ZEO.wire.scram import checked_name

#: Bytes of the longest password; more is a file that was given by mistake.
_MOST = 1000

#: Characters; shorter passwords can be guessed by who has seen one log in over a network that is
#: not encrypted.
_SHORT = 12


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    return parser().run(_act, args)


def parser() -> Parser:
    parser = Parser(
        'zeo passwd',
        description='Set the password of a user in a password file, which is made if it is '
        'missing. A server reads the file that password-file in its <zeo> section names when it '
        'starts, and when it gets SIGHUP.',
    )
    parser.add_argument('file', metavar='FILE', help='the password file')
    parser.add_argument('user', metavar='USER', nargs='?', help='the name of the user')
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        '--stdin', action='store_true', help='read the password from standard input: its first line'
    )
    what.add_argument('--delete', action='store_true', help='remove the user')
    what.add_argument('--list', action='store_true', help='print the names of all users')
    return parser


def _act(options: argparse.Namespace) -> int:
    if options.list:
        if options.user is not None:
            raise ConfigurationError('--list prints all users: leave USER out')
        print(*sorted(secrets_file.read(options.file).verifiers), sep='\n')
        return 0
    name = _name(options.user)
    if options.delete:
        _delete(options.file, name)
        print(f'{name} is removed from {options.file}')
    else:
        _set(options.file, name, _from_stdin() if options.stdin else _from_terminal(name))
        print(f'the password of {name} is set in {options.file}')
    return 0


def _name(given: str | None) -> str:
    if given is None:
        raise ConfigurationError('no user is named: give FILE and USER, or FILE and --list')
    try:
        return checked_name(given)
    except ValueError as error:
        raise ConfigurationError(f'{given!r} cannot be the name of a user: {error}') from None


def _delete(path: str, name: str) -> None:
    with secrets_file.change(path, may_create=False) as kept:
        if kept.verifiers.pop(name, None) is None:
            raise ConfigurationError(f'{path} has no user {name!r}: see --list')


def _set(path: str, name: str, secret: str) -> None:
    with secrets_file.change(path, may_create=True) as kept:
        set_secret(kept, name, secret)


def _from_stdin() -> str:
    line = sys.stdin.buffer.readline(_MOST + 2)
    return _checked(line.rstrip(b'\r\n'))


def _from_terminal(name: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigurationError('the password is read from a terminal: give --stdin in a script')
    try:
        secret = getpass.getpass(f'Password of {name}: ')
        if getpass.getpass('The same again: ') != secret:
            raise ConfigurationError('the two passwords are not the same: nothing is changed')
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
        raise ConfigurationError('no password was given: nothing is changed') from None
    return _checked(secret.encode('utf-8', 'surrogateescape'))


def _checked(given: bytes) -> str:
    """Return a password that can be used; no text of an error quotes it."""
    wrong: Any = None
    try:
        secret = prepared(given.decode('utf-8'))
    except UnicodeDecodeError:
        wrong, secret = 'it is not UTF-8', ''
    except ValueError as error:
        wrong, secret = str(error), ''
    if not wrong and not secret:
        wrong = 'it is empty'
    if not wrong and len(given) > _MOST:
        wrong = f'it is longer than {_MOST} bytes'
    if wrong:
        raise ConfigurationError(f'the password cannot be used: {wrong}')
    if len(secret) < _SHORT:
        print(
            f'zeo passwd: warning: a password of less than {_SHORT} characters can be guessed by '
            'who listens to a log-in without TLS, or reads the file',
            file=sys.stderr,
        )
    return secret


if __name__ == '__main__':
    sys.exit(main())
