"""What several commands have in common: their parser, and the switches for TLS.

Enters: a command line. Leaves: what it says, and a client's TLS context. Fails:
:class:`ConfigurationError` of one line, which :meth:`Parser.run` prints.
"""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from ZEO.Exceptions import ConfigurationError
from ZEO.net.tls import SSLContext, client_context
from ZEO.version import version
from ZEO.wire.quoting import cleaned
from ZEO.wire.scram import checked_name

#: The exit status of a command line that makes no sense.
WRONG_USAGE = 2

#: That of a command which Ctrl-C has ended, as a shell shows it.
INTERRUPTED = 128 + signal.SIGINT

#: Characters of a line that is printed.
LONGEST_LINE = 2000

#: Characters that are read of a file with a password; a longer line is not one.
_LONGEST_PASSWORD = 2000

_called_as: ContextVar[str | None] = ContextVar('how the command was called', default=None)


def program(name: str) -> str:
    """Return what the command that runs is called in its help and errors.

    :param name: its own name; it is another one while it runs as a command of ``zeo``.
    """
    return _called_as.get() or name


@contextmanager
def called_as(name: str) -> Iterator[None]:
    """Let the command that runs inside be called by this name."""
    token = _called_as.set(name)
    try:
        yield
    finally:
        _called_as.reset(token)


def complain(who: str, what: object) -> None:
    """Print to standard error what is wrong. It may quote a file that someone else has written,
    with what a terminal would obey.

    :param who: the command.
    """
    print(f'{who}: {shown(what)}', file=sys.stderr, flush=True)


def shown(what: object) -> str:
    """Return the lines of a text, of which none does anything to a terminal."""
    lines = str(what).split('\n')
    # an escaped character takes ten at most: nothing is cut
    return '\n'.join(cleaned(line, 10 * len(line)) for line in lines)


class Parser(argparse.ArgumentParser):
    """Raises what is wrong with a command line, instead of ending the process; knows
    ``--version``.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.add_argument(
            '--version',
            action='version',
            version=f'ZEO {version()}',
            help='show the version of ZEO and exit',
        )

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f'{message}; see {self.prog} --help')

    def warn(self, line: str) -> None:
        """Print a line about what is wrong, which may be what a server has sent."""
        print(f'{self.prog}: {cleaned(line, LONGEST_LINE)}', file=sys.stderr, flush=True)

    def run(self, act: Callable[[Any], int], args: Sequence[str] | None) -> int:
        """Do what a command line says; return the exit status.

        What is wrong with it is printed in one line, and the exit status is 2.  After Ctrl-C it is
        that of a program which SIGINT has ended.

        :param act: is called with the switches, and returns the exit status.
        :param args: the command line without the command's name; the process's own by default.
        :raises SystemExit: after ``--help`` and ``--version``.
        """
        try:
            return act(self.parse_args(sys.argv[1:] if args is None else list(args)))
        except ConfigurationError as error:
            complain(self.prog, error)
            return WRONG_USAGE
        except KeyboardInterrupt:
            return INTERRUPTED


def positive_seconds(text: str) -> float:
    """Return a finite number of seconds above zero."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of seconds above zero')
    return number


def add_tls(parser: argparse.ArgumentParser) -> None:
    """Add the switches by which a command reaches a server that speaks TLS."""
    group = parser.add_argument_group('for servers that speak TLS')
    group.add_argument(
        '--tls', action='store_true', help='speak TLS; implied by the other switches of this group'
    )
    group.add_argument(
        '--authenticate',
        metavar='PATH',
        help="the file or directory of certificates that the server's must be "
        'signed by; the default is what this machine trusts',
    )
    group.add_argument(
        '--certificate',
        metavar='FILE',
        help='the certificate to show, for servers that ask for one',
    )
    group.add_argument('--key', metavar='FILE', help='its key, if it is in another file')
    group.add_argument(
        '--server-hostname',
        metavar='NAME',
        help="the name that the server's certificate is for, if not the host's",
    )
    group.add_argument(
        '--no-check-hostname',
        action='store_true',
        help="accept the server's certificate whatever name it is for",
    )


def tls_options(args: Any) -> dict[str, Any]:
    """Return the keyword arguments ``ssl`` and ``server_hostname`` that the switches ask for.

    :raises ConfigurationError: when a file cannot be used.
    """
    context: SSLContext | None = None
    if (
        args.tls
        or args.authenticate
        or args.certificate
        or args.key
        or args.server_hostname
        or args.no_check_hostname
    ):
        context = client_context(
            args.certificate, args.key, None, args.authenticate, not args.no_check_hostname
        )
    return {'ssl': context, 'server_hostname': args.server_hostname}


def add_login(parser: argparse.ArgumentParser) -> None:
    """Add the switches by which a command proves who uses it, to a server with passwords."""
    group = parser.add_argument_group('for servers with passwords')
    group.add_argument('--username', metavar='NAME', help='the user to log in as')
    group.add_argument(
        '--password-from',
        metavar='FILE',
        help='the file whose first line is the password, "-" for standard input; without it that '
        'is $ZEO_PASSWORD, or else it is asked for',
    )


def login_options(args: Any) -> dict[str, Any]:
    """Return the keyword arguments ``username`` and ``password`` that the switches ask for.

    :raises ConfigurationError: when there is no password, or only a password.
    """
    if args.username is None:
        if args.password_from is not None:
            raise ConfigurationError('--password-from needs a user: give --username NAME as well')
        return {'username': None, 'password': None}
    try:
        username = checked_name(args.username)
    except ValueError as error:
        raise ConfigurationError(f'--username {args.username!r}: {error}') from None
    password = _password(username, args.password_from)
    if not password:
        raise ConfigurationError(f'the password of {username} is empty')
    return {'username': username, 'password': password}


def _password(user: str, path: str | None) -> str:
    try:
        if path == '-':
            return sys.stdin.readline().rstrip('\r\n')
        if path is not None:
            with open(path, encoding='utf-8') as file:
                return file.readline(_LONGEST_PASSWORD).rstrip('\r\n')
        if 'ZEO_PASSWORD' in os.environ:
            return os.environ['ZEO_PASSWORD']
        if sys.stdin.isatty():
            return getpass.getpass(f'Password of {user}: ')
    except OSError as error:
        raise ConfigurationError(f'{path}: {error.strerror}') from None
    except UnicodeDecodeError:
        raise ConfigurationError(f'{path}: the password is not UTF-8') from None
    except EOFError:
        pass
    raise ConfigurationError(
        f'there is no password for {user}: give --password-from FILE, or set ZEO_PASSWORD'
    )


@contextmanager
def output() -> Iterator[None]:
    """Print inside; stop quietly when the reader has closed the pipe, as ``| head`` does."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
